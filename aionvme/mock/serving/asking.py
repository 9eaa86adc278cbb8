"""Owns what the server asks of a client: reading and writing memory that came without a descriptor."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import threading
import time
from typing import TYPE_CHECKING

from aionvme.pci.vfio_user import wire

if TYPE_CHECKING:
    from aionvme.pci.vfio_user.channel import Channel, Message

__all__ = ["Asking"]

_HEAD = ctypes.sizeof(wire.DmaAccess)
# "VFIO_USER_DMA_WRITE", Reply; QEMU 10 and 11 send a header alone (hw/vfio-user/pci.c, vfio_user_dma_write).
_WRITTEN = struct.Struct("<QI")


class Asking:
    """Asks for one thing at a time, from whatever thread, and waits for the answer.

    Args:
        channel: Where to.
        limit: Bytes of one message's data.
        timeout: Seconds after which a client that does not answer is given up.

    Attributes:
        limit: As given, until the client says how much it takes.
    """

    def __init__(self, channel: Channel, limit: int, timeout: float) -> None:
        self._channel = channel
        self.limit = limit
        self._timeout = timeout
        self._turn = threading.Lock()
        self._arrived = threading.Condition()
        self._id = 0
        self._command = 0
        self._waiting = False
        self._answer: Message | None = None
        self._ended = False

    def read(self, iova: int, nbytes: int) -> bytes:
        """Reads memory.

        Raises:
            OSError: The client refused, or answered with something else than was asked for.
            ConnectionError: It is gone, or was given up.
        """
        pieces = []
        for offset in range(0, nbytes, self.limit):
            count = min(self.limit, nbytes - offset)
            head = bytes(wire.DmaAccess(address=iova + offset, count=count))
            answer = self._ask(wire.Command.DMA_READ, head)
            if len(answer) != _HEAD + count or answer[:_HEAD] != head:
                raise OSError(errno.EPROTO, f"the answer to a read of {count} bytes has {len(answer)}")
            pieces.append(answer[_HEAD:])
        return b"".join(pieces)

    def write(self, iova: int, data: bytes) -> None:
        """Writes memory; raises as `read` does."""
        for offset in range(0, len(data), self.limit):
            piece = data[offset : offset + self.limit]
            head = bytes(wire.DmaAccess(address=iova + offset, count=len(piece)))
            answer = self._ask(wire.Command.DMA_WRITE, head + piece)
            if answer and answer[: _WRITTEN.size] != _WRITTEN.pack(iova + offset, len(piece)):
                raise OSError(errno.EPROTO, f"the answer to a write of {len(piece)} bytes is of another")

    def _ask(self, command: wire.Command, payload: bytes) -> bytes:
        with self._turn:
            with self._arrived:
                if self._ended:
                    raise ConnectionError("the client is gone")
                self._id, self._command = (self._id + 1) & 0xFFFF, int(command)
                self._waiting, self._answer = True, None
            self._channel.send(wire.Header(id=self._id, command=command), payload)
            answer = self._wait(command)
        if answer.header.flags & wire.ERROR:
            number = answer.header.error or errno.EIO
            raise OSError(number, os.strerror(number))
        return answer.payload

    def _wait(self, command: wire.Command) -> Message:
        deadline = time.monotonic() + self._timeout
        with self._arrived:
            while self._answer is None and not self._ended:
                left = deadline - time.monotonic()
                if left <= 0 or not self._arrived.wait(left):
                    break
            self._waiting = False
            answer, self._answer = self._answer, None
        if answer is None:
            self._channel.shut_down()
            raise ConnectionError(f"the client did not answer {command.name}")
        return answer

    def take(self, message: Message) -> bool:
        """For the thread that receives: hands a reply to who waits for it; False: nobody asked for it."""
        with self._arrived:
            asked = message.header.id == self._id and message.header.command == self._command
            if not asked or not self._waiting or self._answer is not None:
                return False
            self._answer = message
            self._arrived.notify_all()
            return True

    def end(self) -> None:
        """The client is gone: who waits is told, and nobody asks any more."""
        with self._arrived:
            self._ended = True
            self._arrived.notify_all()
