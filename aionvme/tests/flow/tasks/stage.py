"""Owns the stage of these tests: a loop in one of its modes, a mock that is stepped in each turn of it, a queue pair.

The tests are ordinary functions that run their own loop, as only so debug mode and the task factory are theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

import aionvme
from aionvme.mock import MockController
from aionvme.tests.leaks import settle

__all__ = ["ABORT", "BLOCK", "LOOPS", "MODES", "Play", "Stage", "raw_read"]

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
MODES = ("plain", "debug", "eager") if sys.version_info >= (3, 12) else ("plain", "debug")
BLOCK = 512
ABORT, READ = 0x08, 0x02
PATIENCE = 2_000  # turns of the loop: what does not happen in these does not happen

Play = Callable[["Stage"], Coroutine[Any, Any, Any]]


def raw_read(nsid: int, lba: int = 0) -> bytes:
    """A Read of one block as its 64 bytes."""
    sqe = bytearray(64)
    sqe[0] = READ
    sqe[4:8] = nsid.to_bytes(4, "little")
    sqe[40:48] = lba.to_bytes(8, "little")
    return bytes(sqe)


def _eager_task(loop: asyncio.AbstractEventLoop, coro: Any, **keywords: Any) -> asyncio.Task[Any]:
    # asyncio.eager_task_factory, which before 3.13.3 does not take the eager_start that uvloop hands it.
    keywords["eager_start"] = True
    return asyncio.Task(coro, loop=loop, **keywords)


class Stage:
    """One loop for many plays; each finds the queue pair idle, and has to leave it so.

    Attributes:
        reports: What the loop's exception handler was told in this play. What is left there fails it.
    """

    def __init__(self, loop: str, mode: str = "plain") -> None:
        self._loop_factory = LOOPS[loop]
        self.mode = mode
        self.reports: list[dict[str, Any]] = []
        self._runner: asyncio.Runner | None = None
        self._stepping = False

    # -- a play ------------------------------------------------------------------------------------------------------

    def run(self, play: Play) -> None:
        """Plays it, and looks that nothing is left of it."""
        if self._runner is None:
            self._open()
        assert self._runner is not None
        self.reports.clear()
        try:
            self._runner.run(self._play(play))
        except BaseException:
            self._give_up()
            raise

    def run_through(self, exception: type[BaseException], play: Play) -> None:
        """Plays what stops the loop once by this exception, and goes on after it, as with a loop that is run again."""
        if self._runner is None:
            self._open()
        self.reports.clear()
        try:
            task = self.loop.create_task(self._play(play))
            with pytest.raises(exception):
                self.loop.run_until_complete(task)
            assert not task.done()
            self.loop.run_until_complete(task)
        except BaseException:
            self._give_up()
            raise

    async def reconnect(self) -> None:
        """After a play has closed the controller."""
        self.buf.close()
        await self._connect()

    async def _play(self, play: Play) -> None:
        self.start_stepping()
        await play(self)
        await self._check_idle()
        self._stepping = False

    async def _check_idle(self) -> None:
        await self.until(lambda: self.others() == set())
        await self.turns(4)
        gc.collect()
        assert self.reports == []
        await self.until(lambda: self.ctrlr._admin.outstanding == 0)
        assert self.qp.outstanding == 0
        # A queue pair with anything left to do, or to tell, would turn.
        before = self.qp.counters["turns"]
        await self.turns(4)
        assert self.qp.counters["turns"] == before

    def _open(self) -> None:
        self._runner = asyncio.Runner(debug=self.mode == "debug", loop_factory=self._loop_factory)
        self.loop = self._runner.get_loop()
        if self.mode == "eager":
            self.loop.set_task_factory(_eager_task)
        # Debug mode tells of callbacks that took long; on a busy machine any may.
        self.loop.slow_callback_duration = 60.0
        self.loop.set_exception_handler(lambda _loop, context: self.reports.append(context))
        self.mock = MockController(drive="step", size=1 << 20, num_io_queues=4)
        self._runner.run(self._connect())
        self._stepping = False
        # What is there now is no play's: the collector need not look at it after each.
        settle()

    async def _connect(self) -> None:
        self.start_stepping()
        # A timer of a command that has ended would turn the queue pair.
        opts = aionvme.ControllerOptions(io_timeout=0, abort_timeout=3600)
        self.ctrlr = await aionvme.connect(self.mock, opts)
        self.qp = await self.ctrlr.alloc_io_qpair(depth=8)
        self.ns = self.ctrlr.namespaces[1]
        self.buf = self.ctrlr.dma_alloc(64 * BLOCK)
        self.pollers = asyncio.all_tasks() - {asyncio.current_task()}

    def close(self) -> None:
        """Takes the stage down."""
        if self._runner is None:
            return
        self._runner.run(self._disconnect())
        self._end()

    async def _disconnect(self) -> None:
        self.start_stepping()
        await self.ctrlr.close()
        self.buf.close()
        self._stepping = False

    def _give_up(self) -> None:
        # After a failure: the next play gets another stage. The failure is what counts.
        assert self._runner is not None
        self.mock.remove()
        with contextlib.suppress(Exception):
            self._runner.run(self.ctrlr.reset())
        with contextlib.suppress(Exception):
            self._runner.run(self._disconnect())
        with contextlib.suppress(Exception):
            self._end()

    def _end(self) -> None:
        runner, self._runner = self._runner, None
        assert runner is not None
        runner.close()
        self.mock.close()
        # The stage's own objects were set aside with the rest.
        del runner, self.mock
        settle()

    # -- the mock's time, and the loop's -----------------------------------------------------------------------------

    def start_stepping(self) -> None:
        """The mock executes what it finds, once in each turn of the loop."""
        if not self._stepping:
            self._stepping = True
            self.loop.call_soon(self._step)

    def stop_stepping(self) -> None:
        """The mock stands still, and the loop has nothing to do on its behalf."""
        self._stepping = False

    def _step(self) -> None:
        if self._stepping:
            self.mock.step()
            self.loop.call_soon(self._step)

    async def turns(self, count: int) -> None:
        """Lets the loop turn so many times."""
        for _ in range(count):
            await asyncio.sleep(0)

    async def until(self, condition: Callable[[], object]) -> None:
        """Lets the loop turn until something is so."""
        for _ in range(PATIENCE):
            if condition():
                return
            await asyncio.sleep(0)
        raise AssertionError(f"did not come about in {PATIENCE} turns of the loop")

    # -- what is there -----------------------------------------------------------------------------------------------

    def others(self) -> set[asyncio.Task[Any]]:
        """Tasks that are neither the play's nor the pollers'."""
        return asyncio.all_tasks() - self.pollers - {asyncio.current_task()}

    @property
    def aborts(self) -> int:
        """Abort commands that the mock has fetched."""
        return self.mock.queue(0).opcodes.get(ABORT, 0)

    def read(self, lba: int = 0, **keywords: Any) -> aionvme.Request:
        """A read of one block."""
        return self.qp.read(self.ns, self.buf, lba, 1, **keywords)

    def submit(
        self, cb_fn: Callable[[Any, aionvme.Completion], object], cb_arg: Any = None
    ) -> aionvme.Request:
        """A read of one block, with a callback."""
        return self.qp.submit_read(self.ns, self.buf, 0, 1, cb_fn, cb_arg)

    def failing(self, **keywords: Any) -> aionvme.Request:
        """A read that the controller refuses: there is no such namespace."""
        return self.qp.io_raw(raw_read(99), data=memoryview(self.buf)[:BLOCK], **keywords)
