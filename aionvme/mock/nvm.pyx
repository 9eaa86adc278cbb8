# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns what a command does with memory and storage: PRPs (Base 2.0, 4.1.1), NVM commands (NVM 1.0, 3.2)."""

from libc.errno cimport EINTR, errno
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset
from posix.types cimport off_t

from aionvme.mock.iommu cimport iova_translate
from aionvme.mock.rings cimport (
    COMPARE_FAILURE, DATA_TRANSFER_ERROR, DNR, INTERNAL_ERROR, INVALID_FIELD, INVALID_NAMESPACE,
    INVALID_OPCODE, INVALID_PRP_OFFSET, LBA_OUT_OF_RANGE, READ_ERROR, SUCCESS, WRITE_FAULT, Core,
    Namespace, Sqe, iovec,
)

cdef extern from "<sys/uio.h>" nogil:
    ssize_t preadv(int fd, const iovec *iov, int count, off_t offset)
    ssize_t pwritev(int fd, const iovec *iov, int count, off_t offset)

cdef extern from "<unistd.h>" nogil:
    int fdatasync(int fd)

cdef extern from "<sys/mman.h>" nogil:
    int MADV_DONTNEED
    int madvise(void *address, size_t nbytes, int advice)

cdef extern from "<fcntl.h>" nogil:
    int FALLOC_FL_PUNCH_HOLE
    int FALLOC_FL_KEEP_SIZE
    int fallocate(int fd, int mode, off_t offset, off_t nbytes)

# NVM Command Set 1.0, figure 11.
cdef enum:
    OPCODE_FLUSH = 0x00
    OPCODE_WRITE = 0x01
    OPCODE_READ = 0x02
    OPCODE_COMPARE = 0x05
    OPCODE_WRITE_ZEROES = 0x08
    ALL_NAMESPACES = 0xFFFFFFFF
    IOV_MAX = 1024
    PAGE = 65536            # the largest page of the processors that we run on

cdef uint8_t[65536] _zeroes
memset(_zeroes, 0, sizeof(_zeroes))


# -- data pointers -------------------------------------------------------------------------------------------

cdef uint16_t _add_segment(Core *core, uint64_t iova, size_t nbytes) noexcept nogil:
    """Appends memory, joined to the segment before it where it follows that."""
    cdef size_t run
    cdef uint8_t *memory
    cdef iovec *last
    while nbytes:
        memory = iova_translate(&core.map, iova, nbytes, &run)
        if memory == NULL:
            return DATA_TRANSFER_ERROR
        last = &core.segments[core.nsegments - 1] if core.nsegments else NULL
        if last != NULL and <uint8_t *>last.iov_base + last.iov_len == memory:
            last.iov_len += run
        elif core.nsegments < core.segments_capacity:
            core.segments[core.nsegments].iov_base = memory
            core.segments[core.nsegments].iov_len = run
            core.nsegments += 1
        else:
            return INTERNAL_ERROR
        iova += run
        nbytes -= run
    return SUCCESS


cdef uint16_t _read_entry(Core *core, uint64_t iova, uint64_t *entry) noexcept nogil:
    cdef size_t run
    cdef uint8_t *memory = iova_translate(&core.map, iova, 8, &run)
    if memory == NULL or run < 8:
        return DATA_TRANSFER_ERROR
    memcpy(entry, memory, 8)
    return SUCCESS


cdef uint16_t _map_list(Core *core, uint64_t entry_iova, size_t nbytes) noexcept nogil:
    """PRP list: entries of whole pages. The last entry of a page points to the next page of the list when
    more than one page of data is still to be described there."""
    cdef uint64_t page = <uint64_t>1 << core.page_shift
    cdef uint64_t entry
    cdef uint16_t status
    cdef size_t chunk
    while nbytes:
        status = _read_entry(core, entry_iova, &entry)
        if status:
            return status
        if entry & (page - 1):
            return INVALID_PRP_OFFSET | DNR
        if (entry_iova + 8) & (page - 1) == 0 and nbytes > page:
            entry_iova = entry
            continue
        chunk = min(nbytes, <size_t>page)
        status = _add_segment(core, entry, chunk)
        if status:
            return status
        nbytes -= chunk
        entry_iova += 8
    return SUCCESS


cdef uint16_t map_prps(Core *core, uint64_t prp1, uint64_t prp2, size_t nbytes) noexcept nogil:
    """Finds the memory of a transfer; `core.segments` has it. Nothing is read or written but the PRP list."""
    cdef uint64_t page = <uint64_t>1 << core.page_shift
    cdef size_t first = min(nbytes, <size_t>(page - (prp1 & (page - 1))))
    cdef uint16_t status
    core.nsegments = 0
    if prp1 & 3:
        return INVALID_PRP_OFFSET | DNR
    status = _add_segment(core, prp1, first)
    if status or first == nbytes:
        return status
    nbytes -= first
    if nbytes > page:
        # PRP2 points into a list, to a qword.
        return INVALID_PRP_OFFSET | DNR if prp2 & 7 else _map_list(core, prp2, nbytes)
    if prp2 & (page - 1):
        return INVALID_PRP_OFFSET | DNR
    return _add_segment(core, prp2, nbytes)


cdef void copy_to_segments(Core *core, const uint8_t *data) noexcept nogil:
    cdef size_t i
    for i in range(core.nsegments):
        memcpy(core.segments[i].iov_base, data, core.segments[i].iov_len)
        data += core.segments[i].iov_len


cdef void copy_from_segments(const Core *core, uint8_t *data) noexcept nogil:
    cdef size_t i
    for i in range(core.nsegments):
        memcpy(data, core.segments[i].iov_base, core.segments[i].iov_len)
        data += core.segments[i].iov_len


# -- storage -------------------------------------------------------------------------------------------------

cdef int _file_transfer(int fd, iovec *segments, size_t count, uint64_t offset, bint writing) noexcept nogil:
    """Moves all segments (and uses them up); -1 when the file failed, or is shorter than it was made."""
    cdef ssize_t moved
    cdef size_t part
    while count:
        part = min(count, <size_t>IOV_MAX)
        moved = (pwritev if writing else preadv)(fd, segments, <int>part, <off_t>offset)
        if moved < 0 and errno == EINTR:
            continue
        if moved <= 0:
            return -1
        offset += <uint64_t>moved
        while count and <size_t>moved >= segments.iov_len:
            moved -= <ssize_t>segments.iov_len
            segments += 1
            count -= 1
        if moved:
            segments.iov_base = <uint8_t *>segments.iov_base + moved
            segments.iov_len -= <size_t>moved
    return 0


cdef int read_storage(const Namespace *ns, uint64_t offset, uint8_t *data, size_t nbytes) noexcept nogil:
    """Bytes of a namespace; -1 when its file failed."""
    cdef iovec whole
    if ns.fd < 0:
        memcpy(data, ns.memory + offset, nbytes)
        return 0
    whole.iov_base, whole.iov_len = data, nbytes
    return _file_transfer(ns.fd, &whole, 1, ns.offset + offset, False)


cdef int write_storage(const Namespace *ns, uint64_t offset, uint8_t *data, size_t nbytes) noexcept nogil:
    """Stores bytes of a namespace; -1 when its file failed."""
    cdef iovec whole
    if ns.fd < 0:
        memcpy(ns.memory + offset, data, nbytes)
        return 0
    whole.iov_base, whole.iov_len = data, nbytes
    return _file_transfer(ns.fd, &whole, 1, ns.offset + offset, True)


cdef uint16_t _write(Core *core, Namespace *ns, uint64_t offset, size_t nbytes) noexcept nogil:
    if ns.fd < 0:
        copy_from_segments(core, ns.memory + offset)
    elif _file_transfer(ns.fd, core.segments, core.nsegments, ns.offset + offset, True) < 0:
        return WRITE_FAULT
    core.writes += 1
    core.bytes_written += nbytes
    return SUCCESS


cdef uint16_t _read(Core *core, Namespace *ns, uint64_t offset, size_t nbytes) noexcept nogil:
    if ns.fd < 0:
        copy_to_segments(core, ns.memory + offset)
    elif _file_transfer(ns.fd, core.segments, core.nsegments, ns.offset + offset, False) < 0:
        return READ_ERROR
    core.reads += 1
    core.bytes_read += nbytes
    return SUCCESS


cdef uint16_t _compare(Core *core, Namespace *ns, uint64_t offset, size_t nbytes) noexcept nogil:
    cdef uint8_t *stored = ns.memory + offset
    cdef uint8_t *copy = NULL
    cdef uint16_t status = SUCCESS
    cdef size_t i
    if ns.fd >= 0:
        stored = copy = <uint8_t *>malloc(nbytes)
        if copy == NULL:
            return INTERNAL_ERROR
        if read_storage(ns, offset, copy, nbytes) < 0:
            free(copy)
            return READ_ERROR
    for i in range(core.nsegments):
        if memcmp(stored, core.segments[i].iov_base, core.segments[i].iov_len):
            status = COMPARE_FAILURE
            break
        stored += core.segments[i].iov_len
    free(copy)
    core.reads += 1
    core.bytes_read += nbytes
    return status


cdef void _zero_memory(uint8_t *memory, size_t nbytes) noexcept nogil:
    """Zeros; whole pages of a large range go back to the kernel and are zeros when they are next touched."""
    cdef size_t head = (PAGE - (<size_t>memory & (PAGE - 1))) & (PAGE - 1)
    cdef size_t whole
    if nbytes >= 16 * PAGE:
        whole = (nbytes - head) & ~<size_t>(PAGE - 1)
        if madvise(memory + head, whole, MADV_DONTNEED) == 0:
            memset(memory, 0, head)
            memset(memory + head + whole, 0, nbytes - head - whole)
            return
    memset(memory, 0, nbytes)


cdef uint16_t _write_zeroes(Core *core, Namespace *ns, uint64_t offset, size_t nbytes) noexcept nogil:
    cdef iovec part
    cdef size_t chunk
    if ns.fd < 0:
        _zero_memory(ns.memory + offset, nbytes)
        return SUCCESS
    if fallocate(ns.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, <off_t>(ns.offset + offset),
                 <off_t>nbytes) == 0:
        return SUCCESS
    while nbytes:
        chunk = min(nbytes, sizeof(_zeroes))
        part.iov_base, part.iov_len = <void *>_zeroes, chunk
        if _file_transfer(ns.fd, &part, 1, ns.offset + offset, True) < 0:
            return WRITE_FAULT
        offset += chunk
        nbytes -= chunk
    return SUCCESS


# -- commands ------------------------------------------------------------------------------------------------

cdef inline uint16_t _check_namespace(const Core *core, uint32_t nsid) noexcept nogil:
    """An identifier beyond NN is invalid; one within it may be inactive (Base 2.0, 3.2.1.5)."""
    if nsid == 0 or nsid > core.nn:
        return INVALID_NAMESPACE | DNR
    return SUCCESS if core.namespaces[nsid - 1].active else INVALID_FIELD | DNR


cdef uint16_t _flush(Core *core, const Sqe *sqe) noexcept nogil:
    """One namespace, or all with FFFFFFFFh (VWC bits 2:1 say that this is supported)."""
    cdef uint32_t i
    cdef uint16_t status = SUCCESS if sqe.nsid == ALL_NAMESPACES else _check_namespace(core, sqe.nsid)
    if status:
        return status
    for i in range(core.nn):
        if (sqe.nsid == ALL_NAMESPACES or sqe.nsid == i + 1) and core.namespaces[i].active:
            if core.namespaces[i].fd >= 0 and fdatasync(core.namespaces[i].fd) < 0:
                return WRITE_FAULT
    return SUCCESS


cdef uint16_t _access(Core *core, const Sqe *sqe) noexcept nogil:
    """Read, Write, Compare, Write Zeroes: a range of blocks, and data for all but the last."""
    cdef uint64_t slba = sqe.cdw10 | <uint64_t>sqe.cdw11 << 32
    cdef uint64_t nblocks = (sqe.cdw12 & 0xFFFF) + 1
    cdef Namespace *ns
    cdef size_t nbytes
    cdef uint64_t offset
    cdef uint16_t status
    status = _check_namespace(core, sqe.nsid)
    if status:
        return status
    ns = &core.namespaces[sqe.nsid - 1]
    # No directive is supported (DTYPE of Write, NVM 1.0, 3.2.6). PRINFO means nothing without protection
    # information.
    if sqe.opcode == OPCODE_WRITE and sqe.cdw12 >> 20 & 0xF:
        return INVALID_FIELD | DNR
    if slba >= ns.nblocks or nblocks > ns.nblocks - slba:
        return LBA_OUT_OF_RANGE | DNR
    nbytes = <size_t>nblocks << ns.shift
    offset = slba << ns.shift
    if sqe.opcode == OPCODE_WRITE_ZEROES:
        return _write_zeroes(core, ns, offset, nbytes)
    if nbytes > core.max_transfer:
        return INVALID_FIELD | DNR
    status = map_prps(core, sqe.prp1, sqe.prp2, nbytes)
    if status:
        return status
    if sqe.opcode == OPCODE_READ:
        return _read(core, ns, offset, nbytes)
    if sqe.opcode == OPCODE_WRITE:
        return _write(core, ns, offset, nbytes)
    return _compare(core, ns, offset, nbytes)


cdef uint16_t execute_nvm(Core *core, const Sqe *sqe) noexcept nogil:
    """Executes one command of an I/O queue. There are no fused operations and no SGLs (FUSES, SGLS are 0)."""
    if (sqe.opcode != OPCODE_READ and sqe.opcode != OPCODE_WRITE and sqe.opcode != OPCODE_FLUSH
            and sqe.opcode != OPCODE_COMPARE and sqe.opcode != OPCODE_WRITE_ZEROES):
        return INVALID_OPCODE | DNR
    if sqe.flags & 0xC3:
        return INVALID_FIELD | DNR
    if sqe.opcode == OPCODE_FLUSH:
        return _flush(core, sqe)
    return _access(core, sqe)
