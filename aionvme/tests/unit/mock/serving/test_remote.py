"""Memory that comes without a descriptor: the client is asked for it (VFIO_USER_DMA_READ, VFIO_USER_DMA_WRITE)."""

from __future__ import annotations

import mmap
import os
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from aionvme.tests.unit.mock.raw import CSTS, IOVA, Pages
from aionvme.tests.unit.mock.serving.client import (
    DMA,
    DMA_READ,
    DMA_WRITE,
    ERROR,
    HEADER,
    REGION,
    REGION_WRITE,
    REPLY,
    RemoteFunction,
    RemoteRaw,
    shared_memory,
)  # fmt: skip
from aionvme.tests.unit.mock.serving.conftest import Stage

Make = Callable[..., Stage]
PAGE = 4096
FLUSH, WRITE, COMPARE, READ = 0, 1, 5, 2
SIZE = 2 << 20
HERE = 0x7000_0000


class Host:
    """Memory that the server asks for.

    Attributes:
        bytes: The memory, which is at `IOVA`.
        asked: What was asked for: command, address, count.
        header_only: It answers writes as QEMU does.
    """

    def __init__(self) -> None:
        self.bytes = mmap.mmap(-1, SIZE)
        self.asked: list[tuple[int, int, int]] = []
        self.header_only = False

    def serve(self, command: int, payload: bytes) -> bytes:
        """Answers one message."""
        address, count = DMA.unpack_from(payload)
        self.asked.append((command, address, count))
        place = address - IOVA
        assert place >= 0 and place + count <= SIZE
        if command == DMA_READ:
            assert len(payload) == DMA.size
            return payload + self.bytes[place : place + count]
        assert command == DMA_WRITE and len(payload) == DMA.size + count
        self.bytes[place : place + count] = payload[DMA.size :]
        return b"" if self.header_only else struct.pack("<QI", address, count)


class Answering:
    """A client whose other half, in a thread, answers what the server asks at any time.

    Only one of the two receives: this one hands on the answers to the requests of the test.
    """

    def __init__(self, served: Stage, host: Host) -> None:
        self.client = served.client()
        self.client.negotiate()
        self.host = host
        self._answers: list[tuple[tuple[int, ...], bytes, list[int]]] = []
        self._arrived = threading.Condition()
        self._receive = self.client.receive
        self.client.receive = self._next  # type: ignore[method-assign]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                header, data, fds = self._receive()
                if header[3] & 0xF != REPLY:
                    self.client.send(
                        header[1], self.host.serve(header[1], data), number=header[0], flags=REPLY
                    )
                    continue
            except (EOFError, OSError):
                header, data, fds = (), b"", []
            with self._arrived:
                self._answers.append((header, data, fds))
                self._arrived.notify()
            if not header:
                return

    def _next(self) -> tuple[tuple[int, ...], bytes, list[int]]:
        with self._arrived:
            assert self._arrived.wait_for(lambda: self._answers, 20)
            return self._answers.pop(0)

    def close(self) -> None:
        """Ends the connection and the thread."""
        self.client.sock.shutdown(2)
        self._thread.join()


Answered = Callable[..., tuple[Stage, RemoteRaw, Host]]


@pytest.fixture
def answering(stage: Make) -> Iterator[Answered]:
    """Makes a driver all of whose memory is to be asked for."""

    def make(**options: object) -> tuple[Stage, RemoteRaw, Host]:
        served = stage(**options)
        host = Host()
        both = Answering(served, host)
        made.append(both)
        both.client.map(IOVA, SIZE, None)
        return served, RemoteRaw(served.mock, reached=(RemoteFunction(both.client), Pages(host.bytes))), host

    made: list[Answering] = []
    yield make
    for both in made:
        both.close()


@pytest.mark.parametrize("doorbells", ["mapped", "message"])
@pytest.mark.parametrize("header_only", [False, True])
def test_everything(answering: Answered, doorbells: str, header_only: bool) -> None:
    """Queues, lists, data: a controller is brought up, and blocks are written, compared and read."""
    served, raw, host = answering(doorbells=doorbells)
    host.header_only = header_only
    raw.enable()
    assert raw.identify(1)[1][24:36] == b"aionvme mock"
    queue = raw.create(1, 8)
    pages = raw.memory.take(32)
    listed = raw.memory.take(1)
    data = b"".join(bytes([page]) * PAGE for page in range(32))
    host.bytes[pages : pages + len(data)] = data
    iovas = [IOVA + pages + page * PAGE for page in range(32)]
    struct.pack_into("<31Q", host.bytes, listed, *iovas[1:])
    fields = {"nsid": 1, "prp1": iovas[0], "prp2": IOVA + listed, "cdw12": 255}
    for cid in range(20):
        assert queue.run(WRITE, cid=cid, **fields).status == 0
    assert served.mock.peek(1, 0, 256) == data
    assert queue.run(COMPARE, **fields).status == 0
    host.bytes[pages : pages + len(data)] = bytes(len(data))
    host.asked.clear()
    assert queue.run(READ, **fields).status == 0
    assert host.bytes[pages : pages + len(data)] == data
    # The entry, the list, the data in one piece, the completion.
    assert [(command, count) for command, _, count in host.asked] == [
        (DMA_READ, 64), (DMA_READ, 31 * 8), (DMA_WRITE, 32 * PAGE), (DMA_WRITE, 16),
    ]  # fmt: skip


def test_no_longer_than_agreed(stage: Make) -> None:
    """Nothing is asked for that exceeds the client's max_data_xfer_size."""
    served = stage()
    host = Host()
    client = served.client(host.serve)
    client.negotiate({"max_data_xfer_size": 512})
    client.map(IOVA, SIZE, None)
    asking = served.serving._connection._asking  # type: ignore[union-attr]
    done = threading.Event()
    got: list[bytes] = []

    def ask() -> None:
        asking.write(IOVA + 8, bytes(range(256)) * 5)
        got.append(asking.read(IOVA + 8, 1280))
        done.set()

    thread = threading.Thread(target=ask)
    thread.start()
    while not done.is_set():
        client.read(7, 0, 1)
    thread.join()
    assert got == [bytes(range(256)) * 5]
    assert [count for _, _, count in host.asked] == [512, 512, 256] * 2


def test_metadata_and_sgl(answering: Answered) -> None:
    """A list of segments, and metadata of its own, are fetched and written as well."""
    served, raw, host = answering(lba=4096, metadata=8)
    raw.enable()
    queue = raw.create(1)
    data, meta, segment = raw.memory.take(2), raw.memory.take(1), raw.memory.take(1)
    host.bytes[data : data + 2 * PAGE] = b"D" * 2 * PAGE
    host.bytes[meta : meta + 16] = b"metadata" * 2
    struct.pack_into("<QIIQII", host.bytes, segment, IOVA + data, PAGE, 0, IOVA + data + PAGE, PAGE, 0)
    sgl = {"flags": 0x40, "prp1": IOVA + segment, "prp2": 32 | 0x30 << 56, "mptr": IOVA + meta}
    assert queue.run(WRITE, nsid=1, cdw12=1, **sgl).status == 0
    assert (served.mock.peek(1, 0, 2), served.mock.peek_metadata(1, 0, 2)) == (
        b"D" * 2 * PAGE,
        b"metadata" * 2,
    )
    host.bytes[meta : meta + 16] = bytes(16)
    host.bytes[data : data + 2 * PAGE] = bytes(2 * PAGE)
    assert queue.run(READ, nsid=1, cdw12=1, **sgl).status == 0
    assert host.bytes[meta : meta + 16] == b"metadata" * 2
    assert host.bytes[data : data + 2 * PAGE] == b"D" * 2 * PAGE


def test_both_kinds(answering: Answered) -> None:
    """One transfer in memory that is mapped and in memory that is not."""
    served, raw, host = answering()
    fd, memory = shared_memory(PAGE)
    raw.function.client.map(HERE, PAGE, fd)
    os.close(fd)
    raw.enable()
    queue = raw.create(1)
    memory[:] = b"m" * PAGE
    host.bytes[raw.page : raw.page + PAGE] = b"r" * PAGE
    assert queue.run(WRITE, nsid=1, prp1=HERE, prp2=raw.page_iova, cdw12=15).status == 0
    assert served.mock.peek(1, 0, 16) == b"m" * PAGE + b"r" * PAGE
    assert queue.run(READ, nsid=1, prp1=raw.page_iova, prp2=HERE, cdw12=15).status == 0
    assert memory[:] == b"r" * PAGE and host.bytes[raw.page : raw.page + PAGE] == b"m" * PAGE


def test_failed_commands_write_nothing(answering: Answered) -> None:
    """Of a command that fails nothing is sent to the client."""
    served, raw, host = answering()
    raw.enable()
    queue = raw.create(1)
    assert queue.run(0x04, nsid=1, cdw12=0).status == 0  # block 0 can't be read any more
    host.asked.clear()
    assert queue.run(READ, nsid=1, prp1=raw.page_iova, cdw12=0).code == 0x281
    assert [count for command, _, count in host.asked if command == DMA_WRITE] == [16]
    assert served.mock.counters.reads == 0


def test_no_shadow_doorbells(answering: Answered) -> None:
    """They can't be where the client would have to be asked: Data Transfer Error, and registers count as before."""
    _, raw, _ = answering()
    raw.enable()
    pages = raw.memory.iova + raw.memory.take(2)
    assert raw.admin.run(0x7C, prp1=pages, prp2=pages + PAGE).code == 4
    assert raw.create(1).run(FLUSH, nsid=1).status == 0


@pytest.mark.parametrize(
    "answer",
    [
        lambda address, count: (ERROR, b""),
        lambda address, count: (0, DMA.pack(address, count)),
        lambda address, count: (0, DMA.pack(address, count) + bytes(count + 1)),
        lambda address, count: (0, DMA.pack(address + 1, count) + bytes(count)),
        lambda address, count: (0, b""),
    ],
)
def test_wrong_answers(stage: Make, answer: Callable[[int, int], tuple[int, bytes]]) -> None:
    """A refusal, and data of another length or place: the command ends with Data Transfer Error."""
    served = stage()
    raw = served.raw()
    client = raw.function.client
    client.map(HERE, PAGE, None)
    raw.enable()
    queue = raw.create(1)
    queue.post(WRITE, nsid=1, prp1=HERE, cdw12=7)
    queue.ring()
    (number, command, *_), payload, _ = client.receive()
    assert (command, payload) == (DMA_READ, DMA.pack(HERE, PAGE))
    flags, data = answer(HERE, PAGE)
    client.send(command, data, number=number, flags=REPLY | flags, error=14 if flags else 0)
    assert queue.wait()[0].code == 4
    assert served.mock.counters.writes == 0


def test_silence(stage: Make) -> None:
    """A client that does not answer is given up in bounded time; the next one is served."""
    served = stage(timeout=0.3)
    raw = served.raw()
    client = raw.function.client
    client.map(HERE, PAGE, None)
    raw.enable()
    queue = raw.create(1)
    queue.post(WRITE, nsid=1, prp1=HERE, cdw12=7)
    queue.ring()
    header, _, _ = client.receive()
    assert header[1] == DMA_READ
    with pytest.raises(EOFError):
        client.receive()
    again = served.raw()
    again.enable()
    assert again.create(1).run(FLUSH, nsid=1).status == 0


def test_end_while_waiting(stage: Make) -> None:
    """A client that goes while it is asked, and a service that ends, have nobody wait any longer."""
    for by_client in (True, False):
        served = stage(timeout=60)
        raw = served.raw()
        client = raw.function.client
        client.map(HERE, PAGE, None)
        raw.enable()
        queue = raw.create(1)
        queue.post(WRITE, nsid=1, prp1=HERE, cdw12=7)
        queue.ring()
        assert client.receive()[0][1] == DMA_READ
        if by_client:
            client.close()
        served.serving.close()
        assert served.mock.counters.writes == 0


def test_requests_meanwhile(stage: Make) -> None:
    """While the client is asked it may ask as well: registers and doorbells are served; what waits is not lost."""
    served = stage(doorbells="message")
    raw = served.raw()
    client = raw.function.client
    client.map(HERE, PAGE, None)
    raw.enable()
    queue = raw.create(1)
    queue.post(WRITE, nsid=1, prp1=HERE, cdw12=7)
    # The answer to the doorbell and the question for the data come in either order.
    head = REGION.pack(queue.sq_doorbell, 0, 4)
    client.send(REGION_WRITE, head + struct.pack("<I", queue.tail), number=50)
    messages = sorted((client.receive() for _ in range(2)), key=lambda message: message[0][0] == 50)
    (number, command, *_), payload, _ = messages[0]
    assert (messages[1][0][0], messages[1][1]) == (50, head)
    assert client.read(0, CSTS, 4) == b"\1\0\0\0"
    queue.post(FLUSH, cid=1, nsid=1)
    queue.ring()
    # This one waits until the data plane stands still, and that waits for us.
    client.send(3, struct.pack("<IIQQ", 24, 0, HERE, PAGE), number=77)
    client.send(command, payload + bytes(PAGE), number=number, flags=REPLY)
    header, _, _ = client.receive()
    assert header == (77, 3, HEADER.size + 24, REPLY, 0)
    assert [cqe.status for cqe in queue.wait(2)] == [0, 0]


@pytest.mark.parametrize("flags", [REPLY, REPLY | ERROR, 2, 0xF])
def test_unasked_answers(stage: Make, flags: int) -> None:
    """An answer to nothing, and a message of no known type, end the connection."""
    served = stage()
    client = served.negotiated()
    client.send(DMA_READ, DMA.pack(0, 0), flags=flags)
    with pytest.raises(EOFError):
        client.receive()
    served.negotiated()


@pytest.mark.parametrize(("by", "answered"), [(1, DMA_READ), (0, DMA_WRITE)])
def test_answers_to_another_question(stage: Make, by: int, answered: int) -> None:
    """An answer of another id, or to another command, is to nothing, too."""
    served = stage()
    raw = served.raw()
    client = raw.function.client
    client.map(HERE, PAGE, None)
    raw.enable()
    queue = raw.create(1)
    queue.post(WRITE, nsid=1, prp1=HERE, cdw12=7)
    queue.ring()
    (number, command, *_), payload, _ = client.receive()
    assert command == DMA_READ
    client.send(answered, payload + bytes(PAGE), number=number + by, flags=REPLY)
    with pytest.raises(EOFError):
        client.receive()
