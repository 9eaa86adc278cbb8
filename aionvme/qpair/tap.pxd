# Who listens to the commands of queue pairs; see the .pyx.
from libc.stdint cimport uint16_t

from aionvme.qpair.ring cimport Cqe, Ring


cdef class Tap:
    cdef readonly tuple listeners
    cdef tuple taps                 # of the listeners those that are called in C
    cdef tuple told                 # and those that are told in Python

    cdef void posted(self, const Ring *ring) noexcept
    cdef void completed(self, uint16_t qid, const Cqe *cqe) noexcept
    cdef void dropped(self, uint16_t qid, uint16_t cid) noexcept
    cdef void tell(self, str what, uint16_t qid, object entry) noexcept
