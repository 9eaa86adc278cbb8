# What a function reaches, as a class diagram: a sorted table of regions, each of them one map_dma().
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from aionvme.pci.function cimport Function


cdef inline size_t round_up(size_t value, size_t multiple) noexcept nogil:
    return (value + multiple - 1) // multiple * multiple


cdef struct Region:
    # Memory of this process that the device reaches: [address, address + nbytes) at iova, linear.
    uint8_t *address
    size_t nbytes
    uint64_t iova


cdef struct Table:
    Region *regions               # sorted by address, not overlapping
    size_t count
    size_t capacity
    Table *smaller                # the one in whose place it came; who began to look there goes on


cdef class Mapped:
    cdef uint8_t *address
    cdef size_t nbytes
    cdef uint64_t iova
    cdef uint64_t iova_start      # what was taken of the I/O addresses
    cdef size_t iova_nbytes
    cdef bint alive               # the device reaches it
    cdef list sharers             # the Sharers whose pages are a part of it


cdef class Run(Mapped):
    # Pages that others own, mapped for the first Sharer that asked for them.
    cdef Sharer creator
    cdef size_t private_low, private_high

    cdef void keep_from_children(self, size_t low, size_t high) noexcept
    cdef void give_to_children(self) noexcept


cdef class Sharer:
    # Somebody who wants [low, high), whole pages, mapped.
    cdef size_t low, high
    cdef list pages               # the arenas and runs that they belong to
    cdef size_t runs              # how many of these were mapped for this one and still are
    cdef bint ended
    cdef bint open_               # new commands may use it
    cdef Py_ssize_t users         # commands in flight

    # A command holds it from submission until the device has let go of the memory.
    cdef void hold(self) noexcept
    cdef void release(self) noexcept
    # From now on not open; whether it was.
    cdef bint shut(self) noexcept
    # Not open, and no command uses it any more.
    cdef finish(self)
    # No run needs the memory of this one any more.
    cdef let_memory_go(self)


cdef class Mappings:
    cdef readonly Function function
    cdef Table *_table
    cdef uint32_t _version        # of the table; odd while it is changed
    cdef bint _quarantined
    cdef list _owners             # whose memory the table's regions[i] is: an Arena or a Run
    cdef object _lock             # taken by whoever changes arenas or mappings; never by translate
    cdef object _iova

    # How many bytes from `address` on (at most nbytes) are reached at *iova and on; 0 when the first byte is
    # not mapped. From any thread, whatever others do meanwhile.
    cdef size_t translate(self, const void *address, size_t nbytes, uint64_t *iova) noexcept nogil

    # The open registration whose pages hold `address`, or None (memory of an arena, or not mapped).
    cpdef object owner_of(self, size_t address)
    # For commands on memory that is no DmaBuffer: keeps [address, address + nbytes) mapped until
    # release_at(what this gave). None where nothing has to be held: a view of a DmaBuffer holds its memory by
    # itself.
    cpdef object hold_at(self, size_t address, size_t nbytes=*)
    cpdef object release_at(self, object holder)

    cdef Py_ssize_t _find(self, size_t address) noexcept nogil
    cdef Sharer _hold_one(self, size_t address, size_t *beyond)
    cdef _add_sharer(self, Mapped mapped, Sharer sharer)
    cdef int map(self, Mapped mapped, size_t align, size_t skew, int fd) except -1
    cdef object unmap(self, Mapped mapped)
    cdef share(self, Sharer sharer, size_t private_low, size_t private_high)
    cdef unshare(self, Sharer sharer)
    cdef Run map_run(self, size_t low, size_t high)
    cdef object unmap_run(self, Run run)
    cdef complain(self, object error)

    cdef int _reserve(self) except -1
    cdef _insert(self, Mapped mapped)
    cdef _remove(self, Mapped mapped)
    cdef list _within(self, size_t low, size_t high)
    cdef list _gaps(self, size_t low, size_t high)
