# What a run counts, and what of its commands is under way.
from libc.stdint cimport uint64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from aionvme.histogram cimport Histogram


cdef inline uint64_t now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1_000_000_000 + <uint64_t>now.tv_nsec


cdef class Tally:
    cdef readonly uint64_t submitted
    cdef readonly uint64_t completed
    cdef readonly uint64_t failed
    cdef readonly uint64_t mismatched
    cdef readonly uint64_t in_flight
    cdef readonly uint64_t blocks_verified
    cdef readonly bint running
    cdef readonly Histogram latency     # None: it is not measured
    cdef readonly list failures         # the first few, in words
    cdef uint64_t active                # slots that have not ended
    cdef object when_drained            # future, or None

    cdef int end_by(self, str why) except -1
    cdef int retire(self) except -1


cdef class Pacer:
    cdef readonly uint64_t credits
    cdef bint over
    cdef object idle                    # deque of what is called when there is a credit

    cdef bint take(self, object resume) except -1
