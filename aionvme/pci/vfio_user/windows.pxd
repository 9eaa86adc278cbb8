# Memory that the server may ask for by message, as a table by I/O address.
from libc.stdint cimport uint8_t, uint64_t

from aionvme.pci.vfio_user.sockets cimport pthread_mutex_t


cdef struct Window:
    uint64_t iova
    uint64_t nbytes
    uint8_t *address


cdef class Windows:
    cdef pthread_mutex_t _lock
    cdef Window *_table         # by I/O address, not overlapping
    cdef size_t _count
    cdef size_t _capacity

    # Copies from the memory, or into it; all or nothing. 0 or an errno.
    cdef int reach(self, uint64_t iova, uint64_t nbytes, uint8_t *data, bint write) noexcept nogil
