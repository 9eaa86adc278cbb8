"""Owns `Elsewhere`: another thread with a loop of its own, which a test has run things, be blocked, and end."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aionvme
from aionvme.tests.flow.support import PATIENCE, Rig

T = TypeVar("T")

__all__ = ["Elsewhere", "elsewhere", "there"]


class Elsewhere:
    """A thread with a loop of the same kind as the one that runs here."""

    def __init__(self) -> None:
        self._kind = type(asyncio.get_running_loop())
        self._started = threading.Event()
        self._unblocked = threading.Event()
        self._thread = threading.Thread(target=self._live, name="elsewhere")
        self._thread.start()
        assert self._started.wait(PATIENCE)

    def _live(self) -> None:
        # As asyncio.run does, but for `abandon`.
        runner = asyncio.Runner(loop_factory=self._kind)
        self.loop = runner.get_loop()
        self._end = self._abandoned = False
        self._over: asyncio.Future[None] = self.loop.create_future()
        self.loop.call_soon(self._started.set)
        with contextlib.suppress(asyncio.CancelledError):
            self.loop.run_until_complete(self._over)
        if self._abandoned:
            self.loop.close()
        else:
            runner.close()

    async def run(self, coro: Coroutine[Any, Any, T]) -> T:
        """What a coroutine gives that runs there."""
        return await asyncio.wrap_future(self.start(coro))

    def start(self, coro: Coroutine[Any, Any, T]) -> Any:
        """Starts a coroutine there; the future is of `concurrent.futures`."""
        return asyncio.run_coroutine_threadsafe(coro, self.loop)

    async def call(self, function: Callable[[], T]) -> T:
        """What a function gives that is called there."""

        async def made() -> T:
            return function()

        return await self.run(made())

    @contextlib.asynccontextmanager
    async def blocked(self) -> AsyncIterator[None]:
        """Its loop does not turn meanwhile."""
        self._unblocked.clear()
        stuck = threading.Event()

        def block() -> None:
            stuck.set()
            self._unblocked.wait()

        self.loop.call_soon_threadsafe(block)
        assert await asyncio.to_thread(stuck.wait, PATIENCE)
        try:
            yield
        finally:
            self._unblocked.set()

    async def end(self, *, abandoned: bool = False) -> None:
        """The loop ends as `asyncio.run` ends one; `abandoned`: without a word to its tasks. The thread ends too."""
        if self._thread.is_alive():
            self._unblocked.set()
            self._abandoned = abandoned
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self._over.cancel)
        await asyncio.to_thread(self._thread.join, PATIENCE)
        assert not self._thread.is_alive(), "the other loop does not come to its end"


@asynccontextmanager
async def elsewhere() -> AsyncIterator[Elsewhere]:
    """Another thread and its loop, until the block ends."""
    other = Elsewhere()
    try:
        yield other
    finally:
        await other.end()


async def there(r: Rig, **options: Any) -> Rig:
    """The rig's device as another loop has it, in which this runs: with a queue pair and a buffer of its own."""
    qp = await r.ctrlr.alloc_io_qpair(**options)
    return Rig(r.mock, r.ctrlr, qp, r.ns, r.ctrlr.dma_alloc(512))


Kinds = list[type[BaseException] | None]
RESET, LOST = aionvme.ControllerResetError, aionvme.ControllerLostError
