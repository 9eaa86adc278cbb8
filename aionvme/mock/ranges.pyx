# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns Write Zeroes, Write Uncorrectable, Verify, Dataset Management (NVM Command Set 1.0, 3.2)."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from aionvme.mock.blocks cimport (
    any_bad, deallocate, load_metadata, mark_bad, read_storage, store_metadata, unmark_bad, zero_data,
)
from aionvme.mock.guard cimport Tags, pi_check, pi_insert, tags_of, tags_refused
from aionvme.mock.pointers cimport copy_from_segments, map_data
from aionvme.mock.rings cimport (
    DENY_READ, DENY_WRITE, DNR, INTERNAL_ERROR, INVALID_FIELD, INVALID_PROTECTION, LBA_OUT_OF_RANGE,
    READ_ERROR, SIZE_LIMIT, SUCCESS, WRITE_FAULT, Core, Namespace, Sqe,
)
from aionvme.mock.transfer cimport Range, check_namespace, denial, range_of, stage

cdef enum:
    ATTRIBUTE_DEALLOCATE = 4
    CHUNK = 256             # blocks that Verify looks at together

cdef uint8_t[65536] _zeroes  # the largest block
memset(_zeroes, 0, sizeof(_zeroes))


cdef struct DsmRange:       # NVM 1.0, figure 36
    uint32_t attributes
    uint32_t nblocks
    uint64_t lba


cdef bint _exceeds(const Range *blocks, uint64_t limit) noexcept nogil:
    return limit and blocks.nblocks << blocks.ns.shift > limit


# -- Write Zeroes --------------------------------------------------------------------------------------------

cdef uint16_t _zero_metadata(Core *core, const Range *blocks, const Tags *tags) noexcept nogil:
    """Zeros; with PRACT protection information is made for them."""
    cdef size_t nbytes = <size_t>blocks.nblocks * blocks.ns.meta
    cdef uint8_t *meta = stage(core, nbytes)
    if meta == NULL:
        return INTERNAL_ERROR
    memset(meta, 0, nbytes)
    if tags.action:
        pi_insert(blocks.ns, tags, _zeroes, 0, meta, 0, blocks.nblocks)
    return WRITE_FAULT if store_metadata(blocks.ns, blocks.lba, blocks.nblocks, meta) < 0 else SUCCESS


cdef uint16_t write_zeroes(Core *core, const Sqe *sqe) noexcept nogil:
    """All bytes 0. DEAC, which has blocks deallocated, changes nothing of what is read: protection information is
    as PRINFO says, not FFh as in blocks that Dataset Management deallocated (NVM 1.0, 3.2.8)."""
    cdef Range blocks
    cdef Tags tags
    cdef uint16_t status = range_of(core, sqe, &blocks, DENY_WRITE)
    if status:
        return status
    if _exceeds(&blocks, core.limits.zeroes):
        return INVALID_FIELD | DNR
    tags = tags_of(blocks.ns, sqe)
    if blocks.ns.pi:
        status = tags_refused(blocks.ns, &tags, blocks.lba)
        if status:
            return status
    unmark_bad(blocks.ns, blocks.lba, blocks.nblocks)
    if zero_data(blocks.ns, blocks.lba, blocks.nblocks) < 0:
        return WRITE_FAULT
    return _zero_metadata(core, &blocks, &tags) if blocks.ns.meta else SUCCESS


# -- Write Uncorrectable, Verify -----------------------------------------------------------------------------

cdef uint16_t write_uncorrectable(Core *core, const Sqe *sqe) noexcept nogil:
    """Reads fail with Unrecovered Read Error until the blocks are written."""
    cdef Range blocks
    cdef uint16_t status = range_of(core, sqe, &blocks, DENY_WRITE)
    if status:
        return status
    if sqe.cdw12 >> 20 & 0xF or _exceeds(&blocks, core.limits.uncorrectable):
        return INVALID_FIELD | DNR
    return mark_bad(blocks.ns, blocks.lba, blocks.nblocks)


cdef uint16_t _verify(Core *core, const Range *blocks, const Tags *tags) noexcept nogil:
    cdef Namespace *ns = blocks.ns
    cdef uint64_t done = 0, count
    cdef uint8_t *memory = stage(core, CHUNK * ((<size_t>1 << ns.shift) + ns.meta))
    cdef uint8_t *meta = memory + (<size_t>CHUNK << ns.shift)
    cdef uint16_t status
    if memory == NULL:
        return INTERNAL_ERROR
    while done < blocks.nblocks:
        count = min(blocks.nblocks - done, <uint64_t>CHUNK)
        if (read_storage(ns, (blocks.lba + done) << ns.shift, memory, <size_t>count << ns.shift) < 0
                or load_metadata(ns, blocks.lba + done, count, meta) < 0):
            return READ_ERROR
        status = pi_check(ns, tags, memory, meta, done, count) if ns.pi else SUCCESS
        if status:
            return status
        done += count
    return SUCCESS


cdef uint16_t verify(Core *core, const Sqe *sqe) noexcept nogil:
    """What is stored is read and checked."""
    cdef Range blocks
    cdef Tags tags
    cdef uint16_t status = range_of(core, sqe, &blocks, DENY_READ)
    if status:
        return status
    if _exceeds(&blocks, core.limits.verify):
        return INVALID_FIELD | DNR
    tags = tags_of(blocks.ns, sqe)
    if blocks.ns.pi:
        status = INVALID_PROTECTION | DNR if tags.action else tags_refused(blocks.ns, &tags, blocks.lba)
        if status:
            return status
    if any_bad(blocks.ns, blocks.lba, blocks.nblocks):
        return READ_ERROR
    return _verify(core, &blocks, &tags)


# -- Dataset Management --------------------------------------------------------------------------------------

cdef uint16_t _check_ranges(const Core *core, const Namespace *ns, const DsmRange *ranges,
                            uint32_t count) noexcept nogil:
    cdef uint64_t total = 0
    cdef uint32_t i
    if core.limits.dmrl and count > core.limits.dmrl:
        return SIZE_LIMIT | DNR
    for i in range(count):
        total += ranges[i].nblocks
        if core.limits.dmrsl and ranges[i].nblocks > core.limits.dmrsl:
            return SIZE_LIMIT | DNR
        if ranges[i].lba > ns.nblocks or ranges[i].nblocks > ns.nblocks - ranges[i].lba:
            return LBA_OUT_OF_RANGE | DNR
    return SIZE_LIMIT | DNR if core.limits.dmsl and total > core.limits.dmsl else SUCCESS


cdef uint16_t dataset_management(Core *core, const Sqe *sqe) noexcept nogil:
    """Hints, of which only deallocation does something: such blocks read as 0."""
    cdef DsmRange[256] ranges
    cdef uint32_t count = (sqe.cdw10 & 0xFF) + 1
    cdef uint32_t i
    cdef Namespace *ns
    cdef uint16_t status = check_namespace(core, sqe.nsid)
    if status:
        return status
    ns = &core.namespaces[sqe.nsid - 1]
    status = denial(core, ns, DENY_WRITE)
    if status:
        return status
    status = map_data(core, sqe, count * sizeof(DsmRange), True)
    if status:
        return status
    copy_from_segments(&core.data, <uint8_t *>ranges)
    status = _check_ranges(core, ns, ranges, count)
    if status or not sqe.cdw11 & ATTRIBUTE_DEALLOCATE:
        return status
    for i in range(count):
        if deallocate(ns, ranges[i].lba, ranges[i].nblocks) < 0:
            return WRITE_FAULT
    return SUCCESS
