"""Owns the table of moments and outcomes, and the play of one: on commands, or on futures in their place.

Two kinds of future stand for commands: `Late`, whose cancellation takes as long as a command's, tells all that there is
to be seen; asyncio's own tells how the construct has to end.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import attrs

import aionvme
from aionvme.tests.flow.tasks.stage import ABORT, BLOCK, Stage, raw_read

if TYPE_CHECKING:
    from aionvme.tests.flow.tasks.constructs import Construct

__all__ = ["MOMENTS", "Commands", "Futures", "Late", "Moment", "Seen", "play"]

TURNS = 12  # enough for whatever happens without the device to happen


@attrs.frozen
class Moment:
    """When the task that waits is cancelled, and what the device does with the first command.

    Attributes:
        cancel: None; "unstarted": before the task's first step; "unstarted inside": after it, before the first step of
            a task that it made; "in flight"; "posted": the completion is in the queue and not yet reaped; "reaped": it
            is reaped, and nobody was told.
        times: How often.
        fails: The first command fails, if it is executed.
        too_late: Abort finds it completed.
    """

    name: str
    cancel: str | None = None
    times: int = 1
    fails: bool = False
    too_late: bool = False

    def __str__(self) -> str:
        return self.name.replace(" ", "_")


MOMENTS = (
    Moment("success"),
    Moment("failure", fails=True),
    Moment("unstarted", "unstarted"),
    Moment("unstarted, fails", "unstarted", fails=True),
    Moment("unstarted inside", "unstarted inside"),
    Moment("in flight", "in flight"),
    Moment("in flight, succeeds all the same", "in flight", too_late=True),
    Moment("in flight, fails all the same", "in flight", too_late=True, fails=True),
    Moment("in flight, twice", "in flight", times=2),
    Moment("posted", "posted"),
    Moment("posted, failed", "posted", fails=True),
    Moment("posted, twice", "posted", times=2),
    Moment("reaped", "reaped"),
    Moment("reaped, failed", "reaped", fails=True),
    Moment("reaped, twice", "reaped", times=2),
)


@attrs.frozen
class Seen:
    """What was to be seen of a play.

    Attributes:
        waited: While the device had not let go: whether the construct had ended, and each awaitable.
        ended: How the construct ended.
        each: How each awaitable did.
        cancelling: What the task that was cancelled says of it.
        aborts: How many were to be aborted; None where Abort and the completion cross, so that it may not be sent.
        reports: What the loop's exception handler was told, once all was forgotten.
    """

    waited: tuple[bool, ...]
    ended: str
    each: tuple[str, ...]
    cancelling: int
    aborts: int | None
    reports: int


class Device(Protocol):
    """What a play needs of what it waits for."""

    awaitables: list[Any]
    stage: Stage

    def make(self, count: int, fails: bool, when_reaped: Callable[[], object]) -> None:
        """Submits them; the hook is called when they have been reaped and nobody was told."""

    async def fetched(self) -> None:
        """They are in flight."""

    def complete(self) -> None:
        """The device completes what it has."""

    def abort(self) -> None:
        """The device does what it was asked to abort."""

    def aborts(self) -> int:
        """How often it was asked to."""

    def forget(self) -> None:
        """Drops them, and looks that it may."""


async def play(construct: Construct, moment: Moment, device: Device) -> Seen:
    """One construct at one moment."""
    seen = await _play(construct, moment, device)
    device.forget()
    reports = len(device.stage.reports)
    device.stage.reports.clear()
    return attrs.evolve(seen, reports=reports)


async def _play(construct: Construct, moment: Moment, device: Device) -> Seen:
    stage = device.stage

    def cancel() -> None:
        for _ in range(moment.times):
            task.cancel()

    device.make(construct.count, moment.fails, lambda: cancel() if moment.cancel == "reaped" else None)
    task = stage.loop.create_task(construct.wait(*device.awaitables))
    if moment.cancel == "unstarted":
        cancel()
    elif moment.cancel == "unstarted inside":
        stage.loop.call_soon(cancel)
    await device.fetched()
    if moment.cancel == "in flight":
        for _ in range(moment.times):
            task.cancel()
            await stage.turns(TURNS)
    elif moment.cancel not in ("unstarted", "unstarted inside"):
        device.complete()
        if moment.cancel == "posted":
            cancel()
    await stage.turns(TURNS)
    waited = (task.done(), *(each.done() for each in device.awaitables))
    await _let_go(moment, device, task)
    # To ask for the exception is to have seen it, and then it is not reported.
    each = tuple(
        "cancelled" if a.cancelled() else "failed?" if moment.fails else how(a) for a in device.awaitables
    )
    aborts = device.aborts()
    assert aborts <= construct.count
    return Seen(waited, how(task), each, task.cancelling(), None if moment.cancel == "posted" else aborts, 0)


async def _let_go(moment: Moment, device: Device, task: asyncio.Task[Any]) -> None:
    """Everything comes to its end."""
    if moment.too_late:
        device.complete()
    device.abort()
    device.complete()
    await device.stage.until(lambda: task.done() and all(each.done() for each in device.awaitables))
    await device.stage.turns(TURNS)


def how(future: Any) -> str:
    """How it ended, in words that are the same for commands and for futures."""
    if future.cancelled():
        return "cancelled"
    error = future.exception()
    return _named(future.result() if error is None else error)


def _named(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_named, value))}]"
    if isinstance(value, BaseExceptionGroup):
        return f"{type(value).__name__}[{', '.join(map(_named, value.exceptions))}]"
    if isinstance(value, aionvme.StatusError):
        return "failed"
    if isinstance(value, aionvme.Completion):
        return "failed completion" if value.status else "succeeded"
    return str(value) if isinstance(value, str | _Failed) else type(value).__name__


# -- commands --------------------------------------------------------------------------------------------------------


class Commands:
    """Reads of one block, which the mock keeps; and one before them with a callback, which is told first."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.awaitables: list[aionvme.Request] = []
        self._views: list[memoryview] = []

    def make(self, count: int, fails: bool, when_reaped: Callable[[], object]) -> None:
        stage = self.stage
        self._aborts_before = stage.aborts
        self._io = stage.mock.hold(qid=stage.qp.qid)
        self._aborts = stage.mock.hold(qid=0, opcode=ABORT)
        stage.submit(lambda _arg, _cpl: when_reaped())
        for i in range(count):
            view = memoryview(stage.buf)[i * BLOCK : (i + 1) * BLOCK]
            self._views.append(view)
            nsid = 99 if fails and i == 0 else 1
            self.awaitables.append(stage.qp.io_raw(raw_read(nsid, i), data=view))

    async def fetched(self) -> None:
        await self.stage.until(lambda: len(self._io.commands) == 1 + len(self.awaitables))

    def complete(self) -> None:
        self._io.release()

    def abort(self) -> None:
        # Until here the device owned what it had not completed.
        for view, request in zip(self._views, self.awaitables, strict=True):
            assert is_held(view) == (not request.done())
        self._aborts.stop()
        self._aborts.release()

    def aborts(self) -> int:
        return self.stage.aborts - self._aborts_before

    def forget(self) -> None:
        self._io.stop()
        for request in self.awaitables:
            assert request.cpl is not None
        self.awaitables.clear()
        gc.collect()
        for view in self._views:
            view.release()


def is_held(view: memoryview) -> bool:
    """Whether a command has it."""
    try:
        view[:0].release()
        probe = view.cast("B")
        probe.release()
        view.release()
    except BufferError:
        return True
    return False


# -- futures that stand for commands ---------------------------------------------------------------------------------


class _Failed(Exception):
    def __str__(self) -> str:
        return "failed"


class Late(asyncio.Future[str]):
    """A future whose cancellation is only a wish until the device has let go; and a coroutine, as a command is.

    Like a command it tells its waiters itself, and not by way of `call_soon`.
    """

    asked = False
    _waiters: tuple[tuple[Callable[[Any], object], contextvars.Context], ...] = ()

    def add_done_callback(
        self, fn: Callable[[Any], object], *, context: contextvars.Context | None = None
    ) -> None:
        """Has it called by `tell`; soon, if that was."""
        if self.done():
            super().add_done_callback(fn, context=context)
        else:
            self._waiters += ((fn, context or contextvars.copy_context()),)

    def remove_done_callback(self, fn: Callable[[Any], object]) -> int:
        """As a future's."""
        kept = tuple(waiter for waiter in self._waiters if waiter[0] != fn)
        removed = len(self._waiters) - len(kept)
        self._waiters = kept
        return removed

    def tell(self) -> None:
        """Tells the waiters."""
        waiters, self._waiters = self._waiters, ()
        for fn, context in waiters:
            context.run(fn, self)

    def cancel(self, msg: Any = None) -> bool:
        """Asks for it."""
        if self.done():
            return False
        self.asked = True
        return True

    def end(self, error: Exception | None) -> None:
        """The device has let go."""
        if self.asked:
            super().cancel()
        elif error is not None:
            self.set_exception(error)
        else:
            self.set_result("succeeded")

    def send(self, _value: None) -> Late:
        """As a coroutine's."""
        if self.done():
            raise StopIteration(self.result())
        self._asyncio_future_blocking = True
        return self

    def throw(self, error: BaseException, *_old_style: Any) -> Late:
        """As a coroutine's; only ever CancelledError."""
        if self.done():
            raise error
        self.cancel()
        return self.send(None)

    def close(self) -> None:
        """As a coroutine's."""


class Futures:
    """Futures in place of commands."""

    def __init__(self, stage: Stage, kind: type[asyncio.Future[Any]]) -> None:
        self.stage = stage
        self.awaitables: list[asyncio.Future[Any]] = []
        self._kind = kind
        self._completed = False

    def make(self, count: int, fails: bool, when_reaped: Callable[[], object]) -> None:
        self._fails = fails
        self._when_reaped = when_reaped
        self.awaitables = [self._kind(loop=self.stage.loop) for _ in range(count)]

    async def fetched(self) -> None:
        await self.stage.turns(2)

    def complete(self) -> None:
        if not self._completed:
            self._completed = True
            self.stage.loop.call_soon(self._reap)

    def _reap(self) -> None:
        for i, future in enumerate(self.awaitables):
            error = _Failed() if self._fails and i == 0 else None
            if future.done():
                continue
            if isinstance(future, Late):
                future.end(error)
            elif error is not None:
                future.set_exception(error)
            else:
                future.set_result("succeeded")
        self._when_reaped()
        self._tell()

    def _tell(self) -> None:
        for future in self.awaitables:
            if isinstance(future, Late) and future.done():
                future.tell()

    def abort(self) -> None:
        if not self._completed:
            for future in self.awaitables:
                if isinstance(future, Late) and future.asked and not future.done():
                    future.end(None)
            self.stage.loop.call_soon(self._tell)

    def aborts(self) -> int:
        return sum(isinstance(future, Late) and future.asked for future in self.awaitables)

    def forget(self) -> None:
        # The hook knows the task, and that its frames, and those the futures.
        del self._when_reaped
        self.awaitables.clear()
        gc.collect()
