"""A queue pair outside of its turns, and beside other threads: who waits is told, and what is posted is rung."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from aionvme.qpair.tap import Tap
from aionvme.tests.unit.qpair.device import SQ_DOORBELL, Device, device

PATIENCE = 8.0  # seconds: what does not happen in this time does not happen


@contextmanager
def adaptive(depth: int) -> Iterator[Device]:
    """A device without interrupts, whose queue pair polls at first, and then looks by a timer that is no turn."""
    made = Device(depth=depth, completion="adaptive")
    try:
        yield made
    finally:
        made.close()


async def no_turn_stands(made: Device) -> None:
    """Lets the loop turn until the queue pair has given up polling."""
    before = -1
    while before != (turns := made.qp.counters["turns"]):
        before = turns
        await asyncio.sleep(0)


@pytest.mark.anyloop
async def test_an_await_that_finds_the_last_command_tells_who_waits_for_idleness() -> None:
    """It was submitted long before it is awaited: the turn in which all others are told is over, and another comes."""
    with adaptive(depth=4) as made:
        request = made.qp.read(made.namespace(), made.alloc(512), 0, 1)
        [sqe] = made.commands()
        idle = asyncio.create_task(made.qp.wait_idle())
        await no_turn_stands(made)
        made.complete(sqe)
        await request
        async with asyncio.timeout(PATIENCE):
            await idle


@pytest.mark.anyloop
async def test_an_await_that_makes_room_has_what_waited_for_it_rung() -> None:
    """What takes the slot of a command that was found by its await is announced, although nobody awaits that."""
    with adaptive(depth=1) as made:
        ns, buf = made.namespace(), made.alloc(512)
        first = made.qp.read(ns, buf, 0, 1)
        made.qp.submit_read(ns, buf, 0, 1, lambda *_: None)
        [sqe] = made.commands()
        await no_turn_stands(made)
        made.complete(sqe)
        await first
        await no_turn_stands(made)
        assert [value for offset, value in made.function.rung if offset == SQ_DOORBELL] == [1, 0]


class _Suspends:
    """A listener during whose call another thread suspends the queue pair, as a reset does."""

    error: Exception | None = None

    def __init__(self, made: Device) -> None:
        self._made = made

    def posted(self, when_ns: int, qid: int, sqe: bytes) -> None:
        thread = threading.Thread(target=self._made.qp.suspend)
        thread.start()
        thread.join()

    def completed(self, when_ns: int, qid: int, cqe: bytes) -> None:
        pass

    def dropped(self, when_ns: int, qid: int, cid: int) -> None:
        pass


def test_no_doorbell_is_rung_once_it_was_suspended() -> None:
    """A listener in Python lets other threads run before the doorbell, and one of them may suspend the queue pair."""
    with device() as made:
        tap = Tap()
        tap.add(_Suspends(made))
        made.qp.set_tap(tap)
        made.qp.submit_read(made.namespace(), made.alloc(512), 0, 1, lambda *_: None)
        made.qp.process_completions()
        assert made.function.rung == []
