"""The mock in its thread: no wake-up is lost, none is needed, and memory can be taken while it runs."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aionvme.mock import MockController
from aionvme.tests.unit.mock.raw import IOVA, PAGE, Memory, Raw

Make = Callable[..., Raw]
FLUSH, READ = 0x00, 0x02
READS = 200_000


def ticks(thread: threading.Thread) -> int:
    """CPU time of a thread, in ticks of the clock."""
    fields = Path(f"/proc/self/task/{thread.native_id}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def wait_until(condition: Callable[[], bool]) -> None:
    """Polls until it is so."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.timeout(300)
def test_no_wake_up_is_lost(make: Make) -> None:
    """Two queues, 200,000 reads each, in bursts with pauses about as long as the thread's patience."""
    raw = make(drive="thread", lba=512)
    queues = [raw.create(1, 64), raw.create(2, 256)]
    dice = random.Random(1)
    left, out = [READS, READS], [0, 0]
    deadline = time.monotonic() + 240
    while any(left) or any(out):
        for index, queue in enumerate(queues):
            count = min(left[index], queue.entries - 1 - out[index], dice.choice((1, 2, 31, 63, 200)))
            for _ in range(count):
                queue.post(
                    READ, cid=left[index] & 0xFFFF, nsid=1, prp1=raw.page_iova, cdw10=left[index] & 0x3FF
                )
                left[index] -= 1
            out[index] += count
            if count:
                queue.ring()
        # A wake-up that is lost shows as the queue that never becomes empty.
        drain = dice.random() < 0.2
        while True:
            for index, queue in enumerate(queues):
                found = queue.reap()
                out[index] -= len(found)
                assert not any(cqe.status for cqe in found)
            if not (drain and any(out)):
                break
            assert time.monotonic() < deadline, f"{out} commands never completed"
            time.sleep(0)
        if drain:
            time.sleep(dice.choice((0, 0.00005, 0.0001, 0.0003, 0.001)))
    counters = raw.mock.counters
    assert counters.reads == 2 * READS
    assert counters.parked > 100


def test_an_idle_thread_uses_no_cpu(make: Make) -> None:
    """Once parked the thread does nothing at all, and one doorbell wakes it."""
    raw = make(drive="thread")
    queue = raw.create(1)
    thread = raw.mock._machine.thread
    for _ in range(3):
        queue.run(FLUSH, nsid=1)
        parked = raw.mock.counters.parked
        wait_until(lambda parked=parked: raw.mock._machine.parked > parked)  # type: ignore[misc]
    before = ticks(thread)
    time.sleep(0.5)
    assert ticks(thread) == before
    assert queue.run(FLUSH, nsid=1).status == 0


def test_unmapping_while_it_runs(make: Make) -> None:
    """Memory is unmapped while reads into it are under way: each ends well or with 04h."""
    raw = make(drive="thread")
    queue = raw.create(1, 256)
    seen = set()
    for round_ in range(300):
        memory = Memory(raw.function, 16 * PAGE, IOVA + (1 << 32))
        for index in range(200):
            queue.post(READ, cid=index, nsid=1, prp1=memory.iova + index % 16 * PAGE, cdw12=7)
        queue.ring()
        early = queue.reap(most=round_ % 3)
        memory.unmap()
        marker = bytes([round_ & 0xFF]) * PAGE
        memory.bytes[:PAGE] = marker
        seen |= {cqe.code for cqe in early + queue.wait(200 - len(early))}
        assert memory.bytes[:PAGE] == marker
    assert seen <= {0x00, 0x04}


def test_control_while_it_runs(make: Make) -> None:
    """Reading counters, masking, holding and resetting are safe while the thread executes."""
    raw = make(drive="thread")
    for _ in range(20):
        queue = raw.create(1, 256)
        for cid in range(255):
            queue.post(FLUSH, cid=cid, nsid=1)
        queue.ring()
        with raw.mock.hold(qid=1, count=5):
            assert raw.mock.queue(1).fetched >= 0
        raw.function.write32(0x14, 0)
        assert raw.mock.num_queues == 0
        raw.memory.forget(PAGE)
        raw.enable()


def test_many_mocks_in_threads() -> None:
    """Four mocks, each with a driver in a thread of its own, do not disturb each other."""
    failures: list[BaseException] = []

    def drive(number: int) -> None:
        try:
            with MockController(serial=f"MOCK{number}") as mock, Raw(mock) as raw:
                raw.enable()
                queue = raw.create(1)
                mock.poke(1, 0, bytes([number]) * 512)
                for _ in range(200):
                    assert queue.run(READ, nsid=1, prp1=raw.page_iova).status == 0
                    assert raw.data(512) == bytes([number]) * 512
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=drive, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
