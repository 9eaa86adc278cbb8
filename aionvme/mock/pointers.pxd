# Data and metadata pointers of a command: which memory of the host they describe.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint64_t

from aionvme.mock.rings cimport Core, Segments, Sqe

cdef uint16_t map_prps(Core *core, uint64_t prp1, uint64_t prp2, size_t nbytes, bint sending) noexcept nogil
# By PRPs or an SGL, as PSDT says; `sending`: the host's memory is read, and bit buckets count for nothing.
cdef uint16_t map_data(Core *core, const Sqe *sqe, size_t nbytes, bint sending) noexcept nogil
cdef uint16_t map_metadata(Core *core, const Sqe *sqe, size_t nbytes, bint sending) noexcept nogil
cdef void copy_to_segments(const Segments *segments, const uint8_t *data) noexcept nogil
cdef void copy_from_segments(const Segments *segments, uint8_t *data) noexcept nogil


cdef struct Cursor:         # a place in segments
    const Segments *segments
    size_t index
    size_t offset

# Moves on by `nbytes`, which the segments have, copying to the host or from it.
cdef void cursor_copy(Cursor *cursor, uint8_t *data, size_t nbytes, bint to_host) noexcept nogil
