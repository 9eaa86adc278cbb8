# A histogram of times as others record into it: log-linear buckets, so that each has the same relative width.
from libc.stdint cimport uint64_t


cdef enum:
    # Each octave is cut into 2 ** SUB_BITS buckets: none is wider than 1/128 of the values in it.
    SUB_BITS = 7
    SUB_BUCKETS = 1 << SUB_BITS
    BUCKETS = (64 - SUB_BITS + 1) * SUB_BUCKETS


cdef extern from *:
    """
    static inline unsigned int aio_highest_bit(unsigned long long value) {
        return 63u - (unsigned int)__builtin_clzll(value);
    }
    """
    unsigned int aio_highest_bit(unsigned long long value) noexcept nogil


cdef inline uint64_t bucket_of(uint64_t value) noexcept nogil:
    # Below SUB_BUCKETS a bucket for each value; above, the SUB_BITS bits that follow the highest one.
    cdef unsigned int shift
    if value < SUB_BUCKETS:
        return value
    shift = aio_highest_bit(value) - SUB_BITS
    return (<uint64_t>shift << SUB_BITS) + (value >> shift)


cdef class Histogram:
    cdef uint64_t *buckets
    cdef uint64_t count_
    cdef uint64_t sum_
    cdef uint64_t min_
    cdef uint64_t max_


cdef inline void record_ns(Histogram histogram, uint64_t value) noexcept:
    histogram.buckets[bucket_of(value)] += 1
    histogram.count_ += 1
    histogram.sum_ += value
    if value < histogram.min_:
        histogram.min_ = value
    if value > histogram.max_:
        histogram.max_ = value
