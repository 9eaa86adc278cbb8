# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns commands that are given as their 64 bytes, and the admin queue pair, which takes no others."""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from aionvme.errors import UsageError
from aionvme.qpair.core cimport QueuePair
from aionvme.qpair.governed cimport GovernedQueuePair
from aionvme.qpair.request cimport PRP_ONLY, Request
from aionvme.qpair.ring cimport SQE_BYTES
from aionvme.qpair.transfer cimport check_when_full, new_request


cdef Request prepare_raw(QueuePair qp, object sqe, object data, object metadata, bint write, object cb_fn,
                         object cb_arg):
    """A request of 64 bytes, with its memory held."""
    cdef const uint8_t[::1] command
    cdef Request request
    qp.check_usable()
    try:
        command = sqe
    except (BufferError, ValueError) as error:
        raise UsageError(f"sqe must be {SQE_BYTES} contiguous bytes ({error})") from error
    except TypeError:
        raise TypeError(f"sqe must be {SQE_BYTES} bytes, not {sqe!r}") from None
    if command.shape[0] != SQE_BYTES:
        raise UsageError(f"sqe must have {SQE_BYTES} bytes, not {command.shape[0]}")
    request = new_request(0, 0, cb_fn, cb_arg)
    memcpy(&request.sqe, &command[0], SQE_BYTES)
    request.opcode = request.sqe.opcode
    # Not every command takes SGLs, and MPTR goes with one only where SGLS bit 17 says so.
    request.pointers = PRP_ONLY
    if data is None and metadata is None:
        return request
    if request.sqe.flags & 0xC0:
        raise UsageError("sqe: PSDT (byte 1, bits 7:6) must be 0 with data=: the data pointer is made here")
    try:
        if data is not None:
            qp.hold_buffer(request, data, not write)
            if request.nbytes == 0 or request.nbytes > qp.max_transfer:
                raise UsageError(f"data has {request.nbytes} bytes; one command takes from 1 to {qp.max_transfer}")
            qp.pin(request, request.nbytes)
        if metadata is not None:
            _hold_metadata(qp, request, metadata, not write)
    except BaseException:
        qp.let_go(request)
        raise
    return request


cdef int _hold_metadata(QueuePair qp, Request request, object metadata, bint device_writes) except -1:
    cdef uint8_t *address = NULL
    cdef size_t nbytes = 0
    cdef uint64_t iova = 0
    qp.hold_more(request, metadata, "metadata", device_writes, &address, &nbytes)
    qp.check_mapped(address, nbytes, "metadata", 3)
    if nbytes == 0 or qp.dma.translate(address, nbytes, &iova) < nbytes:
        raise UsageError("metadata must be in one piece of memory for the device: use memory of ctrlr.dma_alloc()")
    request.sqe.mptr = iova
    return 0


cdef Request send_raw(QueuePair qp, Request request, object timeout, object when_full, bint urgent=False):
    try:
        qp.submit(request, timeout, check_when_full(when_full), urgent)
    except BaseException:
        # A request with an owner was taken: the device may have it, and it ends by itself.
        if request.owner is None:
            qp.let_go(request)
        raise
    return request


cdef class AdminQueuePair(GovernedQueuePair):
    """The admin queue pair: raw commands with a decoder; the controller's own."""

    @property
    def max_transfer_bytes(self):
        """Most bytes of data of one command."""
        return self.max_transfer

    def submit_admin(self, sqe, *, data=None, metadata=None, write=False, decode=None, value_wanted=True, cb_fn=None,
                     cb_arg=None, timeout=None, urgent=False, standing=False):
        """Submits an admin command of 64 bytes.

        `decode(cpl)` makes `cpl.value`; `value_wanted` has the await give that. What is `urgent` is posted while others
        wait for the end of a reset. `standing` is a request for an event: it has no time limit, and to no one is it
        outstanding.
        """
        cdef Request request = prepare_raw(self, sqe, data, metadata, write, cb_fn, cb_arg)
        request.standing = standing
        request.decode = decode
        request.value_wanted = value_wanted
        return send_raw(self, request, timeout, None, urgent)
