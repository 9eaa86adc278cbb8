# The memory of a transfer as a list of segments, and a place in it: where the next piece begins.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from aionvme.pci.dma cimport DmaSpace


cdef struct Segment:
    uint8_t *address        # NULL: a bit bucket, which takes what is read and keeps nothing
    size_t nbytes


cdef struct Cursor:
    const Segment *segments
    uint32_t count
    uint32_t index
    size_t offset           # into segments[index], always less than its length


cdef inline void cursor_skip(Cursor *cursor, size_t nbytes) noexcept nogil:
    # Moves on by nbytes, which the segments have.
    cdef size_t left
    while nbytes:
        left = cursor.segments[cursor.index].nbytes - cursor.offset
        if nbytes < left:
            cursor.offset += nbytes
            return
        nbytes -= left
        cursor.index += 1
        cursor.offset = 0


cdef inline size_t cursor_run(DmaSpace space, const Cursor *cursor, size_t limit, uint64_t *iova,
                              bint *bucket) noexcept nogil:
    # How many bytes from the cursor on (at most limit) are linear for the device, from *iova on; 0: not mapped.
    cdef const Segment *segment = &cursor.segments[cursor.index]
    cdef size_t nbytes = segment.nbytes - cursor.offset
    if nbytes > limit:
        nbytes = limit
    bucket[0] = segment.address == NULL
    if segment.address == NULL:
        return nbytes
    return space.translate(segment.address + cursor.offset, nbytes, iova)
