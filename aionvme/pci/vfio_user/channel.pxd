# One connection of vfio-user: whole messages in and out, with the descriptors beside them, without the interpreter.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

from aionvme.pci.vfio_user.sockets cimport pthread_mutex_t


cdef enum:
    HEADER_BYTES = 16
    FOREVER = -1                # a deadline that never comes


# What each message begins with (`wire.Header`).
cdef struct Head:
    uint16_t id
    uint16_t command
    uint32_t size               # of the whole
    uint32_t flags
    uint32_t error


# A message that has come in part or in whole; all zero before. `incoming_clear` gives everything back.
cdef struct Incoming:
    Head head
    size_t got                  # bytes so far, those of the header among them
    uint8_t *payload            # head.size - HEADER_BYTES, once the header is there; NULL for none
    int *fds
    int nfds


cdef enum Received:
    WHOLE
    INTERRUPTED                 # by a signal; call again to go on
    LATE
    CLOSED_BY_PEER
    CONNECTION_FAILED           # errno says how
    BAD_SIZE
    TOO_MANY_FDS
    NO_MEMORY


cdef void incoming_clear(Incoming *message) noexcept nogil
cdef int64_t now_ns() noexcept nogil


cdef class Channel:
    cdef object _sock
    cdef int _fd                # -1 once closed; changed under _sending
    cdef int _max_fds
    cdef int64_t _send_timeout_ns
    cdef pthread_mutex_t _sending
    cdef long _forks
    cdef uint8_t *_control_in
    cdef size_t _control_in_bytes

    # One thread at a time; by `deadline_ns` of the monotonic clock.
    cdef Received receive_some(self, Incoming *message, int64_t deadline_ns) noexcept nogil
    # Any thread. 0, or the errno; after another than EAGAIN the connection has ended. Without `wait` it gives EAGAIN
    # where it would have to wait before the first byte.
    cdef int send_message(self, Head *head, const void *payload, size_t nbytes, const void *more, size_t more_bytes,
                          const int *fds, int nfds, bint wait) noexcept nogil
    cdef void end_connection(self) noexcept nogil

    cdef int _take_fds(self, Incoming *message, size_t control_bytes) noexcept nogil
    cdef int _send_all(self, void *parts, int nparts, const int *fds, int nfds, bint wait) noexcept nogil
