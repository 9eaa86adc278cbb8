# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns PRPs and SGLs: from segments of this process's memory to a command's data pointer and the list behind it.

Both describe as much as they can and say how much that was: where a transfer has to be split follows from it.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from aionvme.pci.dma cimport DmaSpace
from aionvme.qpair.iov cimport Cursor, Segment, cursor_run, cursor_skip

cdef enum:
    # Descriptor types, in the upper four bits of byte 15 (Base 2.0, 4.1.2.1).
    SGL_DATA_BLOCK = 0x0
    SGL_BIT_BUCKET = 0x1
    SGL_LAST_SEGMENT = 0x3
    SGL_DESCRIPTOR_BYTES = 16
    # A descriptor's length is 32 bits.
    SGL_MOST_BYTES = 0xFFFFFFFC


cdef Described prp_describe(DmaSpace space, Cursor cursor, size_t nbytes, size_t page_size, const List *memory,
                            uint64_t *dptr, size_t *described,) noexcept nogil:
    """Describes up to `nbytes` from the cursor on (Base 2.0, 4.1.1).

    PRP1 is the first page, with an offset; PRP2 the second page if there are two, else the address of a list of all but
    the first. The list lies within one memory page. `dptr` is PRP1 and PRP2.
    """
    cdef size_t mask = page_size - 1
    cdef size_t capacity = memory.nbytes // 8, count = 0, done = 0, run, chunk
    cdef uint64_t iova = 0, end = 0, second = 0
    cdef Described result = ALL_DESCRIBED
    cdef bint bucket = False
    dptr[0] = dptr[1] = 0
    while done < nbytes and result == ALL_DESCRIBED:
        run = cursor_run(space, &cursor, nbytes - done, &iova, &bucket)
        if run == 0:
            result = NOT_MAPPED
            break
        if bucket:
            result = BIT_BUCKET
            break
        if done == 0:
            if iova & 3:
                result = UNALIGNED
                break
            dptr[0] = end = iova
        if iova != end and ((iova & mask) or (end & mask)):
            # Only the first page may begin late, and only the last may end early.
            result = UNALIGNED
            break
        cursor_skip(&cursor, run)
        while run:
            if (iova & mask) == 0 and done:
                if count == capacity:
                    result = TOO_MANY
                    break
                if count == 0:
                    second = iova
                if memory.entries != NULL:
                    memory.entries[count] = iova
                count += 1
            chunk = page_size - (iova & mask)
            if chunk > run:
                chunk = run
            iova += chunk
            done += chunk
            run -= chunk
        end = iova
    described[0] = done
    if count == 1:
        dptr[1] = second
    elif count > 1:
        dptr[1] = memory.iova
    return result


cdef inline void _put(uint64_t *entry, uint64_t address, uint64_t nbytes, uint64_t kind) noexcept nogil:
    entry[0] = address
    entry[1] = nbytes | kind << 60


cdef Described sgl_describe(
    DmaSpace space, Cursor cursor, size_t nbytes, uint32_t flags, const List *memory, uint64_t *dptr, size_t *described,
) noexcept nogil:
    """Describes up to `nbytes` from the cursor on (Base 2.0, 4.1.2).

    One data block descriptor stands in the command itself; several descriptors, and a bit bucket, stand in a list, of
    which the command has the last (and only) segment descriptor. `dptr` is the descriptor in the command.
    """
    cdef size_t capacity = memory.nbytes // SGL_DESCRIPTOR_BYTES, count = 0, done = 0, run
    cdef uint64_t iova = 0
    # The descriptor that is being made, which grows while memory follows on.
    cdef uint64_t base = 0, length = 0, kind = 0, wanted
    cdef Described result = ALL_DESCRIBED
    cdef bint bucket = False
    dptr[0] = dptr[1] = 0
    while done < nbytes:
        run = cursor_run(space, &cursor, nbytes - done, &iova, &bucket)
        if run == 0:
            result = NOT_MAPPED
            break
        if bucket and not flags & SGL_BIT_BUCKETS:
            result = BIT_BUCKET
            break
        wanted = SGL_DATA_BLOCK
        if bucket:
            iova, wanted = 0, SGL_BIT_BUCKET
        if length and kind == wanted and length + run <= SGL_MOST_BYTES and (bucket or base + length == iova):
            length += run
        else:
            # It is a descriptor that is to be a multiple of 4, not each segment in it (Base 2.0, SGLS bits 1:0).
            if flags & SGL_DWORDS and ((not bucket and iova & 3) or (kind == SGL_DATA_BLOCK and length & 3)):
                result = UNALIGNED
                break
            if length:
                if count + 1 >= capacity:
                    result = TOO_MANY
                    break
                if memory.entries != NULL:
                    _put(&memory.entries[2 * count], base, length, kind)
                count += 1
            if run > SGL_MOST_BYTES:
                run = SGL_MOST_BYTES
            base, length, kind = iova, run, wanted
        cursor_skip(&cursor, run)
        done += run
    if flags & SGL_DWORDS and kind == SGL_DATA_BLOCK and length & 3:
        result = UNALIGNED
        done -= length & 3
        length -= length & 3
    described[0] = done
    if length == 0 and count:
        _put(dptr, memory.iova, count * SGL_DESCRIPTOR_BYTES, SGL_LAST_SEGMENT)
        return result
    if count == 0 and (kind == SGL_DATA_BLOCK or capacity == 0):
        _put(dptr, base, length, kind)
        return result
    if memory.entries != NULL:
        _put(&memory.entries[2 * count], base, length, kind)
    _put(dptr, memory.iova, (count + 1) * SGL_DESCRIPTOR_BYTES, SGL_LAST_SEGMENT)
    return result


def describe(kind, DmaSpace space not None, segments, size_t offset, size_t nbytes, *, size_t page_size=4096,
             size_t list_bytes=4096, uint64_t list_iova=0, uint32_t flags=0):
    """For tests: what a description of `nbytes` from byte `offset` of the segments on says.

    Args:
        kind: "prp" or "sgl".
        space: Where memory is mapped.
        segments: (address, nbytes) pairs; address 0 is a bit bucket.
        offset, nbytes: Which part of them.
        page_size: Of the controller, for PRPs.
        list_bytes, list_iova: The room that a list has, and where the device would find it.
        flags: Of `SglFlags`.

    Returns:
        (result, bytes described, the data pointer as two integers, the list as bytes).
    """
    cdef Segment *made = <Segment *>calloc(len(segments) + 1, sizeof(Segment))
    cdef uint64_t[2] dptr
    cdef size_t described = 0
    cdef Cursor cursor
    cdef List memory
    cdef Described result
    entries = bytearray(list_bytes)
    cdef unsigned char[::1] view = entries
    if made == NULL:
        raise MemoryError
    try:
        for index, (address, length) in enumerate(segments):
            made[index].address = <uint8_t *><size_t>address
            made[index].nbytes = length
        cursor.segments, cursor.count, cursor.index, cursor.offset = made, len(segments), 0, 0
        cursor_skip(&cursor, offset)
        memory.entries, memory.iova, memory.nbytes = <uint64_t *>&view[0], list_iova, list_bytes
        if kind == "prp":
            result = prp_describe(space, cursor, nbytes, page_size, &memory, dptr, &described)
        else:
            result = sgl_describe(space, cursor, nbytes, flags, &memory, dptr, &described)
    finally:
        free(made)
    return int(result), described, (dptr[0], dptr[1]), bytes(entries)
