"""The three ways of doorbells: mapped, by message, and shadowed; and how the mock's thread sleeps with each."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aionvme.tests.unit.mock.raw import Queue
from aionvme.tests.unit.mock.serving.client import NO_REPLY, REGION, REGION_WRITE, RemoteFunction, RemoteRaw
from aionvme.tests.unit.mock.serving.conftest import Stage
from aionvme.tests.unit.mock.test_shadow import Shadow

Make = Callable[..., Stage]
FLUSH = 0
IDLE = 0.05  # seconds after which the thread has come to its longest sleeps


def started(stage: Make, **options: object) -> tuple[Stage, RemoteRaw, Queue]:
    """A driver with one queue."""
    served = stage(**options)
    raw = served.raw()
    raw.enable()
    return served, raw, raw.create(1)


def sleeps(served: Stage) -> int:
    """How often the mock's thread has gone to sleep, for however long."""
    thread = served.mock._machine.thread
    for line in Path(f"/proc/self/task/{thread.native_id}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "voluntary_ctxt_switches":
            return int(value)
    raise AssertionError("the kernel does not count")


def looks(served: Stage, seconds: float = 0.2) -> float:
    """How often in a second the mock's thread wakes up by itself, when it has had nothing to do for a while."""
    time.sleep(IDLE)
    before, begun = sleeps(served), time.monotonic()
    time.sleep(seconds)
    return (sleeps(served) - before) / (time.monotonic() - begun)


def test_mapped_doorbells_after_sleep(stage: Make) -> None:
    """A store that wakes nobody is found all the same, and not after seconds; how often it is looked for is below."""
    _, _, queue = started(stage)
    taken = []
    for cid in range(40):
        time.sleep(IDLE)
        begun = time.monotonic()
        assert queue.run(FLUSH, cid=cid, nsid=1).status == 0
        taken.append(time.monotonic() - begun)
    assert min(taken) < 0.1


def test_mapped_doorbells_are_looked_for_rarely(stage: Make) -> None:
    """An idle mock looks about once in a millisecond, as nobody would wake it: it neither spins nor sleeps for ever."""
    served, _, _ = started(stage)
    assert 10 < looks(served) < 1500


def test_disabled_controllers_are_not_looked_at(stage: Make) -> None:
    """Without a client, and before it is enabled, nothing is looked for: who enables it says so."""
    served = stage()
    raw = served.raw()
    assert looks(served) < 10
    raw.enable()
    assert raw.create(1).run(FLUSH, nsid=1).status == 0


@pytest.mark.parametrize("posted", [False, True])
def test_messages_wake(stage: Make, posted: bool) -> None:
    """A doorbell by message wakes a thread that sleeps for as long as nobody rings, answered or not."""
    served, raw, queue = started(stage, doorbells="message")
    assert raw.function.doorbells is None
    for cid in range(20):
        time.sleep(IDLE / 5)
        queue.post(FLUSH, cid=cid, nsid=1)
        if posted:
            data = REGION.pack(queue.sq_doorbell, 0, 4) + queue.tail.to_bytes(4, "little")
            raw.function.client.send(REGION_WRITE, data, flags=NO_REPLY)
        else:
            queue.ring()
        assert queue.wait()[0].status == 0
    assert looks(served) < 10
    assert served.mock.counters.parked >= 20


def test_stores_that_nobody_looks_at(stage: Make) -> None:
    """By message there is nothing to map."""
    client = stage(doorbells="message").negotiated()
    info, rest, fds = client.region_info(0)
    assert (info[1] & 4, rest, fds) == (0, b"", [])


@pytest.mark.parametrize("doorbells", ["mapped", "message"])
def test_shadow_doorbells(stage: Make, doorbells: str) -> None:
    """The host rings when it passes EventIdx, and only then; by message nothing is looked for meanwhile."""
    served, raw, queue = started(stage, doorbells=doorbells)
    shadow = Shadow(raw)
    assert shadow.configure() == 0
    rings, barrier = 0, threading.Lock()
    for cid in range(300):
        old = shadow.get(1)
        queue.post(FLUSH, cid=cid, nsid=1)
        shadow.put(1, queue.tail)
        with barrier:  # the shadow is stored before EventIdx is loaded: taking a lock is a full barrier
            event = shadow.event(1)
        if (queue.tail - event - 1) & 0xFFFF < (queue.tail - old) & 0xFFFF:
            raw.function.write32(queue.sq_doorbell, queue.tail)
            rings += 1
        deadline = time.monotonic() + 20
        while not (found := queue.reap()):
            assert time.monotonic() < deadline, cid
            time.sleep(0)
        assert [cqe.cid for cqe in found] == [cid]
        shadow.put(1, queue.head, completion=True)
        if cid % 16 == 0:
            time.sleep(0.003)
    assert 0 < rings <= 300
    if doorbells == "message":
        assert looks(served) < 10


def _until(counted: Callable[[], int]) -> None:
    """Waits for the mock's thread, which looks when it comes to it."""
    deadline = time.monotonic() + 20
    while not counted():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_bad_doorbells(stage: Make) -> None:
    """Whatever a client stores in the pages that it has mapped, the mock counts it and goes on."""
    served, raw, queue = started(stage)
    for at in range(0, 0x1000, 4):
        if at not in (0, 4, 8, 12):
            raw.function.write32(0x1000 + at, 0xFFFFFFFF)
    for value in (64, 65, 1 << 16, 0xFFFFFFFF):
        raw.function.write32(0x1008, value)
        raw.function.write32(0x100C, value)
        _until(lambda: raw.mock.counters.bad_doorbell_values)
    assert queue.run(FLUSH, nsid=1).status == 0
    _until(lambda: served.mock.counters.bad_doorbell_registers)


def test_pages_of_a_client_that_has_gone(stage: Make) -> None:
    """The doorbells that a client had mapped are not those of the next."""
    served = stage()
    raw = served.raw()
    raw.enable()
    queue = raw.create(1)
    assert queue.run(FLUSH, nsid=1).status == 0
    old = raw.function.mapped
    raw.function.client.close()
    again = served.raw()
    again.enable()
    mine = again.create(1)
    for at in range(0, 0x1000, 4):
        struct.pack_into("<I", old, at, 0x55)
    assert mine.run(FLUSH, nsid=1).status == 0
    assert served.mock.counters.bad_doorbell_values == 0
    assert isinstance(again.function, RemoteFunction)


def test_step(stage: Make) -> None:
    """A mock that is stepped may be served as well: its commands are executed by who steps it."""
    served = stage(drive="step")
    raw = served.raw()
    raw.enable()
    queue = raw.create(1)
    queue.post(FLUSH, nsid=1)
    queue.ring()
    assert queue.reap() == []
    served.mock.step()
    assert queue.reap()[0].status == 0


def test_controller_memory_buffer(stage: Make) -> None:
    """Submission queues in the controller's memory, which is mapped with the doorbells."""
    served = stage(cmb=64 << 10)
    raw = served.raw()
    function = raw.function
    function.write64(0x50, 0x1_0000_0001)  # CMBMSC.CRE
    place = (function.read32(0x38) >> 12) * 4096
    assert function.first < place < function.first + len(function.mapped)
    function.write64(0x50, 0x7000_0000_0000 | 3)
    raw.enable()
    completions = raw.memory.iova + raw.memory.take(1)
    assert raw.admin.run(0x05, cid=1, prp1=completions, cdw10=7 << 16 | 1, cdw11=1).status == 0
    assert raw.admin.run(0x01, cid=2, prp1=0x7000_0000_0000, cdw10=7 << 16 | 1, cdw11=1 << 16 | 1).status == 0
    struct.pack_into("<BBHI", function.mapped, place - function.first, FLUSH, 0, 7, 1)
    function.write32(0x1008, 1)
    at = completions - raw.memory.iova
    deadline = time.monotonic() + 20
    while not raw.memory.bytes[at + 14]:
        assert time.monotonic() < deadline
        time.sleep(0)
    assert struct.unpack_from("<HH", raw.memory.bytes, at + 12) == (7, 1)
