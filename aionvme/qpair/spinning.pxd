# How long a queue pair looks for a completion that may come at once.
from libc.stdint cimport uint64_t

from aionvme.qpair.request cimport Request
from aionvme.qpair.waking cimport CompletionMode, Waking


cdef class Spinning(Waking):
    cdef uint64_t spin_ns           # longest spin of one await; 0: it never spins
    cdef uint64_t spin_credit_ns    # what is left for spins until the loop has turned

    # How completions are noticed; once, at the beginning.
    cdef void set_mode(self, CompletionMode mode) noexcept
    # The loop has turned.
    cdef void renew_credit(self) noexcept
    # Whether a completion came within the time that a turn of the loop takes; a turn asks.
    cdef bint more_comes(self) noexcept
    cdef bint _may_spin(self, uint64_t spin_ns) noexcept
    cdef bint _comes_at_once(self) noexcept
    cdef int _spin(self) except -1
