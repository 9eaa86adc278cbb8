# Which blocks the commands of one queue pair are for, one after another.
from libc.stdint cimport uint64_t


cdef extern from *:
    """
    static inline unsigned long long aio_scaled(unsigned long long random, unsigned long long below) {
        return (unsigned long long)(((unsigned __int128)random * below) >> 64);
    }
    """
    unsigned long long aio_scaled(unsigned long long random, unsigned long long below) noexcept nogil


cdef class Walk:
    cdef uint64_t first         # LBA
    cdef uint64_t places        # that a command can be for
    cdef uint64_t step          # blocks of one command
    cdef uint64_t at            # of a sequential walk: the next place
    cdef bint random
    cdef uint64_t read_below    # of 2 ** 32: what part of the commands read
    cdef uint64_t state


cdef inline uint64_t next_random(Walk walk) noexcept nogil:
    # splitmix64 (Steele, Lea, Flood 2014).
    cdef uint64_t value
    walk.state += <uint64_t>0x9E3779B97F4A7C15
    value = walk.state
    value = (value ^ (value >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    value = (value ^ (value >> 27)) * <uint64_t>0x94D049BB133111EB
    return value ^ (value >> 31)


cdef inline uint64_t next_lba(Walk walk) noexcept nogil:
    cdef uint64_t place
    if walk.random:
        # The bias of the product is one in 2 ** 64 / places.
        place = aio_scaled(next_random(walk), walk.places)
    else:
        place = walk.at
        walk.at = 0 if place + 1 == walk.places else place + 1
    return walk.first + place * walk.step


cdef inline bint next_writes(Walk walk) noexcept nogil:
    return next_random(walk) >> 32 >= walk.read_below
