# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns one command of a workload from call to completion, and its successor: in callbacks, or awaited in a task.

It is compiled so that a measurement is one of the driver: what it adds to a command is the next LBA, two counters, and
where latency is measured one look at the clock, which ends one command and begins the next.
"""

cimport cython
from libc.stdint cimport uint64_t

from aionvme.errors import NvmeError
from aionvme.histogram cimport record_ns
from aionvme.perf.tally cimport Pacer, Tally, now_ns
from aionvme.perf.walk cimport Walk, next_lba, next_writes
from aionvme.perf.pattern cimport Pattern
from aionvme.qpair.request cimport Completion


@cython.final
cdef class Slot:
    """One command at a time on a queue pair, in memory of its own. Used in one of two ways.

    By callbacks: `start()`; it goes on by itself until the tally is stopped. In a task, with `writing` for those that
    write::

        for lba in slot:
            await qp.read(ns, buf, lba, nblocks)

    Each step of the loop ends the command before and begins the next; the loop ends when the tally is stopped.

    Args:
        tally, walk: Of the run, and of the queue pair.
        qp, ns: Where to.
        buf: A `DmaBuffer` of `nblocks` blocks.
        nblocks: Blocks of one command.
        mixed: Some write and some read; else all do as the walk says.
        pattern: What is written, and what a read is compared with; None: neither.
        pacer: Says when the next command is due; None: at once.
    """

    def __init__(self, Tally tally not None, Walk walk not None, qp, ns, buf, nblocks, *, mixed, Pattern pattern=None,
                 Pacer pacer=None):
        self.tally, self.walk = tally, walk
        self.pattern, self.pacer = pattern, pacer
        self.submit_read, self.submit_write = qp.submit_read, qp.submit_write
        self.ns, self.buf, self.step, self.nblocks = ns, buf, nblocks, nblocks
        self.mixed = mixed
        self.writing = not mixed and next_writes(walk)
        self.done, self.go = self._done, self._go
        self.memory = buf

    def release(self):
        """Lets go of the memory, and of itself: it sends no more commands."""
        self.memory = None
        self.done = self.go = None

    # -- one command ---------------------------------------------------------------------------------------------------

    cdef uint64_t begin(self, uint64_t now) except? 0:
        """The next command: its LBA. `now` is the time, or 0 where it is not known yet."""
        cdef Tally tally = self.tally
        self.lba = next_lba(self.walk)
        if self.mixed:
            self.writing = next_writes(self.walk)
        if self.pattern is not None:
            if self.writing:
                self.pattern.fill_at(&self.memory[0], self.lba, self.nblocks)
            else:
                self.pattern.spoil_at(&self.memory[0], self.nblocks)
        self.busy = True
        tally.submitted += 1
        tally.in_flight += 1
        if tally.latency is not None:
            self.begun_ns = now or now_ns()
        return self.lba

    cdef uint64_t end(self) except? 0:
        """It has completed without an error: when, where that is measured, else 0."""
        cdef Tally tally = self.tally
        cdef uint64_t now = 0
        self.busy = False
        tally.in_flight -= 1
        tally.completed += 1
        if tally.latency is not None:
            now = now_ns()
            record_ns(tally.latency, now - self.begun_ns)
        if self.pattern is not None and not self.writing:
            self._verify()
            now = 0
        return now

    def _verify(self):
        cdef uint64_t at = self.pattern.first_wrong(&self.memory[0], &self.lba, 1, self.nblocks)
        wrong = None
        if at != self.nblocks:
            wrong = self.pattern.describe(&self.memory[at * self.pattern.block_size], self.lba + at)
        self.tally.note_verified(self.nblocks, wrong)

    def failed(self, why):
        """The command under way ended with an error: the run ends, and this says why."""
        self.busy = False
        self.tally.note_ended(0, 1, why)

    # -- by callbacks --------------------------------------------------------------------------------------------------

    def start(self):
        """Begins with the first command, once it is due."""
        self.tally.active += 1
        if self.pacer is None or self.pacer.take(self.go):
            self._go()

    def _go(self):
        if self.tally.running:
            self.post(0)
        else:
            self.tally.retire()

    cdef int post(self, uint64_t now) except -1:
        cdef uint64_t lba = self.begin(now)
        try:
            if self.writing:
                self.submit_write(self.ns, self.buf, lba, self.step, self.done)
            else:
                self.submit_read(self.ns, self.buf, lba, self.step, self.done)
        except NvmeError as error:
            self.failed(error)
            self.tally.retire()
        return 0

    def _done(self, _arg, Completion cpl not None):
        cdef uint64_t now
        if cpl.raw_status:
            self.failed(f"LBA {self.lba}: {cpl.status.name}")
            self.tally.retire()
            return
        now = self.end()
        if not self.tally.running:
            self.tally.retire()
        elif self.pacer is None:
            self.post(now)
        elif self.pacer.take(self.go):
            self.post(now)

    # -- in a task -----------------------------------------------------------------------------------------------------

    def finish(self):
        """Ends the command that was awaited, for a loop that waits before the next one; else the next step does it."""
        if self.busy:
            self.end()

    def __iter__(self):
        return self

    def __next__(self):
        cdef uint64_t now = 0
        if self.busy:
            now = self.end()
        if not self.tally.running:
            raise StopIteration
        return self.begin(now)
