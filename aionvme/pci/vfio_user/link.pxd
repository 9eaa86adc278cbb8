# The client's end of a connection as a class diagram: who waits for which reply, and what the server may reach.
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t

from aionvme.pci.vfio_user.channel cimport Channel, Incoming
from aionvme.pci.vfio_user.sockets cimport pthread_cond_t, pthread_mutex_t
from aionvme.pci.vfio_user.windows cimport Windows


cdef enum:
    # Writes that are under way at once of which nobody awaits the reply.
    MOST_POSTED = 128


# Somebody who waits for a reply.
cdef struct Waiter:
    uint16_t id
    uint16_t command
    bint answered
    Incoming reply
    Waiter *next


# VFIO_USER_REGION_READ, VFIO_USER_REGION_WRITE and their replies, less the data (`wire.RegionAccess`).
cdef struct Access:
    uint64_t offset
    uint32_t region
    uint32_t count


cdef class Link:
    cdef readonly str name
    cdef readonly Windows windows
    cdef Channel _channel
    cdef int64_t _timeout_ns
    cdef long _forks
    cdef object _thread
    cdef object __weakref__
    # What both the thread that receives and the others touch.
    cdef pthread_mutex_t _lock
    cdef pthread_cond_t _changed
    cdef Waiter *_waiters
    cdef uint16_t _last_id
    cdef uint64_t[MOST_POSTED] _posted_at       # where it writes, above bit 0, which says that it is under way
    cdef const char *_why                       # it ended; NULL before
    cdef int _why_errno
    cdef object _why_text                       # said by Python, instead
    cdef int _notice

    cdef bint ended(self) noexcept
    # Reads or writes a part of a region. False if the connection has ended; OSError if the server refused.
    cdef bint access(self, bint writing, uint32_t region, uint64_t offset, uint32_t count, void *data) except -1
    # Writes 32 bits without waiting for the reply.
    cdef int post32(self, uint32_t region, uint64_t offset, uint32_t value) except -1

    cdef bint call(self, uint16_t command, const void *payload, size_t nbytes, const void *more, size_t more_bytes,
                   const int *fds, int nfds, int64_t timeout_ns, Waiter *waiter) noexcept nogil
    cdef void end(self, const char *why, int number) noexcept nogil
    cdef void end_unsent(self, int number) noexcept nogil
    cdef int take_posted(self, uint64_t offset, int64_t deadline_ns) noexcept nogil
    cdef void wait_changed(self, int64_t deadline_ns) noexcept nogil
    cdef void receive_all(self) noexcept nogil
    cdef const char *take_reply(self, Incoming *message) noexcept nogil
    cdef void serve(self, Incoming *message) noexcept nogil
    cdef int check_here(self) except -1
