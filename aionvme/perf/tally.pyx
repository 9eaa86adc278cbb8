# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns what is counted while a workload runs, when it ends, and how it is kept to a rate."""

from collections import deque

cimport cython
from libc.stdint cimport uint64_t

from aionvme.histogram cimport Histogram

cdef enum:
    FAILURES_KEPT = 5


@cython.final
cdef class Tally:
    """The counts of one run, over all of its slots.

    Attributes:
        submitted, completed: Commands since `reset`; those that failed are not among the completed.
        failed: Commands that ended with an error, ever.
        mismatched: Commands whose data was not what was written, ever; they are among the completed.
        in_flight: Commands that were submitted and have not ended, of whatever time.
        blocks_verified: Blocks whose data was compared, since `reset`.
        running: Whether slots go on to their next command.
        latency: A `Histogram` of the time from call to completion, None where that is not measured.
        failures: The first few in words.
    """

    def __init__(self, *, latency):
        self.latency = Histogram() if latency else None
        self.failures = []
        self.running = True

    def reset(self):
        """Counts from zero from now on, and with an empty histogram. Failures are kept: one ends the run."""
        self.submitted = self.completed = self.blocks_verified = 0
        if self.latency is not None:
            self.latency.reset()

    def stop(self):
        """No slot goes on; what is in flight ends by itself."""
        self.running = False
        if self.active == 0 and self.when_drained is not None and not self.when_drained.done():
            self.when_drained.set_result(None)

    def note_submitted(self, uint64_t count):
        """Counts commands that are sent together."""
        self.submitted += count
        self.in_flight += count

    def note_ended(self, uint64_t completed, uint64_t failed=0, why=""):
        """Counts the ends of such commands; failures end the run, and `why` says what it was."""
        self.in_flight -= completed + failed
        self.completed += completed
        self.failed += failed
        if failed:
            self.end_by(str(why))

    def note_verified(self, uint64_t blocks, wrong):
        """Counts blocks that were compared; `wrong` says in words what was wrong with one, which ends the run."""
        self.blocks_verified += blocks
        if wrong is not None:
            self.mismatched += 1
            self.end_by(wrong)

    def when_ended(self, loop):
        """A future that is done when it was stopped and no slot has anything under way."""
        self.when_drained = loop.create_future()
        if not self.running and self.active == 0:
            self.when_drained.set_result(None)
        return self.when_drained

    cdef int end_by(self, str why) except -1:
        """The first failure ends the run."""
        if len(self.failures) < FAILURES_KEPT:
            self.failures.append(why)
        self.stop()
        return 0

    cdef int retire(self) except -1:
        """A slot has ended."""
        self.active -= 1
        if not self.running:
            self.stop()
        return 0


@cython.final
cdef class Pacer:
    """Lets commands go as they are due. Slots with nothing to do wait here, and go in the order in which they came.

    Attributes:
        credits: Commands that are due and that no slot was free for.
    """

    def __init__(self):
        self.idle = deque()

    def allow(self, uint64_t count):
        """So many more are due: slots that wait are called, one for each."""
        self.credits += count
        while self.credits and self.idle:
            self.credits -= 1
            self.idle.popleft()()

    def wait(self, resume):
        """Whether a command may be sent at once. If not, `resume()` is called when one is due, or at the end."""
        return bool(self.take(resume))

    def take_more(self, uint64_t most):
        """For what sends several at once: takes as many as are due, `most` at most; how many."""
        cdef uint64_t taken = min(self.credits, most)
        self.credits -= taken
        return taken

    def release(self):
        """The end: whoever waits is called, and nobody has to wait any more."""
        self.over = True
        waiting, self.idle = self.idle, deque()
        for resume in waiting:
            resume()

    cdef bint take(self, object resume) except -1:
        if self.over:
            return True
        if self.credits:
            self.credits -= 1
            return True
        self.idle.append(resume)
        return False
