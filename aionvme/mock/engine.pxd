# The core of a mock controller with the lock that makes it stand still, and what drives it.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from aionvme.mock.rings cimport Core, pthread_mutex_t
from aionvme.mock.shelf cimport Shelf


cdef class Engine:
    cdef Core core
    cdef pthread_mutex_t mutex
    cdef bint mutex_made
    cdef readonly Shelf shelf
    # Nonzero while nobody looks at the doorbells; the seam's `Function.sleeping` points here.
    cdef volatile uint32_t sleeping
    cdef volatile uint32_t stopping
    cdef volatile uint32_t polled  # doorbells may be rung without waking it
    cdef int wake_fd              # of an event loop that drives it, or -1
    cdef readonly size_t bar_size
    cdef uint64_t cmb_iova
    # Executes admin commands: `handler.execute(bytes)`, called with the machine standing still.
    cdef public object handler
    cdef object peer              # `core.peer`
    cdef readonly object thread
    cdef object pid
    cdef uint64_t spin_ns
    cdef uint32_t bad_told        # doorbells that were wrong, as the handler was last told
    cdef uint32_t bad_values_told
    cdef volatile uint32_t news   # another controller of the subsystem has something for this one
    cdef readonly uint64_t parked  # how often its thread went to sleep

    cdef bint _make_mutex(self) noexcept
    cdef void wake(self) noexcept nogil
    cdef void lock(self) noexcept
    cdef void unlock(self) noexcept
    cdef void _loop(self) noexcept nogil
    cdef void _idle(self, uint64_t since) noexcept nogil
    cdef void _sleep(self) noexcept nogil
    cdef bint _wants_python(self) noexcept nogil
    cdef uint32_t _bad_doorbells(self) noexcept nogil
    cdef void _map_changed(self) noexcept
    cdef int _serve(self) except -1
