# DMA memory as a class diagram: arenas mapped for one function, buffers cut from them, foreign memory registered.
from libc.stdint cimport uint8_t, uint64_t

from aionvme.pci.function cimport Function


cdef struct Region:
    # Memory of this process that the device reaches: [address, address + nbytes) at iova, linear.
    uint8_t *address
    size_t nbytes
    uint64_t iova


cdef class DmaSpace:
    cdef readonly Function function
    cdef Region *regions          # sorted by address, not overlapping
    cdef size_t nregions
    cdef size_t _regions_capacity
    cdef size_t _last             # where the last look-up ended
    cdef bint _quarantined
    cdef bint _closed
    cdef object _arenas
    cdef object _iova
    cdef object _registrations
    cdef object __weakref__

    # How many bytes from `address` on (at most nbytes) are reached at *iova and on; 0 when the first byte is not mapped.
    cdef size_t translate(self, const void *address, size_t nbytes, uint64_t *iova) noexcept nogil


cdef class DmaBuffer:
    cdef uint8_t *address
    cdef readonly uint64_t iova
    cdef readonly size_t nbytes
    cdef readonly DmaSpace space
    cdef object _arena
    cdef Py_ssize_t users         # commands in flight and buffer exports
    cdef bint closed_
    cdef bint _freed
    cdef object __weakref__

    # A command holds the memory from submission until the device has let go of it.
    cdef void hold(self) noexcept
    cdef void release(self) noexcept


cdef class DmaRegistration:
    cdef readonly DmaSpace space
    cdef Py_buffer view
    cdef bint _open
    cdef Py_ssize_t users
    cdef object _pages
    cdef object _idle             # futures of those who wait in close()
    cdef object __weakref__
