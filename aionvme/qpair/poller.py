"""The poller as a task of the loop, and coroutines that a cancellation does not stop.

The task only shows the poller in `asyncio.all_tasks()` and carries the loop's tear-down to it: reaping is a chain of
loop callbacks (see `core.pyx`). `asyncio.run` cancels every task when the program ends; the poller takes that as a
request to finish, and its task ends when no command is outstanding, so that every task that waits for one ends first.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from aionvme.qpair.core import QueuePair

T = TypeVar("T")
logger = logging.getLogger("aionvme")


class _Ended(asyncio.Future[None]):
    """What the poller's task awaits. Its cancellation is only noted; the queue pair ends it when it is idle."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_cancel: Callable[[], None]) -> None:
        super().__init__(loop=loop)
        self._on_cancel = on_cancel
        self.cancel_asked = False

    def cancel(self, msg: Any = None) -> bool:
        if self.done():
            return False
        if not self.cancel_asked:
            self.cancel_asked = True
            self._on_cancel()
        return True

    def end(self) -> None:
        """Ends it: cancelled if that was asked, else normally."""
        if self.done():
            return
        if self.cancel_asked:
            super().cancel()
        else:
            self.set_result(None)


class Poller:
    """The task that stands for one queue pair's poller."""

    def __init__(self, qp: QueuePair, name: str) -> None:
        loop = qp.get_loop()
        self._holds = 0
        self._qp = qp
        self._ended = _Ended(loop, qp.begin_finish)
        self.task = loop.create_task(self._run(), name=name)
        # Dropped without close(), the controller warns of it: the task need not do so too.
        self.task._log_destroy_pending = False  # type: ignore[attr-defined]

    async def _run(self) -> None:
        await self._ended

    def hold(self) -> None:
        """Keeps the task from ending until `release`: a recovery is under way that the commands depend on."""
        self._holds += 1

    def release(self) -> None:
        """Takes one `hold` back."""
        self._holds -= 1
        if not self._holds and self._ended.cancel_asked:
            self._qp.begin_finish()

    def idle(self) -> None:
        """Nothing is outstanding: ends the task if that was asked."""
        if self._ended.cancel_asked and not self._holds:
            self._ended.end()

    def stop(self) -> None:
        """The queue pair is closed."""
        if not self._ended.get_loop().is_closed():
            self._ended.end()


class _Drive(Generic[T]):
    """Steps a coroutine by callbacks of the loop, as a task does, but nothing can cancel it.

    It has no current task: `asyncio.timeout` does not work inside; futures, sleeps and requests do.
    """

    def __init__(self, coro: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> None:
        self._coro = coro
        self._loop = loop
        self.result: asyncio.Future[T] = loop.create_future()
        loop.call_soon(self._step)

    def _step(self, awaited: Any = None) -> None:
        try:
            waits_for = self._coro.send(None)
        except StopIteration as stop:
            if not self.result.done():
                self.result.set_result(stop.value)
            return
        except (KeyboardInterrupt, SystemExit) as error:
            self._fail(error)
            raise
        except BaseException as error:
            self._fail(error)
            return
        if waits_for is None:
            self._loop.call_soon(self._step)
            return
        waits_for._asyncio_future_blocking = False
        waits_for.add_done_callback(self._step)

    def _fail(self, error: BaseException) -> None:
        if not self.result.done():
            self.result.set_exception(error)


class _Endless:
    """Awaits a future, keeping back every cancellation until it is done; then the last one is raised."""

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self._future = future

    def __await__(self) -> Generator[Any, None, Any]:
        cancelled: asyncio.CancelledError | None = None
        while not self._future.done():
            gate = self._future.get_loop().create_future()
            self._future.add_done_callback(partial(_open, gate))
            try:
                yield from gate
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            # What it did is done; how it went is of interest only if it failed.
            self._future.exception()
            raise cancelled
        return self._future.result()


def _open(gate: asyncio.Future[None], _future: object) -> None:
    if not gate.done():
        gate.set_result(None)


def start_to_end(coro: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> asyncio.Future[T]:
    """Starts `coro` so that nothing can cancel it; the future is its result."""
    return _Drive(coro, loop).result


async def wait_to_end(future: asyncio.Future[T]) -> T:
    """Waits for `future` whatever is cancelled meanwhile; a cancellation is raised when it is done."""
    result: T = await _Endless(future)
    return result


async def run_to_end(coro: Coroutine[Any, Any, T]) -> T:
    """Runs `coro` to its end whatever is cancelled meanwhile; a cancellation is raised after the end."""
    return await wait_to_end(start_to_end(coro, asyncio.get_running_loop()))


UNPOLLED_SECONDS = 1.0


def look_for_polls(qp: QueuePair) -> asyncio.TimerHandle:
    """Says, by and by, that nobody polls a "manual" queue pair that has commands; unless it is cancelled."""
    return qp.get_loop().call_later(UNPOLLED_SECONDS, _not_polled, weakref.ref(qp))


def _not_polled(ref: weakref.ref[QueuePair]) -> None:
    qp = ref()
    if qp is not None and qp.outstanding:
        logger.warning(
            "%r: has had a command for %g s, and nobody calls process_completions()",
            qp,
            UNPOLLED_SECONDS,
        )
