# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns the short way of the commonest command: a read or write of one or two pages of a `DmaBuffer`, and no options.

It goes from the call's arguments to the entry in the ring without a step between. What is not so, or wrong, or finds no
slot, is left to the long way (`transfer.pyx`), which does the same in general and says what is wrong.
"""

from cpython.ref cimport Py_INCREF, PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from aionvme.pci.dma cimport DmaBuffer
from aionvme.clock cimport soon_ns
from aionvme.qpair.core cimport QueuePair
from aionvme.qpair.namespace cimport Namespace
from aionvme.qpair.request cimport IN_FLIGHT, Request, take_request
from aionvme.qpair.ring cimport NO_SLOT, SQE_BYTES, Ring, Slot, Sqe, ring_advance, ring_take_slot

cdef extern from "../qpair/number.h":
    bint aio_as_unsigned(PyObject *value, uint64_t *number)

cdef enum:
    BLOCKS_PER_COMMAND = 65536      # NLB is 16 bits, 0's based


cdef inline bint _within(QueuePair qp, Namespace ns, uint64_t lba, uint64_t nblocks) noexcept:
    """Whether these blocks are there, and one command takes them."""
    return (0 < nblocks <= BLOCKS_PER_COMMAND and lba < ns.nblocks and nblocks <= ns.nblocks - lba
            and nblocks * ns.unit <= qp.max_transfer
            and (ns.boundary == 0 or lba % ns.boundary + nblocks <= ns.boundary))


cdef inline bint _can_post(QueuePair qp) noexcept:
    return qp.queue_head is None and not qp.suspended and not qp.finishing and qp.ring.first_free != NO_SLOT


cdef Request submit_plain(QueuePair qp, uint8_t opcode, Namespace ns, object buf, object lba, object nblocks,
                          object cb_fn, object cb_arg):
    cdef DmaBuffer memory
    cdef Request request
    cdef uint64_t first = 0, count = 0
    cdef size_t nbytes
    if (type(buf) is not DmaBuffer or ns.controller is not qp.dma or ns.metadata_size
            or not aio_as_unsigned(<PyObject *>lba, &first) or not aio_as_unsigned(<PyObject *>nblocks, &count)
            or not _within(qp, ns, first, count) or not _can_post(qp) or not qp.is_usable()
            or (cb_fn is not None and not callable(cb_fn))):
        return None
    memory = <DmaBuffer>buf
    nbytes = <size_t>count * ns.unit
    # Memory of a buffer that is open is mapped while its space is open.
    if nbytes > memory.nbytes or memory.space is not qp.dma or qp.dma._closed or not memory.hold():
        return None
    if nbytes > 2 * qp.page_size - (memory.iova & (qp.page_size - 1)):
        memory.release()
        return None
    request = take_request()
    request.owner = qp
    request.holder = memory
    request.cb_fn = cb_fn
    request.cb_arg = cb_arg
    request.quiet = cb_fn is not None
    request.plain = True
    request.opcode = opcode
    request.state = IN_FLIGHT
    request.in_flight = 1
    request.timeout = qp.default_timeout
    if request.timeout > 0:
        request.deadline_ns = soon_ns() + <uint64_t>(request.timeout * 1e9)
        if not qp.next_deadline_ns or qp.next_deadline_ns > request.deadline_ns:
            qp.arm(request.deadline_ns)
    _post(&qp.ring, request, ns.nsid, first, count, memory.iova, nbytes, qp.page_size)
    if not qp.batching:
        qp.ring_doorbells()
    if not qp.scheduled:
        qp.schedule()
    return request


cdef inline void _post(Ring *ring, Request request, uint32_t nsid, uint64_t lba, uint64_t nblocks, uint64_t iova,
                       size_t nbytes, size_t page_size) noexcept:
    cdef uint16_t index = ring_take_slot(ring, <void *>request)
    cdef Slot *slot = &ring.slots[index]
    cdef Sqe *sqe = <Sqe *>(ring.sq + <size_t>ring.sq_tail * SQE_BYTES)
    cdef size_t first = page_size - (iova & (page_size - 1))
    Py_INCREF(request)
    slot.opcode = request.opcode
    request.has_cid = True
    request.first_cid = slot.cid
    sqe.opcode, sqe.flags, sqe.cid, sqe.nsid = request.opcode, 0, slot.cid, nsid
    sqe.cdw2 = sqe.cdw3 = 0
    sqe.mptr = 0
    sqe.prp1 = iova
    sqe.prp2 = iova + first if nbytes > first else 0
    sqe.cdw10, sqe.cdw11 = <uint32_t>lba, <uint32_t>(lba >> 32)
    sqe.cdw12 = <uint32_t>(nblocks - 1)
    sqe.cdw13 = sqe.cdw14 = sqe.cdw15 = 0
    ring_advance(ring)
