# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns which I/O command is executed by what, and the quick way of plain reads and writes."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from aionvme.mock.blocks cimport segments_to_storage, storage_to_segments
from aionvme.mock.copying cimport copy_blocks
from aionvme.mock.iommu cimport IOVA_READ, IOVA_WRITE, iova_translate
from aionvme.mock.pointers cimport map_data
from aionvme.mock.ranges cimport dataset_management, verify, write_uncorrectable, write_zeroes
from aionvme.mock.remote cimport remote_end
from aionvme.mock.rings cimport (
    DENY_WRITE, DNR, FAILED_FUSED, FOR_PYTHON, INVALID_FIELD, INVALID_OPCODE, LBA_OUT_OF_RANGE, READ_ERROR,
    RESERVATION_CONFLICT, SUCCESS, WRITE_FAULT, Core, Namespace, Sqe,
)
from aionvme.mock.transfer cimport check_namespace, count_transfer, is_denied, transfer

cdef extern from "<unistd.h>" nogil:
    int fdatasync(int fd)

# NVM Command Set 1.0, figure 11; reservations are of Base 2.0, 7.
cdef enum:
    OPCODE_FLUSH = 0x00
    OPCODE_WRITE = 0x01
    OPCODE_READ = 0x02
    OPCODE_WRITE_UNCORRECTABLE = 0x04
    OPCODE_COMPARE = 0x05
    OPCODE_WRITE_ZEROES = 0x08
    OPCODE_DATASET_MANAGEMENT = 0x09
    OPCODE_VERIFY = 0x0C
    OPCODE_RESERVATION_REGISTER = 0x0D
    OPCODE_RESERVATION_REPORT = 0x0E
    OPCODE_RESERVATION_ACQUIRE = 0x11
    OPCODE_RESERVATION_RELEASE = 0x15
    OPCODE_COPY = 0x19
    ALL_NAMESPACES = 0xFFFFFFFF

# ONCS in Identify Controller.
cdef enum:
    ONCS_COMPARE = 1
    ONCS_UNCORRECTABLE = 2
    ONCS_DSM = 4
    ONCS_ZEROES = 8
    ONCS_RESERVATIONS = 32
    ONCS_VERIFY = 128
    ONCS_COPY = 256


cdef uint16_t _flush(Core *core, const Sqe *sqe) noexcept nogil:
    """One namespace, or all with FFFFFFFFh (VWC bits 2:1 say that this is supported)."""
    cdef uint32_t i
    cdef uint16_t status = SUCCESS if sqe.nsid == ALL_NAMESPACES else check_namespace(core, sqe.nsid)
    if status:
        return status
    for i in range(core.nn):
        if (sqe.nsid == ALL_NAMESPACES or sqe.nsid == i + 1) and core.namespaces[i].attached >> core.member & 1:
            if core.namespaces[i].refused:
                return core.namespaces[i].refused
            if core.namespaces[i].protected:
                continue  # what was written there was committed before (Base 2.0, 8.12)
            if is_denied(core, &core.namespaces[i], DENY_WRITE):
                return RESERVATION_CONFLICT
            if core.namespaces[i].fd >= 0 and fdatasync(core.namespaces[i].fd) < 0:
                return WRITE_FAULT
    return SUCCESS


cdef inline uint8_t *_one_piece(Core *core, const Sqe *sqe, size_t nbytes, uint32_t access) noexcept nogil:
    """The memory of a transfer that PRP1 alone describes, which most are; NULL where there is more to it."""
    cdef size_t page = <size_t>1 << core.page_shift
    cdef size_t run
    cdef uint8_t *memory
    if sqe.flags >> 6 or core.cmb != NULL or sqe.prp1 & 3 or nbytes > page - (sqe.prp1 & (page - 1)):
        return NULL
    memory = iova_translate(&core.map, sqe.prp1, nbytes, &run, access)
    return memory if run == nbytes else NULL


cdef uint16_t _plain(Core *core, const Sqe *sqe, Namespace *ns) noexcept nogil:
    """Read or Write that is nothing but a copy."""
    cdef bint writing = sqe.opcode == OPCODE_WRITE
    cdef uint64_t lba = sqe.cdw10 | <uint64_t>sqe.cdw11 << 32
    cdef uint64_t nblocks = (sqe.cdw12 & 0xFFFF) + 1
    cdef size_t nbytes = <size_t>nblocks << ns.shift
    cdef uint8_t *memory
    cdef uint8_t *stored
    cdef uint16_t status
    # No directive is supported (DTYPE of Write, NVM 1.0, 3.2.6). PRINFO means nothing without protection
    # information.
    if writing and sqe.cdw12 >> 20 & 0xF:
        return INVALID_FIELD | DNR
    if lba >= ns.nblocks or nblocks > ns.nblocks - lba:
        return LBA_OUT_OF_RANGE | DNR
    if nbytes > core.max_transfer:
        return INVALID_FIELD | DNR
    memory = _one_piece(core, sqe, nbytes, IOVA_READ if writing else IOVA_WRITE) if ns.fd < 0 else NULL
    if memory != NULL and not ns.no_data:
        stored = ns.memory + (lba << ns.shift)
        memcpy(stored if writing else memory, memory if writing else stored, nbytes)
    if memory != NULL:
        return count_transfer(core, writing, nbytes)
    status = map_data(core, sqe, nbytes, writing)
    if status:
        return status
    if ns.no_data:
        return count_transfer(core, writing, nbytes)
    if writing:
        if segments_to_storage(core, ns, lba << ns.shift) < 0:
            return WRITE_FAULT
        return count_transfer(core, writing, nbytes)
    if core.data.buckets and ns.fd >= 0:
        return transfer(core, sqe)
    if storage_to_segments(core, ns, lba << ns.shift) < 0:
        return READ_ERROR
    return count_transfer(core, writing, nbytes)


cdef uint16_t _optional(Core *core, const Sqe *sqe) noexcept nogil:
    """Commands that ONCS may say are not there."""
    cdef uint32_t oncs = core.limits.oncs
    if sqe.opcode == OPCODE_COMPARE and oncs & ONCS_COMPARE:
        return transfer(core, sqe)
    if sqe.opcode == OPCODE_WRITE_ZEROES and oncs & ONCS_ZEROES:
        return write_zeroes(core, sqe)
    if sqe.opcode == OPCODE_WRITE_UNCORRECTABLE and oncs & ONCS_UNCORRECTABLE:
        return write_uncorrectable(core, sqe)
    if sqe.opcode == OPCODE_DATASET_MANAGEMENT and oncs & ONCS_DSM:
        return dataset_management(core, sqe)
    if sqe.opcode == OPCODE_VERIFY and oncs & ONCS_VERIFY:
        return verify(core, sqe)
    if sqe.opcode == OPCODE_COPY and oncs & ONCS_COPY:
        return copy_blocks(core, sqe)
    if oncs & ONCS_RESERVATIONS and (
            sqe.opcode == OPCODE_RESERVATION_REGISTER or sqe.opcode == OPCODE_RESERVATION_REPORT
            or sqe.opcode == OPCODE_RESERVATION_ACQUIRE or sqe.opcode == OPCODE_RESERVATION_RELEASE):
        return FOR_PYTHON
    return INVALID_OPCODE | DNR


cdef inline uint16_t _execute(Core *core, const Sqe *sqe) noexcept nogil:
    if sqe.opcode == OPCODE_READ or sqe.opcode == OPCODE_WRITE:
        if sqe.nsid - 1 < core.nn and core.namespaces[sqe.nsid - 1].plain >> core.member & 1:
            return _plain(core, sqe, &core.namespaces[sqe.nsid - 1])
        return transfer(core, sqe)
    core.result = 0
    if sqe.flags >> 6 == 3:
        return INVALID_FIELD | DNR
    if sqe.opcode == OPCODE_FLUSH:
        return _flush(core, sqe)
    return _optional(core, sqe)


cdef uint16_t execute_nvm(Core *core, const Sqe *sqe) noexcept nogil:
    """Executes one command of an I/O queue."""
    cdef uint16_t status = _execute(core, sqe)
    return remote_end(core, status) if core.npieces else status


cdef void execute_fused(Core *core, const Sqe *first, const Sqe *second, uint16_t[2] statuses) noexcept nogil:
    """Compare and Write, the only pair that there is; both name the same blocks (Base 2.0, 3.4.2)."""
    if (first.opcode != OPCODE_COMPARE or second.opcode != OPCODE_WRITE or first.nsid != second.nsid
            or first.cdw10 != second.cdw10 or first.cdw11 != second.cdw11
            or (first.cdw12 ^ second.cdw12) & 0xFFFF):
        statuses[0] = statuses[1] = INVALID_FIELD | DNR
        return
    statuses[0] = execute_nvm(core, first)
    statuses[1] = FAILED_FUSED if statuses[0] else execute_nvm(core, second)
