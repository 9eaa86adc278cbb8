# The queue pair as a class diagram: the engine below, the loop beside.
from libc.stdint cimport uint32_t, uint64_t

from aionvme.qpair.request cimport Request
from aionvme.qpair.spinning cimport Spinning


cdef class QueuePair(Spinning):
    cdef bint delivering
    cdef bint in_turn               # the loop has called, and runs
    cdef bint batching              # one doorbell for all that a turn posted
    cdef bint closing               # someone waits for it to become idle
    cdef bint finishing             # the loop is being torn down
    cdef object refusal             # the exception that says why nothing more is taken; None while open
    cdef unsigned long thread
    cdef long forks                 # a forked child has it, and may not use it
    cdef object turn                # bound method, made once
    cdef object context
    cdef object call_soon
    cdef object host
    cdef readonly object home       # loop and thread, for those who are elsewhere
    cdef bint debug                 # the loop was in debug mode
    cdef object unpolled            # timer that tells of commands on a manual queue pair that nobody polls
    cdef object poller
    cdef list idle_waiters
    cdef double default_timeout
    cdef double abort_timeout
    cdef uint64_t batched_ns        # when a turn last went on with batches
    cdef uint64_t next_deadline_ns
    cdef object timer
    cdef object name_
    # Counters.
    cdef uint64_t turns
    cdef object __weakref__

    cdef bint is_usable(self) noexcept
    cdef int check_usable(self) except -1
    cdef int submit(self, Request request, object timeout, object when_full, bint urgent=*) except -1
    cdef int deliver(self, uint32_t limit, bint directly) except -1
    cdef int schedule(self) except -1
    cdef int _end_turn(self) except -1
    cdef bint _polls(self) noexcept
    cdef int work(self) except -1
    cdef bint _loop_runs_here(self) except -1
    cdef int go_on_with_batches(self) except -1
    cdef int renew_deadline(self, Request request) except -1
    cdef int give_up(self, Request request) except -1
    cdef int arm(self, uint64_t deadline_ns) except -1
