# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns data pointers: PRPs (Base 2.0, 4.1.1), SGLs (4.1.2), and the metadata pointer.

Every entry and descriptor is copied out of the host's memory once, and only the copy is judged.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy

from aionvme.mock.iommu cimport IOVA_READ, IOVA_WRITE, iova_translate
from aionvme.mock.remote cimport remote_fetch, remote_piece, remote_read
from aionvme.mock.rings cimport (
    DATA_SGL_LENGTH, DATA_TRANSFER_ERROR, DNR, INTERNAL_ERROR, INVALID_CMB_USE, INVALID_FIELD,
    INVALID_PRP_OFFSET, INVALID_SGL_COUNT, INVALID_SGL_SEGMENT, METADATA_SGL_LENGTH, SGL_GRANULARITY,
    SGL_TYPE_INVALID, SUCCESS, Core, Segments, Sqe, iovec,
)

cdef enum:
    SEGMENTS_MOST = 1 << 20     # more pieces than any list that ends
    DESCRIPTORS_MOST = 1 << 20
    ENTRIES_AT_ONCE = 64        # of a PRP list

# Descriptor type and subtype, the last byte of a descriptor: subtype 0 is an address.
cdef enum:
    DATA_BLOCK = 0x00
    BIT_BUCKET = 0x10
    SEGMENT = 0x20
    LAST_SEGMENT = 0x30

# SGLS in Identify Controller.
cdef enum:
    SGLS_SUPPORT = 3
    SGLS_DWORD = 2
    SGLS_BIT_BUCKET = 1 << 16
    SGLS_MPTR = 1 << 17
    SGLS_LONGER = 1 << 18
    SGLS_MPTR_SGL = 1 << 19


cdef struct Descriptor:
    uint64_t address
    uint32_t length
    uint8_t[3] reserved
    uint8_t kind


cdef struct Walk:           # of one SGL
    Segments *segments
    size_t left             # bytes that are still to be described
    size_t seen             # descriptors
    uint16_t too_short      # status where it describes less, or more
    bint sending


# -- segments ------------------------------------------------------------------------------------------------

cdef uint16_t _grow(Segments *segments) noexcept nogil:
    cdef size_t capacity = segments.capacity * 2 if segments.capacity else 64
    cdef iovec *grown
    if segments.count < segments.capacity:
        return SUCCESS
    if capacity > SEGMENTS_MOST:
        return INTERNAL_ERROR
    grown = <iovec *>realloc(segments.items, capacity * sizeof(iovec))
    if grown == NULL:
        return INTERNAL_ERROR
    segments.items, segments.capacity = grown, capacity
    return SUCCESS


cdef uint16_t _append(Segments *segments, uint8_t *memory, size_t nbytes) noexcept nogil:
    """Joined to the segment before it where it follows that."""
    cdef iovec *last = &segments.items[segments.count - 1] if segments.count else NULL
    if memory != NULL and last != NULL and <uint8_t *>last.iov_base + last.iov_len == memory:
        last.iov_len += nbytes
        return SUCCESS
    if segments.count == segments.capacity and _grow(segments):
        return INTERNAL_ERROR
    segments.items[segments.count].iov_base = memory
    segments.items[segments.count].iov_len = nbytes
    segments.count += 1
    return SUCCESS


cdef uint16_t _add_segment(Core *core, Segments *segments, uint64_t iova, size_t nbytes,
                           bint sending) noexcept nogil:
    """Appends what the IOMMU has at an address."""
    cdef size_t run
    cdef uint8_t *memory
    cdef uint16_t status
    while nbytes:
        memory = iova_translate(&core.map, iova, nbytes, &run, IOVA_READ if sending else IOVA_WRITE)
        if memory == NULL and run:
            memory = remote_piece(core, iova, run, sending)
        if memory == NULL:
            return DATA_TRANSFER_ERROR
        if core.cmb != NULL and core.cmb <= memory < core.cmb + core.cmb_bytes:
            return INVALID_CMB_USE | DNR  # it takes submission queues only (CMBSZ)
        status = _append(segments, memory, run)
        if status:
            return status
        iova += run
        nbytes -= run
    return SUCCESS


cdef uint16_t _copy_in(Core *core, uint64_t iova, void *data, size_t nbytes) noexcept nogil:
    """Copies what the host has at an address, which may cross what is mapped in several pieces."""
    cdef size_t run
    cdef uint8_t *memory
    while nbytes:
        memory = iova_translate(&core.map, iova, nbytes, &run, IOVA_READ)
        if memory == NULL:
            if run == 0 or remote_read(core, iova, data, run) < 0:
                return DATA_TRANSFER_ERROR
        elif core.cmb != NULL and core.cmb <= memory < core.cmb + core.cmb_bytes:
            return INVALID_CMB_USE | DNR
        else:
            memcpy(data, memory, run)
        data = <uint8_t *>data + run
        iova += run
        nbytes -= run
    return SUCCESS


cdef void copy_to_segments(const Segments *segments, const uint8_t *data) noexcept nogil:
    cdef size_t i
    for i in range(segments.count):
        if segments.items[i].iov_base != NULL:
            memcpy(segments.items[i].iov_base, data, segments.items[i].iov_len)
        data += segments.items[i].iov_len


cdef void copy_from_segments(const Segments *segments, uint8_t *data) noexcept nogil:
    cdef size_t i
    for i in range(segments.count):
        memcpy(data, segments.items[i].iov_base, segments.items[i].iov_len)
        data += segments.items[i].iov_len


cdef void cursor_copy(Cursor *cursor, uint8_t *data, size_t nbytes, bint to_host) noexcept nogil:
    cdef size_t part
    cdef const iovec *item
    cdef uint8_t *memory
    while nbytes:
        item = &cursor.segments.items[cursor.index]
        part = min(nbytes, item.iov_len - cursor.offset)
        memory = <uint8_t *>item.iov_base + cursor.offset
        if item.iov_base != NULL:
            memcpy(memory if to_host else data, data if to_host else memory, part)
        data += part
        nbytes -= part
        cursor.offset += part
        if cursor.offset == item.iov_len:
            cursor.index += 1
            cursor.offset = 0


# -- PRPs ----------------------------------------------------------------------------------------------------

cdef uint16_t _map_list(Core *core, uint64_t list_iova, size_t nbytes, bint sending) noexcept nogil:
    """PRP list: entries of whole pages. The last entry of a page points to the next page of the list when
    more than one page of data is still to be described there."""
    cdef uint64_t page = <uint64_t>1 << core.page_shift
    cdef uint64_t[ENTRIES_AT_ONCE] entries
    cdef uint64_t count, here, i
    cdef uint16_t status
    cdef size_t chunk
    while nbytes:
        # As many as are needed, and as there are up to the end of their page.
        here = (page - (list_iova & (page - 1))) // 8
        count = min(min((nbytes + page - 1) // page, here), <uint64_t>ENTRIES_AT_ONCE)
        status = _copy_in(core, list_iova, entries, count * 8)
        if status:
            return status
        list_iova += count * 8
        for i in range(count):
            if entries[i] & (page - 1):
                return INVALID_PRP_OFFSET | DNR
            if i + 1 == here and nbytes > page:
                list_iova = entries[i]
                break
            chunk = min(nbytes, <size_t>page)
            status = _add_segment(core, &core.data, entries[i], chunk, sending)
            if status:
                return status
            nbytes -= chunk
    return SUCCESS


cdef uint16_t _map_prps(Core *core, uint64_t prp1, uint64_t prp2, size_t nbytes, bint sending) noexcept nogil:
    cdef uint64_t page = <uint64_t>1 << core.page_shift
    cdef size_t first = min(nbytes, <size_t>(page - (prp1 & (page - 1))))
    cdef uint16_t status
    core.data.count = 0
    core.data.buckets = False
    if prp1 & 3:
        return INVALID_PRP_OFFSET | DNR
    status = _add_segment(core, &core.data, prp1, first, sending)
    if status or first == nbytes:
        return status
    nbytes -= first
    if nbytes > page:
        # PRP2 points into a list, to a qword.
        return INVALID_PRP_OFFSET | DNR if prp2 & 7 else _map_list(core, prp2, nbytes, sending)
    if prp2 & (page - 1):
        return INVALID_PRP_OFFSET | DNR
    return _add_segment(core, &core.data, prp2, nbytes, sending)


cdef uint16_t map_prps(Core *core, uint64_t prp1, uint64_t prp2, size_t nbytes, bint sending) noexcept nogil:
    """Finds the memory of a transfer; `core.data` has it. Nothing is read or written but the PRP list."""
    cdef uint16_t status = _map_prps(core, prp1, prp2, nbytes, sending)
    return remote_fetch(core, status) if core.npieces else status


# -- SGLs ----------------------------------------------------------------------------------------------------

cdef uint16_t _add_block(Core *core, Walk *walk, const Descriptor *one) noexcept nogil:
    """A data block or a bit bucket."""
    cdef size_t part
    if one.kind == DATA_BLOCK and core.limits.sgls & SGLS_SUPPORT == SGLS_DWORD:
        if one.length & 3 or one.address & 3:
            return SGL_GRANULARITY | DNR
    if one.length == 0 or (one.kind == BIT_BUCKET and walk.sending):
        return SUCCESS
    part = min(walk.left, <size_t>one.length)
    if part < one.length and not core.limits.sgls & SGLS_LONGER:
        return walk.too_short | DNR
    walk.left -= part
    if part == 0:
        return SUCCESS
    if one.kind == BIT_BUCKET:
        walk.segments.buckets = True
        return _append(walk.segments, NULL, part)
    return _add_segment(core, walk.segments, one.address, part, walk.sending)


cdef uint16_t _check_kind(const Core *core, const Descriptor *one) noexcept nogil:
    if one.kind == DATA_BLOCK or one.kind == SEGMENT or one.kind == LAST_SEGMENT:
        return SUCCESS
    if one.kind == BIT_BUCKET and core.limits.sgls & SGLS_BIT_BUCKET:
        return SUCCESS
    return SGL_TYPE_INVALID | DNR


cdef uint16_t _walk_segment(Core *core, Walk *walk, Descriptor *pointer, bint *more) noexcept nogil:
    """One segment. Its last descriptor points to the next one, and is left in `pointer`, unless this is the
    last segment; no other may."""
    cdef uint64_t at = pointer.address
    cdef uint32_t count = pointer.length // 16
    cdef bint last = pointer.kind == LAST_SEGMENT
    cdef uint32_t i
    cdef Descriptor one
    cdef uint16_t status
    more[0] = not last
    if pointer.length == 0 or pointer.length & 15 or at & 7:
        return INVALID_SGL_SEGMENT | DNR
    walk.seen += count
    if walk.seen > DESCRIPTORS_MOST:
        return INVALID_SGL_COUNT | DNR
    for i in range(count):
        status = _copy_in(core, at + <uint64_t>i * 16, &one, sizeof(Descriptor))
        if status == SUCCESS:
            status = _check_kind(core, &one)
        if status:
            return status
        if one.kind == SEGMENT or one.kind == LAST_SEGMENT:
            if last:
                return INVALID_SGL_SEGMENT | DNR
            if i + 1 != count:
                return INVALID_SGL_COUNT | DNR
            pointer[0] = one
            return SUCCESS
        if i + 1 == count and not last:
            return INVALID_SGL_SEGMENT | DNR
        status = _add_block(core, walk, &one)
        if status:
            return status
    return SUCCESS


cdef uint16_t _map_sgl(Core *core, Segments *segments, const Descriptor *first, size_t nbytes,
                       uint16_t too_short, bint sending) noexcept nogil:
    cdef Descriptor pointer = first[0]
    cdef Walk walk
    cdef bint more = True
    cdef uint16_t status = _check_kind(core, first)
    segments.count = 0
    segments.buckets = False
    walk.segments, walk.left, walk.seen, walk.too_short = segments, nbytes, 0, too_short
    walk.sending = sending
    if status == SUCCESS and (first.kind == DATA_BLOCK or first.kind == BIT_BUCKET):
        status = _add_block(core, &walk, first)
        more = False
    while status == SUCCESS and more:
        status = _walk_segment(core, &walk, &pointer, &more)
    if status == SUCCESS and walk.left:
        return too_short | DNR
    return remote_fetch(core, status) if core.npieces else status


cdef uint16_t map_data(Core *core, const Sqe *sqe, size_t nbytes, bint sending) noexcept nogil:
    """Finds the data of a command."""
    cdef uint8_t psdt = sqe.flags >> 6
    cdef Descriptor first
    if psdt == 0:
        return map_prps(core, sqe.prp1, sqe.prp2, nbytes, sending)
    if psdt == 3 or core.limits.sgls & SGLS_SUPPORT == 0:
        return INVALID_FIELD | DNR
    if psdt == 2 and not core.limits.sgls & SGLS_MPTR_SGL:
        return INVALID_FIELD | DNR
    memcpy(&first, &sqe.prp1, sizeof(Descriptor))
    return _map_sgl(core, &core.data, &first, nbytes, DATA_SGL_LENGTH, sending)


cdef uint16_t map_metadata(Core *core, const Sqe *sqe, size_t nbytes, bint sending) noexcept nogil:
    """Finds metadata that is not interleaved: a buffer, or (PSDT 10b) where one descriptor of an SGL is."""
    cdef uint8_t psdt = sqe.flags >> 6
    cdef Descriptor first
    cdef uint16_t status
    core.meta.count = 0
    core.meta.buckets = False
    if psdt == 2:
        if sqe.mptr & 7:
            return INVALID_FIELD | DNR
        status = _copy_in(core, sqe.mptr, &first, sizeof(Descriptor))
        if status:
            return status
        return _map_sgl(core, &core.meta, &first, nbytes, METADATA_SGL_LENGTH, sending)
    # Any byte will do where SGLS says so, and then with an SGL only (Base 2.0, 3.3.3.1).
    if sqe.mptr & 3 and not (psdt == 1 and core.limits.sgls & SGLS_MPTR):
        return INVALID_FIELD | DNR
    status = _add_segment(core, &core.meta, sqe.mptr, nbytes, sending)
    return remote_fetch(core, status) if core.npieces else status
