# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The queue pair: posts requests as commands, reaps completions, tells who waits.

One turn of a queue pair is one callback of the loop: ring the doorbell for what was posted, reap, resume a bounded
number of tasks, post what waited for a slot, ring again, and ask for the next turn if there is anything outstanding.
A task is resumed from here directly, which is allowed because a turn runs outside any task; a completion that is reaped
inside a task (by a spin, or by `process_completions` in a coroutine) is told in the next turn instead.

What is resumed may do anything: submit, cancel, close, reset, raise. Nothing is kept over such a call but `self`.
"""

import asyncio
import os
import threading
from contextvars import copy_context

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from aionvme.errors import (
    ControllerFailedError, QueueFullError, UsageError, WrongLoopError,
)
from aionvme.pci.dma cimport DmaBuffer, DmaSpace
from aionvme.pci.function cimport Function
from aionvme.pci.mmio cimport aio_barrier_full, aio_cpu_relax
from aionvme.qpair.prp cimport PRP_NOT_MAPPED, PRP_OK, PRP_TOO_LONG, PRP_UNALIGNED, PrpResult, prp_build
from aionvme.qpair.request cimport (
    BY_CANCEL, BY_ERROR, BY_STATUS, BY_TIMEOUT, ENDED, IN_FLIGHT, QUEUED, Completion, Request, RequestOwner,
)
from aionvme.qpair.ring cimport (
    CQE_BYTES, NO_SLOT, REAP_COMMAND, REAP_FOREIGN_CID, REAP_FOREIGN_SQID, REAP_NONE, SQE_BYTES, Cqe, ReapResult,
    Slot, Sqe, ring_cq_doorbell, ring_doorbell, ring_free, ring_free_slot, ring_has_completion, ring_init, ring_post,
    ring_reap, ring_reset, ring_take_slot,
)
from aionvme.qpair.poller import Poller
from aionvme.qpair.request import report
from aionvme.spec.status import StatusCode

cdef object _get_running_loop = asyncio._get_running_loop
cdef object _current_task = asyncio.current_task
cdef object _get_ident = threading.get_ident

cdef enum:
    RESUMES_PER_TURN = 128
    LONGEST_TIMEOUT = 1_000_000_000
    # One await spins for at most this long, and all of them together for at most CREDIT between two turns of the loop.
    SPIN_NS = 20_000
    SPIN_CREDIT_NS = 100_000
    # An adaptive queue pair leaves polling to the interrupt after so many turns that found nothing.
    ADAPTIVE_EMPTY_TURNS = 64
    # Longest transfer of one command, so that the PRP lists of 256 slots stay within half a mebibyte.
    MAX_PIECE_BYTES = 1 << 20

cdef uint16_t HOST_ABORTED = <uint16_t>int(StatusCode.COMMAND_ABORTED_BY_HOST)

_MODES = {"poll": POLL, "interrupt": INTERRUPT, "adaptive": ADAPTIVE, "manual": MANUAL}
_MODE_NAMES = {v: k for k, v in _MODES.items()}


cdef inline uint64_t now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1_000_000_000 + <uint64_t>now.tv_nsec


cdef class QueuePair(RequestOwner):
    """A submission and a completion queue of one controller, belonging to one loop (or thread).

    Made by the controller: `Controller.alloc_io_qpair` for I/O, and one of its own for admin commands.

    Attributes:
        qid: Queue identifier, of both queues; 0 is the admin queue pair.
        depth: Commands that may be outstanding at once; more wait in software, in order.
        completion: "poll", "interrupt", "adaptive" or "manual".
    """

    def __init__(self, *, function, dma, qid, depth, entries, page_size, max_transfer, sq_doorbell, cq_doorbell,
                 completion="poll", loop=None, host=None, irq_fd=-1, default_timeout=0.0, abort_timeout=5.0,
                 batching=None, name=None, poller_task=True):
        self.function = function
        self.dma = dma
        self.page_size = page_size
        self.max_transfer = min(max_transfer or MAX_PIECE_BYTES, MAX_PIECE_BYTES)
        self.loop = loop
        self.host = host
        self.mode = _MODES[completion]
        self.irq_fd = irq_fd
        self.default_timeout = default_timeout or 0.0
        self.abort_timeout = abort_timeout
        self.batching = (self.mode != MANUAL) if batching is None else batching
        self.thread = _get_ident()
        self.name_ = name or f"qp {qid}"
        self.spin_ns = SPIN_NS if self.mode in (POLL, ADAPTIVE) else 0
        self.idle_waiters = []
        self.turn = self._turn
        self.context = copy_context()
        ring_init(&self.ring, qid, depth, entries)
        self._lay_out(sq_doorbell, cq_doorbell)
        if loop is not None:
            self.call_soon = loop.call_soon
            if self.mode != MANUAL and poller_task:
                self.poller = Poller(self, self.name_)
            if self.mode in (INTERRUPT, ADAPTIVE):
                loop.add_reader(irq_fd, self._on_interrupt)

    def _lay_out(self, size_t sq_doorbell, size_t cq_doorbell):
        # One allocation: submission queue, completion queue and PRP lists, each from a page on.
        cdef size_t page = self.page_size
        cdef size_t sq_bytes = _round_up(self.ring.sq_entries * <size_t>SQE_BYTES, page)
        cdef size_t cq_bytes = _round_up(self.ring.cq_entries * <size_t>CQE_BYTES, page)
        cdef size_t stride = 64
        # A list names all pages of a transfer but the first, is a power of two and so never crosses a page.
        while stride < (self.max_transfer // page) * 8:
            stride *= 2
        self.memory = self.dma.alloc(sq_bytes + cq_bytes + stride * self.ring.depth)
        self.memory.hold()
        self.ring.sq = self.memory.address
        self.ring.cq = self.memory.address + sq_bytes
        self.ring.prp_lists = self.ring.cq + cq_bytes
        self.ring.prp_lists_iova = self.memory.iova + sq_bytes + cq_bytes
        self.ring.prp_stride = stride
        self.sq_doorbell_offset = sq_doorbell
        self.cq_doorbell_offset = cq_doorbell
        if self.function.bar != NULL:
            if cq_doorbell + 4 > self.function.bar_size:
                raise UsageError(f"the doorbells of queue {self.ring.qid} lie outside of BAR 0")
            self.ring.sq_doorbell = self.function.bar + sq_doorbell
            self.ring.cq_doorbell = self.function.bar + cq_doorbell
        ring_reset(&self.ring)

    def __dealloc__(self):
        ring_free(&self.ring)

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def qid(self):
        """Queue identifier of both queues; 0 is the admin queue pair."""
        return self.ring.qid

    @property
    def depth(self):
        """Commands that may be outstanding at once."""
        return self.ring.depth

    @property
    def completion(self):
        """How completions are noticed: "poll", "interrupt", "adaptive" or "manual"."""
        return _MODE_NAMES[self.mode]

    @property
    def outstanding(self):
        """Commands that the device owns now (pieces of a split transfer count each)."""
        return self.ring.outstanding

    @property
    def closed(self):
        """Whether it takes no more commands."""
        return self.refusal is not None

    @property
    def sq_iova(self):
        """Where the device finds the submission queue."""
        return self.memory.iova

    @property
    def cq_iova(self):
        """Where the device finds the completion queue."""
        return self.memory.iova + (self.ring.cq - self.ring.sq)

    @property
    def entries(self):
        """Entries of each ring."""
        return self.ring.sq_entries

    @property
    def counters(self):
        """What it did so far: turns, doorbells, completions, foreign completions, and what waits now."""
        return {"turns": self.turns, "doorbells": self.doorbells, "completions": self.completions,
                "foreign": self.foreign, "outstanding": self.ring.outstanding}

    cdef str describe(self):
        return f"queue pair {self.ring.qid} of {self.function.pci_dev}"

    def __repr__(self):
        state = " closed" if self.refusal is not None else ""
        return f"<{type(self).__name__} {self.ring.qid}, depth {self.ring.depth}, {self.completion}{state}>"

    # -- submitting ----------------------------------------------------------------------------------------------------

    cdef int check_usable(self) except -1:
        """Before a request exists: open, and called from where it belongs."""
        if self.refusal is not None:
            raise type(self.refusal)(*self.refusal.args)
        if <unsigned long>_get_ident() != self.thread:
            raise WrongLoopError(f"{self!r} belongs to another thread: allocate a queue pair in each thread")
        if self.loop is not None and _get_running_loop() is not self.loop:
            raise WrongLoopError(f"{self!r} belongs to another event loop: use it in the loop that allocated it")
        return 0

    cdef int hold_buffer(self, Request request, object buffer, bint device_writes) except -1:
        """Takes the caller's memory for the command: until let_go it stays allocated and mapped."""
        cdef DmaBuffer own
        if type(buffer) is DmaBuffer:
            own = <DmaBuffer>buffer
            if own.closed_:
                raise UsageError("buf is closed")
            own.hold()
            request.holder = own
            request.address = own.address
            request.nbytes = own.nbytes
            return 0
        PyObject_GetBuffer(buffer, &request.view, PyBUF_WRITABLE if device_writes else PyBUF_SIMPLE)
        request.has_view = True
        request.address = <uint8_t *>request.view.buf
        request.nbytes = <size_t>request.view.len
        request.holder = self.dma.hold_at(<size_t>request.address)
        return 0

    cdef int check_mapped(self, Request request, size_t nbytes) except -1:
        cdef uint64_t iova = 0
        cdef size_t done = 0, run
        while done < nbytes:
            run = self.dma.translate(request.address + done, nbytes - done, &iova)
            if run == 0:
                raise UsageError(
                    f"buf: byte {done} of {nbytes} is not mapped for DMA by this controller: use memory of "
                    "ctrlr.dma_alloc(), or register it with ctrlr.dma_register()")
            if iova & 3:
                raise UsageError("buf must begin at a multiple of 4 bytes")
            done += run
        return 0

    cdef void let_go(self, Request request) noexcept:
        if request.has_view:
            request.has_view = False
            PyBuffer_Release(&request.view)
        if request.holder is not None:
            if type(request.holder) is DmaBuffer:
                (<DmaBuffer>request.holder).release()
            else:
                self.dma.release_at(request.holder)
            request.holder = None

    cdef int submit(self, Request request, object timeout, object when_full) except -1:
        """Posts the request, or queues what finds no slot. It belongs to the queue pair from here on."""
        cdef double seconds = self.default_timeout if timeout is None else timeout
        if when_full is not None and self.ring.first_free == NO_SLOT:
            raise QueueFullError(f"all {self.ring.depth} slots of {self.describe()} are in use")
        request.timeout = seconds
        if not 0 <= seconds < LONGEST_TIMEOUT:
            raise UsageError(f"timeout must be from 0 (none) to {LONGEST_TIMEOUT} seconds, not {timeout}")
        if seconds > 0:
            request.deadline_ns = now_ns() + <uint64_t>(seconds * 1e9)
            self.arm(request.deadline_ns)
        request.owner = self
        if self.queue_head is not None or self.suspended:
            self.enqueue(request)
        else:
            while request.state == QUEUED and self.ring.first_free != NO_SLOT:
                self.post_piece(request)
            if request.state == QUEUED:
                self.enqueue(request)
        if self.batching:
            self.schedule()
        else:
            self.ring_doorbells()
            self.schedule()
        return 0

    cdef int post_piece(self, Request request) except -1:
        """Posts the next piece of a request; there is a free slot."""
        cdef uint16_t index = ring_take_slot(&self.ring, <void *>request)
        cdef Slot *slot = &self.ring.slots[index]
        cdef uint64_t blocks = 0, room
        cdef size_t nbytes = request.nbytes, list_offset = <size_t>index * self.ring.prp_stride
        cdef PrpResult result
        if request.piece_blocks:
            blocks = min(request.blocks_left, <uint64_t>request.piece_blocks)
            if request.boundary:
                room = request.boundary - request.lba % request.boundary
                blocks = min(blocks, room)
            nbytes = blocks * request.unit
            request.sqe.cdw10 = <uint32_t>request.lba
            request.sqe.cdw11 = <uint32_t>(request.lba >> 32)
            request.sqe.cdw12 = (request.sqe.cdw12 & 0xFFFF0000) | <uint32_t>(blocks - 1)
        if nbytes:
            result = prp_build(
                self.dma, request.address, nbytes, self.page_size, <uint64_t *>(self.ring.prp_lists + list_offset),
                self.ring.prp_lists_iova + list_offset, self.ring.prp_stride // 8,
                &request.sqe.prp1, &request.sqe.prp2)
            if result != PRP_OK:
                ring_free_slot(&self.ring, index)
                return self._cannot_describe(request, result)
        request.sqe.cid = slot.cid
        slot.opcode = request.opcode
        ring_post(&self.ring, &request.sqe)
        Py_INCREF(request)
        request.in_flight += 1
        if not request.has_cid:
            request.has_cid = True
            request.first_cid = slot.cid
        if request.blocks_left > blocks:
            request.blocks_left -= blocks
            request.lba += blocks
            request.address += nbytes
        else:
            request.blocks_left = 0
            request.state = IN_FLIGHT
        return 0

    def _cannot_describe(self, Request request, int result):
        # Checked at the call; this is memory that was unmapped while the command waited for a slot.
        texts = {PRP_NOT_MAPPED: "is not mapped for DMA any more", PRP_TOO_LONG: "has more pages than one command takes",
                 PRP_UNALIGNED: "cannot be described by a PRP list"}
        request.error = UsageError(f"buf {texts[result]}")
        request.verdict = BY_ERROR if request.verdict == BY_STATUS else request.verdict
        request.blocks_left = 0
        request.state = IN_FLIGHT
        if request.in_flight == 0:
            self.finish_by_host(request)
        return 0

    cdef int feed(self) except -1:
        """Posts what waits, while there are slots."""
        cdef Request request
        while self.queue_head is not None and self.ring.first_free != NO_SLOT and not self.suspended:
            request = self.queue_head
            self.post_piece(request)
            if request.state != QUEUED:
                self.unqueue(request)
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

    # -- completing ----------------------------------------------------------------------------------------------------

    cdef int reap(self, uint32_t limit) except -1:
        """Takes up to `limit` completions off the ring; how many."""
        cdef Cqe cqe
        cdef uint16_t index = 0
        cdef ReapResult result
        cdef uint32_t count = 0
        if self.ring.cq == NULL:
            return 0
        while count < limit:
            result = ring_reap(&self.ring, &cqe, &index)
            if result == REAP_NONE:
                break
            if result != REAP_COMMAND:
                self.broken(result, &cqe)
                break
            count += 1
            self.piece_done(<Request>self.ring.slots[index].owner, index, &cqe)
        if count:
            self.completions += count
            self.empty_turns = 0
            self.feed()
        else:
            self.empty_turns += 1
        return count

    cdef int piece_done(self, Request request, uint16_t index, const Cqe *cqe) except -1:
        cdef Completion cpl
        cdef uint16_t status = cqe.status >> 1
        ring_free_slot(&self.ring, index)
        Py_DECREF(request)
        request.in_flight -= 1
        if request.cpl is None or (status != 0 and request.cpl.raw_status == 0):
            cpl = Completion.__new__(Completion)
            cpl.dw0 = cqe.dw0
            cpl.dw1 = cqe.dw1
            cpl.sqhd = cqe.sqhd
            cpl.sqid = cqe.sqid
            cpl.cid = cqe.cid
            cpl.raw_status = status
            request.cpl = cpl
        if request.state == QUEUED and (status != 0 or request.verdict != BY_STATUS):
            # The first error ends a split transfer: its other pieces are not posted.
            self.unqueue(request)
            request.blocks_left = 0
            request.state = IN_FLIGHT
        if request.in_flight == 0 and request.state == IN_FLIGHT:
            self.finish(request)
        return 0

    cdef int finish(self, Request request) except -1:
        """The device has let go of all of it."""
        if request.verdict in (BY_CANCEL, BY_TIMEOUT) and self.unattended:
            self.unattended -= 1
        request.end()
        if request.has_waiters():
            request.in_backlog = True
            if self.ended_head is None:
                self.ended_head = request
            else:
                self.ended_tail.next = request
            self.ended_tail = request
        return 0

    cdef int finish_by_host(self, Request request) except -1:
        """Ends a request that has no completion from the device, with a status that says so (SCT 3h, SC 71h)."""
        cdef Completion cpl
        if request.cpl is None:
            cpl = Completion.__new__(Completion)
            cpl.sqid = self.ring.qid
            cpl.cid = request.first_cid
            cpl.raw_status = HOST_ABORTED
            request.cpl = cpl
        self.finish(request)
        return self.schedule()

    cdef int deliver(self, uint32_t limit, bint directly) except -1:
        """Tells up to `limit` waiters. What raises out of it (KeyboardInterrupt, SystemExit) loses no other."""
        cdef Request request
        if self.delivering:
            return 0
        self.delivering = True
        try:
            while limit and self.ended_head is not None:
                limit -= 1
                request = self.ended_head
                self.ended_head = request.next
                request.next = None
                if self.ended_head is None:
                    self.ended_tail = None
                request.in_backlog = False
                try:
                    request.tell(directly)
                except BaseException:
                    if request.has_waiters():
                        self._put_back(request)
                    raise
        finally:
            self.delivering = False
        return 0

    def _put_back(self, Request request):
        request.in_backlog = True
        request.next = self.ended_head
        self.ended_head = request
        if self.ended_tail is None:
            self.ended_tail = request

    cdef int ring_doorbells(self) except -1:
        cdef bint rung = ring_doorbell(&self.ring)
        if rung:
            self.doorbells += 1
        if self.ring.sq_doorbell == NULL and rung:
            self.function.write32(self.sq_doorbell_offset, self.ring.sq_tail)
        if ring_cq_doorbell(&self.ring):
            rung = True
            if self.ring.cq_doorbell == NULL:
                self.function.write32(self.cq_doorbell_offset, self.ring.cq_head)
        if rung and self.function.sleeping != NULL:
            aio_barrier_full()
            if self.function.sleeping[0]:
                self.function.kick()
        return 0

    # -- turns of the loop ---------------------------------------------------------------------------------------------

    cdef bint idle(self) noexcept:
        return self.ring.outstanding == 0 and self.queue_head is None and self.ended_head is None

    cdef int schedule(self) except -1:
        """Asks the loop for a turn, unless there is one to come."""
        if self.scheduled or self.loop is None or (self.mode == MANUAL and not self.unattended and not self.closing):
            return 0
        try:
            self.call_soon(self.turn, context=self.context)
        except RuntimeError:
            if self.loop.is_closed():
                return 0
            raise
        self.scheduled = True
        return 0

    def _turn(self):
        self.scheduled = False
        self.turns += 1
        self.spin_credit_ns = SPIN_CREDIT_NS
        try:
            self.ring_doorbells()
            self.reap(self.ring.depth)
            self.deliver(RESUMES_PER_TURN, True)
        finally:
            self._end_turn()

    def _end_turn(self):
        if not self.suspended:
            self.ring_doorbells()
        if self.idle():
            if self.idle_waiters or self.finishing:
                self._tell_idle()
        elif self.ended_head is not None or self._polls():
            self.schedule()

    def _polls(self):
        # Whether the next turn is wanted although no one asked for it: something may complete, and no interrupt tells.
        if self.ring.outstanding == 0:
            return False
        if self.mode == INTERRUPT:
            return False
        return self.mode != ADAPTIVE or self.empty_turns < ADAPTIVE_EMPTY_TURNS

    def _on_interrupt(self):
        try:
            os.read(self.irq_fd, 8)
        except BlockingIOError:
            pass
        self.empty_turns = 0
        # If a turn stands in the loop's queue, that one will do.
        if not self.scheduled:
            self._turn()

    cdef int about_to_wait(self, Request request) except -1:
        """A lone command is worth a short spin: one device round trip, and no turn of the loop."""
        cdef uint64_t begun, now
        cdef int i
        if self.ring.outstanding != 1 or self.delivering and self.ended_head is not None:
            return 0
        if not self.spin_ns or self.spin_credit_ns < self.spin_ns or request.state != IN_FLIGHT:
            return 0
        self.ring_doorbells()
        begun = now = now_ns()
        with nogil:
            while now - begun < self.spin_ns:
                for i in range(16):
                    if ring_has_completion(&self.ring):
                        break
                    aio_cpu_relax()
                else:
                    now = now_ns()
                    continue
                break
        self.spin_credit_ns -= min(now_ns() - begun, self.spin_credit_ns)
        if ring_has_completion(&self.ring):
            self.reap(1)
        return 0

    def process_completions(self, uint32_t max_completions=0):
        """Reaps completions and calls their callbacks; for "manual" queue pairs, and harmless on others.

        Args:
            max_completions: At most so many; 0 for all that are there.

        Returns:
            How many completions were reaped. Called from within a callback it reaps nothing and returns 0.
        """
        cdef int count
        cdef bint directly
        if <unsigned long>_get_ident() != self.thread:
            raise WrongLoopError(f"{self!r} belongs to another thread")
        if self.delivering:
            return 0
        directly = self.loop is None or _get_running_loop() is not self.loop or _current_task(self.loop) is None
        if self.next_deadline_ns and now_ns() >= self.next_deadline_ns:
            self._on_timer()
        try:
            self.ring_doorbells()
            count = self.reap(max_completions or self.ring.depth)
            self.context.run(self._deliver_all, directly)
        finally:
            self._end_turn()
        return count

    def _deliver_all(self, bint directly):
        self.deliver(0xFFFFFFFF, directly)

    # -- cancelling and timeouts ---------------------------------------------------------------------------------------

    cdef int cancel_request(self, Request request) except -1:
        """The verdict stands: take it out of the queue, or have the device abort it."""
        if request.stage == 0:
            self.unattended += 1
            self.give_up(request)
        return 0

    cdef int give_up(self, Request request) except -1:
        cdef uint32_t index
        cdef Slot *slot
        request.stage = 1
        if request.state == QUEUED:
            self.unqueue(request)
            request.blocks_left = 0
            request.state = IN_FLIGHT
        if request.in_flight == 0:
            return self.finish_by_host(request)
        request.deadline_ns = now_ns() + <uint64_t>(self.abort_timeout * 1e9)
        self.arm(request.deadline_ns)
        # The device must have been told of a command before it can be told to abort it.
        self.ring_doorbells()
        for index in range(self.ring.depth):
            slot = &self.ring.slots[index]
            if slot.owner == <void *>request and not slot.aborting:
                slot.aborting = 1
                if self.host is not None:
                    self.host.abort(self.ring.qid, slot.cid, request.opcode)
        return self.schedule()

    cdef int arm(self, uint64_t deadline_ns) except -1:
        """Sees to it that _on_timer runs by then."""
        cdef uint64_t now
        if self.next_deadline_ns and self.next_deadline_ns <= deadline_ns:
            return 0
        self.next_deadline_ns = deadline_ns
        if self.loop is None or self.loop.is_closed():
            return 0
        if self.timer is not None:
            self.timer.cancel()
        now = now_ns()
        self.timer = self.loop.call_later((deadline_ns - min(now, deadline_ns)) / 1e9, self._on_timer)
        return 0

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

    def _on_timer(self):
        cdef Request request
        cdef uint64_t now = now_ns(), earliest = 0
        self.timer = None
        self.next_deadline_ns = 0
        # What has completed in time is not late because the loop was.
        self.reap(self.ring.depth)
        for request in self.owners():
            if request.state == ENDED or request.deadline_ns == 0:
                continue
            if request.deadline_ns <= now:
                self._late(request)
            if request.deadline_ns and request.state != ENDED and (not earliest or request.deadline_ns < earliest):
                earliest = request.deadline_ns
        if earliest:
            self.arm(earliest)
        self.schedule()

    def _late(self, Request request):
        if request.stage == 0:
            if request.verdict == BY_STATUS:
                request.verdict = BY_TIMEOUT
            self.unattended += 1
            self.give_up(request)
            return
        # Abort did not help either: only a reset makes the device let go.
        request.deadline_ns = 0
        if request.stage == 1 and self.host is not None:
            request.stage = 2
            self.host.escalate(f"a command (opcode {request.opcode:#04x}) on {self.describe()} did not end after Abort")

    def begin_finish(self):
        """The loop is being torn down: what is outstanding gets a deadline, so that it ends in bounded time."""
        cdef Request request
        cdef uint64_t latest = now_ns() + <uint64_t>(self.abort_timeout * 1e9)
        self.finishing = True
        for request in self.owners():
            if request.state != ENDED and request.stage == 0 and (
                    request.deadline_ns == 0 or request.deadline_ns > latest):
                request.deadline_ns = latest
                request.timeout = self.abort_timeout
                self.arm(latest)
        self.schedule()
        self._end_turn()

    cdef int broken(self, ReapResult reason, const Cqe *cqe) except -1:
        """A completion that cannot be ours: nothing that this queue says can be believed any more."""
        self.foreign += 1
        what = {REAP_FOREIGN_SQID: "another submission queue", REAP_FOREIGN_CID: "no command that is outstanding"}
        text = (f"{self.describe()} got a completion for {what.get(reason, 'an impossible queue head')} "
                f"(sqid {cqe.sqid}, cid {cqe.cid:#06x}, sqhd {cqe.sqhd})")
        self.suspended = True
        self.refusal = ControllerFailedError(f"{text}; close it and allocate another")
        report(self.loop, text, self.refusal, None, None)
        if self.host is not None:
            self.host.escalate(text)
        return 0

    # -- for the controller --------------------------------------------------------------------------------------------

    def suspend(self):
        """Posts nothing more until `resume`; commands are still taken, and wait."""
        self.suspended = True

    def resume(self):
        """Posts what waited."""
        self.suspended = False
        self.feed()
        self.schedule()

    @property
    def broken_by_device(self):
        """Whether the device broke the protocol on this queue pair."""
        return self.foreign > 0

    def refuse(self, exception):
        """Takes no more commands: a call raises this exception."""
        if self.refusal is None:
            self.refusal = exception

    def end_outstanding(self, error, queued):
        """Ends every command that the device had, with `error` where it has no other verdict.

        To be called only when the device can no longer write the host's memory (RDY=0 seen, or DMA cut off).

        Args:
            error: The exception; each request gets one of its own, made by its class and arguments.
            queued: Whether commands that were never posted end too.
        """
        cdef Request request
        for request in self.owners():
            if request.state == QUEUED and request.in_flight == 0 and not queued and not request.has_cid:
                continue
            if request.state == QUEUED:
                self.unqueue(request)
            request.blocks_left = 0
            request.state = IN_FLIGHT
            self.drop_pieces(request)
            if request.verdict == BY_STATUS:
                request.verdict = BY_ERROR
                request.error = type(error)(*error.args)
            self.finish_by_host(request)

    cdef int drop_pieces(self, Request request) except -1:
        cdef uint32_t index
        for index in range(self.ring.depth):
            if self.ring.slots[index].owner == <void *>request:
                ring_free_slot(&self.ring, <uint16_t>index)
                request.in_flight -= 1
                Py_DECREF(request)
        return 0

    def reset_rings(self):
        """Back to empty rings, before the controller is told of them again. Nothing may be outstanding."""
        if self.ring.outstanding:
            raise RuntimeError(f"{self!r} has {self.ring.outstanding} commands outstanding")
        ring_reset(&self.ring)

    def _tell_idle(self):
        waiters, self.idle_waiters = self.idle_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        if self.poller is not None:
            self.poller.idle()

    async def wait_idle(self):
        """Waits until every command has ended and its waiter was told."""
        while not self.idle():
            self.closing = True
            waiter = self.loop.create_future()
            self.idle_waiters.append(waiter)
            self.schedule()
            await waiter

    def dispose(self):
        """Gives rings, timer, interrupt and poller back. Nothing is outstanding, and the device knows no such queue."""
        self.refuse(UsageError(f"{self!r} is closed"))
        self.suspended = True
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.loop is not None and self.mode in (INTERRUPT, ADAPTIVE) and not self.loop.is_closed():
            self.loop.remove_reader(self.irq_fd)
        if self.memory is not None and not self.ring.outstanding:
            self.memory.release()
            self.memory.close()
            self.ring.sq = self.ring.cq = NULL
            self.ring.sq_doorbell = self.ring.cq_doorbell = NULL
        if self.poller is not None:
            self.poller.stop()


cdef size_t _round_up(size_t value, size_t multiple) noexcept:
    return (value + multiple - 1) // multiple * multiple
