# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns Copy, descriptor formats 0 to 3 (NVM Command Set 1.0, 3.2.2; 2 and 3 of 1.1, with a source namespace).

All that is copied is read before any of it is written.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from aionvme.mock.blocks cimport (
    any_bad, load_metadata, read_storage, store_metadata, unmark_bad, write_storage,
)
from aionvme.mock.guard cimport Tags, pi_check, pi_insert, tags_of, tags_refused
from aionvme.mock.pointers cimport copy_from_segments, map_data
from aionvme.mock.rings cimport (
    DENY_READ, DENY_WRITE, DNR, INCOMPATIBLE_FORMAT, INTERNAL_ERROR, INVALID_FIELD, INVALID_FORMAT,
    LBA_OUT_OF_RANGE, OVERLAPPING_RANGE, READ_ERROR, RESERVATION_CONFLICT, SIZE_LIMIT,
    SUCCESS, WRITE_FAULT, Core, Namespace, Sqe,
)
from aionvme.mock.transfer cimport check_namespace, denial, is_denied, stage

cdef enum:
    RANGES_MOST = 256


cdef struct Source:
    Namespace *ns
    uint64_t lba
    uint64_t nblocks
    Tags tags


cdef struct Job:
    Namespace *ns
    uint64_t lba
    uint64_t nblocks
    uint32_t count
    uint32_t format
    Source[RANGES_MOST] sources


cdef inline uint64_t _word(const uint8_t *bytes, uint32_t count) noexcept nogil:
    cdef uint64_t value = 0
    memcpy(&value, bytes, count)
    return value


cdef uint16_t _read_source(Core *core, const Sqe *sqe, Job *job, const uint8_t *entry,
                           Source *source) noexcept nogil:
    """One entry. With a guard of 16 bits it ends in a reference tag of 4 bytes, else in one of 10, most
    significant byte first; the tags of the application follow."""
    cdef uint32_t nsid = sqe.nsid
    cdef uint16_t status
    cdef uint32_t tail = 28 if not job.format & 1 else 36
    if job.format >= 2:
        nsid = <uint32_t>_word(entry, 4)
        status = check_namespace(core, nsid)
        if status:
            return status
    source.ns = &core.namespaces[nsid - 1]
    source.lba = _word(entry + 8, 8)
    source.nblocks = _word(entry + 16, 2) + 1
    source.tags.action = source.ns.pi != 0 and sqe.cdw12 >> 15 & 1
    source.tags.checks = sqe.cdw12 >> 12 & 7
    source.tags.check_storage = sqe.cdw12 >> 25 & 1  # STCR
    source.tags.app = <uint16_t>_word(entry + tail, 2)
    source.tags.mask = <uint16_t>_word(entry + tail + 2, 2)
    source.tags.initial = _word(entry + 24, 4) if not job.format & 1 else _big(entry + 30, 6)
    return SUCCESS


cdef uint64_t _big(const uint8_t *bytes, uint32_t count) noexcept nogil:
    cdef uint64_t value = 0
    cdef uint32_t i
    for i in range(count):
        value = value << 8 | bytes[i]
    return value


cdef bint _alike(const Namespace *one, const Namespace *other) noexcept nogil:
    return (one.shift == other.shift and one.meta == other.meta and one.pi == other.pi
            and one.pi_bytes == other.pi_bytes and one.pi_offset == other.pi_offset)


cdef uint16_t _check_source(const Core *core, const Job *job, const Source *source) noexcept nogil:
    if is_denied(core, source.ns, DENY_READ):
        return RESERVATION_CONFLICT
    if not _alike(source.ns, job.ns):
        return INCOMPATIBLE_FORMAT | DNR
    if source.lba >= source.ns.nblocks or source.nblocks > source.ns.nblocks - source.lba:
        return LBA_OUT_OF_RANGE | DNR
    if source.ns == job.ns and source.lba < job.lba + job.nblocks and job.lba < source.lba + source.nblocks:
        return OVERLAPPING_RANGE | DNR
    if source.ns.pi:
        return tags_refused(source.ns, &source.tags, source.lba)
    return SUCCESS


cdef uint16_t _check_format(const Core *core, const Job *job) noexcept nogil:
    """Formats 2 and 3 are enabled by Host Behavior Support; an odd one is for a guard of 32 or 64 bits."""
    if not core.limits.ocfs >> job.format & 1:
        return INVALID_FIELD | DNR
    if job.format >= 2 and not core.limits.cdfe >> job.format & 1:
        return INVALID_FIELD | DNR
    if (job.ns.pi_bytes == 16) != (job.format & 1):
        return INVALID_FORMAT | DNR
    return SUCCESS


cdef uint16_t _gather(Core *core, const Sqe *sqe, Job *job) noexcept nogil:
    """Reads and checks the entries; `core.result` is the one that was wrong."""
    cdef uint8_t[RANGES_MOST * 40] raw
    cdef uint32_t size = 40 if job.format & 1 else 32
    cdef uint32_t i
    cdef uint16_t status = map_data(core, sqe, job.count * size, True)
    if status:
        return status
    copy_from_segments(&core.data, raw)
    for i in range(job.count):
        core.result = i
        status = _read_source(core, sqe, job, raw + i * size, &job.sources[i])
        if status:
            return status
        job.nblocks += job.sources[i].nblocks
        if job.sources[i].nblocks > core.limits.mssrl or job.nblocks > core.limits.mcl:
            return SIZE_LIMIT | DNR
    core.result = 0
    if job.lba >= job.ns.nblocks or job.nblocks > job.ns.nblocks - job.lba:
        return LBA_OUT_OF_RANGE | DNR
    for i in range(job.count):
        core.result = i
        status = _check_source(core, job, &job.sources[i])
        if status:
            return status
    core.result = 0
    return SUCCESS


cdef uint16_t _load(Core *core, Job *job, uint8_t *data, uint8_t *meta) noexcept nogil:
    cdef uint32_t i
    cdef Source *source
    cdef uint16_t status
    cdef size_t nbytes
    for i in range(job.count):
        source = &job.sources[i]
        core.result = i
        nbytes = <size_t>source.nblocks << source.ns.shift
        if (any_bad(source.ns, source.lba, source.nblocks)
                or read_storage(source.ns, source.lba << source.ns.shift, data, nbytes) < 0
                or load_metadata(source.ns, source.lba, source.nblocks, meta) < 0):
            return READ_ERROR
        if source.ns.pi:
            status = pi_check(source.ns, &source.tags, data, meta, 0, source.nblocks)
            if status:
                return status
        data += nbytes
        meta += source.nblocks * source.ns.meta
    core.result = 0
    return SUCCESS


cdef uint16_t _store(Core *core, const Job *job, const Tags *tags, uint8_t *data, uint8_t *meta) noexcept nogil:
    cdef Namespace *ns = job.ns
    cdef uint16_t status
    if ns.pi and tags.action:
        pi_insert(ns, tags, data, <size_t>1 << ns.shift, meta, 0, job.nblocks)
    elif ns.pi:
        status = pi_check(ns, tags, data, meta, 0, job.nblocks)
        if status:
            return status
    if (write_storage(ns, job.lba << ns.shift, data, <size_t>job.nblocks << ns.shift) < 0
            or store_metadata(ns, job.lba, job.nblocks, meta) < 0):
        return WRITE_FAULT
    unmark_bad(ns, job.lba, job.nblocks)
    core.reads += job.count
    core.writes += 1
    core.bytes_read += job.nblocks << ns.shift
    core.bytes_written += job.nblocks << ns.shift
    return SUCCESS


cdef uint16_t copy_blocks(Core *core, const Sqe *sqe) noexcept nogil:
    """Copies ranges to one range. On failure dword 0 is the entry that failed."""
    cdef Job job
    cdef Tags tags
    cdef uint8_t *data
    cdef uint8_t *meta
    cdef uint16_t status = check_namespace(core, sqe.nsid)
    if status:
        return status
    job.ns = &core.namespaces[sqe.nsid - 1]
    job.lba = sqe.cdw10 | <uint64_t>sqe.cdw11 << 32
    job.nblocks, job.count, job.format = 0, (sqe.cdw12 & 0xFF) + 1, sqe.cdw12 >> 8 & 0xF
    tags = tags_of(job.ns, sqe)
    status = denial(core, job.ns, DENY_WRITE)
    if status:
        return status
    # No directive, and PRACT for both directions or for none.
    if sqe.cdw12 >> 20 & 0xF or (job.ns.pi and tags.action != <bint>(sqe.cdw12 >> 15 & 1)):
        return INVALID_FIELD | DNR
    status = _check_format(core, &job)
    if status:
        return status
    if job.count > core.limits.msrc + 1:
        return SIZE_LIMIT | DNR
    status = _gather(core, sqe, &job)
    if status == SUCCESS and job.ns.pi:
        status = tags_refused(job.ns, &tags, job.lba)
    if status:
        return status
    data = stage(core, <size_t>job.nblocks * ((<size_t>1 << job.ns.shift) + job.ns.meta))
    if data == NULL:
        return INTERNAL_ERROR
    meta = data + (<size_t>job.nblocks << job.ns.shift)
    status = _load(core, &job, data, meta)
    return status if status else _store(core, &job, &tags, data, meta)
