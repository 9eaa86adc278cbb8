"""Owns the socket between owner and borrower: messages, with descriptors beside them, and what is none."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
import weakref
from collections.abc import AsyncIterator, Sequence
from typing import Any

__all__ = ["LONGEST", "UCRED", "Channel", "Malformed", "close_all", "keep_from_children", "number", "text"]

#: Bytes of a message: two Identify structures of 4 KiB, in hexadecimal, and what belongs to them.
LONGEST = 32768
MOST_FDS = 16
#: What SO_PEERCRED gives: process, user and group (struct ucred, unix(7)).
UCRED = struct.Struct("iII")

Message = dict[str, Any]


class Malformed(Exception):
    """The other side sent what is no message, or not one that it may send."""


class Channel:
    """One end of a connection: a socket that keeps messages apart (SOCK_SEQPACKET).

    Each message is an object in JSON. Any thread may send.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        keep_from_children(sock)

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Sends a message, and these descriptors, which stay the caller's.

        Raises:
            OSError: The other side is gone, or does not read.
        """
        socket.send_fds(self._sock, [json.dumps(message, separators=(",", ":")).encode()], fds)

    def receive(self) -> tuple[Message, list[int]] | None:
        """The next message and its descriptors, which are the caller's; None at the end.

        Raises:
            Malformed: It is no message.
            BlockingIOError: There is none yet, on a socket that does not block.
        """
        try:
            data, fds, flags, _ = socket.recv_fds(self._sock, LONGEST, MOST_FDS, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            raise
        except OSError:
            return None  # The other side is gone, and left messages of ours unread.
        try:
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise Malformed(f"more than {LONGEST} bytes or {MOST_FDS} descriptors")
            message = json.loads(data) if data else None
            if data and not isinstance(message, dict):
                raise Malformed("no object")
        except (Malformed, ValueError, RecursionError) as error:
            close_all(fds)
            raise Malformed(str(error)) from None
        if message is None:
            close_all(fds)
            return None
        return message, fds

    async def messages(self) -> AsyncIterator[tuple[Message, list[int]]]:
        """Each message as it comes, on a socket that does not block, until the end.

        Raises:
            Malformed: One is no message.
        """
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        fd = self._sock.fileno()
        loop.add_reader(fd, readable.set)
        try:
            while True:
                readable.clear()
                try:
                    received = self.receive()
                except BlockingIOError:
                    await readable.wait()
                    continue
                if received is None:
                    return
                yield received
        finally:
            loop.remove_reader(fd)

    def shut(self) -> None:
        """Ends the connection for both sides: `receive` gives None. From any thread; may be called twice."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Closes this end. Nobody waits for a message."""
        self._sock.close()


def close_all(fds: list[int]) -> None:
    """Closes descriptors; the list is empty then."""
    while fds:
        os.close(fds.pop())


# -- what is in a message ----------------------------------------------------------------------------------------------


def number(message: Message, name: str, most: int = (1 << 64) - 1) -> int:
    """A number from 0 to `most`; `Malformed` where there is none."""
    value = message.get(name)
    if type(value) is not int or not 0 <= value <= most:
        raise Malformed(f"{name} is not a number from 0 to {most}")
    return value


def text(message: Message, name: str) -> str:
    """A string; `Malformed` where there is none."""
    value = message.get(name)
    if type(value) is not str:
        raise Malformed(f"{name} is no string")
    return value


# -- forked children ---------------------------------------------------------------------------------------------------

# A child's copy would keep the other side from noticing this process's end.
_sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def keep_from_children(sock: socket.socket) -> None:
    """Has a forked child not have this socket."""
    _sockets.add(sock)


def _after_fork() -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for sock in _sockets:
        if sock.fileno() >= 0:
            os.dup2(null, sock.fileno(), inheritable=False)
    os.close(null)


os.register_at_fork(after_in_child=_after_fork)
