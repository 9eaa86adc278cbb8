# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns how a queue pair learns of completions while it takes no turn: by an interrupt, or by a timer that looks.

The timer is no turn: it looks at one entry of the ring, and asks for a turn only where there is a completion.
"""

import os
import weakref

from aionvme.qpair.engine cimport Engine
from aionvme.qpair.ring cimport ring_has_completion

# While commands wait for an interrupt, how often it is looked whether one was lost; so often, too, it is looked for
# events where there is no interrupt.
cdef double GUARD_SECONDS = 0.1
# While commands wait and there is no interrupt: at first, and as the wait goes on.
cdef double POLL_SECONDS = 0.001
cdef double POLL_SECONDS_MOST = 0.008


cdef class Waking(Engine):
    """What makes a queue pair take a turn that nobody asked for; the turn itself is the subclass's."""

    cdef int take_turn(self) except -1:
        return 0

    def _on_interrupt(self):
        try:
            os.read(self.irq_fd, 8)
        except BlockingIOError:
            pass
        self.empty_turns = 0
        # If a turn stands in the loop's queue, that one will do.
        if not self.scheduled:
            self.take_turn()

    def use_interrupt(self, int irq_fd):
        """Has completions told by this eventfd from now on; -1 for none: they are looked for by a timer instead."""
        if self.loop is None or self.mode not in (INTERRUPT, ADAPTIVE) or self.loop.is_closed():
            return
        if self.irq_fd >= 0:
            self.loop.remove_reader(self.irq_fd)
        self.irq_fd = irq_fd
        if irq_fd >= 0:
            # Not a bound method: the loop must not keep a queue pair that its user dropped.
            self.loop.add_reader(irq_fd, call_weakly, weakref.WeakMethod(self._on_interrupt))

    cdef int _watch(self) except -1:
        # A timer that looks at the ring, which is no turn: for what no interrupt tells, and for lost interrupts.
        cdef double seconds
        if self.ring.outstanding == 0 or self.loop is None or self.broken or self.loop.is_closed():
            return 0
        if self.mode not in (INTERRUPT, ADAPTIVE):
            return 0
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
