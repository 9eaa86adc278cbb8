# The mock's IOMMU: which memory an I/O address is, and what may be done there.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef enum:
    IOVA_READ = 1           # the controller reads what the host sends
    IOVA_WRITE = 2
    IOVA_BOTH = 3


cdef struct IovaRange:
    uint64_t iova
    uint64_t nbytes
    uint8_t *address        # NULL: the host has to be asked for it (remote.pxd)
    uint32_t access


cdef struct IovaMap:
    IovaRange *ranges       # sorted by iova, not overlapping
    size_t count
    size_t capacity
    size_t last             # where the last look-up ended
    bint off                # bus mastering is off: nothing is reached
    uint64_t epoch          # changes with every change of the map: what was translated before must be again


cdef int iova_add(IovaMap *map, uint64_t iova, uint64_t nbytes, uint8_t *address, uint32_t access) except -1
cdef int iova_remove(IovaMap *map, uint64_t iova, uint64_t nbytes) except -1
cdef void iova_switch(IovaMap *map, bint on) noexcept nogil
cdef void iova_clear(IovaMap *map) noexcept nogil
cdef size_t iova_find(const IovaMap *map, uint64_t iova) noexcept nogil


cdef inline uint8_t *iova_translate(IovaMap *map, uint64_t iova, size_t nbytes, size_t *run,
                                    uint32_t access) noexcept nogil:
    # The memory at iova, and in *run how many of the nbytes follow it linearly: 0 when it is not mapped for this
    # access. NULL where it is not, and where the host has to be asked for it.
    cdef size_t index = map.last
    cdef const IovaRange *found
    if (index >= map.count or iova < map.ranges[index].iova
            or iova - map.ranges[index].iova >= map.ranges[index].nbytes):
        index = iova_find(map, iova)
        if index == map.count:
            run[0] = 0
            return NULL
        map.last = index
    found = &map.ranges[index]
    if access & ~found.access:
        run[0] = 0
        return NULL
    run[0] = <size_t>min(<uint64_t>nbytes, found.nbytes - (iova - found.iova))
    return NULL if found.address == NULL else found.address + (iova - found.iova)
