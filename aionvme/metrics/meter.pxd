# What is counted of each queue pair; see the .pyx.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from aionvme.histogram cimport Histogram
from aionvme.qpair.namespace cimport Namespace
from aionvme.qpair.ring cimport Cqe, Ring
from aionvme.qpair.tap cimport Tap


cdef enum:
    READ = 0
    WRITE = 1
    OTHER = 2
    KINDS = 3
    UNSEEN = 0xFF


# A command that the device has.
cdef struct Posted:
    uint64_t since_ns
    uint64_t nbytes
    uint16_t cid
    uint8_t kind                    # UNSEEN: none


cdef class QueueMeter:
    cdef Posted *posted
    cdef uint32_t depth
    cdef uint16_t slot_mask
    cdef Namespace ns               # of the latest command; None: none
    cdef uint64_t[KINDS] completed
    cdef uint64_t[KINDS] failed
    cdef uint64_t[KINDS] nbytes
    cdef Histogram read_ns
    cdef Histogram write_ns
    cdef Histogram other_ns
    cdef uint64_t unseen            # completions of commands that were posted before it was looked at
    cdef uint64_t dropped

    cdef int fit(self, const Ring *ring) except -1
    cdef Histogram times(self, uint8_t kind)


cdef class Meter(Tap):
    cdef dict queues
    cdef object namespace
    cdef public object error

    cdef uint64_t unit(self, QueueMeter queue, uint32_t nsid) except? 0xFFFFFFFF
    cdef int _posted(self, const Ring *ring) except -1
    cdef int _completed(self, uint16_t qid, const Cqe *cqe) except -1
