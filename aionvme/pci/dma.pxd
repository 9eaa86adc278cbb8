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
    cdef list _owners             # whose memory regions[i] is: an _Arena or a _Run
    cdef object _lock             # taken by whoever changes arenas, runs or regions; never by translate
    cdef object _pending          # what was let go and waits for the lock
    cdef size_t _arena_size
    cdef bint _huge_pages
    cdef long _forks              # a forked child has neither the memory nor a say about the mappings
    cdef object __weakref__

    # How many bytes from `address` on (at most nbytes) are reached at *iova and on; 0 when the first byte is not mapped.
    cdef size_t translate(self, const void *address, size_t nbytes, uint64_t *iova) noexcept nogil

    # The open registration whose pages hold `address`, or None (memory of an arena, or not mapped).
    cpdef object owner_of(self, size_t address)
    # For commands on memory that is no DmaBuffer: keeps [address, address + nbytes) mapped until release_at(what this
    # gave). None where nothing has to be held: a view of a DmaBuffer holds its memory by itself.
    cpdef object hold_at(self, size_t address, size_t nbytes=*)
    cpdef object release_at(self, object holder)

    cdef int _check_open(self) except -1
    cdef Py_ssize_t _find(self, size_t address) noexcept nogil
    cdef int _reserve(self, size_t more) except -1
    cdef _insert(self, object owner)
    cdef _remove(self, object owner)


cdef class DmaBuffer:
    cdef uint8_t *address
    cdef readonly uint64_t iova
    cdef readonly size_t nbytes
    cdef readonly DmaSpace space
    cdef object _arena
    cdef size_t _offset           # in the arena, of _reserved bytes
    cdef size_t _reserved
    cdef Py_ssize_t users         # commands in flight and buffer exports
    cdef bint closed_
    cdef bint _freed
    cdef object __weakref__

    # A command holds the memory from submission until the device has let go of it.
    cdef void hold(self) noexcept
    cdef void release(self) noexcept
    cdef _give_back(self)


cdef class DmaRegistration:
    cdef readonly DmaSpace space
    cdef Py_buffer view
    cdef bint _open
    cdef Py_ssize_t users
    cdef object _pages            # the arenas and runs that the pages belong to
    cdef object _idle             # (loop, future) of those who wait in wait_closed()
    cdef size_t _low, _high       # its whole pages
    cdef size_t _runs             # runs that this registration had mapped, and that still are
    cdef bint _has_view
    cdef bint _done               # closed, and no command uses it any more
    cdef object __weakref__

    cdef void hold(self) noexcept
    cdef void release(self) noexcept
    cdef _let_view_go(self)
    cdef _tell(self)
