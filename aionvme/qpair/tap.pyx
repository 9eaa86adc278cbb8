# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns showing the commands and completions of queue pairs to those who listen, such as a recording.

A queue pair without a tap asks once for each doorbell and once for each completion whether there is one. Commands are
shown when their doorbell rings, as the bytes in the ring, so that the short way, the long way and batches are all seen
in one place; completions when they were judged to be ours, while the device's data is still held.
"""

from cpython.exc cimport PyErr_SetInterrupt
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from aionvme.clock cimport now_ns
from aionvme.qpair.ring cimport CQE_BYTES, SQE_BYTES, Cqe, Ring


cdef class Tap:
    """What a controller's queue pairs share: the listeners.

    A listener has `posted(when_ns, qid, sqe)`, `completed(when_ns, qid, cqe)` and `dropped(when_ns, qid, cid)`: a
    command that ended without a completion, as the controller was reset or lost. They are called in the queue pair's
    thread and must neither raise nor use the queue pair; one that raises is not called again, and has the exception as
    its `error`. A listener that is itself a `Tap`, such as a compiled meter, is called in C and shown the ring.

    Attributes:
        listeners: Those there are now.
    """

    def __init__(self):
        self._set(())

    def add(self, listener):
        """From now on this one is told too."""
        self._set(self.listeners + (listener,))

    def remove(self, listener):
        """It is told no more; nothing if it was not."""
        self._set(tuple([each for each in self.listeners if each is not listener]))

    def _set(self, tuple listeners):
        self.listeners = listeners
        self.taps = tuple([each for each in listeners if isinstance(each, Tap)])
        self.told = tuple([each for each in listeners if not isinstance(each, Tap)])

    cdef void posted(self, const Ring *ring) noexcept:
        """Of what was posted since the doorbell rang the last time."""
        cdef uint32_t at = ring.sq_tail_rung
        if at == ring.sq_tail:
            return
        for tap in self.taps:
            (<Tap>tap).posted(ring)
        while self.told and at != ring.sq_tail:
            self.tell("posted", ring.qid, (<const char *>ring.sq + <size_t>at * SQE_BYTES)[:SQE_BYTES])
            at = at + 1 if at + 1 < ring.sq_entries else 0

    cdef void completed(self, uint16_t qid, const Cqe *cqe) noexcept:
        for tap in self.taps:
            (<Tap>tap).completed(qid, cqe)
        if self.told:
            self.tell("completed", qid, (<const char *>cqe)[:CQE_BYTES])

    cdef void dropped(self, uint16_t qid, uint16_t cid) noexcept:
        for tap in self.taps:
            (<Tap>tap).dropped(qid, cid)
        if self.told:
            self.tell("dropped", qid, cid)

    cdef void tell(self, str what, uint16_t qid, object entry) noexcept:
        cdef uint64_t now = now_ns()
        for listener in self.told:
            try:
                getattr(listener, what)(now, qid, entry)
            except Exception as error:
                # A disk that is full must not cost a completion.
                listener.error = error
                self.remove(listener)
            except BaseException:
                # Ctrl-C came here: it is raised where a completion is not lost by it.
                PyErr_SetInterrupt()
