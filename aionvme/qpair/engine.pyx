# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns posting and reaping: from requests to commands in the ring, and from completions back to requests.

Knows neither loop nor task: when to do it, and whom to tell, is the queue pair's part (`core.pyx`).
"""

cimport cython
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from aionvme.errors import UsageError
from aionvme.pci.dma cimport DmaBuffer
from aionvme.pci.mmio cimport aio_barrier_full
from aionvme.qpair.batch cimport Batch
from aionvme.qpair.describe cimport ALL_DESCRIBED, Described, List
from aionvme.qpair.pair cimport RingPair
from aionvme.qpair.pieces import WHY_NOT as _WHY_NOT
from aionvme.qpair.request cimport (
    BY_ERROR, BY_STATUS, ENDED, IN_FLIGHT, QUEUED, Completion, Request,
)
from aionvme.qpair.ring cimport (
    NO_SLOT, REAP_COMMAND, REAP_FOREIGN_CID, REAP_FOREIGN_SQID, REAP_NONE, SQE_BYTES, TOLD_BY_DOORBELL, Cqe, ReapResult,
    Slot, Told, ring_cq_doorbell, ring_doorbell, ring_free_slot, ring_post, ring_reap, ring_reset, ring_take_slot,
)
from aionvme.qpair.tap cimport Tap
from aionvme.spec.status import StatusCode

cdef enum:
    CODE_BITS = 0x7FF       # SC and SCT of a status field

# How the second of a fused pair ends when the first fails: the first one's status is the pair's.
cdef uint16_t FAILED_FUSED = <uint16_t>int(StatusCode.ABORTED_FAILED_FUSED)
# What a command ended with that has no completion from the device (SCT 3h, SC 71h).
cdef uint16_t HOST_ABORTED = <uint16_t>int(StatusCode.COMMAND_ABORTED_BY_HOST)

cdef dict _FOREIGN = {
    int(REAP_FOREIGN_SQID): "another submission queue",
    int(REAP_FOREIGN_CID): "no command that is outstanding",
}


cdef inline int _keep(Engine engine, Request request) except -1:
    """A slot refers to the request: it lives."""
    if request.standing:
        engine.standing += 1
        engine.standing_kept.append(request)
    else:
        Py_INCREF(request)
    return 0


cdef inline int _unkeep(Engine engine, Request request) except -1:
    if request.standing:
        engine.standing -= 1
        engine.standing_kept.remove(request)
    else:
        Py_DECREF(request)
    return 0


cdef inline Completion _completion(const Cqe *cqe):
    cdef Completion cpl = Completion.__new__(Completion)
    cpl.dw0 = cqe.dw0
    cpl.dw1 = cqe.dw1
    cpl.sqhd = cqe.sqhd
    cpl.sqid = cqe.sqid
    cpl.cid = cqe.cid
    cpl.raw_status = cqe.status >> 1
    return cpl


cdef class Engine(RingPair):
    """The commands in the rings of one queue pair, and those that wait for a slot."""

    def __init__(self, **rings):
        self.standing_kept = []
        RingPair.__init__(self, **rings)

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def outstanding(self):
        """Commands that the device owns now (pieces of a split transfer count each)."""
        return self.ring.outstanding - self.standing

    @property
    def standing_requests(self):
        """Requests for events that the device holds. They are not counted as outstanding."""
        return self.standing

    @property
    def broken_by_device(self):
        """Whether the device broke the protocol on this queue pair."""
        return bool(self.broken)

    def set_tap(self, Tap tap):
        """Has `tap` shown every command and completion from now on; None for nobody."""
        self.tap = tap

    def has_outstanding(self, uint16_t cid):
        """Whether the device owns a command with this identifier."""
        cdef uint16_t index = cid & self.ring.slot_mask
        return (index < self.ring.depth and self.ring.slots[index].owner != NULL
                and self.ring.slots[index].cid == cid)

    # -- posting -------------------------------------------------------------------------------------------------------

    cdef int take(self, Request request, bint urgent) except -1:
        """Posts the request, or queues what finds no slot. It belongs to the queue pair from here on."""
        request.owner = self
        self.batches += request.batch is not None
        if not urgent and (self.queue_head is not None or self.suspended):
            self.enqueue(request)
            return 0
        while request.state == QUEUED and self.has_room(request):
            self.post_piece(request)
        self.wait_in_queue(request)
        return 0

    cdef bint has_room(self, Request request) noexcept:
        # The first of a pair is posted when there is room for both, so that they are adjacent under one doorbell.
        if request.paired and not request.has_cid:
            return self.ring.outstanding + 2 <= self.ring.depth
        if request.batch is not None and request.in_flight == (<Batch>request.batch).most:
            return False
        return self.ring.first_free != NO_SLOT

    cdef void wait_in_queue(self, Request request) noexcept:
        # A batch that has all in flight that it may would only hold up the others there: `piece_done` brings it back.
        if request.state == QUEUED and (
                request.batch is None or request.in_flight < (<Batch>request.batch).most):
            self.enqueue(request)

    cdef int post_piece(self, Request request) except -1:
        """Posts the next piece of a request, or of a batch as many as there is room for; there is a free slot."""
        cdef uint16_t index
        cdef Slot *slot
        cdef uint64_t blocks = 0
        cdef size_t nbytes = request.nbytes
        cdef List memory
        cdef Described result
        if request.batch is not None:
            return self.post_batch(request)
        index = ring_take_slot(&self.ring, <void *>request)
        slot = &self.ring.slots[index]
        memory.entries = <uint64_t *>(self.ring.lists + <size_t>index * self.ring.list_bytes)
        memory.iova = self.ring.lists_iova + <size_t>index * self.ring.list_bytes
        memory.nbytes = self.ring.list_bytes
        if request.piece_blocks:
            blocks = self.piece(request)
            nbytes = blocks * request.unit
        elif request.program is not None:
            nbytes = self._next_of_program(request)
        result = self.point(request, &memory, &blocks, &nbytes)
        if result != ALL_DESCRIBED:
            ring_free_slot(&self.ring, index)
            return self._cannot_describe(request, result)
        if request.piece_blocks:
            request.sqe.cdw10 = <uint32_t>request.lba
            request.sqe.cdw11 = <uint32_t>(request.lba >> 32)
            request.sqe.cdw12 = (request.sqe.cdw12 & 0xFFFF0000) | <uint32_t>(blocks - 1)
        request.sqe.cid = slot.cid
        slot.opcode = request.sqe.opcode
        ring_post(&self.ring, &request.sqe)
        _keep(self, request)
        request.in_flight += 1
        if not request.has_cid:
            request.has_cid = True
            request.first_cid = slot.cid
        self.move_on(request, blocks, nbytes)
        return 0

    def _next_of_program(self, Request request):
        # The next command that was made beforehand; how many bytes of the memory are its own.
        cdef bytes sqe
        sqe, nbytes = request.program.pop(0)
        memcpy(&request.sqe, <const char *>sqe, SQE_BYTES)
        return nbytes

    def _cannot_describe(self, Request request, int result):
        # Checked at the call; this is memory that was unmapped while the command waited for a slot.
        if request.verdict == BY_STATUS:
            request.verdict = BY_ERROR
            request.error = UsageError(f"buf {_WHY_NOT[result]}")
        self.post_no_more(request)
        if request.in_flight == 0:
            self.finish_by_host(request)
        return 0

    cdef int feed(self) except -1:
        """Posts what waits, while there are slots."""
        cdef Request request
        while self.queue_head is not None and self.has_room(self.queue_head) and not self.suspended:
            request = self.queue_head
            self.post_piece(request)
            if request.state != QUEUED:
                self.unqueue(request)
            elif request.batch is not None:
                self.unqueue(request)
                self.wait_in_queue(request)
        return 0

    cdef void enqueue(self, Request request) noexcept:
        if self.queue_head is None:
            self.queue_head = request
        else:
            self.queue_tail.next = request
        self.queue_tail = request

    cdef void unqueue(self, Request request) noexcept:
        cdef Request before = None, at = self.queue_head
        while at is not None and at is not request:
            before, at = at, at.next
        if at is None:
            return
        if before is None:
            self.queue_head = at.next
        else:
            before.next = at.next
        if self.queue_tail is at:
            self.queue_tail = before
        at.next = None

    cdef int ring_doorbells(self) except -1:
        """Tells the device of what was posted and what was reaped, and wakes it if it sleeps."""
        # Who mutes the queue pair from another thread waits for the end of this: no doorbell is rung after it.
        with cython.critical_section(self):
            if self.tap is not None and not self.muted:
                self.tap.posted(&self.ring)
            # Looked at now: while a listener in Python is shown commands, other threads run.
            if not self.muted:
                self._ring_doorbells()
        return 0

    cdef int _ring_doorbells(self) except -1:
        cdef Told tail, head
        tail = ring_doorbell(&self.ring)
        if tail == TOLD_BY_DOORBELL:
            self.doorbells += 1
            if self.ring.sq_doorbell == NULL:
                self.function.write32(self.sq_doorbell_offset, self.ring.sq_tail)
        head = ring_cq_doorbell(&self.ring)
        if head == TOLD_BY_DOORBELL and self.ring.cq_doorbell == NULL:
            self.function.write32(self.cq_doorbell_offset, self.ring.cq_head)
        if (tail or head) and self.function.sleeping != NULL:
            aio_barrier_full()
            if self.function.sleeping[0]:
                self.function.kick()
        return 0

    # -- reaping -------------------------------------------------------------------------------------------------------

    cdef int reap(self, uint32_t limit) except -1:
        """Takes up to `limit` completions off the ring; how many."""
        cdef Cqe cqe
        cdef uint16_t index = 0
        cdef ReapResult result
        cdef Request request
        cdef uint32_t count = 0
        if self.broken or self.ring.cq == NULL:
            return 0
        while count < limit:
            result = ring_reap(&self.ring, &cqe, &index)
            if result == REAP_NONE:
                break
            if result != REAP_COMMAND:
                self._foreign(result, cqe.sqid, cqe.cid, cqe.sqhd)
                break
            count += 1
            if self.tap is not None:
                self.tap.completed(self.ring.qid, &cqe)
            request = <Request>self.ring.slots[index].owner
            if request.plain and request.verdict == BY_STATUS:
                self.plain_done(request, index, &cqe)
            else:
                self.piece_done(request, index, &cqe)
        if count:
            self.completions += count
            self.feed()
        return count

    cdef int plain_done(self, Request request, uint16_t index, const Cqe *cqe) except -1:
        """As `piece_done`, `finish` and `Request.end` for what needs nothing more."""
        ring_free_slot(&self.ring, index)
        Py_DECREF(request)
        request.in_flight = 0
        request.cpl = _completion(cqe)
        request.state = ENDED
        (<DmaBuffer>request.holder).release()
        request.holder = None
        request.failure_unseen = not request.quiet and request.cpl.raw_status != 0
        if request.cb_fn is not None or request.waiter is not None:
            self.put_in_backlog(request)
        return 0

    cdef int piece_done(self, Request request, uint16_t index, const Cqe *cqe) except -1:
        cdef uint16_t status = cqe.status >> 1
        ring_free_slot(&self.ring, index)
        _unkeep(self, request)
        request.in_flight -= 1
        if request.batch is not None:
            if status:
                (<Batch>request.batch).note(index, cqe)
            if request.in_flight + 1 == (<Batch>request.batch).most:
                self.wait_in_queue(request)
            status = 0
        if request.cpl is None or (status != 0 and (
                request.cpl.raw_status == 0 or (request.cpl.raw_status & CODE_BITS) == FAILED_FUSED)):
            request.cpl = _completion(cqe)
            request.cpl.raw_status = status
        if request.state == QUEUED and (status != 0 or request.verdict != BY_STATUS):
            # The first error ends a split transfer: its other pieces are not posted.
            self.unqueue(request)
            self.post_no_more(request)
        if request.in_flight == 0 and request.state == IN_FLIGHT:
            self.finish(request)
        return 0

    cdef int finish(self, Request request) except -1:
        """The device has let go of all of it."""
        if request.stage and self.unattended:
            self.unattended -= 1
        self.batches -= request.batch is not None
        request.end()
        if request.has_waiters():
            self.put_in_backlog(request)
        return 0

    cdef void put_in_backlog(self, Request request) noexcept:
        request.in_backlog = True
        if self.ended_head is None:
            self.ended_head = request
        else:
            self.ended_tail.next = request
        self.ended_tail = request

    cdef int finish_by_host(self, Request request) except -1:
        """Ends a request that has no completion from the device, with a status that says so."""
        cdef Completion cpl
        if request.cpl is None:
            cpl = Completion.__new__(Completion)
            cpl.sqid = self.ring.qid
            cpl.cid = request.first_cid
            cpl.raw_status = HOST_ABORTED
            request.cpl = cpl
        self.finish(request)
        return self.on_ended()

    def _foreign(self, int reason, sqid, cid, sqhd):
        """A completion that cannot be ours: it is counted and reported, and the queue pair is at its end."""
        self.foreign += 1
        self.broken = self.suspended = True
        self.on_broken(
            f"{self.describe()} got a completion for {_FOREIGN.get(reason, 'an impossible queue head')} "
            f"(sqid {sqid}, cid {cid:#06x}, sqhd {sqhd})")

    cdef int post_batch(self, Request request) except -1:
        return 0

    cdef int on_ended(self) except -1:
        return 0

    cdef int on_broken(self, str text) except -1:
        return 0

    # -- all of them ---------------------------------------------------------------------------------------------------

    cdef bint idle(self) noexcept:
        return self.ring.outstanding == self.standing and self.queue_head is None and self.ended_head is None

    cdef list owners(self):
        """Every request that is not ended, once, in no order but the queued ones last."""
        cdef uint32_t index
        cdef Request request = self.queue_head
        cdef dict found = {}
        for index in range(self.ring.depth):
            if self.ring.slots[index].owner != NULL:
                found[<Request>self.ring.slots[index].owner] = None
        while request is not None:
            found[request] = None
            request = request.next
        return list(found)

    cdef int drop_pieces(self, Request request) except -1:
        cdef uint32_t index
        for index in range(self.ring.depth):
            if self.ring.slots[index].owner == <void *>request:
                if self.tap is not None:
                    self.tap.dropped(self.ring.qid, self.ring.slots[index].cid)
                ring_free_slot(&self.ring, <uint16_t>index)
                if request.batch is not None:
                    (<Batch>request.batch).note(<uint16_t>index, NULL)
                request.in_flight -= 1
                _unkeep(self, request)
        return 0

    def end_outstanding(self, error, queued):
        """Ends every command that the device had, with `error` where it has no other verdict.

        To be called only when the device can no longer write the host's memory (RDY=0 seen, or DMA cut off).

        Args:
            error: The exception; each request gets one of its own, made by its class and arguments.
            queued: Whether commands that were never posted end too.
        """
        cdef Request request
        for request in self.owners():
            if request.state == QUEUED:
                if not queued and not request.has_cid:
                    continue
                self.unqueue(request)
            self.post_no_more(request)
            self.drop_pieces(request)
            if request.verdict == BY_STATUS:
                request.verdict = BY_ERROR
                request.error = type(error)(*error.args)
            self.finish_by_host(request)

    def drop_unposted(self, uint32_t nsid, error):
        """Ends what was not posted yet of the commands for a namespace: it is not what it was when they were made.

        What the device has of them ends by itself, and the request then, with `error` where it has no other verdict.
        """
        cdef Request request
        for request in self.owners():
            if request.state != QUEUED or request.sqe.nsid != nsid:
                continue
            self.unqueue(request)
            self.post_no_more(request)
            if request.verdict == BY_STATUS:
                request.verdict = BY_ERROR
                request.error = type(error)(*error.args)
            if request.in_flight == 0:
                self.finish_by_host(request)

    def reset_rings(self):
        """Back to empty rings, of which the controller may be told then. Nothing may be outstanding."""
        if self.ring.outstanding:
            raise RuntimeError(f"{self!r} has {self.ring.outstanding} commands outstanding")
        ring_reset(&self.ring)
        self.muted = False
        if self.ring.qid == 0:
            self.broken = False

    def give_back(self):
        """Gives the rings' memory back. Nothing is outstanding, and the device knows no such queue."""
        self.suspended = self.muted = True
        self.free_rings()
