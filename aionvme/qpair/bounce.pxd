# A copy in one piece of memory, for segments that no descriptor can say.
from aionvme.pci.dma cimport DmaBuffer
from aionvme.qpair.iov cimport Segment
from aionvme.qpair.request cimport Request


cdef class Bounce:
    cdef DmaBuffer buffer
    cdef unsigned int count

    cdef int set_up(self, DmaBuffer buffer, Request request, bint device_writes) except -1
