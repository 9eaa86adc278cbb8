"""Slots, the tally and the pacer: each command is counted once, and the run ends when it is told to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aionvme.errors import UsageError
from aionvme.perf.pattern import Pattern
from aionvme.perf.slot import Slot
from aionvme.perf.tally import Pacer, Tally
from aionvme.perf.walk import Walk
from aionvme.qpair.request import host_completion

BLOCK = 512


class FakePair:
    """A queue pair that completes a command when it is told to."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int, Any]] = []
        self.refusal: Exception | None = None

    def submit_read(self, _ns: Any, _buf: Any, lba: int, _nblocks: int, done: Any) -> None:
        self._send("read", lba, done)

    def submit_write(self, _ns: Any, _buf: Any, lba: int, _nblocks: int, done: Any) -> None:
        self._send("write", lba, done)

    def _send(self, name: str, lba: int, done: Any) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.sent.append((name, lba, done))

    def complete(self, success: bool = True) -> None:
        """The oldest command."""
        self.sent.pop(0)[2](None, host_completion(success))


def slot_of(qp: FakePair, tally: Tally, *, buf: bytearray | None = None, **others: Any) -> Slot:
    walk = Walk(0, 10, 1, random=False, read_percent=others.pop("read_percent", 100), seed=1)
    mixed = others.pop("mixed", False)
    return Slot(tally, walk, qp, None, buf or bytearray(BLOCK), 1, mixed=mixed, **others)  # type: ignore[arg-type]


def test_a_callback_sends_the_next_command() -> None:
    """Each completion is counted and sends the next command, to the next place, until the tally is stopped."""
    qp, tally = FakePair(), Tally(latency=True)
    slot_of(qp, tally).start()
    for completed in range(3):
        assert [(name, lba) for name, lba, _ in qp.sent] == [("read", completed)]
        assert (tally.submitted, tally.completed, tally.in_flight) == (completed + 1, completed, 1)
        qp.complete()
    tally.stop()
    qp.complete()
    assert (qp.sent, tally.completed, tally.in_flight) == ([], 4, 0)
    assert tally.latency is not None
    assert tally.latency.count == 4


def test_a_task_takes_the_same_steps() -> None:
    """Iterating gives the next LBA and ends the command before; the end of the run ends the loop."""
    qp, tally = FakePair(), Tally(latency=True)
    slot = slot_of(qp, tally)
    lbas = []
    for lba in slot:
        lbas.append(lba)
        assert tally.in_flight == 1
        if lba == 2:
            tally.stop()
    assert (lbas, tally.submitted, tally.completed, tally.in_flight) == ([0, 1, 2], 3, 3, 0)


def test_a_command_may_end_before_the_next_one_begins() -> None:
    """`finish` ends it at once, and the next step does not count it again."""
    tally = Tally(latency=True)
    slot = slot_of(FakePair(), tally)
    next(slot)
    slot.finish()
    slot.finish()
    assert (tally.completed, tally.in_flight) == (1, 0)
    next(slot)
    assert (tally.submitted, tally.completed) == (2, 1)


def test_writes_and_mixes() -> None:
    """A slot of a writing workload writes; one of a mix does both."""
    qp, tally = FakePair(), Tally(latency=False)
    slot = slot_of(qp, tally, read_percent=0)
    slot.start()
    assert (qp.sent[0][0], slot.writing) == ("write", True)
    mixed, tally = FakePair(), Tally(latency=False)
    slot_of(mixed, tally, read_percent=50, mixed=True).start()
    names = set()
    for _ in range(50):
        names.add(mixed.sent[0][0])
        mixed.complete()
    assert names == {"read", "write"}


def test_without_latency_there_is_no_histogram() -> None:
    """What is not timed is not recorded."""
    qp, tally = FakePair(), Tally(latency=False)
    slot_of(qp, tally).start()
    qp.complete()
    assert (tally.latency, tally.completed) == (None, 1)


def test_a_failure_ends_the_run() -> None:
    """A command that ends with an error is no completion; no slot goes on, and it is said which it was."""
    qp, tally = FakePair(), Tally(latency=True)
    for _ in range(2):
        slot_of(qp, tally).start()
    qp.complete(success=False)
    qp.complete()
    assert (tally.running, qp.sent) == (False, [])
    assert (tally.completed, tally.failed, tally.in_flight) == (1, 1, 0)
    assert tally.failures == ["LBA 0: COMMAND_ABORTED_BY_HOST"]


def test_a_refused_call_ends_the_run() -> None:
    """What a call itself raises is a failure too, and leaves nothing in flight."""
    qp, tally = FakePair(), Tally(latency=True)
    qp.refusal = UsageError("closed")
    slot_of(qp, tally).start()
    assert (tally.running, tally.failed, tally.in_flight, tally.failures) == (False, 1, 0, ["closed"])


def test_only_the_first_failures_are_kept() -> None:
    """A device that fails everything does not fill memory with words."""
    tally = Tally(latency=False)
    for number in range(100):
        tally.note_submitted(2)
        tally.note_ended(0, 2, f"number {number}")
    assert tally.failed == 200
    assert tally.failures == [f"number {number}" for number in range(5)]


def test_counting_begins_anew() -> None:
    """After a reset counts are of what came since; what is in flight, and what failed, stays."""
    tally = Tally(latency=True)
    slot = slot_of(FakePair(), tally)
    next(slot)
    next(slot)
    tally.note_verified(7, None)
    tally.reset()
    assert (tally.submitted, tally.completed, tally.blocks_verified, tally.in_flight) == (0, 0, 0, 1)
    assert tally.latency is not None
    assert tally.latency.count == 0


def test_reads_are_compared() -> None:
    """With a pattern a read whose memory was not filled as it was written ends the run; a right one does not."""
    pattern, buf = Pattern(BLOCK, 7), bytearray(BLOCK)
    qp, tally = FakePair(), Tally(latency=True)
    slot_of(qp, tally, buf=buf, pattern=pattern).start()
    pattern.fill(buf, 0)
    qp.complete()
    assert (tally.blocks_verified, tally.mismatched, tally.running) == (1, 0, True)
    qp.complete()  # Nothing came for LBA 1: what was there is LBA 0's, spoiled.
    assert (tally.blocks_verified, tally.mismatched, tally.running, tally.completed) == (2, 1, False, 2)
    assert "LBA 1 " in tally.failures[0]


def test_a_write_carries_its_pattern() -> None:
    """What is written to a block is what a later read of it is compared with."""
    pattern, buf = Pattern(BLOCK, 7), bytearray(BLOCK)
    qp = FakePair()
    slot_of(qp, Tally(latency=False), buf=buf, pattern=pattern, read_percent=0).start()
    qp.complete()
    assert (qp.sent[0][1], pattern.wrong(buf, 1)) == (1, None)


@pytest.mark.asyncio
async def test_the_end_waits_for_what_is_in_flight() -> None:
    """The future is done when the tally is stopped and the last command has ended, in whatever order."""
    loop, qp, tally = asyncio.get_running_loop(), FakePair(), Tally(latency=False)
    ended = tally.when_ended(loop)
    for _ in range(2):
        slot_of(qp, tally).start()
    qp.complete()
    tally.stop()
    qp.complete()
    assert not ended.done()
    qp.complete()
    assert ended.done()
    assert tally.when_ended(loop).done()


def test_slots_wait_until_they_are_due() -> None:
    """With a pacer a command is sent for each that is due and no more; who waited longest goes first."""
    qp, tally, pacer = FakePair(), Tally(latency=True), Pacer()
    for _ in range(3):
        slot_of(qp, tally, pacer=pacer).start()
    assert qp.sent == []
    pacer.allow(2)
    assert len(qp.sent) == 2
    pacer.allow(3)
    assert (len(qp.sent), pacer.credits) == (3, 2)
    qp.complete()
    assert (len(qp.sent), pacer.credits) == (3, 1)
    for _ in range(2):
        qp.complete()
    assert (len(qp.sent), pacer.credits) == (2, 0)


def test_the_end_lets_waiting_slots_go() -> None:
    """Slots that wait for their turn end when they are released, without a command."""
    qp, tally, pacer = FakePair(), Tally(latency=True), Pacer()
    slot_of(qp, tally, pacer=pacer).start()
    tally.stop()
    pacer.release()
    assert (qp.sent, tally.submitted) == ([], 0)
    assert pacer.wait(lambda: None)


def test_a_batch_takes_what_is_due() -> None:
    """A batch takes as many as are due, and no more than it has room for."""
    pacer = Pacer()
    pacer.allow(10)
    assert pacer.wait(lambda: None) is True
    assert (pacer.take_more(4), pacer.take_more(100), pacer.take_more(100)) == (4, 5, 0)
    called = []
    assert pacer.wait(lambda: called.append(1)) is False
    pacer.allow(1)
    assert (called, pacer.credits) == ([1], 0)
