# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns histograms of times: recorded in a few nanoseconds, merged, and asked for percentiles.

The buckets are log-linear, as those of HdrHistogram and of SPDK's `spdk_histogram_data` are: an octave is cut into 128
buckets of equal width, so that a percentile is never more than 1/128 above the value that it stands for, whether that
is 200 ns or 2 s. Count, sum, least and greatest are exact.
"""

from fractions import Fraction

cimport cython
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from aionvme.errors import UsageError

cdef uint64_t NONE = 0xFFFFFFFFFFFFFFFF


cdef inline uint64_t _lowest(uint64_t bucket) noexcept nogil:
    """The least value of a bucket."""
    cdef uint64_t shift
    if bucket < 2 * SUB_BUCKETS:
        return bucket
    shift = (bucket >> SUB_BITS) - 1
    return (bucket - (shift << SUB_BITS)) << shift


cdef inline uint64_t _highest(uint64_t bucket) noexcept nogil:
    """The greatest value of a bucket."""
    return NONE if bucket + 1 == BUCKETS else _lowest(bucket + 1) - 1


@cython.final
cdef class Histogram:
    """How often each time was measured, in nanoseconds.

    Attributes:
        count: How many times were recorded.
        total: Their sum.
        min, max: The least and the greatest, None while there is none.
        mean: Their arithmetic mean, None while there is none.
    """

    def __cinit__(self):
        self.buckets = <uint64_t *>calloc(BUCKETS, sizeof(uint64_t))
        if self.buckets == NULL:
            raise MemoryError("no memory for a histogram")
        self.min_ = NONE

    def __dealloc__(self):
        free(self.buckets)

    def record(self, value, count=1):
        """Counts a time, or several that are the same.

        Args:
            value: Nanoseconds, 0 to 2**64 - 1.
            count: How many.

        Raises:
            UsageError: It is negative, or too great.
        """
        cdef uint64_t number, times
        try:
            number, times = value, count
        except OverflowError:
            raise UsageError(f"a time is from 0 to 2**64 - 1 ns, not {value} ({count} times)") from None
        if times == 0:
            return
        record_ns(self, number)
        self.buckets[bucket_of(number)] += times - 1
        self.count_ += times - 1
        self.sum_ += number * (times - 1)

    def merge(self, Histogram other not None):
        """Adds what another one has counted; what comes out is as if all had been recorded here."""
        cdef int i
        for i in range(BUCKETS):
            self.buckets[i] += other.buckets[i]
        self.count_ += other.count_
        self.sum_ += other.sum_
        self.min_ = min(self.min_, other.min_)
        self.max_ = max(self.max_, other.max_)

    def reset(self):
        """Forgets everything."""
        memset(self.buckets, 0, BUCKETS * sizeof(uint64_t))
        self.count_ = self.sum_ = self.max_ = 0
        self.min_ = NONE

    @property
    def count(self):
        """How many times were recorded."""
        return self.count_

    @property
    def total(self):
        """The sum of all times in nanoseconds."""
        return self.sum_

    @property
    def min(self):
        """The least time, None while there is none."""
        return self.min_ if self.count_ else None

    @property
    def max(self):
        """The greatest time, None while there is none."""
        return self.max_ if self.count_ else None

    @property
    def mean(self):
        """The arithmetic mean, None while there is none."""
        return float(self.sum_) / float(self.count_) if self.count_ else None

    def percentile(self, q):
        """The least time that `q` percent of all are not above (nearest rank), or at most 1/128 more than that.

        Args:
            q: From 0 to 100. 99.9 means 999 in a thousand, not the binary fraction next to it.

        Raises:
            UsageError: Nothing was recorded, or `q` is no percentage.
        """
        cdef uint64_t rank, seen = 0
        cdef int i
        if not 0 <= q <= 100:
            raise UsageError(f"a percentile is from 0 to 100, not {q}")
        if self.count_ == 0:
            raise UsageError("there are no percentiles of nothing: record a time first")
        rank = max(1, -int(-(Fraction(str(q)) * self.count_ / 100) // 1))
        for i in range(BUCKETS):
            seen += self.buckets[i]
            if seen >= rank:
                return max(self.min_, min(_highest(i), self.max_))
        raise AssertionError("the buckets hold fewer times than were counted")

    def filled(self):
        """The buckets that have times: (least, greatest, how many) each, in order."""
        cdef int i
        return [(_lowest(i), _highest(i), self.buckets[i]) for i in range(BUCKETS) if self.buckets[i]]

    def __repr__(self):
        if not self.count_:
            return "<Histogram of nothing>"
        return f"<Histogram of {self.count_} times from {self.min_} to {self.max_} ns>"
