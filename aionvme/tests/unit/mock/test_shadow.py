"""Shadow doorbells: what the mock takes from the host's memory, and what it writes there so that it may sleep."""

from __future__ import annotations

import ctypes
import struct
import threading
import time
from collections.abc import Callable

import pytest

from aionvme.tests.unit.mock.raw import PAGE, SECONDS, Queue, Raw

Make = Callable[..., Raw]
CONFIG, FLUSH = 0x7C, 0x00


class Shadow:
    """A driver's two pages."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self.doorbells, self.events = raw.memory.take(1), raw.memory.take(1)

    def configure(self) -> int:
        iova = self.raw.memory.iova
        return self.raw.admin.run(CONFIG, prp1=iova + self.doorbells, prp2=iova + self.events).code

    def event(self, qid: int, *, completion: bool = False) -> int:
        where = self.events + (2 * qid + completion) * self.raw.stride
        return int(struct.unpack_from("<I", self.raw.memory.bytes, where)[0])

    def get(self, qid: int, *, completion: bool = False) -> int:
        where = self.doorbells + (2 * qid + completion) * self.raw.stride
        return int(struct.unpack_from("<I", self.raw.memory.bytes, where)[0])

    def put(self, qid: int, value: int, *, completion: bool = False) -> None:
        where = self.doorbells + (2 * qid + completion) * self.raw.stride
        # One store: struct would write byte by byte, and a thread would see what it passes through.
        ctypes.c_uint32.from_buffer(self.raw.memory.bytes, where).value = value


def run(shadow: Shadow, queue: Queue, cid: int) -> None:
    """One command, announced in memory only."""
    queue.post(FLUSH, cid=cid, nsid=1)
    shadow.put(queue.qid, queue.tail)
    shadow.raw.step()
    (cqe,) = queue.reap()
    assert (cqe.cid, cqe.status) == (cid, 0)
    shadow.put(queue.qid, queue.head, completion=True)


def test_identify(make: Make) -> None:
    """OACS bit 8 says that they are supported; without it the command is not there."""
    for on in (True, False):
        raw = make(shadow_doorbells=on)
        assert struct.unpack_from("<H", raw.identify(0x01)[1], 256)[0] >> 8 & 1 == on
        assert Shadow(raw).configure() == (0 if on else 0x01)


@pytest.mark.parametrize("dstrd", [0, 3])
def test_before_and_after_creation(make: Make, dstrd: int) -> None:
    """Queues that exist and queues that are created later are all seen in memory, round and round."""
    raw = make(dstrd=dstrd)
    shadow = Shadow(raw)
    early = raw.create(1, 8)
    assert early.run(FLUSH, nsid=1).status == 0
    assert shadow.configure() == 0
    assert (shadow.get(1), shadow.get(1, completion=True)) == (1, 1)
    late = raw.create(2, 8)
    for cid in range(40):
        run(shadow, early, cid)
        run(shadow, late, cid)
    assert raw.mock.counters.bad_doorbell_values == 0


def test_event_index(make: Make) -> None:
    """After each step it stands where the mock looked last: a host that passes it rings."""
    raw = make()
    shadow = Shadow(raw)
    queue = raw.create(1, 8)
    assert shadow.configure() == 0
    for cid in range(20):
        run(shadow, queue, cid)
        assert shadow.event(1) == queue.tail
        raw.step()
        raw.mock.step()
    assert shadow.event(1) == queue.tail


def passed(event: int, new: int, old: int) -> bool:
    """The rule by which a host rings (`nvme_dbbuf_need_event` of Linux, drivers/nvme/host/pci.c)."""
    return (new - event - 1) & 0xFFFF < (new - old) & 0xFFFF


def test_heads_are_asked_for_when_full(make: Make) -> None:
    """As long as there is room no head is rung, round and round; when a completion waits for room the next one is."""
    raw = make()
    shadow = Shadow(raw)
    queue = raw.create(1, 8, cq_entries=4)
    assert shadow.configure() == 0
    for cid in range(20):
        old = shadow.get(1, completion=True)
        run(shadow, queue, cid)
        assert not passed(shadow.event(1, completion=True), queue.head, old)
    for cid in range(5):
        queue.post(FLUSH, cid=cid, nsid=1)
    shadow.put(1, queue.tail)
    raw.step()
    old = shadow.get(1, completion=True)
    assert [cqe.cid for cqe in queue.reap()] == [0, 1, 2]
    assert passed(shadow.event(1, completion=True), queue.head, old)
    shadow.put(1, queue.head, completion=True)
    raw.step()
    assert [cqe.cid for cqe in queue.reap()] == [3, 4]


def test_registers_do_not_count(make: Make) -> None:
    """A doorbell register alone announces nothing; the admin queue has no shadow."""
    raw = make()
    shadow = Shadow(raw)
    queue = raw.create(1, 8)
    assert shadow.configure() == 0
    queue.post(FLUSH, nsid=1)
    queue.ring()
    raw.step()
    assert queue.reap() == []
    assert raw.admin.run(0x06, prp1=raw.page_iova, cdw10=1).status == 0
    shadow.put(1, queue.tail)
    raw.step()
    assert len(queue.reap()) == 1


def test_bad_values(make: Make) -> None:
    """A value outside the queue is ignored and counted, as of a register."""
    raw = make()
    shadow = Shadow(raw)
    raw.create(1, 8)
    assert shadow.configure() == 0
    shadow.put(1, 8)
    raw.step()
    assert raw.mock.counters.bad_doorbell_values == 1


def test_refusals(make: Make) -> None:
    """Addresses that are no page, or are missing; memory that is not mapped."""
    raw = make()
    at = raw.memory.iova + raw.memory.take(2)
    for prp1, prp2, status in (
        (0, at, 0x02), (at, 0, 0x02), (at + 8, at + PAGE, 0x02), (at, at + PAGE + 4, 0x02),
        (at, 0x5000_0000_0000, 0x04), (0x5000_0000_0000, at, 0x04),
    ):  # fmt: skip
        assert raw.admin.run(CONFIG, prp1=prp1, prp2=prp2).code == status
    queue = raw.create(1)
    assert queue.run(FLUSH, nsid=1).status == 0


def test_reset(make: Make) -> None:
    """A controller reset ends it: registers count again."""
    raw = make()
    shadow = Shadow(raw)
    assert shadow.configure() == 0
    raw.function.write32(0x14, 0)
    raw.enable()
    queue = raw.create(1)
    assert queue.run(FLUSH, nsid=1).status == 0


def test_unmap(make: Make) -> None:
    """When the pages are unmapped the registers count, and nothing is read or written there any more."""
    raw = make()
    shadow = Shadow(raw)
    queue = raw.create(1)
    assert shadow.configure() == 0
    run(shadow, queue, 1)
    raw.memory.unmap()
    raw.mock.step()
    raw.function.map_dma(raw.memory.address, raw.memory.nbytes, raw.memory.iova)
    raw.mock.step()


def test_sleep(make: Make) -> None:
    """A thread that sleeps is woken by the rule of EventIdx, however the two interleave: no command is lost."""
    raw = make(drive="thread")
    shadow = Shadow(raw)
    queue = raw.create(1, 16)
    assert shadow.configure() == 0
    barrier = threading.Lock()
    for cid in range(400):
        old = shadow.get(1)
        queue.post(FLUSH, cid=cid, nsid=1)
        shadow.put(1, queue.tail)
        with barrier:  # the shadow is stored before EventIdx is loaded: taking a lock is a full barrier
            event = shadow.event(1)
        if (queue.tail - event - 1) & 0xFFFF < (queue.tail - old) & 0xFFFF:
            raw.function.write32(queue.sq_doorbell, queue.tail)
        deadline = time.monotonic() + SECONDS
        while not (found := queue.reap()):
            assert time.monotonic() < deadline, cid
            time.sleep(0)
        assert [cqe.cid for cqe in found] == [cid]
        shadow.put(1, queue.head, completion=True)
        if cid % 16 == 0:
            time.sleep(0.003)  # long enough for it to sleep
    assert raw.mock.counters.parked > 0
