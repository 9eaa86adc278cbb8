# How a queue pair learns of completions between its turns.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from aionvme.qpair.engine cimport Engine


cdef enum CompletionMode:
    POLL = 0
    INTERRUPT = 1
    ADAPTIVE = 2
    MANUAL = 3


cdef class Waking(Engine):
    cdef CompletionMode mode
    cdef bint scheduled             # a turn stands in the loop's queue
    cdef int irq_fd
    cdef bint listening             # the loop looks at it
    # Of an adaptive queue pair.
    cdef uint64_t empty_ns          # since when turns find nothing; 0: the last one found something
    cdef int64_t wait_ns            # how long that was, smoothed
    cdef bint by_interrupt          # the turn is an interrupt's
    cdef uint32_t waits             # times that there was nothing
    cdef object guard               # timer that looks for completions: those whose interrupt was lost, or all
    cdef double guard_seconds       # how long it was set for
    cdef uint64_t missed_interrupts

    # A turn, or a spin, found so many completions, or none.
    cdef void note_found(self, uint32_t count) noexcept
    # Whether the next completion is to be expected so soon that polling costs less than its interrupt.
    cdef bint comes_soon(self) noexcept
    cdef bint worth_polling(self) noexcept
    cdef int _watch(self) except -1
    # For the subclass: a turn, now.
    cdef int take_turn(self) except -1
