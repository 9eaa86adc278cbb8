# Arenas as a class diagram.
from aionvme.pci.mapping cimport Mapped, Mappings
from aionvme.pci.memory cimport SharedMemory


cdef class Arena(Mapped):
    # Memory of our own, from which buffers are cut.
    cdef SharedMemory memory
    cdef object extents
    cdef size_t align             # to which both address and iova are aligned
    cdef size_t buffers
    cdef bint single              # made for one allocation


cdef class Arenas:
    cdef readonly size_t arena_size
    cdef bint _huge_pages
    cdef list _arenas

    cdef Arena _new(self, Mappings mappings, size_t nbytes, size_t align)
    cdef bint _has_spare(self, Arena than) noexcept
