# The clock of deadlines and spins, on which driver and mock agree. It may be virtual, in tests.
from libc.stdint cimport uint64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cdef extern from "<time.h>" nogil:
    int CLOCK_MONOTONIC_COARSE

cdef enum:
    # A coarse clock is behind by so much at most: the kernel sets it with every tick, of which there are 100 a second
    # or more.
    COARSE_NS = 10_000_000

cdef uint64_t virtual_ns        # the time, where it is virtual; 0 where it is real


cdef inline uint64_t real_ns() noexcept nogil:
    # For what measures the processor: spins, and what they found.
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1_000_000_000 + <uint64_t>now.tv_nsec


cdef inline uint64_t now_ns() noexcept nogil:
    if virtual_ns:
        return virtual_ns
    return real_ns()


cdef inline uint64_t soon_ns() noexcept nogil:
    # A time that is not past yet, and will be within 10 ms: for deadlines of seconds, as it takes a fifth of the other.
    cdef timespec now
    if virtual_ns:
        return virtual_ns
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now)
    return <uint64_t>now.tv_sec * 1_000_000_000 + <uint64_t>now.tv_nsec + COARSE_NS


cdef inline bint is_virtual() noexcept nogil:
    return virtual_ns != 0
