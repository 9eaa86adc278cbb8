"""Owns a vfio-user server that does what a test says: a minimal NVMe function, any answer of which can be replaced.

It shares no code with the client: messages are taken apart and put together here by the offsets of the specification.
"""

from __future__ import annotations

import array
import json
import mmap
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs

from aionvme.pci.address import VfioUserAddress
from aionvme.pci.vfio_user.function import VfioUserFunction
from aionvme.pci.vfio_user.opening import open_vfio_user

(
    VERSION, DMA_MAP, DMA_UNMAP, GET_INFO, GET_REGION_INFO, _, GET_IRQ_INFO, SET_IRQS, REGION_READ, REGION_WRITE,
    DMA_READ, DMA_WRITE, RESET,
) = range(1, 14)  # fmt: skip
HEADER = struct.Struct("<HHIII")
REPLY, NO_REPLY, ERROR = 1, 0x10, 0x20
PAGE = 4096
BAR_BYTES = 2 * PAGE
CONFIG = 7
PATIENCE = 5.0
IOVA = 1 << 20
# Bits of the command register, and of the control register of MSI-X.
MASTER, MEMORY, ENABLE = 4, 2, 0x8000


@attrs.frozen
class Asked:
    """One message of the client's: as bytes, and taken apart."""

    raw: bytes
    fds: tuple[int, ...] = ()

    @property
    def header(self) -> tuple[int, int, int, int, int]:
        """Identifier, command, size, flags, error."""
        return HEADER.unpack_from(self.raw)

    @property
    def id(self) -> int:
        return self.header[0]

    @property
    def command(self) -> int:
        return self.header[1]

    @property
    def is_reply(self) -> bool:
        return self.header[3] & 0xF == REPLY

    @property
    def payload(self) -> bytes:
        return self.raw[HEADER.size :]

    def answer(self, payload: bytes = b"", *, error: int | None = None, **other: int) -> bytes:
        """A reply to it; `id`, `command`, `size` and `flags` may be other than they should be."""
        size = other.get("size", HEADER.size + len(payload))
        flags = other.get("flags", REPLY if error is None else REPLY | ERROR)
        head = other.get("id", self.id), other.get("command", self.command)
        return HEADER.pack(*head, size, flags, error or 0) + payload


#: Gives the bytes to send and the descriptors beside them; None for nothing.
Handler = Callable[[Asked], "tuple[bytes, Sequence[int]] | bytes | None"]


def config_space() -> bytearray:
    """An NVMe function with MSI-X at 50h, after a capability of power management at 40h."""
    space = bytearray(256)
    struct.pack_into("<HHHHBBBB", space, 0, 0x1B36, 0x0010, 0x0402, 0x0010, 2, 0x02, 0x08, 0x01)
    struct.pack_into("<HH", space, 0x2C, 0x1AF4, 0x1100)
    space[0x34] = 0x40
    space[0x40:0x42] = bytes([0x01, 0x50])
    space[0x50:0x54] = bytes([0x11, 0x00, 0x03, 0x00])
    return space


class Server:
    """Serves on a socket in a folder, one client after another, until the end of the `with` statement.

    Attributes:
        handlers: What to do instead of the usual, by command.
        seen: What the client sent, oldest first.
        bar, config: BAR 0 less what is mapped, and configuration space.
        doorbells: The file behind the second page of BAR 0, and whether the client is told of it.
        capabilities: As the version's reply names them.
        irqs: How many there are of each kind.
        maps: What the client has mapped: address -> (size, offset, descriptor or None).
        irq_fds: Eventfds by (kind, number).
    """

    def __init__(self, folder: Path, *, mapped: bool = True, **capabilities: Any) -> None:
        self.path = folder / "cntrl"
        self.address = VfioUserAddress(str(folder), timeout=PATIENCE)
        self.handlers: dict[int, Handler] = {}
        self.seen: list[Asked] = []
        self.bar, self.config = bytearray(BAR_BYTES), config_space()
        self.mapped = mapped
        self.doorbells = os.memfd_create("doorbells", os.MFD_CLOEXEC)
        os.truncate(self.doorbells, 2 * PAGE)
        self.capabilities = {"max_msg_fds": 2, "max_data_xfer_size": 1 << 20} | capabilities
        self.irqs = {2: 4, 3: 1, 4: 1}
        self.maps: dict[int, tuple[int, int, int | None]] = {}
        self.irq_fds: dict[tuple[int, int], int] = {}
        self.client: socket.socket | None = None
        self._fds: list[int] = []  # of the client's, which are closed when it goes
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.path))
        self._listener.listen(1)
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._serve, name="scripted server")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self.hang_up()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        self._listener.close()
        os.close(self.doorbells)

    def hang_up(self) -> None:
        """Closes the connection, if there is one."""
        client = self.client
        if client is not None:
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # The client was faster.

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Sends bytes of the server's own."""
        client = self.client
        assert client is not None
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = client.sendmsg([data], control)
        if sent < len(data):
            client.sendall(data[sent:])

    def wait(self, condition: Callable[[], Any]) -> Any:
        """Waits until something holds that the server's thread brings about; gives what it is."""
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE), "the client did not send it"
            return condition()

    def asked(self, command: int) -> list[Asked]:
        """What the client sent of one command."""
        return [asked for asked in self.seen if asked.command == command]

    def instead(self, command: int, handler: Handler) -> None:
        """Answers a command in another way from now on."""
        self.handlers[command] = handler

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            try:
                self.client, _ = self._listener.accept()
            except OSError:
                return
            try:
                while (asked := self._receive()) is not None:
                    self._handle(asked)
            except OSError:
                pass  # The client is gone.
            finally:
                with self._changed:
                    self.client.close()
                    self.client = None
                    self._let_go()
                    self._changed.notify_all()

    def _let_go(self) -> None:
        while self._fds:
            os.close(self._fds.pop())
        self.maps, self.irq_fds = {}, {}

    def _receive(self) -> Asked | None:
        assert self.client is not None
        fds: list[int] = []
        raw = b""
        while len(raw) < HEADER.size or len(raw) < HEADER.unpack_from(raw)[2]:
            wanted = HEADER.size if len(raw) < HEADER.size else HEADER.unpack_from(raw)[2]
            piece, control, _, _ = self.client.recvmsg(wanted - len(raw), 2048, socket.MSG_CMSG_CLOEXEC)
            if not piece:
                return None
            raw += piece
            for _, _, data in control:
                fds += array.array("i", data)
        self._fds += fds
        return Asked(raw, tuple(fds))

    def _handle(self, asked: Asked) -> None:
        answer = None if asked.is_reply else self.handlers.get(asked.command, self.usual)(asked)
        with self._changed:
            self.seen.append(asked)
            self._changed.notify_all()
        if answer is not None:
            self.send(*(answer if isinstance(answer, tuple) else (answer,)))

    def usual(self, asked: Asked) -> tuple[bytes, Sequence[int]] | bytes:
        """The answer of a server that has nothing special about it."""
        payload = asked.payload
        match asked.command:
            case 1:
                text = json.dumps({"capabilities": self.capabilities}).encode() + b"\0"
                return asked.answer(struct.pack("<HH", 0, 1) + text)
            case 2:
                _, _, offset, address, size = struct.unpack("<IIQQQ", payload)
                self.maps[address] = size, offset, asked.fds[0] if asked.fds else None
                return asked.answer()
            case 3:
                _, _, address, size = struct.unpack("<IIQQ", payload)
                del self.maps[address]
                return asked.answer(payload)
            case 4:
                return asked.answer(struct.pack("<IIII", 16, 3, 9, 5))
            case 5:
                return self._region(asked, struct.unpack_from("<I", payload, 8)[0])
            case 7:
                kind = struct.unpack_from("<I", payload, 8)[0]
                return asked.answer(struct.pack("<IIII", 16, 1, kind, self.irqs.get(kind, 0)))
            case 8:
                self._set_irqs(asked)
                return asked.answer()
            case 9 | 10:
                return self._access(asked)
            case 13:
                return asked.answer()
        return asked.answer(error=95)

    def _region(self, asked: Asked, index: int) -> tuple[bytes, Sequence[int]] | bytes:
        size = {0: BAR_BYTES, CONFIG: len(self.config)}.get(index, 0)
        if index or not self.mapped:
            return asked.answer(struct.pack("<IIIIQQ", 32, 3, index, 0, size, 0))
        return asked.answer(
            region_info(areas=[(PAGE, PAGE)]),
        ), [self.doorbells]

    def _set_irqs(self, asked: Asked) -> None:
        _, flags, kind, start, count = struct.unpack("<IIIII", asked.payload)
        if flags & 4:
            assert len(asked.fds) == count
            self.irq_fds |= {(kind, start + number): fd for number, fd in enumerate(asked.fds)}
            return
        self.irq_fds = {key: fd for key, fd in self.irq_fds.items() if key[0] != kind}

    def _access(self, asked: Asked) -> bytes:
        head = asked.payload[:16]
        offset, region, count = struct.unpack("<QII", head)
        memory = self.config if region == CONFIG else self.bar
        if asked.command == REGION_READ:
            return asked.answer(head + memory[offset : offset + count])
        memory[offset : offset + count] = asked.payload[16:]
        return asked.answer(head)

    # -- what the server asks ------------------------------------------------------------------------------------------

    def ask(
        self, command: int, payload: bytes, *, number: int = 77, flags: int = 0, fds: Sequence[int] = ()
    ) -> Asked:
        """Sends a command of the server's, and waits for the client's reply."""
        self.send(HEADER.pack(number, command, HEADER.size + len(payload), flags, 0) + payload, fds)
        replies: list[Asked] = self.wait(
            lambda: [one for one in self.seen if one.is_reply and one.id == number]
        )
        return replies[-1]


def region_info(
    *, index: int = 0, flags: int = 0xF, size: int = BAR_BYTES, offset: int = 0,
    areas: Sequence[tuple[int, int]] = (), count: int | None = None, argsz: int | None = None, cap_offset: int = 32,
) -> bytes:  # fmt: skip
    """A description of a region with a sparse capability: struct vfio_region_info and what follows it."""
    sparse = struct.pack("<HHIII", 1, 1, 0, len(areas) if count is None else count, 0)
    sparse += b"".join(struct.pack("<QQ", *area) for area in areas)
    full = 32 + len(sparse) if argsz is None else argsz
    return struct.pack("<IIIIQQ", full, flags, index, cap_offset, size, offset) + sparse


@contextmanager
def opened(server: Server) -> Iterator[VfioUserFunction]:
    """The function that a server has, until the block ends."""
    function = open_vfio_user(server.address)
    try:
        yield function
    finally:
        function.close()


def file_of(nbytes: int) -> int:
    """A file in memory."""
    fd = os.memfd_create("some", os.MFD_CLOEXEC)
    os.truncate(fd, nbytes)
    return fd


def peek(fd: int, nbytes: int, offset: int = 0) -> bytes:
    """What is in a file, as one who maps it sees it."""
    with mmap.mmap(fd, offset + nbytes) as view:
        return view[offset : offset + nbytes]


def soon(condition: Callable[[], Any]) -> Any:
    """Waits until something holds that no thread of the test tells of."""
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.001)
    return found


def refuse(number: int) -> Callable[[Asked], bytes]:
    """Answers a command with an error."""
    return lambda asked: asked.answer(error=number)


def window(address: int, count: int, data: bytes = b"") -> bytes:
    """What a request of the server's for memory has after its header."""
    return address.to_bytes(8, "little") + count.to_bytes(8, "little") + data
