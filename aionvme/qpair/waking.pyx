# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns how a queue pair learns of completions while it takes no turn: by an interrupt, or by a timer that looks.

The timer is no turn: it looks at one entry of the ring, and asks for a turn only where there is a completion.

An adaptive queue pair polls where that is cheaper. An interrupt costs the processor as much as some microseconds of
polling; so it polls when the next completion is to be expected sooner than that, as those before it were, and leaves it
to the interrupt otherwise, or when it did not come. What it costs is then about what the cheaper of the two would, and
never twice as much. While it leaves it to interrupts it polls now and then all the same, to see whether that is still
right.
"""

import os
import weakref

from libc.stdint cimport int64_t, uint32_t, uint64_t

from aionvme.clock cimport is_virtual, real_ns
from aionvme.qpair.engine cimport Engine
from aionvme.qpair.ring cimport ring_has_completion

# While commands wait for an interrupt, how often it is looked whether one was lost; so often, too, it is looked for
# events where there is no interrupt.
cdef double GUARD_SECONDS = 0.1
# While commands wait and there is no interrupt: at first, and as the wait goes on.
cdef double POLL_SECONDS = 0.001
cdef double POLL_SECONDS_MOST = 0.008

cdef enum:
    # What an interrupt costs, from the eventfd over the loop to the turn.
    INTERRUPT_NS = 5_000
    # Turns find nothing for at most so long until it is left to the interrupt.
    PATIENCE_NS = 2 * INTERRUPT_NS
    # Where there is no interrupt the next one to look is a timer, which is far slower.
    TIMER_PATIENCE_NS = 20 * INTERRUPT_NS
    # A longer wait says no more, and would be remembered for too long.
    WAIT_MOST_NS = 8 * INTERRUPT_NS
    # Waits over which is smoothed.
    SMOOTHED = 8
    # Of so many waits for interrupts one is polled.
    PROBE_EVERY = 32


cdef class Waking(Engine):
    """What makes a queue pair take a turn that nobody asked for; the turn itself is the subclass's."""

    cdef int take_turn(self) except -1:
        return 0

    def _on_interrupt(self):
        try:
            os.read(self.irq_fd, 8)
        except BlockingIOError:
            pass
        if not self.scheduled:
            self.by_interrupt = True
            self.take_turn()
        elif self.mode == ADAPTIVE and self.comes_soon():
            # A turn stands in the loop's queue, and will do; while it polls it needs to hear of no more.
            self._listen(False)

    def use_interrupt(self, int irq_fd):
        """Has completions told by this eventfd from now on; -1 for none: they are looked for by a timer instead."""
        if self.loop is None or self.mode not in (INTERRUPT, ADAPTIVE) or self.loop.is_closed():
            return
        self._listen(False)
        self.irq_fd = irq_fd
        self._listen(True)

    def _listen(self, bint on):
        if on == self.listening or self.irq_fd < 0:
            return
        self.listening = on
        if on:
            # Not a bound method: the loop must not keep a queue pair that its user dropped.
            self.loop.add_reader(self.irq_fd, call_weakly, weakref.WeakMethod(self._on_interrupt))
        else:
            self.loop.remove_reader(self.irq_fd)

    cdef void note_found(self, uint32_t count) noexcept:
        cdef int64_t wait = 0
        cdef bint by_interrupt = self.by_interrupt
        self.by_interrupt = False
        if self.mode != ADAPTIVE:
            return
        if count == 0:
            if self.empty_ns == 0:
                self.empty_ns = real_ns()
                self.waits += 1
            return
        if self.empty_ns:
            wait = <int64_t>(real_ns() - self.empty_ns)
            if by_interrupt:
                # The completion was there before the turn could be.
                wait = max(wait - INTERRUPT_NS, <int64_t>0)
        self.wait_ns += (min(wait, <int64_t>WAIT_MOST_NS) - self.wait_ns) // SMOOTHED
        self.empty_ns = 0

    cdef bint comes_soon(self) noexcept:
        return self.irq_fd < 0 or self.wait_ns < INTERRUPT_NS or self.waits % PROBE_EVERY == 0

    def has_news(self):
        """For a virtual clock: has a turn if a completion is there; whether."""
        if self.mode == MANUAL or self.scheduled or self.ring.cq == NULL or self.broken:
            return False
        if not ring_has_completion(&self.ring):
            return False
        self.take_turn()
        return True

    cdef bint worth_polling(self) noexcept:
        if not self.comes_soon():
            return False
        return self.empty_ns == 0 or real_ns() - self.empty_ns < (
            <uint64_t>PATIENCE_NS if self.irq_fd >= 0 else <uint64_t>TIMER_PATIENCE_NS)

    cdef int _watch(self) except -1:
        # A timer that looks at the ring, which is no turn: for what no interrupt tells, and for lost interrupts.
        cdef double seconds
        if self.ring.outstanding == 0 or self.loop is None or self.broken or self.loop.is_closed():
            return 0
        if self.mode not in (INTERRUPT, ADAPTIVE) or is_virtual():
            return 0  # Where the clock is virtual its loop looks.
        self._listen(True)
        if self.ring.outstanding == self.standing:
            if self.irq_fd >= 0:
                return 0  # The controller calls `look` now and then.
            seconds = GUARD_SECONDS
        elif self.irq_fd >= 0:
            seconds = GUARD_SECONDS
        else:
            seconds = POLL_SECONDS
        if self.guard is not None:
            if self.guard_seconds <= seconds:
                return 0
            self.guard.cancel()
        self._set_guard(seconds)
        return 0

    def _set_guard(self, double seconds):
        self.guard_seconds = seconds
        self.guard = self.loop.call_later(seconds, call_weakly, weakref.WeakMethod(self._on_guard))

    def _on_guard(self):
        cdef double waited = self.guard_seconds
        self.guard = None
        if self.look() or self.ring.outstanding == 0 or self.loop.is_closed():
            return
        if self.ring.outstanding != self.standing and self.irq_fd < 0:
            self._set_guard(min(2 * waited, POLL_SECONDS_MOST))
        else:
            self._watch()

    def look(self):
        """Has a turn if a completion is there that no turn is asked for; whether. A lost interrupt costs no more."""
        if self.scheduled or self.ring.cq == NULL or self.broken or not ring_has_completion(&self.ring):
            return False
        self.missed_interrupts += self.irq_fd >= 0
        self.take_turn()
        return True


def call_weakly(method):
    """Calls a weakly held method, unless its object is gone."""
    call = method()
    if call is not None:
        call()
