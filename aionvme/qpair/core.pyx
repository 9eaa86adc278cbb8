# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns when a queue pair works and whom it tells: turns of the loop, cancelling, timeouts.

One turn of a queue pair is one callback of the loop: ring the doorbell for what was posted, reap, resume a bounded
number of tasks, post what waited for a slot, ring again, and ask for the next turn if there is anything outstanding.
A task is resumed from here directly, which is allowed because a turn runs outside any task; a completion that is reaped
inside a task (by a spin, or by `process_completions` in a coroutine) is told in the next turn instead.

What is resumed may do anything: submit, cancel, close, reset, raise. Nothing is kept over such a call but `self`.
"""

import asyncio
import weakref
from contextvars import copy_context

from cpython.ref cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from aionvme.clock cimport is_virtual, now_ns, real_ns
from aionvme.clock import check_loop, watch
from aionvme.errors import ControllerFailedError, QueueFullError, UsageError, WrongLoopError
from aionvme.pci.memory cimport fork_count
from aionvme.pci.mmio cimport aio_cpu_relax
from aionvme.qpair.batch cimport Batch
from aionvme.qpair.here cimport aio_call_bare, aio_learn_loop, aio_runs_here, aio_this_thread
from aionvme.qpair.request cimport BY_STATUS, BY_TIMEOUT, ENDED, QUEUED, Request
from aionvme.qpair.ring cimport Slot
from aionvme.qpair.spinning cimport Spinning
from aionvme.qpair.waking cimport ADAPTIVE, INTERRUPT, MANUAL, POLL
from aionvme.qpair.wrong cimport FREES_CID_AT_CANCEL
from aionvme.qpair.home import Home
from aionvme.qpair.poller import Poller, look_for_polls
from aionvme.qpair.request import report
from aionvme.qpair.waking import call_weakly

cdef object _get_running_loop = asyncio._get_running_loop
cdef object _current_task = asyncio.current_task

cdef enum:
    RESUMES_PER_TURN = 128
    LONGEST_TIMEOUT = 1_000_000_000
    # Among so many that are resumed the device is told of what they posted.
    TOLD_PER_DOORBELL = 8
    # One turn goes on with batches for so long, and waits for so long at most for the next completion of one.
    BATCH_NS = 50_000
    BATCH_WAIT_NS = 2_000
    # A loop that takes longer from the end of that to the next turn has other things to do.
    LOOP_BUSY_NS = 8_000

_MODES = {"poll": POLL, "interrupt": INTERRUPT, "adaptive": ADAPTIVE, "manual": MANUAL}
_MODE_NAMES = {v: k for k, v in _MODES.items()}


cdef inline int _check_thread(QueuePair qp) except -1:
    # A forked child does not have the memory of the rings: it must not even look at them.
    if fork_count() != qp.forks:
        raise WrongLoopError(f"{qp!r} belongs to the process that this one was forked from: connect here as well")
    if aio_this_thread() != qp.thread:
        raise WrongLoopError(f"{qp!r} belongs to another thread: {qp._instead()}")
    return 0


cdef class QueuePair(Spinning):
    """A submission and a completion queue of one controller, belonging to one loop (or thread).

    Made by the controller: `Controller.alloc_io_qpair` for I/O, and one of its own for admin commands.

    Attributes:
        qid: Queue identifier, of both queues; 0 is the admin queue pair.
        depth: Commands that may be outstanding at once; more wait in software, in order.
        completion: "poll", "interrupt", "adaptive" or "manual".
    """

    def __init__(self, *, completion="poll", loop=None, host=None, irq_fd=-1, default_timeout=0.0, abort_timeout=5.0,
                 loop_timeout=5.0, batching=None, name=None, **rings):
        check_loop(loop)
        Spinning.__init__(self, **rings)
        self.loop = loop
        self.home = Home(loop, loop_timeout)
        self.host = host
        self.set_mode(_MODES[completion])
        self.irq_fd = -1
        self.default_timeout = default_timeout or 0.0
        self.abort_timeout = abort_timeout
        self.batching = (self.mode != MANUAL) if batching is None else batching
        self.thread = aio_this_thread()
        self.forks = fork_count()
        self.name_ = name or self.describe()
        self.idle_waiters = []
        self.turn = self._turn
        self.context = copy_context()
        if loop is not None:
            running = _get_running_loop()
            aio_learn_loop(<PyObject *>running)
            self.ended = asyncio.Future(loop=loop)
            self.ended.set_result(None)
            self.call_soon = loop.call_soon
            self.debug = loop.get_debug()
            self.poller = Poller(self, self.name_)
        self.use_interrupt(irq_fd)
        watch(self.has_news)

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def completion(self):
        """How completions are noticed: "poll", "interrupt", "adaptive" or "manual"."""
        return _MODE_NAMES[self.mode]

    @property
    def closed(self):
        """Whether it takes no more commands."""
        return self.refusal is not None

    @property
    def finishing_for_loop(self):
        """Whether the loop is being torn down: what is outstanding ends, and nothing is begun."""
        return bool(self.finishing)

    @property
    def counters(self):
        """What it did so far: turns, doorbells, completions, foreign completions, missed interrupts."""
        return {"turns": self.turns, "doorbells": self.doorbells, "completions": self.completions,
                "foreign": self.foreign, "missed_interrupts": self.missed_interrupts}

    def get_loop(self):
        """The event loop that the queue pair belongs to."""
        return self.loop

    def __repr__(self):
        state = " closed" if self.refusal is not None else ""
        return f"<{type(self).__name__} {self.ring.qid}, depth {self.ring.depth}, {self.completion}{state}>"

    # -- submitting ----------------------------------------------------------------------------------------------------

    cdef bint is_usable(self) noexcept:
        """Whether that can be seen at once; where not, `check_usable` looks again, and says why."""
        return (self.refusal is None and aio_this_thread() == self.thread and fork_count() == self.forks
                and (self.in_turn or aio_runs_here(<PyObject *>self.loop)))

    cdef int check_usable(self) except -1:
        """Before a request exists: open, and called from where it belongs."""
        if self.is_usable():
            return 0
        if self.refusal is not None:
            raise type(self.refusal)(*self.refusal.args)
        _check_thread(self)
        running = aio_call_bare(<PyObject *>_get_running_loop)
        if running is not self.loop and (running is not None or self.mode != MANUAL):
            raise WrongLoopError(f"{self!r} belongs to another event loop: {self._instead()}")
        return 0

    def _instead(self):
        if self.ring.qid == 0:
            return "call what concerns the controller in its own loop (asyncio.run_coroutine_threadsafe)"
        return "allocate a queue pair in each loop"

    cdef int submit(self, Request request, object timeout, object when_full, bint urgent=False) except -1:
        """Posts the request, or queues what finds no slot. It belongs to the queue pair from here on."""
        cdef double seconds
        try:
            seconds = self.default_timeout if timeout is None else timeout
        except OverflowError:
            seconds = LONGEST_TIMEOUT
        except TypeError:
            raise TypeError(f"timeout must be a number of seconds or None, not {timeout!r}") from None
        if when_full is not None and (not self.has_room(request) or self.queue_head is not None):
            raise QueueFullError(f"all {self.ring.depth} slots of {self.describe()} are in use")
        if not 0 <= seconds < LONGEST_TIMEOUT:
            raise UsageError(f"timeout must be from 0 (none) to {LONGEST_TIMEOUT} seconds, not {timeout}")
        if self.finishing and not request.standing and (seconds == 0 or seconds > self.abort_timeout):
            # Submitted by a task that is being cancelled: it, too, ends in bounded time.
            seconds = self.abort_timeout
        request.timeout = seconds
        if seconds > 0:
            request.deadline_ns = now_ns() + <uint64_t>(seconds * 1e9)
            self.arm(request.deadline_ns)
        self.take(request, urgent)
        if not self.batching:
            self.ring_doorbells()
        return self.schedule()

    # -- telling -------------------------------------------------------------------------------------------------------

    cdef int deliver(self, uint32_t limit, bint directly) except -1:
        """Tells up to `limit` waiters; how many. What raises (KeyboardInterrupt, SystemExit) loses no other."""
        cdef Request request = None
        cdef uint32_t told = 0
        if self.delivering:
            return 0
        self.delivering = True
        try:
            while told < limit and self.ended_head is not None:
                told += 1
                request = self.ended_head
                self.ended_head = request.next
                request.next = None
                if self.ended_head is None:
                    self.ended_tail = None
                request.in_backlog = False
                request.tell(directly)
                if told % TOLD_PER_DOORBELL == 0 and self.batching:
                    # The device begins while others are told.
                    self.ring_doorbells()
        except BaseException:
            if request.has_waiters():
                request.next, self.ended_head, request.in_backlog = self.ended_head, request, True
                if self.ended_tail is None:
                    self.ended_tail = request
            raise
        finally:
            self.delivering = False
        return told

    def _deliver_all(self, bint directly):
        self.deliver(0xFFFFFFFF, directly)

    def _tell_idle(self):
        waiters, self.idle_waiters = self.idle_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        if self.poller is not None:
            self.poller.idle()

    # -- turns of the loop ---------------------------------------------------------------------------------------------

    cdef int on_ended(self) except -1:
        return self.schedule()

    cdef int schedule(self) except -1:
        """Asks the loop for a turn, unless there is one to come."""
        if self.scheduled or self.loop is None:
            return 0
        if self.mode == MANUAL and not (self.unattended or self.closing or self.finishing):
            if self.debug and self.unpolled is None:
                self.unpolled = look_for_polls(self)
            return 0
        try:
            self.call_soon(self.turn, context=self.context)
        except RuntimeError:
            if self.loop.is_closed():
                return 0
            raise
        self.scheduled = True
        return 0

    cdef int take_turn(self) except -1:
        self.context.run(self.turn)
        return 0

    def _turn(self):
        self.scheduled = False
        self.turns += 1
        self.renew_credit()
        try:
            self.in_turn = True
            self.work()
        finally:
            self.in_turn = False
            self._end_turn()

    cdef int work(self) except -1:
        """Rings, reaps and resumes, again while there is something, up to a limit: a turn of the loop is dear."""
        cdef uint32_t left = RESUMES_PER_TURN, found
        while left:
            self.ring_doorbells()
            found = self.reap(self.ring.depth)
            if found or left == RESUMES_PER_TURN:
                self.note_found(found)
            if found and self.batches:
                self.go_on_with_batches()
                self.deliver(left, True)
                break
            if not found and self.ended_head is None and (left == RESUMES_PER_TURN or not self.more_comes()):
                # Who was told may have submitted what ends sooner than a turn of the loop takes.
                break
            left -= max(self.deliver(left, True), 1)
        return 0

    cdef int go_on_with_batches(self) except -1:
        """Posts and reaps for a while, unless someone is to be told: what a turn costs is shared by many commands.

        It waits for the next completion only where the loop has nothing else to do: where it came back at once.
        """
        cdef uint64_t begun = real_ns(), now = begun, waits_since = begun
        cdef uint64_t patience = BATCH_WAIT_NS if begun - self.batched_ns < LOOP_BUSY_NS else 0
        while self.batches and self.ended_head is None and now - begun < BATCH_NS:
            self.ring_doorbells()
            if self.reap(self.ring.depth):
                waits_since = real_ns()
            elif now - waits_since >= patience:
                break
            else:
                aio_cpu_relax()
            now = real_ns()
        self.batched_ns = now
        return 0

    cdef int _end_turn(self) except -1:
        self.ring_doorbells()
        if self.idle():
            if self.idle_waiters or self.finishing:
                self._tell_idle()
        elif self.ended_head is not None or self._polls():
            return self.schedule()
        return self._watch()

    cdef bint _polls(self) noexcept:
        # Whether the next turn is wanted although no one asked for it: something may complete, and no interrupt tells.
        if (self.ring.outstanding == self.standing or self.broken or self.muted or self.mode == INTERRUPT
                or is_virtual()):
            return False
        return self.mode != ADAPTIVE or self.worth_polling()

    # -- looking for completions inside a task, or without a loop -----------------------------------------------------

    cdef bint _loop_runs_here(self) except -1:
        return aio_runs_here(<PyObject *>self.loop) or aio_call_bare(<PyObject *>_get_running_loop) is self.loop

    def process_completions(self, uint32_t max_completions=0):
        """Reaps completions and calls their callbacks; for "manual" queue pairs, and harmless on others.

        Args:
            max_completions: At most so many; 0 for all that are there.

        Returns:
            How many were reaped; from within a callback none. What a callback raises the loop's handler is told.
        """
        cdef int count
        cdef bint directly
        _check_thread(self)
        if self.unpolled is not None:
            self.unpolled.cancel()
            self.unpolled = None
        if self.delivering:
            return 0
        # What runs as a task of the loop may not resume another.
        directly = self.loop is None or not self._loop_runs_here() or _current_task(self.loop) is None
        if self.next_deadline_ns and now_ns() >= self.next_deadline_ns:
            self._on_timer()
        try:
            self.ring_doorbells()
            count = self.reap(max_completions or self.ring.depth)
            self.context.run(self._deliver_all, directly)
        finally:
            self._end_turn()
        return count

    # -- cancelling and timeouts ---------------------------------------------------------------------------------------

    cdef int cancel_request(self, Request request) except -1:
        """The verdict stands: take it out of the queue, or have the device abort it."""
        if request.stage == 0:
            self.give_up(request)
        return 0

    cdef int give_up(self, Request request) except -1:
        cdef uint32_t index
        cdef Slot *slot
        request.stage = 1
        self.unattended += 1
        if request.state == QUEUED:
            self.unqueue(request)
            self.post_no_more(request)
        if request.in_flight == 0:
            return self.finish_by_host(request)
        if FREES_CID_AT_CANCEL:
            self.drop_pieces(request)
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
        self.timer = self.loop.call_later(
            (deadline_ns - min(now, deadline_ns)) / 1e9, call_weakly, weakref.WeakMethod(self._on_timer))
        return 0

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
            if request.deadline_ns <= now and request.batch is not None:
                self.renew_deadline(request)
            if request.deadline_ns <= now:
                self._late(request)
            if request.deadline_ns and request.state != ENDED and (not earliest or request.deadline_ns < earliest):
                earliest = request.deadline_ns
        if earliest:
            self.arm(earliest)
        self.schedule()

    cdef int renew_deadline(self, Request request) except -1:
        """Of a batch whose oldest command in flight has time left: that is when it will have none."""
        cdef Batch batch = <Batch>request.batch
        cdef uint64_t oldest = 0
        cdef uint32_t index
        if request.stage or batch.deadline_stands or self.finishing:
            return 0
        for index in range(self.ring.depth):
            if self.ring.slots[index].owner == <void *>request and (not oldest or batch.posted_ns[index] < oldest):
                oldest = batch.posted_ns[index]
                request.first_cid = self.ring.slots[index].cid
        if oldest:
            request.deadline_ns = oldest + <uint64_t>(request.timeout * 1e9)
        return 0

    def _late(self, Request request):
        if request.stage == 0:
            if request.verdict == BY_STATUS:
                request.verdict = BY_TIMEOUT
            self.give_up(request)
            return
        # Abort did not help either: only a reset makes the device let go.
        request.deadline_ns = 0
        if request.stage == 1 and self.host is not None:
            request.stage = 2
            self.host.escalate(f"a command (opcode {request.opcode:#04x}) on {self.describe()} did not end after Abort")

    def begin_finish(self):
        """The loop is being torn down: what is outstanding gets a deadline, so that it ends in bounded time."""
        self.finishing = True
        self.finish_by(self.abort_timeout)
        self.schedule()
        self._end_turn()

    def finish_by(self, double seconds):
        """What is outstanding or waits for a slot has at most so long from now on, whatever time limit it was given."""
        cdef Request request
        cdef uint64_t latest = now_ns() + <uint64_t>(seconds * 1e9)
        for request in self.owners():
            if request.state != ENDED and request.stage == 0 and not request.standing and (
                    request.deadline_ns == 0 or request.deadline_ns > latest):
                request.deadline_ns = latest
                request.timeout = seconds
                if request.batch is not None:
                    (<Batch>request.batch).deadline_stands = True
                self.arm(latest)

    cdef int on_broken(self, str text) except -1:
        error = ControllerFailedError(f"{text}; close it and allocate another")
        if self.ring.qid:
            # The admin queue pair cannot be allocated anew; after a reset it can be believed again.
            self.refusal = error
        report(self.loop, text, error, None, None)
        if self.host is not None and (self.ring.outstanding or self.ring.qid == 0):
            self.host.escalate(text)
        return 0
