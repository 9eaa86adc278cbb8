# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns the short waits of a queue pair that polls: for what comes sooner than a turn of the loop would be over.

A lone command that is awaited, and a turn that found something and has commands left, look a little longer. All of that
together is bounded between two turns of the loop, so that what else runs in it is late by no more.
"""

from libc.stdint cimport uint64_t

from aionvme.clock cimport is_virtual, real_ns
from aionvme.pci.mmio cimport aio_cpu_relax
from aionvme.qpair.request cimport IN_FLIGHT, Request
from aionvme.qpair.ring cimport ring_has_completion
from aionvme.qpair.waking cimport ADAPTIVE, POLL, CompletionMode, Waking

cdef enum:
    # One await spins for at most this long, and all of them together for at most CREDIT between two turns of the loop.
    SPIN_NS = 20_000
    SPIN_CREDIT_NS = 100_000
    # At first it looks so many times, and this is taken to be so long.
    FIRST_SPINS = 64
    FIRST_SPIN_NS = 2_000


cdef class Spinning(Waking):
    """What makes a queue pair look for a completion once more before it lets the loop go on."""

    cdef void set_mode(self, CompletionMode mode) noexcept:
        self.mode = mode
        self.spin_ns = SPIN_NS if mode in (POLL, ADAPTIVE) and not is_virtual() else 0

    cdef void renew_credit(self) noexcept:
        self.spin_credit_ns = SPIN_CREDIT_NS

    cdef bint _may_spin(self, uint64_t spin_ns) noexcept:
        return (self.spin_ns != 0 and self.spin_credit_ns >= spin_ns and not self.broken and not self.muted
                and self.ended_head is None and (self.mode != ADAPTIVE or self.comes_soon()))

    cdef bint more_comes(self) noexcept:
        return self.ring.outstanding != self.standing and self._may_spin(FIRST_SPIN_NS) and self._comes_at_once()

    cdef int about_to_wait(self, Request request) except -1:
        """A lone command is worth a short spin: one device round trip, and no turn of the loop."""
        if (self.ring.outstanding != self.standing + 1 or request.state != IN_FLIGHT or request.in_flight != 1
                or not self._may_spin(self.spin_ns)):
            return 0
        self.ring_doorbells()
        self.note_found(0)
        if not self._comes_at_once():
            self._spin()
        if ring_has_completion(&self.ring):
            self.note_found(self.reap(1))
            # The turn that was asked for when it was posted may be over: what this one makes room for is to be rung,
            # and who waits for an idle queue pair to be told.
            self.on_ended()
        return 0

    cdef bint _comes_at_once(self) noexcept:
        # Most do, and then letting go of the GIL and asking for the time would take longer than the device.
        cdef int _
        self.spin_credit_ns -= FIRST_SPIN_NS
        for _ in range(FIRST_SPINS):
            if ring_has_completion(&self.ring):
                return True
            aio_cpu_relax()
        return False

    cdef int _spin(self) except -1:
        cdef uint64_t begun = real_ns(), now = begun
        cdef int _
        with nogil:
            while now - begun < self.spin_ns:
                for _ in range(16):
                    if ring_has_completion(&self.ring):
                        break
                    aio_cpu_relax()
                else:
                    now = real_ns()
                    continue
                break
        self.spin_credit_ns -= min(real_ns() - begun, self.spin_credit_ns)
        return 0
