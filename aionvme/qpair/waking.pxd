# How a queue pair learns of completions between its turns.
from libc.stdint cimport uint32_t, uint64_t

from aionvme.qpair.engine cimport Engine


cdef enum CompletionMode:
    POLL = 0
    INTERRUPT = 1
    ADAPTIVE = 2
    MANUAL = 3


cdef class Waking(Engine):
    cdef CompletionMode mode
    cdef bint scheduled             # a turn stands in the loop's queue
    cdef uint32_t empty_turns
    cdef int irq_fd
    cdef object guard               # timer that looks for completions: those whose interrupt was lost, or all
    cdef double guard_seconds       # how long it was set for
    cdef uint64_t missed_interrupts

    cdef int _watch(self) except -1
    # For the subclass: a turn, now.
    cdef int take_turn(self) except -1
