# The queue pair as its controller has it.
from libc.stdint cimport uint64_t

from aionvme.qpair.core cimport QueuePair
from aionvme.qpair.request cimport Request


cdef class GovernedQueuePair(QueuePair):
    cdef list kept                  # requests that were ended, with the memory that the device may still write
    cdef bint keeping
    cdef uint64_t completions_before  # of `completions`, those before the rings were last made empty by a reset
