# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Owns the client's end of a connection: requests and their replies, what the server asks for, and how it ends.

A thread receives, and needs the interpreter for nothing: whoever waits for a reply is not kept from it by a loop that
is busy. What the server asks for (VFIO_USER_DMA_READ and VFIO_USER_DMA_WRITE, of memory that was mapped) is answered
there, at any time; anything else it asks for is refused.

The connection ends for good when the server closes it, does not answer in time, or sends what the protocol does not
allow. Everybody who waits is then told, and the eventfd of `set_notice` is signalled.
"""

import array
import os
import threading

from libc.errno cimport EAGAIN, ECONNRESET, EINVAL, ENOMEM, EOPNOTSUPP, EPIPE, ETIMEDOUT, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, timespec
from posix.unistd cimport write

from aionvme.errors import ControllerLostError, UsageError
from aionvme.pci.memory cimport fork_count
from aionvme.pci.vfio_user import wire
from aionvme.pci.vfio_user.channel cimport (
    BAD_SIZE, CLOSED_BY_PEER, CONNECTION_FAILED, FOREVER, HEADER_BYTES, INTERRUPTED, TOO_MANY_FDS, WHOLE, Channel,
    Head, Incoming, Received, incoming_clear, now_ns,
)
from aionvme.pci.vfio_user.sockets cimport (
    pthread_cond_broadcast, pthread_cond_destroy, pthread_cond_init, pthread_cond_timedwait, pthread_condattr_destroy,
    pthread_condattr_init, pthread_condattr_setclock, pthread_condattr_t, pthread_mutex_destroy, pthread_mutex_init,
    pthread_mutex_lock, pthread_mutex_unlock,
)
from aionvme.pci.vfio_user.windows cimport Windows

__all__ = ["Link"]

cdef enum:
    # Identifiers from here on are those of posted writes, by their place.
    FIRST_POSTED = 0x8000
    NOBODY = -1

cdef uint16_t REGION_READ = int(wire.Command.REGION_READ)
cdef uint16_t REGION_WRITE = int(wire.Command.REGION_WRITE)
cdef uint16_t DMA_READ = int(wire.Command.DMA_READ)
cdef uint16_t DMA_WRITE = int(wire.Command.DMA_WRITE)
cdef uint32_t TYPE_MASK = wire.TYPE_MASK
cdef uint32_t TYPE_COMMAND = wire.TYPE_COMMAND
cdef uint32_t TYPE_REPLY = wire.TYPE_REPLY
cdef uint32_t NO_REPLY = wire.NO_REPLY
cdef uint32_t ERROR = wire.ERROR
cdef uint64_t MAX_DATA = wire.DEFAULT_MAX_DATA


# VFIO_USER_DMA_READ, VFIO_USER_DMA_WRITE and their replies, less the data (`wire.DmaAccess`).
cdef struct DmaAccess:
    uint64_t address
    uint64_t count


# What the server sent that it must not, as the end of a sentence.
cdef const char *BROKE_SIZE = b"sent a message of an impossible size"
cdef const char *BROKE_FDS = b"sent more descriptors than a message may have"
cdef const char *BROKE_TYPE = b"sent a message that is neither a command nor a reply"
cdef const char *BROKE_ID = b"replied to what was not asked"
cdef const char *BROKE_COMMAND = b"replied to another command than was asked"
cdef const char *BROKE_POSTED = b"replied to a register write with something else"
cdef const char *REFUSED_POSTED = b"refused a register write"
cdef const char *CLOSED = b"closed the connection"
cdef const char *FAILED = b"is out of reach"
cdef const char *LATE = b"did not answer in time"
cdef const char *FULL = b"takes no messages any more"
cdef const char *OURS = b"was left by this process"
cdef const char *MEMORY = b"sent a message that there is no memory for"
cdef const char *SAID = b""


cdef class Link:
    """A connection to a server. Any thread may use it.

    Args:
        sock: The connected socket, which is the link's from here on.
        name: Whose it is, for messages and for the thread.
        timeout: Seconds that the server has to answer, and to take a message off the socket.
        max_fds: Descriptors that one message of the server's may bring.

    Attributes:
        windows: Memory that the server may ask for.
    """

    def __cinit__(self, *args, **kwargs):
        cdef pthread_condattr_t attributes
        self._notice = NOBODY
        self._forks = fork_count()
        pthread_mutex_init(&self._lock, NULL)
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(&self._changed, &attributes)
        pthread_condattr_destroy(&attributes)

    def __init__(self, sock, str name not None, double timeout, int max_fds):
        if self._channel is not None:
            raise RuntimeError("this link was set up before")
        self.name = name
        self.windows = Windows()
        self._timeout_ns = <int64_t>(timeout * 1e9)
        self._channel = Channel(sock, send_timeout=timeout, max_fds=max_fds)
        self._thread = threading.Thread(target=self._receive_all, name=f"aionvme {name}", daemon=True)
        self._thread.start()

    def __dealloc__(self):
        pthread_cond_destroy(&self._changed)
        pthread_mutex_destroy(&self._lock)

    # -- the end -------------------------------------------------------------------------------------------------------

    cdef bint ended(self) noexcept:
        return self._why != NULL

    @property
    def loss(self):
        """Why the connection ended, as a sentence; None while it has not."""
        if self._why == NULL:
            return None
        if self._why_text is not None:
            return f"{self.name}: the server {self._why_text}"
        reason = self._why.decode()
        return f"{self.name}: the server {reason}" + (f": {os.strerror(self._why_errno)}" if self._why_errno else "")

    def lost(self):
        """The exception that says so."""
        return ControllerLostError(self.loss)

    def give_up(self, str why not None):
        """Ends the connection, because the server did something that it must not: "sent nonsense", say."""
        if self._why == NULL:
            self._why_text = why
        self.end(SAID, 0)

    cdef void end(self, const char *why, int number) noexcept nogil:
        cdef uint64_t one = 1
        pthread_mutex_lock(&self._lock)
        if self._why == NULL:
            self._why_errno = number
            self._why = why
            self._channel.end_connection()
            if self._notice != NOBODY:
                write(self._notice, &one, sizeof(one))
            pthread_cond_broadcast(&self._changed)
        pthread_mutex_unlock(&self._lock)

    cdef void end_unsent(self, int number) noexcept nogil:
        # The socket takes or gives nothing any more. A peer that goes while something is under way resets it.
        if number == ETIMEDOUT:
            self.end(FULL, 0)
        elif number == ECONNRESET or number == EPIPE:
            self.end(CLOSED, 0)
        else:
            self.end(FAILED, number)

    def set_notice(self, int fd):
        """Has this eventfd signalled when the connection ends, at once if it has; -1 for none."""
        cdef uint64_t one = 1
        pthread_mutex_lock(&self._lock)
        self._notice = fd
        if fd != NOBODY and self._why != NULL:
            write(fd, &one, sizeof(one))
        pthread_mutex_unlock(&self._lock)

    def close(self):
        """Ends the connection, if it has not, and gives everything back. May be called twice, and in a forked child."""
        if self._channel is None:
            return
        if self._forks != fork_count():
            # The connection is the parent's, and another thread may have had the lock.
            self._channel.close()
            return
        with nogil:
            self.end(OURS, 0)
        self._thread.join()
        self._channel.close()

    cdef int check_here(self) except -1:
        if self._forks != fork_count():
            raise UsageError(f"{self.name} stays with the process that opened it: open it anew in this one")
        return 0

    # -- requests ------------------------------------------------------------------------------------------------------

    def request(self, int command, const uint8_t[::1] payload not None, fds=(), *, timeout=None):
        """Sends a command and waits for its reply, without the interpreter.

        Args:
            command: Its number.
            payload: What follows the header.
            fds: Descriptors that go along; they stay the caller's.
            timeout: Seconds that the server has, None for as long as any other.

        Returns:
            The payload of the reply, and the descriptors that came with it, which are the caller's.

        Raises:
            ControllerLostError: The connection has ended, or ended by this.
            OSError: The server refused.
        """
        cdef Waiter waiter
        cdef const int[::1] numbers
        cdef const int *first = NULL
        cdef int count = len(fds)
        cdef size_t nbytes = payload.shape[0]
        cdef const void *data = &payload[0] if nbytes else NULL
        cdef int64_t timeout_ns = self._timeout_ns if timeout is None else <int64_t>(timeout * 1e9)
        cdef bint answered
        self.check_here()
        if count:
            numbers = array.array("i", fds)
            first = &numbers[0]
        with nogil:
            answered = self.call(<uint16_t>command, data, nbytes, NULL, 0, first, count, timeout_ns, &waiter)
        if not answered:
            raise self.lost()
        try:
            if waiter.reply.head.flags & ERROR:
                raise self._refusal(wire.Command(command).name, waiter.reply.head.error)
            answer = (<uint8_t *>waiter.reply.payload)[:waiter.reply.head.size - HEADER_BYTES] \
                if waiter.reply.payload != NULL else b""
            came = [waiter.reply.fds[i] for i in range(waiter.reply.nfds)]
            waiter.reply.nfds = 0
            return answer, came
        finally:
            incoming_clear(&waiter.reply)

    def _refusal(self, what, number):
        number = number if 0 < number < 4096 else EINVAL
        return OSError(number, f"{self.name}: the server refused {what}: {os.strerror(number)}")

    cdef bint call(self, uint16_t command, const void *payload, size_t nbytes, const void *more, size_t more_bytes,
                   const int *fds, int nfds, int64_t timeout_ns, Waiter *waiter) noexcept nogil:
        # True if it was answered, and the reply is the caller's to clear.
        cdef Head head
        cdef Waiter **at
        cdef int64_t deadline_ns = now_ns() + timeout_ns
        cdef int error
        memset(&head, 0, sizeof(head))
        memset(waiter, 0, sizeof(Waiter))
        pthread_mutex_lock(&self._lock)
        # Far fewer wait at once than there are identifiers, and each for so long at most: none is in use.
        self._last_id = (self._last_id + 1) % FIRST_POSTED
        waiter.id = head.id = self._last_id
        waiter.command = head.command = command
        waiter.next = self._waiters
        self._waiters = waiter
        pthread_mutex_unlock(&self._lock)
        error = self._channel.send_message(&head, payload, nbytes, more, more_bytes, fds, nfds, True)
        if error:
            self.end_unsent(error)
        pthread_mutex_lock(&self._lock)
        while not waiter.answered and self._why == NULL and now_ns() < deadline_ns:
            self.wait_changed(deadline_ns)
        at = &self._waiters
        while at[0] != waiter:
            at = &at[0].next
        at[0] = waiter.next
        pthread_mutex_unlock(&self._lock)
        if not waiter.answered:
            self.end(LATE, 0)
        return waiter.answered

    cdef void wait_changed(self, int64_t deadline_ns) noexcept nogil:
        cdef timespec until
        until.tv_sec = deadline_ns // 1000000000
        until.tv_nsec = deadline_ns % 1000000000
        pthread_cond_timedwait(&self._changed, &self._lock, &until)

    # -- registers -----------------------------------------------------------------------------------------------------

    cdef bint access(self, bint writing, uint32_t region, uint64_t offset, uint32_t count, void *data) except -1:
        cdef Access asked, told
        cdef Waiter waiter
        cdef size_t size
        cdef bint answered, right
        self.check_here()
        if self._why != NULL:
            return False
        asked.offset, asked.region, asked.count = offset, region, count
        with nogil:
            answered = self.call(REGION_WRITE if writing else REGION_READ, &asked, sizeof(asked), data,
                                 count if writing else 0, NULL, 0, self._timeout_ns, &waiter)
        if not answered:
            return False
        try:
            if waiter.reply.head.flags & ERROR:
                raise self._refusal(
                    f"to {'write' if writing else 'read'} {count} bytes at {offset:#x} of region {region}",
                    waiter.reply.head.error)
            size = waiter.reply.head.size - HEADER_BYTES
            right = size == sizeof(told) + (0 if writing else count) and waiter.reply.nfds == 0
            if right:
                memcpy(&told, waiter.reply.payload, sizeof(told))
                right = told.offset == offset and told.region == region and told.count == count
            if not right:
                self.give_up(f"answered a {'write' if writing else 'read'} of a register with something else")
                return False
            if not writing:
                memcpy(data, waiter.reply.payload + sizeof(told), count)
            return True
        finally:
            incoming_clear(&waiter.reply)

    def read_region(self, uint32_t region, uint64_t offset, uint32_t nbytes):
        """Reads a part of a region by one message; None if the connection has ended.

        Raises:
            OSError: The server refused.
        """
        data = bytearray(nbytes)
        cdef uint8_t[::1] view = data
        return bytes(data) if self.access(False, region, offset, nbytes, &view[0]) else None

    def write_region(self, uint32_t region, uint64_t offset, const uint8_t[::1] data not None):
        """Writes a part of a region by one message; nothing if the connection has ended.

        Raises:
            OSError: The server refused.
        """
        self.access(True, region, offset, <uint32_t>data.shape[0], <void *>&data[0])

    cdef int post32(self, uint32_t region, uint64_t offset, uint32_t value) except -1:
        # With the interpreter while nothing has to be waited for, which is the rule.
        cdef Access asked
        cdef Head head
        cdef int place, error
        self.check_here()
        asked.offset, asked.region, asked.count = offset, region, sizeof(value)
        memset(&head, 0, sizeof(head))
        place = self.take_posted(offset, 0)
        if place == NOBODY:
            with nogil:
                place = self.take_posted(offset, now_ns() + self._timeout_ns)
        if place == NOBODY:
            return 0
        head.id = <uint16_t>(FIRST_POSTED + place)
        head.command = REGION_WRITE
        error = self._channel.send_message(&head, &asked, sizeof(asked), &value, sizeof(value), NULL, 0, False)
        if error == EAGAIN:
            with nogil:
                error = self._channel.send_message(&head, &asked, sizeof(asked), &value, sizeof(value), NULL, 0, True)
        if error:
            with nogil:
                self.end_unsent(error)
        return 0

    cdef int take_posted(self, uint64_t offset, int64_t deadline_ns) noexcept nogil:
        # A place for a posted write; NOBODY where there is none by then, or the connection has ended.
        cdef int place = NOBODY, i
        cdef bint late = False
        pthread_mutex_lock(&self._lock)
        while self._why == NULL:
            for i in range(MOST_POSTED):
                if self._posted_at[i] == 0:
                    self._posted_at[i] = offset << 1 | 1
                    place = i
                    break
            late = now_ns() >= deadline_ns
            if place != NOBODY or late:
                break
            self.wait_changed(deadline_ns)
        pthread_mutex_unlock(&self._lock)
        if place == NOBODY and late and deadline_ns:
            self.end(LATE, 0)
        return place

    # -- the thread that receives --------------------------------------------------------------------------------------

    def _receive_all(self):
        with nogil:
            self.receive_all()

    cdef void receive_all(self) noexcept nogil:
        cdef Incoming message
        cdef Received result
        cdef const char *broke
        memset(&message, 0, sizeof(message))
        while True:
            result = self._channel.receive_some(&message, FOREVER)
            if result == INTERRUPTED:
                continue
            if result != WHOLE:
                if result == CONNECTION_FAILED:
                    self.end_unsent(errno)
                else:
                    self.end(_why_not(result), 0)
                break
            broke = NULL
            if message.head.flags & TYPE_MASK == TYPE_REPLY:
                broke = self.take_reply(&message)
            elif message.head.flags & TYPE_MASK == TYPE_COMMAND:
                self.serve(&message)
            else:
                broke = BROKE_TYPE
            if broke != NULL:
                self.end(broke, 0)
                break
            incoming_clear(&message)
        incoming_clear(&message)

    cdef const char *take_reply(self, Incoming *message) noexcept nogil:
        # Hands a reply over; what is wrong with it, or NULL.
        cdef const char *broke = NULL
        cdef Waiter *waiter
        cdef Access told
        cdef uint64_t expected
        cdef int place
        pthread_mutex_lock(&self._lock)
        if message.head.id >= FIRST_POSTED:
            place = message.head.id - FIRST_POSTED
            expected = self._posted_at[place] if place < MOST_POSTED else 0
            if expected == 0:
                broke = BROKE_ID
            elif message.head.command != REGION_WRITE:
                broke = BROKE_COMMAND
            elif message.head.flags & ERROR:
                broke = REFUSED_POSTED
            elif message.head.size != HEADER_BYTES + sizeof(told) or message.nfds:
                broke = BROKE_POSTED
            else:
                memcpy(&told, message.payload, sizeof(told))
                if told.offset != expected >> 1 or told.count != 4:
                    broke = BROKE_POSTED
                self._posted_at[place] = 0
                pthread_cond_broadcast(&self._changed)
        else:
            waiter = self._waiters
            while waiter != NULL and (waiter.id != message.head.id or waiter.answered):
                waiter = waiter.next
            if waiter == NULL:
                broke = BROKE_ID
            elif waiter.command != message.head.command:
                broke = BROKE_COMMAND
            else:
                waiter.reply = message[0]
                waiter.answered = True
                memset(message, 0, sizeof(Incoming))
                pthread_cond_broadcast(&self._changed)
        pthread_mutex_unlock(&self._lock)
        return broke

    cdef void serve(self, Incoming *message) noexcept nogil:
        # Answers what the server asks for.
        cdef DmaAccess asked
        cdef Head head
        cdef uint8_t *data = NULL
        cdef size_t size = message.head.size - HEADER_BYTES, back = 0
        cdef bint writing = message.head.command == DMA_WRITE
        cdef int error = EOPNOTSUPP
        if writing or message.head.command == DMA_READ:
            error = EINVAL
            if size >= sizeof(asked) and message.nfds == 0:
                memcpy(&asked, message.payload, sizeof(asked))
                if 0 < asked.count <= MAX_DATA and size == sizeof(asked) + (asked.count if writing else 0):
                    error = 0
        if error == 0 and not writing:
            data, back = <uint8_t *>malloc(asked.count), asked.count
            if data == NULL:
                error = ENOMEM
        if error == 0:
            error = self.windows.reach(
                asked.address, asked.count, message.payload + sizeof(asked) if writing else data, writing)
        if not message.head.flags & NO_REPLY:
            head.id, head.command = message.head.id, message.head.command
            head.flags, head.error = TYPE_REPLY | (ERROR if error else 0), error
            error = self._channel.send_message(&head, &asked, 0 if error else sizeof(asked), data, 0 if error else back,
                                               NULL, 0, True)
            if error:
                self.end_unsent(error)
        free(data)


cdef const char *_why_not(Received result) noexcept nogil:
    if result == CLOSED_BY_PEER:
        return CLOSED
    if result == BAD_SIZE:
        return BROKE_SIZE
    if result == TOO_MANY_FDS:
        return BROKE_FDS
    return MEMORY
