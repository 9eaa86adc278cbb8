# The reservation commands; see the .pyx.
from aionvme.qpair.commands cimport CommandQueuePair


cdef class ReservingQueuePair(CommandQueuePair):
    pass
