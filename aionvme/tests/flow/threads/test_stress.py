"""Two threads at once on one controller: all that may be called from anywhere, as fast as it goes. Data is checked."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from typing import Any

import attrs
import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.tests.flow.support import Rig, rig, until
from aionvme.tests.flow.threads.elsewhere import RESET, elsewhere, there

pytestmark = [pytest.mark.anyloop, pytest.mark.usefixtures("no_leaks")]

SECONDS = 2.0
BLOCK = 512
TASKS = 6  # in each thread
SPAN = 8  # blocks that a task has for itself


@attrs.define
class Shared:
    """Memory that tasks of both threads use at once, each its own part."""

    buffer: aionvme.DmaBuffer
    array: bytearray

    def parts(self, task: int) -> list[memoryview]:
        """Of a task."""
        return [memoryview(memory)[task * BLOCK :][:BLOCK] for memory in (self.buffer, self.array)]


@attrs.define
class Task:
    """Writes and reads blocks of its own by memory of every kind, and knows what they hold.

    Attributes:
        known: What was last written to a block, None where a reset or a cancellation leaves that open.
    """

    r: Rig
    number: int
    shared: Shared
    ends: Counter[str]
    known: dict[int, bytes | None] = attrs.field(factory=dict)
    _random: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._random = random.Random(self.number)

    async def run(self, end: float) -> None:
        """Until `end` (time.monotonic)."""
        views = self.shared.parts(self.number)
        stamp = 0
        while time.monotonic() < end:
            stamp += 1
            lba = self.number * SPAN + self._random.randrange(SPAN)
            with contextlib.ExitStack() as stack:
                memory = self._memory(stack, views)
                memory[:] = bytes([self.number]) + stamp.to_bytes(4, "little") * 127 + bytes(3)
                self.known[lba] = bytes(memory) if await self._done("write", memory, lba) else None
            await self._check(lba, views)
        for view in views:
            view.release()

    async def _check(self, lba: int, views: list[memoryview]) -> None:
        with contextlib.ExitStack() as stack:
            memory = self._memory(stack, views)
            memory[:] = bytes(BLOCK)
            if await self._done("read", memory, lba) and self.known[lba] is not None:
                assert bytes(memory) == self.known[lba], f"task {self.number}, lba {lba}"
                self.ends["checked"] += 1

    def _memory(self, stack: contextlib.ExitStack, views: list[memoryview]) -> memoryview:
        """A block of new DMA memory, of an array that is registered for it, or of what all share."""
        kind = self._random.randrange(4)
        if kind < 2:
            return views[kind]
        memory: Any = stack.enter_context(self.r.ctrlr.dma_alloc(BLOCK)) if kind == 2 else bytearray(BLOCK)
        if kind == 3:
            stack.enter_context(self.r.ctrlr.dma_register(memory))
        return stack.enter_context(memoryview(memory))

    async def _done(self, command: str, memory: memoryview, lba: int) -> bool:
        """Has a command done, or now and then cancelled; whether it succeeded."""
        request = getattr(self.r.qp, command)(self.r.ns, memory, lba, 1)
        if self._random.randrange(10) == 0:
            await asyncio.sleep(0)
            request.cancel()
        try:
            await request
        except (RESET, asyncio.CancelledError) as error:
            self.ends[type(error).__name__] += 1
            return False
        return True


async def test_everything_at_once() -> None:
    """Reads, writes, cancellations, buffers and registrations in two threads, under resets: the data is as written."""
    ends: Counter[str] = Counter()
    async with rig(MockController(timeout=0.5, size=1 << 20), depth=16) as r, elsewhere() as other:
        o = await other.run(there(r, depth=16))
        shared = Shared(r.ctrlr.dma_alloc(2 * TASKS * BLOCK), bytearray(2 * TASKS * BLOCK))
        before = len(r.ctrlr._dma.mappings())
        end = time.monotonic() + SECONDS

        async def hammer(at: Rig, first: int) -> None:
            await asyncio.gather(*(Task(at, first + n, shared, ends).run(end) for n in range(TASKS)))

        with r.ctrlr.dma_register(shared.array):
            here, away = asyncio.create_task(hammer(r, 0)), other.start(hammer(o, TASKS))
            while time.monotonic() < end:
                await asyncio.sleep(SECONDS / 20)
                await r.ctrlr.reset()
            await here
            await asyncio.wrap_future(away)
        assert ends["checked"] > 2 * TASKS
        assert ends["ControllerResetError"]
        assert ends["CancelledError"]
        for qp in (r.qp, o.qp):
            assert (qp.outstanding, qp.counters["foreign"]) == (0, 0)
        await until(lambda: len(r.ctrlr._dma.mappings()) <= before + 1, "unmapping")
        shared.buffer.close()
        await other.run(o.qp.close())
