# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns what a controller does to a queue pair: suspends and resumes it, ends its commands, takes it back.

All of it is done in the queue pair's own thread, but for what only sets a flag: `suspend`, `refuse`.
"""

cimport cython
from libc.stdint cimport uint32_t

from aionvme.errors import UsageError
from aionvme.pci.mmio cimport aio_barrier_full
from aionvme.qpair.core cimport QueuePair
from aionvme.qpair.pair cimport MAX_PIECE_BYTES
from aionvme.qpair.request cimport ENDED, Request


cdef class GovernedQueuePair(QueuePair):
    """A queue pair and what its controller asks of it."""

    def __cinit__(self, *args, **kwargs):
        self.kept = []

    def set_host(self, host):
        """Who aborts a command and resets the controller, where that is made after the queue pair."""
        self.host = host

    def check_open(self):
        """Raises what a command would raise: closed, lost, failed, or another loop."""
        self.check_usable()

    def suspend(self):
        """Posts nothing until `resume`, and rings no doorbell before `reset_rings`; commands are taken, and wait.

        From any thread: within this critical section, which is the GIL where there is one, no doorbell is rung.
        """
        with cython.critical_section(self):
            self.suspended = self.muted = True

    def resume(self):
        """Posts what waited."""
        if self.broken:
            return
        self.suspended = self.muted = False
        self.feed()
        self.schedule()

    def limit_transfer(self, size_t nbytes):
        """No command transfers more than `nbytes` from now on; 0 for no further limit."""
        if nbytes and nbytes < self.max_transfer:
            self.max_transfer = nbytes

    def refuse(self, exception):
        """Takes no more commands: a call raises this exception. From any thread."""
        with cython.critical_section(self):
            if self.refusal is None:
                # The exception is whole before another thread finds it.
                aio_barrier_full()
                self.refusal = exception

    def renew_max_transfer(self, size_t nbytes):
        """As `max_transfer` of a new queue pair, for commands that are posted from now on.

        More than the lists of pages have room for is not used. Nothing is in flight.
        """
        cdef Request request = self.queue_head
        cdef size_t room = self.list_bytes // 8 * self.page_size
        self.max_transfer = min(nbytes or MAX_PIECE_BYTES, room, <size_t>MAX_PIECE_BYTES)
        while request is not None:
            if request.piece_blocks and request.unit:
                request.piece_blocks = <uint32_t>min(
                    <size_t>request.piece_blocks, max(self.max_transfer // request.unit, <size_t>1))
            request = request.next

    def hold_poller(self):
        """Keeps the poller's task until `release_poller`: a recovery is under way that commands depend on."""
        if self.poller is not None:
            self.poller.hold()

    def release_poller(self):
        """Takes one `hold_poller` back."""
        if self.poller is not None:
            self.poller.release()

    async def wait_idle(self):
        """Waits until every command has ended and its waiter was told."""
        self.closing = True
        while not self.idle():
            waiter = self.loop.create_future()
            self.idle_waiters.append(waiter)
            self.schedule()
            await waiter

    # -- the last resort -----------------------------------------------------------------------------------------------

    @property
    def overdue(self):
        """Whether commands wait for a reset: nothing else can end them."""
        cdef Request request
        if self.broken and self.ring.outstanding:
            return True
        for request in self.owners():
            if request.stage == 2 and request.state != ENDED:
                return True
        return False

    def abandon(self, error):
        """Ends every command with `error` although the device may have it still, and may write its memory.

        What was posted keeps its memory, which goes back when the controller has seen that the device let go, or never.
        """
        self.refuse(error)
        self.broken = self.suspended = self.muted = True
        self.keeping = True
        try:
            self.end_outstanding(error, True)
        finally:
            self.keeping = False

    cdef void let_go(self, Request request) noexcept:
        if self.keeping and request.has_cid:
            self.kept.append(request)
        else:
            QueuePair.let_go(self, request)

    def _let_kept_go(self):
        cdef Request request
        kept, self.kept = self.kept, []
        for request in kept:
            QueuePair.let_go(self, request)

    def reset_rings(self):
        """Back to empty rings, of which the controller may be told then. RDY=0 was seen, and nothing is outstanding."""
        self._let_kept_go()
        QueuePair.reset_rings(self)
        self.completions_before = self.completions

    @property
    def completes(self):
        """Whether the device has completed a command here since the last reset, or ever."""
        return self.completions != self.completions_before

    # -- the end -------------------------------------------------------------------------------------------------------

    @property
    def disposed(self):
        """Whether everything was given back."""
        return self.ring.cq == NULL

    def dispose(self):
        """Gives everything back. Nothing is outstanding, and the device knows no such queue."""
        self.refuse(UsageError(f"{self.describe()} is closed"))
        for timer in (self.timer, self.guard, self.unpolled):
            if timer is not None:
                timer.cancel()
        self.timer = self.guard = self.unpolled = None
        self.use_interrupt(-1)
        self._let_kept_go()
        self.give_back()
        if self.poller is not None:
            self.poller.stop()
