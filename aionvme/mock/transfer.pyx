# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns Read, Write and Compare with metadata and protection information (NVM Command Set 1.0, 3.2, 5.2).

Blocks go through memory of the mock's own: nothing of the host's memory or of the storage changes before
every check was passed.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcmp

from aionvme.mock.blocks cimport (
    any_bad, load_metadata, read_storage, store_metadata, unmark_bad, write_storage,
)
from aionvme.mock.guard cimport Tags, is_stripped, pi_check, pi_insert, tags_of, tags_refused
from aionvme.mock.pointers cimport Cursor, cursor_copy, map_data, map_metadata
from aionvme.mock.rings cimport (
    COMPARE_FAILURE, DENY_READ, DENY_WRITE, DNR, INTERNAL_ERROR, INVALID_FIELD, INVALID_NAMESPACE,
    INVALID_PROTECTION, LBA_OUT_OF_RANGE, READ_ERROR, RESERVATION_CONFLICT, SUCCESS, WRITE_FAULT,
    WRITE_PROTECTED, Core, Namespace, Sqe,
)

cdef enum:
    OPCODE_WRITE = 0x01
    OPCODE_READ = 0x02


cdef struct Blocks:         # in memory of ours: all data, then all metadata
    uint8_t *data
    uint8_t *meta


# -- ranges --------------------------------------------------------------------------------------------------

cdef uint16_t check_namespace(const Core *core, uint32_t nsid) noexcept nogil:
    """An identifier beyond NN is invalid; one within it may be inactive (Base 2.0, 3.2.1.5)."""
    if nsid == 0 or nsid > core.nn:
        return INVALID_NAMESPACE | DNR
    if not core.namespaces[nsid - 1].attached >> core.member & 1:
        return INVALID_FIELD | DNR
    return core.namespaces[nsid - 1].refused


cdef bint is_denied(const Core *core, const Namespace *ns, uint32_t deny) noexcept nogil:
    """Whether a reservation keeps this controller's host from it."""
    return ns.reserved != 0 and ns.denied[core.member] & deny != 0


cdef uint16_t denial(const Core *core, const Namespace *ns, uint32_t deny) noexcept nogil:
    """With what a command that reads or writes is refused, if it is."""
    if deny & DENY_WRITE and ns.protected:
        return WRITE_PROTECTED | DNR
    return RESERVATION_CONFLICT if is_denied(core, ns, deny) else SUCCESS


cdef uint16_t range_of(Core *core, const Sqe *sqe, Range *found, uint32_t deny) noexcept nogil:
    cdef uint16_t status = check_namespace(core, sqe.nsid)
    if status:
        return status
    found.ns = &core.namespaces[sqe.nsid - 1]
    found.lba = sqe.cdw10 | <uint64_t>sqe.cdw11 << 32
    found.nblocks = (sqe.cdw12 & 0xFFFF) + 1
    status = denial(core, found.ns, deny)
    if status:
        return status
    if found.lba >= found.ns.nblocks or found.nblocks > found.ns.nblocks - found.lba:
        return LBA_OUT_OF_RANGE | DNR
    return SUCCESS


cdef uint8_t *stage(Core *core, size_t nbytes) noexcept nogil:
    """Memory of ours for blocks; what was in it is lost. NULL when there is none."""
    cdef uint8_t *grown
    if nbytes > core.stage_bytes or core.stage == NULL:
        grown = <uint8_t *>realloc(core.stage, max(nbytes, <size_t>65536))
        if grown == NULL:
            return NULL
        core.stage, core.stage_bytes = grown, max(nbytes, <size_t>65536)
    return core.stage


# -- between the host's memory and ours ----------------------------------------------------------------------

cdef uint16_t _map(Core *core, const Sqe *sqe, const Range *blocks, bint stripped, bint sending) noexcept nogil:
    """Finds the host's memory. MDTS counts interleaved metadata (Base 2.0, figure 275)."""
    cdef const Namespace *ns = blocks.ns
    cdef size_t nbytes = <size_t>blocks.nblocks << ns.shift
    cdef size_t nmeta = 0 if stripped else <size_t>blocks.nblocks * ns.meta
    cdef uint16_t status
    if ns.extended:
        nbytes += nmeta
    if nbytes > core.max_transfer:
        return INVALID_FIELD | DNR
    core.meta.count = 0
    status = map_data(core, sqe, nbytes, sending)
    if status == SUCCESS and nmeta and not ns.extended:
        status = map_metadata(core, sqe, nmeta, sending)
    return status


cdef void _exchange(Core *core, const Range *blocks, const Blocks *ours, bint stripped,
                    bint to_host) noexcept nogil:
    """Copies all blocks, with the metadata where the namespace has it."""
    cdef const Namespace *ns = blocks.ns
    cdef size_t block = <size_t>1 << ns.shift
    cdef Cursor data, meta
    cdef uint64_t i
    data.segments, data.index, data.offset = &core.data, 0, 0
    meta.segments, meta.index, meta.offset = &core.meta, 0, 0
    if not ns.extended or stripped:
        cursor_copy(&data, ours.data, <size_t>blocks.nblocks << ns.shift, to_host)
        if not stripped:
            cursor_copy(&meta, ours.meta, <size_t>blocks.nblocks * ns.meta, to_host)
        return
    for i in range(blocks.nblocks):
        cursor_copy(&data, ours.data + i * block, block, to_host)
        cursor_copy(&data, ours.meta + i * ns.meta, ns.meta, to_host)


cdef size_t _size(const Range *blocks) noexcept nogil:
    return (<size_t>blocks.nblocks << blocks.ns.shift) + <size_t>blocks.nblocks * blocks.ns.meta


cdef Blocks _place(const Range *blocks, uint8_t *memory) noexcept nogil:
    cdef Blocks ours
    ours.data = memory
    ours.meta = memory + (<size_t>blocks.nblocks << blocks.ns.shift)
    return ours


cdef uint16_t _load(const Range *blocks, const Blocks *ours) noexcept nogil:
    cdef Namespace *ns = blocks.ns
    if any_bad(ns, blocks.lba, blocks.nblocks):
        return READ_ERROR
    if read_storage(ns, blocks.lba << ns.shift, ours.data, <size_t>blocks.nblocks << ns.shift) < 0:
        return READ_ERROR
    if ns.meta and load_metadata(ns, blocks.lba, blocks.nblocks, ours.meta) < 0:
        return READ_ERROR
    return SUCCESS


# -- commands ------------------------------------------------------------------------------------------------

cdef uint16_t _read(Core *core, const Range *blocks, const Tags *tags, bint stripped) noexcept nogil:
    cdef uint8_t *memory = stage(core, _size(blocks))
    cdef Blocks ours = _place(blocks, memory)
    cdef uint16_t status
    if memory == NULL:
        return INTERNAL_ERROR
    status = _load(blocks, &ours)
    if status == SUCCESS and blocks.ns.pi:
        status = pi_check(blocks.ns, tags, ours.data, ours.meta, 0, blocks.nblocks)
    if status:
        return status
    _exchange(core, blocks, &ours, stripped, True)
    return count_transfer(core, False, <size_t>blocks.nblocks << blocks.ns.shift)


cdef uint16_t _write(Core *core, const Range *blocks, const Tags *tags, bint stripped) noexcept nogil:
    cdef Namespace *ns = blocks.ns
    cdef size_t nbytes = <size_t>blocks.nblocks << ns.shift
    cdef uint8_t *memory = stage(core, _size(blocks))
    cdef Blocks ours = _place(blocks, memory)
    cdef uint16_t status = SUCCESS
    if memory == NULL:
        return INTERNAL_ERROR
    _exchange(core, blocks, &ours, stripped, False)
    if ns.pi and tags.action:
        pi_insert(ns, tags, ours.data, <size_t>1 << ns.shift, ours.meta, 0, blocks.nblocks)
    elif ns.pi:
        status = pi_check(ns, tags, ours.data, ours.meta, 0, blocks.nblocks)
    if status:
        return status
    if write_storage(ns, blocks.lba << ns.shift, ours.data, nbytes) < 0:
        return WRITE_FAULT
    if ns.meta and store_metadata(ns, blocks.lba, blocks.nblocks, ours.meta) < 0:
        return WRITE_FAULT
    unmark_bad(ns, blocks.lba, blocks.nblocks)
    return count_transfer(core, True, nbytes)


cdef bint _same_metadata(const Range *blocks, const uint8_t *one, const uint8_t *other) noexcept nogil:
    """Protection information apart: it was checked, and need not be the same."""
    cdef const Namespace *ns = blocks.ns
    cdef uint32_t start = ns.pi_offset if ns.pi else ns.meta
    cdef uint32_t end = start + (ns.pi_bytes if ns.pi else 0)
    cdef uint64_t _i
    for _i in range(blocks.nblocks):
        if memcmp(one, other, start) or memcmp(one + end, other + end, ns.meta - end):
            return False
        one += ns.meta
        other += ns.meta
    return True


cdef uint16_t _compare(Core *core, const Range *blocks, const Tags *tags) noexcept nogil:
    cdef size_t size = _size(blocks)
    cdef uint8_t *memory = stage(core, 2 * size)
    cdef Blocks sent = _place(blocks, memory)
    cdef Blocks stored = _place(blocks, memory + size)
    cdef uint16_t status
    if memory == NULL:
        return INTERNAL_ERROR
    _exchange(core, blocks, &sent, False, False)
    status = _load(blocks, &stored)
    if status == SUCCESS and blocks.ns.pi:
        status = pi_check(blocks.ns, tags, stored.data, stored.meta, 0, blocks.nblocks)
    if status:
        return status
    core.reads += 1
    core.bytes_read += <uint64_t>blocks.nblocks << blocks.ns.shift
    if memcmp(sent.data, stored.data, <size_t>blocks.nblocks << blocks.ns.shift):
        return COMPARE_FAILURE
    if blocks.ns.meta and not _same_metadata(blocks, sent.meta, stored.meta):
        return COMPARE_FAILURE
    return SUCCESS


cdef uint16_t transfer(Core *core, const Sqe *sqe) noexcept nogil:
    """Read, Write or Compare."""
    cdef bint writing = sqe.opcode == OPCODE_WRITE
    cdef bint comparing = sqe.opcode != OPCODE_WRITE and sqe.opcode != OPCODE_READ
    cdef Range blocks
    cdef Tags tags
    cdef bint stripped
    cdef uint16_t status = range_of(core, sqe, &blocks, DENY_WRITE if writing else DENY_READ)
    if status:
        return status
    # No directive is supported (DTYPE of Write, NVM 1.0, 3.2.6).
    if writing and sqe.cdw12 >> 20 & 0xF:
        return INVALID_FIELD | DNR
    tags = tags_of(blocks.ns, sqe)
    stripped = is_stripped(blocks.ns, &tags)
    if blocks.ns.pi:
        status = tags_refused(blocks.ns, &tags, blocks.lba)
        if status:
            return status
        if comparing and tags.action:
            return INVALID_PROTECTION | DNR
    status = _map(core, sqe, &blocks, stripped, writing or comparing)
    if status:
        return status
    if blocks.ns.no_data and not comparing:
        return count_transfer(core, writing, <size_t>blocks.nblocks << blocks.ns.shift)
    if writing:
        return _write(core, &blocks, &tags, stripped)
    if comparing:
        return _compare(core, &blocks, &tags)
    return _read(core, &blocks, &tags, stripped)
