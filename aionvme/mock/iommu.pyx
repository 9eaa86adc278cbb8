# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns the mock's I/O addresses: a sorted table of what the driver has mapped."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memmove

from aionvme.errors import UsageError


cdef size_t iova_find(const IovaMap *map, uint64_t iova) noexcept nogil:
    """Index of the range that has `iova`, or `count`."""
    cdef size_t low = 0, high = map.count, middle
    if map.off:
        return map.count
    while low < high:
        middle = (low + high) // 2
        if iova < map.ranges[middle].iova:
            high = middle
        elif iova - map.ranges[middle].iova >= map.ranges[middle].nbytes:
            low = middle + 1
        else:
            return middle
    return map.count


cdef size_t _first_after(const IovaMap *map, uint64_t iova) noexcept nogil:
    cdef size_t index = 0
    while index < map.count and map.ranges[index].iova < iova:
        index += 1
    return index


cdef int _reserve(IovaMap *map) except -1:
    cdef size_t capacity = map.capacity * 2 if map.capacity else 16
    cdef IovaRange *grown
    if map.count < map.capacity:
        return 0
    grown = <IovaRange *>realloc(map.ranges, capacity * sizeof(IovaRange))
    if grown == NULL:
        raise MemoryError("no memory for another DMA mapping")
    map.ranges = grown
    map.capacity = capacity
    return 0


cdef int iova_add(IovaMap *map, uint64_t iova, uint64_t nbytes, uint8_t *address, uint32_t access) except -1:
    """Adds a range; `UsageError` when it overlaps one that is mapped, as the kernel's EEXIST would say."""
    cdef size_t index = _first_after(map, iova)
    cdef IovaRange *before = &map.ranges[index - 1] if index else NULL
    if before != NULL and iova - before.iova < before.nbytes:
        raise UsageError(f"iova {iova:#x} is mapped already")
    if index < map.count and map.ranges[index].iova - iova < nbytes:
        raise UsageError(f"iova {map.ranges[index].iova:#x} is mapped already")
    _reserve(map)
    memmove(&map.ranges[index + 1], &map.ranges[index], (map.count - index) * sizeof(IovaRange))
    map.ranges[index].iova = iova
    map.ranges[index].nbytes = nbytes
    map.ranges[index].address = address
    map.ranges[index].access = access
    map.count += 1
    map.epoch += 1
    return 0


cdef int iova_remove(IovaMap *map, uint64_t iova, uint64_t nbytes) except -1:
    """Removes exactly one range that was added."""
    cdef size_t index = _first_after(map, iova)
    if index == map.count or map.ranges[index].iova != iova or map.ranges[index].nbytes != nbytes:
        raise UsageError(f"iova {iova:#x} with {nbytes:#x} bytes is not what one map_dma gave")
    map.count -= 1
    memmove(&map.ranges[index], &map.ranges[index + 1], (map.count - index) * sizeof(IovaRange))
    map.epoch += 1
    return 0


cdef void iova_switch(IovaMap *map, bint on) noexcept nogil:
    """Lets the device reach memory, or stops it (bus master enable)."""
    map.off = not on
    map.last = <size_t>-1
    map.epoch += 1


cdef void iova_clear(IovaMap *map) noexcept nogil:
    """Forgets every range."""
    free(map.ranges)
    map.ranges = NULL
    map.count = map.capacity = map.last = 0
    map.epoch += 1
