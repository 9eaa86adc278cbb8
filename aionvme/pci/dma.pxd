# DMA memory as a class diagram: arenas mapped for one function, buffers cut from them, foreign memory
# registered. `function`, `translate` and `hold_at` of a DmaSpace are in Mappings.
from libc.stdint cimport uint8_t, uint64_t

from aionvme.pci.arena cimport Arena, Arenas
from aionvme.pci.mapping cimport Mappings, Region, Sharer


cdef class DmaSpace(Mappings):
    cdef bint _closed
    cdef Arenas _arenas
    cdef list _registrations
    cdef object _pending          # what was let go and waits for the lock
    cdef long _forks              # a forked child has neither the memory nor a say about the mappings
    cdef object __weakref__

    cdef int _check_open(self) except -1
    cdef bint _forked(self) noexcept
    cdef DmaBuffer _cut(self, Arena arena, size_t offset, size_t nbytes, size_t reserved)


cdef class DmaBuffer:
    cdef uint8_t *address         # NULL when the memory went back
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

    # A command holds the memory from submission until the device has let go of it. False: it is closed.
    cdef bint hold(self) noexcept
    cdef void release(self) noexcept
    cdef _give_back(self)


cdef class DmaRegistration(Sharer):
    cdef readonly DmaSpace space
    cdef Py_buffer view
    cdef bint _has_view
    cdef bint _done               # closed, and no command uses it any more
    cdef object _idle             # (loop, future) of those who wait in wait_closed()
    cdef object __weakref__

    cdef _enlist(self, waiter)
    cdef _tell(self)
