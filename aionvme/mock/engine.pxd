# The core of a mock controller with the lock that makes it stand still, and what drives it.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from aionvme.mock.rings cimport Core

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    ctypedef struct pthread_mutexattr_t:
        pass
    int PTHREAD_MUTEX_RECURSIVE
    int pthread_mutexattr_init(pthread_mutexattr_t *attr)
    int pthread_mutexattr_settype(pthread_mutexattr_t *attr, int kind)
    int pthread_mutexattr_destroy(pthread_mutexattr_t *attr)
    int pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr)
    int pthread_mutex_destroy(pthread_mutex_t *mutex)
    int pthread_mutex_lock(pthread_mutex_t *mutex)
    int pthread_mutex_unlock(pthread_mutex_t *mutex)


cdef class Engine:
    cdef Core core
    cdef pthread_mutex_t mutex
    cdef bint mutex_made
    # Nonzero while nobody looks at the doorbells; the seam's `Function.sleeping` points here.
    cdef volatile uint32_t sleeping
    cdef volatile uint32_t stopping
    cdef int wake_fd              # of an event loop that drives it, or -1
    cdef readonly size_t bar_size
    # Executes admin commands: `handler.execute(bytes)`, called with the machine standing still.
    cdef public object handler
    cdef readonly object thread
    cdef object pid
    cdef uint64_t spin_ns
    cdef uint32_t bad_told        # doorbells that were wrong, as the handler was last told
    cdef uint32_t bad_values_told
    cdef readonly uint64_t parked  # how often its thread went to sleep

    cdef bint _make_mutex(self) noexcept
    cdef void wake(self) noexcept nogil
    cdef void lock(self) noexcept
    cdef void unlock(self) noexcept
    cdef void _loop(self) noexcept nogil
    cdef void _idle(self, uint64_t since) noexcept nogil
    cdef uint32_t _bad_doorbells(self) noexcept nogil
    cdef void _free_storage(self) noexcept
    cdef int _serve(self) except -1
