# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns bounce buffering: a transfer by way of one buffer, because its segments cannot be described to the device."""

from libc.stddef cimport size_t
from libc.string cimport memcpy

from aionvme.pci.dma cimport DmaBuffer
from aionvme.qpair.request cimport Request


cdef class Bounce:
    """The buffer of one request; called at its end it copies what was read to where it was wanted."""

    cdef int set_up(self, DmaBuffer buffer, Request request, bint device_writes) except -1:
        """Puts the buffer in the place of the request's segments, which the request goes on holding."""
        cdef size_t done = 0
        cdef unsigned int i
        self.buffer = buffer
        self.count = request.cursor.count
        if not device_writes:
            for i in range(self.count):
                memcpy(buffer.address + done, request.segments[i].address, request.segments[i].nbytes)
                done += request.segments[i].nbytes
        if request.more_holders is None:
            request.more_holders = []
        buffer.hold()
        request.more_holders.append(buffer)
        request.one.address = buffer.address
        request.one.nbytes = buffer.nbytes
        request.cursor.segments = &request.one
        request.cursor.count, request.cursor.index, request.cursor.offset = 1, 0, 0
        if device_writes:
            request.on_end = self
        return 0

    def __call__(self, Request request):
        cdef size_t done = 0
        cdef unsigned int i
        if not request.succeeded():
            return
        for i in range(self.count):
            if request.segments[i].address != NULL:
                memcpy(request.segments[i].address, self.buffer.address + done, request.segments[i].nbytes)
            done += request.segments[i].nbytes
