# The clock of deadlines and spins.
from libc.stdint cimport uint64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cdef extern from "<time.h>" nogil:
    int CLOCK_MONOTONIC_COARSE

cdef enum:
    # A coarse clock is behind by so much at most: the kernel sets it with every tick, of which there are 100 a second
    # or more.
    COARSE_NS = 10_000_000


cdef inline uint64_t now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1_000_000_000 + <uint64_t>now.tv_nsec


cdef inline uint64_t soon_ns() noexcept nogil:
    # A time that is not past yet, and will be within 10 ms: for deadlines of seconds, as it takes a fifth of the other.
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now)
    return <uint64_t>now.tv_sec * 1_000_000_000 + <uint64_t>now.tv_nsec + COARSE_NS
