"""Owns how messages of vfio-user cross a UNIX socket whole, and the descriptors that come with them."""

from __future__ import annotations

import array
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Sequence
from typing import Self

import attrs

from aionvme.pci.vfio_user import wire

__all__ = ["Channel", "ChannelClosed", "Message"]

_CONTROL = socket.CMSG_SPACE(wire.MAX_FDS * 4)
_FD_BYTES = array.array("i").itemsize


class ChannelClosed(ConnectionError):
    """The peer is gone, or its connection was given up."""


@attrs.define
class Message:
    """One message as it came. Whoever has it closes its descriptors, or takes them.

    Attributes:
        header: As received; its size is that of the whole.
        payload: What followed the header.
        fds: Descriptors that came with it, close-on-exec.
    """

    header: wire.Header
    payload: bytes
    fds: list[int] = attrs.field(factory=list)

    def take_fds(self) -> list[int]:
        """The descriptors, which are the caller's from here on."""
        fds, self.fds = self.fds, []
        return fds

    def close(self) -> None:
        """Closes the descriptors that nobody took."""
        for fd in self.take_fds():
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class Channel:
    """A connected stream socket. One thread receives at a time; any may send.

    Args:
        sock: The socket, which is the channel's from here on.
        send_timeout: Seconds after which a peer that takes nothing off the socket is given up.
    """

    def __init__(self, sock: socket.socket, *, send_timeout: float = 10.0) -> None:
        sock.setblocking(True)
        # Not settimeout(): that would be of both directions, and a thread each is at work on them.
        seconds, rest = divmod(send_timeout, 1.0)
        sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(seconds), int(rest * 1e6))
        )
        self._sock = sock
        self._readable = select.poll()
        self._readable.register(sock, select.POLLIN)
        self._sending = threading.Lock()
        self._closed = False

    def fileno(self) -> int:
        """The socket's descriptor; -1 once it is closed."""
        return self._sock.fileno()

    def send(self, header: wire.Header, payload: bytes = b"", fds: Sequence[int] = ()) -> None:
        """Sends one message; its size is filled in.

        Raises:
            ChannelClosed: The peer is gone, or takes nothing off the socket.
        """
        header.size = wire.HEADER_BYTES + len(payload)
        data = memoryview(bytes(header) + payload)
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            with self._sending:
                # The descriptors go with the first byte, whatever becomes of the rest.
                sent = self._sock.sendmsg([data], control, socket.MSG_NOSIGNAL)
                if sent < len(data):
                    self._sock.sendall(data[sent:], socket.MSG_NOSIGNAL)
        except OSError as error:
            # A message that went in part has no end.
            self.shut_down()
            raise ChannelClosed(f"the connection ended: {error}") from error

    def receive(self, deadline: float | None = None) -> Message:
        """Receives one message.

        Args:
            deadline: By `time.monotonic`, when to give up; None to wait for ever.

        Raises:
            ChannelClosed: The peer closed the connection, in the middle of a message or between two.
            TimeoutError: The deadline passed; what had come of a message is lost, and with it the connection.
            wire.MessageError: The header's size is none, or there are more descriptors than can be; the
                connection cannot go on.
        """
        fds: list[int] = []
        try:
            header = wire.Header.from_buffer_copy(self._exactly(wire.HEADER_BYTES, fds, deadline))
            if not wire.HEADER_BYTES <= header.size <= wire.MAX_MESSAGE:
                raise wire.MessageError(f"a message says that it has {header.size} bytes")
            payload = self._exactly(header.size - wire.HEADER_BYTES, fds, deadline)
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise
        return Message(header, payload, fds)

    def _exactly(self, nbytes: int, fds: list[int], deadline: float | None) -> bytes:
        data = bytearray()
        while len(data) < nbytes:
            if deadline is not None and not self._readable.poll(_milliseconds_left(deadline)):
                raise TimeoutError("no message came in time")
            try:
                piece, control, flags, _ = self._sock.recvmsg(
                    nbytes - len(data), _CONTROL, socket.MSG_CMSG_CLOEXEC
                )
            except OSError as error:
                raise ChannelClosed(f"the connection ended: {error}") from error
            for level, kind, raw in control:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds.extend(array.array("i", raw[: len(raw) // _FD_BYTES * _FD_BYTES]))
            if flags & socket.MSG_CTRUNC or len(fds) > wire.MAX_FDS:
                raise wire.MessageError("more descriptors came than a message may have")
            if not piece:
                raise ChannelClosed("the peer closed the connection")
            data += piece
        return bytes(data)

    def shut_down(self) -> None:
        """Ends the connection, and wakes the thread that receives."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            # It has ended by itself.
            return

    def close(self) -> None:
        """Ends the connection and closes the socket; no thread may be in `receive`. May be called twice."""
        if not self._closed:
            self._closed = True
            self.shut_down()
            self._sock.close()


def _milliseconds_left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic()) * 1000
