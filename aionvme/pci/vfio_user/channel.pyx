# cython: language_level=3, boundscheck=False, wraparound=False
"""Owns how messages of vfio-user cross a UNIX socket whole, and the descriptors that come with them.

Both sides use it. What it does for Python it does in C, so that a thread can receive, and another wait to send, while
others have the interpreter.
"""

import array
import os
import time

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EBADF, EINTR, EINVAL, ENOMEM, ETIMEDOUT, errno
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport close

from aionvme.pci.memory cimport fork_count
from aionvme.pci.vfio_user import wire
from aionvme.pci.vfio_user.sockets cimport (
    CMSG_DATA, CMSG_FIRSTHDR, CMSG_LEN, CMSG_NXTHDR, CMSG_SPACE, MSG_CMSG_CLOEXEC, MSG_CTRUNC, MSG_DONTWAIT,
    MSG_NOSIGNAL, POLLIN, POLLOUT, SCM_RIGHTS, SHUT_RDWR, SOL_SOCKET, cmsghdr, iovec, msghdr, poll, pollfd,
    pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_trylock, pthread_mutex_unlock,
    recvmsg, sendmsg, shutdown,
)

__all__ = ["Channel", "ChannelClosed", "Message"]

cdef enum:
    NS_PER_MS = 1000000

cdef size_t _LONGEST = wire.MAX_MESSAGE
assert wire.HEADER_BYTES == HEADER_BYTES == sizeof(Head)


class ChannelClosed(ConnectionError):
    """The peer is gone, or its connection was given up."""


class Message:
    """One message as it came. Whoever has it closes its descriptors, or takes them.

    Attributes:
        header: As received; its size is that of the whole.
        payload: What followed the header.
        fds: Descriptors that came with it, close-on-exec.
    """

    __slots__ = ("fds", "header", "payload")

    def __init__(self, header, payload, fds=None):
        self.header, self.payload, self.fds = header, payload, fds if fds is not None else []

    def take_fds(self):
        """The descriptors, which are the caller's from here on."""
        fds, self.fds = self.fds, []
        return fds

    def close(self):
        """Closes the descriptors that nobody took."""
        for fd in self.take_fds():
            os.close(fd)

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.close()


cdef int64_t now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


cdef void incoming_clear(Incoming *message) noexcept nogil:
    cdef int i
    for i in range(message.nfds):
        close(message.fds[i])
    free(message.fds)
    free(message.payload)
    memset(message, 0, sizeof(Incoming))


cdef int _wait_for(int fd, short events, int64_t deadline_ns) noexcept nogil:
    """1 if something is to be done, 0 if the deadline passed, -1 with errno."""
    cdef pollfd watched
    cdef int64_t left = -1
    watched.fd = fd
    watched.events = events
    watched.revents = 0
    if deadline_ns != FOREVER:
        left = (deadline_ns - now_ns() + NS_PER_MS - 1) // NS_PER_MS
        left = max(<int64_t>0, min(left, <int64_t>1000000))
    return poll(&watched, 1, <int>left)


cdef class Channel:
    """A connected stream socket. One thread receives at a time; any may send.

    Args:
        sock: The socket, which is the channel's from here on.
        send_timeout: Seconds after which a peer that takes nothing off the socket is given up.
        max_fds: Descriptors that one message may bring.
    """

    def __cinit__(self, *args, **kwargs):
        self._fd = -1
        self._forks = fork_count()
        pthread_mutex_init(&self._sending, NULL)

    def __init__(self, sock, *, double send_timeout=10.0, int max_fds=wire.MAX_FDS):
        sock.setblocking(True)
        self._sock = sock
        self._max_fds = max_fds
        self._send_timeout_ns = <int64_t>(send_timeout * 1e9)
        self._control_in_bytes = CMSG_SPACE(<size_t>max_fds * sizeof(int))
        free(self._control_in)
        self._control_in = <uint8_t *>malloc(self._control_in_bytes)
        if self._control_in == NULL:
            raise MemoryError("no memory for a connection")
        self._fd = sock.fileno()

    def __dealloc__(self):
        free(self._control_in)
        pthread_mutex_destroy(&self._sending)

    def fileno(self):
        """The socket's descriptor; -1 once it is closed."""
        return self._fd

    # -- sending -------------------------------------------------------------------------------------------------------

    def send(self, header, const uint8_t[::1] payload not None=b"", fds=()):
        """Sends one message; its size is filled in.

        Raises:
            ChannelClosed: The peer is gone, or takes nothing off the socket.
        """
        cdef Head head
        cdef const uint8_t[::1] raw
        cdef const int[::1] numbers
        cdef const int *first = NULL
        cdef int count = len(fds), error
        cdef size_t nbytes = payload.shape[0]
        cdef const void *data = &payload[0] if nbytes else NULL
        header.size = HEADER_BYTES + nbytes
        raw = bytes(header)
        memcpy(&head, &raw[0], sizeof(head))
        if count:
            numbers = array.array("i", fds)
            first = &numbers[0]
        with nogil:
            error = self.send_message(&head, data, nbytes, NULL, 0, first, count, True)
        if error:
            raise ChannelClosed(f"the connection ended: {os.strerror(error)}")

    cdef int send_message(self, Head *head, const void *payload, size_t nbytes, const void *more, size_t more_bytes,
                          const int *fds, int nfds, bint wait) noexcept nogil:
        cdef iovec[3] parts
        cdef int error
        head.size = <unsigned int>(HEADER_BYTES + nbytes + more_bytes)
        parts[0].iov_base, parts[0].iov_len = head, HEADER_BYTES
        parts[1].iov_base, parts[1].iov_len = <void *>payload, nbytes
        parts[2].iov_base, parts[2].iov_len = <void *>more, more_bytes
        if wait:
            pthread_mutex_lock(&self._sending)
        elif pthread_mutex_trylock(&self._sending):
            return EAGAIN
        error = self._send_all(parts, 3, fds, nfds, wait)
        if error and error != EAGAIN:
            # A message that went in part has no end.
            self.end_connection()
        pthread_mutex_unlock(&self._sending)
        return error

    cdef int _send_all(self, void *parts, int nparts, const int *fds, int nfds, bint wait) noexcept nogil:
        cdef msghdr message
        cdef iovec *part = <iovec *>parts
        cdef int64_t deadline_ns = now_ns() + self._send_timeout_ns
        cdef size_t control_bytes = CMSG_SPACE(<size_t>nfds * sizeof(int)) if nfds else 0
        cdef uint8_t *control = NULL
        cdef cmsghdr *first
        cdef ssize_t done
        cdef bint begun = False
        cdef int error = 0
        if self._fd < 0:
            return EBADF
        memset(&message, 0, sizeof(message))
        if nfds:
            control = <uint8_t *>calloc(1, control_bytes)
            if control == NULL:
                return ENOMEM
            message.msg_control, message.msg_controllen = control, control_bytes
            first = CMSG_FIRSTHDR(&message)
            first.cmsg_level, first.cmsg_type = SOL_SOCKET, SCM_RIGHTS
            first.cmsg_len = CMSG_LEN(<size_t>nfds * sizeof(int))
            memcpy(CMSG_DATA(first), fds, <size_t>nfds * sizeof(int))
        while nparts:
            if part.iov_len == 0:
                part += 1
                nparts -= 1
                continue
            message.msg_iov, message.msg_iovlen = part, nparts
            done = sendmsg(self._fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
            if done < 0:
                error = errno
                if error == EINTR:
                    continue
                if error == EAGAIN and (wait or begun):
                    done = _wait_for(self._fd, POLLOUT, deadline_ns)
                    if done > 0 or (done < 0 and errno == EINTR):
                        continue
                    error = ETIMEDOUT if done == 0 else errno
                break
            error = 0
            begun = True
            # The descriptors went with the first byte, whatever becomes of the rest.
            message.msg_control, message.msg_controllen = NULL, 0
            while nparts and <size_t>done >= part.iov_len:
                done -= part.iov_len
                part += 1
                nparts -= 1
            if nparts:
                part.iov_base = <uint8_t *>part.iov_base + done
                part.iov_len -= done
        free(control)
        return error

    # -- receiving -----------------------------------------------------------------------------------------------------

    def receive(self, deadline=None):
        """Receives one message.

        Args:
            deadline: By `time.monotonic`, when to give up; None to wait for ever.

        Raises:
            ChannelClosed: The peer closed the connection, in the middle of a message or between two.
            TimeoutError: The deadline passed; what had come of a message is lost, and with it the connection.
            wire.MessageError: The header's size is none, or there are more descriptors than can be; the
                connection cannot go on.
        """
        cdef Incoming message
        cdef Received result = INTERRUPTED
        cdef int64_t deadline_ns = FOREVER
        cdef int number = 0
        if deadline is not None:
            deadline_ns = now_ns() + <int64_t>(min(deadline - time.monotonic(), 1e9) * 1e9)
            deadline_ns = max(deadline_ns, <int64_t>0)
        memset(&message, 0, sizeof(message))
        try:
            while result == INTERRUPTED:
                with nogil:
                    result = self.receive_some(&message, deadline_ns)
                    number = errno
                PyErr_CheckSignals()
            if result != WHOLE:
                raise _error(result, number, message.head.size)
            header = wire.Header.from_buffer_copy((<uint8_t *>&message.head)[:HEADER_BYTES])
            payload = (<uint8_t *>message.payload)[:message.head.size - HEADER_BYTES] if message.payload else b""
            found = Message(header, payload, [message.fds[i] for i in range(message.nfds)])
            message.nfds = 0
            return found
        finally:
            incoming_clear(&message)

    cdef Received receive_some(self, Incoming *message, int64_t deadline_ns) noexcept nogil:
        cdef msghdr received
        cdef iovec part
        cdef ssize_t count
        cdef int outcome
        while message.got < HEADER_BYTES or message.got < message.head.size:
            if deadline_ns != FOREVER:
                outcome = _wait_for(self._fd, POLLIN, deadline_ns)
                if outcome == 0:
                    if now_ns() < deadline_ns:
                        continue
                    return LATE
                if outcome < 0:
                    return INTERRUPTED if errno == EINTR else CONNECTION_FAILED
            if message.got < HEADER_BYTES:
                part.iov_base = <uint8_t *>&message.head + message.got
                part.iov_len = HEADER_BYTES - message.got
            else:
                part.iov_base = message.payload + message.got - HEADER_BYTES
                part.iov_len = message.head.size - message.got
            memset(&received, 0, sizeof(received))
            received.msg_iov, received.msg_iovlen = &part, 1
            received.msg_control, received.msg_controllen = self._control_in, self._control_in_bytes
            count = recvmsg(self._fd, &received, MSG_CMSG_CLOEXEC)
            if count < 0:
                return INTERRUPTED if errno == EINTR else CONNECTION_FAILED
            outcome = 0
            if received.msg_controllen:
                outcome = self._take_fds(message, received.msg_controllen)
            if outcome == ENOMEM:
                return NO_MEMORY
            if outcome or received.msg_flags & MSG_CTRUNC:
                return TOO_MANY_FDS
            if count == 0:
                return CLOSED_BY_PEER
            message.got += count
            if message.got == HEADER_BYTES and message.payload == NULL:
                if not HEADER_BYTES <= message.head.size <= _LONGEST:
                    return BAD_SIZE
                if message.head.size > HEADER_BYTES:
                    message.payload = <uint8_t *>malloc(message.head.size - HEADER_BYTES)
                    if message.payload == NULL:
                        return NO_MEMORY
        return WHOLE

    cdef int _take_fds(self, Incoming *message, size_t control_bytes) noexcept nogil:
        # All are taken, whatever is wrong, so that all are closed in the end.
        cdef msghdr received
        cdef cmsghdr *control
        cdef int *fds
        cdef int count, i, number, error = 0
        memset(&received, 0, sizeof(received))
        received.msg_control, received.msg_controllen = self._control_in, control_bytes
        control = CMSG_FIRSTHDR(&received)
        while control != NULL:
            if control.cmsg_level == SOL_SOCKET and control.cmsg_type == SCM_RIGHTS:
                count = <int>((control.cmsg_len - CMSG_LEN(0)) // sizeof(int))
                fds = <int *>realloc(message.fds, <size_t>(message.nfds + count) * sizeof(int))
                if fds == NULL:
                    for i in range(count):
                        memcpy(&number, CMSG_DATA(control) + <size_t>i * sizeof(int), sizeof(int))
                        close(number)
                    error = ENOMEM
                else:
                    memcpy(fds + message.nfds, CMSG_DATA(control), <size_t>count * sizeof(int))
                    message.fds = fds
                    message.nfds += count
            control = CMSG_NXTHDR(&received, control)
        if not error and message.nfds > self._max_fds:
            error = EINVAL
        return error

    # -- the end -------------------------------------------------------------------------------------------------------

    cdef void end_connection(self) noexcept nogil:
        # A child that was forked has the same connection, which is its parent's.
        if self._fd >= 0 and self._forks == fork_count():
            shutdown(self._fd, SHUT_RDWR)

    def shut_down(self):
        """Ends the connection, and wakes the thread that receives."""
        self.end_connection()

    def close(self):
        """Ends the connection and closes the socket; no thread may be in `receive`. May be called twice."""
        if self._fd < 0:
            return
        self.end_connection()
        if self._forks == fork_count():
            # What is being sent ends by itself, now.
            with nogil:
                pthread_mutex_lock(&self._sending)
            self._fd = -1
            pthread_mutex_unlock(&self._sending)
        self._fd = -1
        self._sock.close()


def _error(Received result, int number, size):
    if result == LATE:
        return TimeoutError("no message came in time")
    if result == CLOSED_BY_PEER:
        return ChannelClosed("the peer closed the connection")
    if result == BAD_SIZE:
        return wire.MessageError(f"a message says that it has {size} bytes")
    if result == TOO_MANY_FDS:
        return wire.MessageError("more descriptors came than a message may have")
    if result == NO_MEMORY:
        return MemoryError("no memory for a message")
    return ChannelClosed(f"the connection ended: {os.strerror(number)}")
