"""The poller and the rest of the loop: an idle queue pair costs nothing, a busy one leaves everything else its turn."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

import attrs
import pytest

import aionvme
from aionvme.tests.flow.tasks.stage import Stage

IDLE_SECONDS = 0.25
COMMANDS, DEPTH = 100_000, 128


@pytest.mark.parametrize(
    ("completion", "outstanding"),
    [("poll", 0), ("interrupt", 0), ("interrupt", 4), ("adaptive", 4), ("manual", 4)],
)
def test_an_idle_queue_pair_uses_no_cpu(stage: Stage, completion: str, outstanding: int) -> None:
    """With nothing to poll for, no queue pair takes a turn, nor next to any CPU time: a busy loop would use all."""

    async def idle(stage: Stage) -> None:
        qp = await stage.ctrlr.alloc_io_qpair(depth=8, completion=completion)
        with stage.mock.hold(qid=qp.qid) as held:
            requests = [qp.read(stage.ns, stage.buf, i, 1) for i in range(outstanding)]
            qp.process_completions()
            await stage.until(lambda: len(held.commands) == outstanding)
            # Adaptive: until it leaves it to the interrupt.
            await stage.turns(200)
            stage.stop_stepping()
            before, began = _turns(stage, qp), time.process_time()
            await asyncio.sleep(IDLE_SECONDS)
            used = time.process_time() - began
            assert _turns(stage, qp) == before
            assert used < IDLE_SECONDS / 5
            stage.start_stepping()
        while completion == "manual" and not all(request.done() for request in requests):
            qp.process_completions()
        await asyncio.gather(*requests)
        await qp.close()

    stage.run(idle)


def _turns(stage: Stage, qp: aionvme.IoQueuePair) -> list[int]:
    return [each.counters["turns"] for each in (stage.ctrlr._admin, stage.qp, qp)]


@attrs.define
class Other:
    """Something else that the loop has to do, in every turn.

    Attributes:
        called: How often it was.
        most: Most turns of the poller between two calls.
    """

    turns: Callable[[], int]
    called: int = 0
    most: int = 0
    last: int | None = None

    def count(self) -> None:
        """It was called."""
        turns = self.turns()
        if self.last is not None:
            self.most = max(self.most, turns - self.last)
        self.last = turns
        self.called += 1


class PingPong:
    """Two sockets: whichever is ready sends the byte back."""

    def __init__(self, loop: asyncio.AbstractEventLoop, other: Other) -> None:
        self._loop, self._other = loop, other
        self._sockets = socket.socketpair()
        for at in self._sockets:
            at.setblocking(False)
            loop.add_reader(at, self._ready, at)
        self._sockets[0].send(b".")

    def _ready(self, at: socket.socket) -> None:
        self._other.count()
        at.send(at.recv(1))

    def close(self) -> None:
        """Ends the game."""
        for at in self._sockets:
            self._loop.remove_reader(at)
            at.close()


class Chain:
    """A callback that asks to be called again."""

    def __init__(self, call: Callable[[Callable[[], None]], Any], other: Other) -> None:
        self._call, self._other = call, other
        self._handle = call(self._run)

    def _run(self) -> None:
        self._other.count()
        self._handle = self._call(self._run)

    def close(self) -> None:
        """Ends it."""
        self._handle.cancel()


class Timer:
    """A timer of a millisecond: in how many turns of the poller is it called, once it was seen to be due?"""

    def __init__(self, loop: asyncio.AbstractEventLoop, turns: Callable[[], int]) -> None:
        self._loop, self._turns = loop, turns
        self.called = self.most = 0
        self._arm()

    def _arm(self) -> None:
        self._due: int | None = None
        self._handle = self._loop.call_later(0.001, self._run)

    def look(self) -> None:
        """Once in each turn of the loop."""
        if self._due is None and self._loop.time() >= self._handle.when():
            self._due = self._turns()

    def _run(self) -> None:
        if self._due is not None:
            self.most = max(self.most, self._turns() - self._due)
        self.called += 1
        self._arm()

    def close(self) -> None:
        """Ends it."""
        self._handle.cancel()


@pytest.mark.parametrize("by", ["callbacks", "tasks"])
def test_between_two_turns_everything_else_has_run(stage: Stage, by: str) -> None:
    """At depth 128, for 100,000 commands: each turn of the poller has its ready socket, callback and due timer."""

    async def busy(stage: Stage) -> None:
        loop = stage.loop
        qp = await stage.ctrlr.alloc_io_qpair(depth=DEPTH)

        def turns() -> int:
            return qp.counters["turns"]

        sockets, soon, later = (Other(turns) for _ in range(3))
        timer = Timer(loop, turns)

        def call_soon(callback: Callable[[], None]) -> asyncio.Handle:
            timer.look()
            return loop.call_soon(callback)

        others: list[PingPong | Chain | Timer] = [
            PingPong(loop, sockets),
            Chain(call_soon, soon),
            Chain(lambda callback: loop.call_later(0, callback), later),
            timer,
        ]
        before = turns()
        await {"callbacks": _by_callbacks, "tasks": _by_tasks}[by](qp, stage)
        took = turns() - before
        for each in others:
            each.close()
        assert qp.counters["completions"] == COMMANDS
        assert took >= COMMANDS / DEPTH
        for other in (sockets, soon, later):
            assert other.called >= took - 1
            assert other.most == 1
        assert timer.called and timer.most <= 2
        await qp.close()

    stage.run(busy)


async def _by_callbacks(qp: aionvme.IoQueuePair, stage: Stage) -> None:
    ended = stage.loop.create_future()
    left = COMMANDS

    def again(_arg: object, _cpl: object) -> None:
        nonlocal left
        left -= 1
        if left >= DEPTH:
            qp.submit_read(stage.ns, stage.buf, 0, 1, again)
        elif not left:
            ended.set_result(None)

    for _ in range(DEPTH):
        qp.submit_read(stage.ns, stage.buf, 0, 1, again)
    await ended


async def _by_tasks(qp: aionvme.IoQueuePair, stage: Stage) -> None:
    left = COMMANDS

    async def work() -> None:
        nonlocal left
        while left:
            left -= 1
            await qp.read(stage.ns, stage.buf, 0, 1)

    async with asyncio.TaskGroup() as group:
        for _ in range(DEPTH):
            group.create_task(work())
