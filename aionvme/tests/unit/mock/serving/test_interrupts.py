"""Interrupts: which eventfd is signalled when, and what can't be one (VFIO_USER_DEVICE_SET_IRQS)."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Callable, Iterator

import pytest

from aionvme.tests.unit.mock.raw import Queue
from aionvme.tests.unit.mock.serving.client import IRQ_SET, SET_IRQS, Client, Refused, RemoteRaw
from aionvme.tests.unit.mock.serving.conftest import Stage

Make = Callable[..., Stage]
NONE, BOOL, EVENTFD, MASK, UNMASK, TRIGGER = 1, 2, 4, 8, 16, 32
INTX, MSI, MSIX, ERR, REQ = range(5)
FLUSH = 0


@pytest.fixture
def eventfds() -> Iterator[Callable[[int], list[int]]]:
    """Makes eventfds that do not block."""
    made: list[int] = []

    def make(count: int) -> list[int]:
        fds = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(count)]
        made.extend(fds)
        return fds

    yield make
    for fd in made:
        os.close(fd)


def counted(fd: int) -> int:
    """How often an eventfd was signalled since this was last asked."""
    try:
        return os.eventfd_read(fd)
    except BlockingIOError:
        return 0


def set_irqs(client: Client, flags: int, start: int, count: int, data: bytes = b"", kind: int = MSIX) -> None:
    """DEVICE_SET_IRQS without descriptors."""
    assert client.ask(SET_IRQS, IRQ_SET.pack(20 + len(data), flags, kind, start, count) + data) == (b"", [])


def flush(raw: RemoteRaw, queue: Queue) -> None:
    """One command, completed and reaped, and its interrupt signalled."""
    assert queue.run(FLUSH, nsid=1).status == 0
    # A completion is seen before its interrupt. Here the mock stood still in between.
    assert raw.mock.counters.errors == 0


def test_several_messages(stage: Make, eventfds: Callable[[int], list[int]]) -> None:
    """Vectors are assigned a few at a time, in any order; another eventfd takes the place of the one before."""
    served = stage(num_irqs=6)
    raw = served.raw()
    client: Client = raw.function.client
    fds = eventfds(6)
    client.set_irqs(MSIX, 4, fds[4:6])
    client.set_irqs(MSIX, 0, fds[0:1])
    client.set_irqs(MSIX, 1, fds[1:4])
    raw.enable()
    queues = [raw.create(qid, 8, vector=qid) for qid in range(1, 6)]
    flush(raw, queues[0])
    assert [min(counted(fd), 1) for fd in fds] == [1, 1, 0, 0, 0, 0]
    for vector, queue in enumerate(queues, 1):
        flush(raw, queue)
        assert [counted(fd) for fd in fds] == [int(index == vector) for index in range(6)]
    (other,) = eventfds(1)
    client.set_irqs(MSIX, 3, [other])
    flush(raw, queues[2])
    assert (counted(fds[3]), counted(other)) == (0, 1)


def test_taken_back(stage: Make, eventfds: Callable[[int], list[int]]) -> None:
    """Without descriptors the vectors that are named have none any more; a count of 0 takes all back."""
    served = stage(num_irqs=4)
    raw = served.raw()
    client: Client = raw.function.client
    fds = eventfds(4)
    client.set_irqs(MSIX, 0, fds)
    raw.enable()
    queues = [raw.create(qid, 8, vector=qid) for qid in (1, 2, 3)]
    set_irqs(client, EVENTFD | TRIGGER, 2, 2)
    for queue in queues:
        flush(raw, queue)
    assert [counted(fd) for fd in fds[1:]] == [1, 0, 0]
    set_irqs(client, NONE | TRIGGER, 0, 0)
    for queue in queues:
        flush(raw, queue)
    assert [counted(fd) for fd in fds[1:]] == [0, 0, 0]


def test_triggered_by_the_client(stage: Make, eventfds: Callable[[int], list[int]]) -> None:
    """DATA_NONE signals all that are named, DATA_BOOL those whose byte is not 0; those without eventfd are passed."""
    client = stage(num_irqs=5).negotiated()
    fds = eventfds(4)
    client.set_irqs(MSIX, 1, fds)
    set_irqs(client, NONE | TRIGGER, 0, 3)
    assert [counted(fd) for fd in fds] == [1, 1, 0, 0]
    set_irqs(client, BOOL | TRIGGER, 1, 4, b"\1\0\0\xff")
    assert [counted(fd) for fd in fds] == [1, 0, 0, 1]


def test_notices(stage: Make, eventfds: Callable[[int], list[int]]) -> None:
    """The notice of an error on the bus, and that of a removal, which happens when the client has gone."""
    served = stage()
    client = served.negotiated()
    error, removal = eventfds(2)
    client.set_irqs(ERR, 0, [error])
    client.set_irqs(REQ, 0, [removal])
    assert served.mock.bus_error()
    assert (counted(error), counted(removal)) == (1, 0)
    served.mock.request_removal()
    assert (counted(error), counted(removal)) == (0, 1)
    set_irqs(client, EVENTFD | TRIGGER, 0, 1, kind=ERR)
    assert not served.mock.bus_error()
    assert client.read(7, 0, 2) == b"\x36\x1b"
    client.close()
    again = served.client()
    with pytest.raises(Refused) as refused:
        again.negotiate()
    assert refused.value.errno == 19


@pytest.mark.parametrize(
    ("flags", "kind", "start", "count", "data", "nfds"),
    [
        (EVENTFD | TRIGGER, MSIX, 0, 2, b"", 1),  # as many descriptors as interrupts
        (EVENTFD | TRIGGER, MSIX, 0, 1, b"", 2),
        (EVENTFD | TRIGGER, MSIX, 4, 1, b"", 1),
        (EVENTFD | TRIGGER, MSIX, 3, 2, b"", 2),
        (EVENTFD | TRIGGER, MSIX, 0xFFFFFFFF, 1, b"", 1),
        (EVENTFD | TRIGGER, MSIX, 0, 0xFFFFFFFF, b"", 0),
        (EVENTFD | TRIGGER, MSIX, 0, 0, b"", 0),
        (EVENTFD | TRIGGER, INTX, 0, 1, b"", 1),
        (EVENTFD | TRIGGER, MSI, 0, 1, b"", 1),
        (EVENTFD | TRIGGER, REQ, 1, 1, b"", 1),
        (EVENTFD | TRIGGER, 5, 0, 1, b"", 1),
        (NONE | TRIGGER, MSIX, 0, 1, b"", 1),  # of what use would it be
        (NONE | TRIGGER, MSIX, 1, 0, b"", 0),
        (NONE | MASK, MSIX, 0, 1, b"", 0),
        (BOOL | UNMASK, MSIX, 0, 1, b"\1", 0),
        (EVENTFD | MASK, MSIX, 0, 1, b"", 1),
        (BOOL | TRIGGER, MSIX, 0, 3, b"\1\1", 0),
        (BOOL | TRIGGER, MSIX, 0, 1, b"\1\1", 0),
        (NONE | BOOL | TRIGGER, MSIX, 0, 1, b"\1", 0),
        (TRIGGER, MSIX, 0, 1, b"", 0),
        (NONE, MSIX, 0, 1, b"", 0),
        (NONE | TRIGGER | 1 << 6, MSIX, 0, 1, b"", 0),
    ],
)
def test_refused(
    stage: Make, eventfds: Callable[[int], list[int]], flags: int, kind: int, start: int, count: int, data: bytes,
    nfds: int,
) -> None:  # fmt: skip
    """What can't be meant changes nothing, and keeps no descriptor."""
    client = stage(num_irqs=4).negotiated()
    (fd,) = eventfds(1)
    client.set_irqs(MSIX, 0, [fd])
    with pytest.raises(Refused) as refused:
        client.ask(SET_IRQS, IRQ_SET.pack(20 + len(data), flags, kind, start, count) + data, eventfds(nfds))
    assert refused.value.errno == 22
    set_irqs(client, NONE | TRIGGER, 0, 1)
    assert counted(fd) == 1


def test_argsz(stage: Make) -> None:
    """It is the size of the payload, or less."""
    client = stage().negotiated()
    for argsz in (0, 19, 21, 0xFFFFFFFF):
        with pytest.raises(Refused):
            client.ask(SET_IRQS, IRQ_SET.pack(argsz, NONE | TRIGGER, MSIX, 0, 0))
    with pytest.raises(Refused):
        client.ask(SET_IRQS, struct.pack("<II", 8, NONE | TRIGGER))


def test_no_eventfd(stage: Make, eventfds: Callable[[int], list[int]]) -> None:
    """A descriptor to which a write could wait for ever, or do something else, is no interrupt."""
    client = stage().negotiated()
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as file:
        for fd in (writing, reading, file.fileno(), client.sock.fileno()):
            with pytest.raises(Refused) as refused:
                client.set_irqs(MSIX, 0, [*eventfds(1), fd])
            assert refused.value.errno == 22
    os.close(reading)
    os.close(writing)


def test_full_eventfd(stage: Make) -> None:
    """A client that fills its eventfd, so that who signals it waits, has nobody wait; and is let go."""
    served = stage()
    raw = served.raw()
    fd = os.eventfd((1 << 32) - 1)
    os.write(fd, struct.pack("<Q", (1 << 64) - 1 - (1 << 32)))  # it holds as much as it can
    raw.function.client.set_irqs(MSIX, 1, [fd])
    raw.enable()
    queue = raw.create(1, vector=1)
    for cid in range(4):
        assert queue.run(FLUSH, cid=cid, nsid=1).status == 0
    set_irqs(raw.function.client, NONE | TRIGGER, 1, 1)
    os.close(fd)
