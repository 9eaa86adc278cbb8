"""Owns a client of vfio-user for the tests: messages written by hand, as the specification has them.

It shares nothing with the package but the raw driver of `raw.py`, which takes it for a function.
"""

from __future__ import annotations

import array
import ctypes
import json
import mmap
import os
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, Self

from aionvme.tests.unit.mock.raw import IOVA, Pages, Raw

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from aionvme.mock import MockController

HEADER = struct.Struct("<HHIII")
REGION = struct.Struct("<QII")
DMA = struct.Struct("<QQ")
DMA_MAP = struct.Struct("<IIQQQ")
DMA_UNMAP = struct.Struct("<IIQQ")
IRQ_SET = struct.Struct("<IIIII")

VERSION, MAP, UNMAP, GET_INFO, REGION_INFO, REGION_IO_FDS, IRQ_INFO, SET_IRQS = range(1, 9)
REGION_READ, REGION_WRITE, DMA_READ, DMA_WRITE, RESET = range(9, 14)
WRITE_MULTI, FEATURE, MIG_READ, MIG_WRITE = 15, 16, 17, 18
REPLY, NO_REPLY, ERROR = 1, 0x10, 0x20
READABLE, WRITEABLE = 1, 2
CONFIG = 7
SECONDS = 20.0

PROPOSAL = {
    "max_msg_fds": 16, "max_data_xfer_size": 1 << 20, "max_dma_maps": 65535, "pgsizes": 4096,
    "write_multiple": True,
}  # fmt: skip


class Refused(Exception):
    """The server answered with an error."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.errno = number


class Client:
    """A connection, on which messages are sent and answers are awaited, in one thread.

    Args:
        path: The socket.
        serve: Answers what the server asks: (command, payload) -> payload; None: nothing is expected.
    """

    def __init__(self, path: Path, serve: Callable[[int, bytes], bytes] | None = None) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(os.fspath(path))
        self.sock.settimeout(SECONDS)
        self.serve = serve
        self._id = 0
        self._lock = threading.Lock()

    # -- messages --------------------------------------------------------------------------------------------

    def send(
        self, command: int, payload: bytes = b"", fds: Sequence[int] = (), *, flags: int = 0, size: int | None = None,
        number: int = 0, error: int = 0,
    ) -> None:  # fmt: skip
        """Sends a message; `size` is what its header says, if that is not true."""
        total = HEADER.size + len(payload) if size is None else size
        self.send_raw(HEADER.pack(number, command, total, flags, error) + payload, fds)

    def send_raw(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Sends bytes, and descriptors with the first."""
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = self.sock.sendmsg([data], control)
        if sent < len(data):
            self.sock.sendall(data[sent:])

    def receive(self) -> tuple[tuple[int, ...], bytes, list[int]]:
        """The next message: header, payload, descriptors. `EOFError` when the server has closed."""
        fds: list[int] = []
        header = HEADER.unpack(self._exactly(HEADER.size, fds))
        return header, self._exactly(header[2] - HEADER.size, fds), fds

    def _exactly(self, nbytes: int, fds: list[int]) -> bytes:
        data = b""
        while len(data) < nbytes:
            try:
                piece, control, _, _ = self.sock.recvmsg(nbytes - len(data), socket.CMSG_SPACE(16 * 4))
            except ConnectionError:
                piece, control = b"", []
            for _, _, raw in control:
                fds += array.array("i", raw)
            if not piece:
                raise EOFError
            data += piece
        return data

    def ask(self, command: int, payload: bytes = b"", fds: Sequence[int] = ()) -> tuple[bytes, list[int]]:
        """Sends a command and awaits its answer; serves what the server asks meanwhile."""
        with self._lock:
            self._id = (self._id + 1) & 0xFFFF
            self.send(command, payload, fds, number=self._id)
            while True:
                (number, answered, _size, flags, error), data, got = self.receive()
                if flags & 0xF != REPLY:
                    assert self.serve is not None, f"the server asks {answered}"
                    self.send(answered, self.serve(answered, data), number=number, flags=REPLY)
                    continue
                assert (number, answered) == (self._id, command)
                if flags & ERROR:
                    assert data == b"" and got == []
                    raise Refused(error)
                return data, got

    def wait_for_end(self) -> None:
        """Waits until the server has ended the connection, whatever it still says."""
        while self.sock.recv(4096):
            pass

    def close(self) -> None:
        """Ends the connection."""
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # -- what they ask ---------------------------------------------------------------------------------------

    def negotiate(self, capabilities: dict[str, Any] | None = None, minor: int = 1) -> dict[str, Any]:
        """VFIO_USER_VERSION; the capabilities of the answer."""
        text = json.dumps({"capabilities": PROPOSAL if capabilities is None else capabilities}).encode()
        data, fds = self.ask(VERSION, struct.pack("<HH", 0, minor) + text + b"\0")
        assert fds == [] and data[-1] == 0
        assert struct.unpack_from("<HH", data) == (0, min(minor, 1))
        said = json.loads(data[4:-1])["capabilities"]
        assert isinstance(said, dict)
        return said

    def read(self, region: int, offset: int, count: int) -> bytes:
        """VFIO_USER_REGION_READ."""
        data, _ = self.ask(REGION_READ, REGION.pack(offset, region, count))
        assert data[:16] == REGION.pack(offset, region, count)
        assert len(data) == 16 + count
        return data[16:]

    def write(self, region: int, offset: int, data: bytes) -> None:
        """VFIO_USER_REGION_WRITE."""
        head = REGION.pack(offset, region, len(data))
        assert self.ask(REGION_WRITE, head + data) == (head, [])

    def map(self, iova: int, nbytes: int, fd: int | None, offset: int = 0, flags: int = 3) -> None:
        """VFIO_USER_DMA_MAP."""
        fds = [] if fd is None else [fd]
        assert self.ask(MAP, DMA_MAP.pack(32, flags, offset, iova, nbytes), fds) == (b"", [])

    def unmap(self, iova: int, nbytes: int) -> None:
        """VFIO_USER_DMA_UNMAP."""
        asked = DMA_UNMAP.pack(24, 0, iova, nbytes)
        assert self.ask(UNMAP, asked) == (asked, [])

    def set_irqs(self, index: int, start: int, fds: Sequence[int]) -> None:
        """VFIO_USER_DEVICE_SET_IRQS: eventfds of some interrupts."""
        asked = IRQ_SET.pack(20, 1 << 5 | 1 << 2, index, start, len(fds))
        assert self.ask(SET_IRQS, asked, fds) == (b"", [])

    def region_info(self, index: int, argsz: int = 4096) -> tuple[tuple[int, ...], bytes, list[int]]:
        """VFIO_USER_DEVICE_GET_REGION_INFO: (argsz, flags, index, cap_offset, size, offset), the rest, descriptors."""
        data, fds = self.ask(REGION_INFO, struct.pack("<IIIIQQ", argsz, 0, index, 0, 0, 0))
        return struct.unpack_from("<IIIIQQ", data), data[32:], fds


class RemoteFunction:
    """A client as a function: what `Raw` calls, by messages; doorbells by memory where they can be mapped."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.doorbells: mmap.mmap | None = None
        self.first = 0x1000
        _, rest, fds = client.region_info(0)
        if fds:
            (fd,) = fds
            self.first, nbytes = struct.unpack_from("<QQ", rest, 16)
            self.doorbells = mmap.mmap(fd, nbytes, offset=self.first)
            os.close(fd)

    @property
    def mapped(self) -> mmap.mmap:
        """The pages of doorbells, which are there."""
        assert self.doorbells is not None
        return self.doorbells

    def set_bus_master(self, on: bool) -> None:
        self.client.write(CONFIG, 4, struct.pack("<H", 0x6 if on else 0x2))

    def read32(self, offset: int) -> int:
        return int.from_bytes(self.client.read(0, offset, 4), "little")

    def read64(self, offset: int) -> int:
        return int.from_bytes(self.client.read(0, offset, 8), "little")

    def write32(self, offset: int, value: int) -> None:
        if self.doorbells is not None and offset >= self.first:
            # One store.
            ctypes.c_uint32.from_buffer(self.doorbells, offset - self.first).value = value
        else:
            self.client.write(0, offset, value.to_bytes(4, "little"))

    def write64(self, offset: int, value: int) -> None:
        self.client.write(0, offset, value.to_bytes(8, "little"))

    def close(self) -> None:
        if self.doorbells is not None:
            self.doorbells.close()
        self.client.close()


class RemoteRaw(Raw):
    """A raw driver whose function is a client."""

    function: RemoteFunction


def shared_memory(nbytes: int) -> tuple[int, mmap.mmap]:
    """A memfd, and its pages here."""
    fd = os.memfd_create("test", os.MFD_CLOEXEC)
    os.ftruncate(fd, nbytes)
    return fd, mmap.mmap(fd, nbytes)


def drive(mock: MockController, client: Client, *, nbytes: int = 8 << 20) -> RemoteRaw:
    """A raw driver of a served mock: negotiated, with memory by a descriptor; it owns the client."""
    client.negotiate()
    function = RemoteFunction(client)
    fd, memory = shared_memory(nbytes)
    client.map(IOVA, nbytes, fd)
    os.close(fd)
    return RemoteRaw(mock, reached=(function, Pages(memory)))
