"""Owns what takes several admin commands and is used as one: awaited, called back, cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import attrs

from aionvme.errors import StatusError
from aionvme.qpair.request import Completion, host_completion

T = TypeVar("T")


@attrs.frozen
class Progress:
    """How far an operation is.

    Attributes:
        done, total: In the operation's own unit: bytes, or parts of what the controller reports.
        text: What it is doing, for people.
    """

    done: int
    total: int
    text: str = ""

    @property
    def fraction(self) -> float:
        """From 0 to 1."""
        return self.done / self.total if self.total else 0.0


class Reporter:
    """Carries the progress out of an operation's coroutine; whoever is slow sees the latest only."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []
        self.latest: Progress | None = None

    def __call__(self, done: int, total: int, text: str = "") -> None:
        """The operation is so far."""
        self.latest = Progress(done, total, text)
        self.wake()

    def wake(self) -> None:
        """Lets everybody look again."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def wait_change(self, loop: asyncio.AbstractEventLoop) -> None:
        """Until the next `wake`."""
        future = loop.create_future()
        self._waiting.append(future)
        await future


class Operation(asyncio.Task[T]):
    """Several admin commands as one: a page longer than one transfer, a firmware image, a wait for an end.

    A task, and so all that asyncio does with one; besides, it has the `cpl` of a `Request`. Cancelled, it aborts the
    command that it has outstanding, and ends when that has.

        operation = ctrlr.firmware_download(image)
        async for progress in operation:  # any number may look on, or none
            print(f"{progress.fraction:.0%}")
        await operation  # the result, or what went wrong

    Attributes:
        cpl: A `Completion` once done: of the command that failed, or a success with the result as its `value`.
    """

    def __init__(
        self,
        coro: Coroutine[Any, Any, T],
        *,
        loop: asyncio.AbstractEventLoop,
        name: str,
        cb_fn: Callable[[Any, Completion], object] | None = None,
        cb_arg: Any = None,
        reporter: Reporter | None = None,
    ) -> None:
        super().__init__(coro, loop=loop, name=name)
        self._reporter = reporter if reporter is not None else Reporter()
        self.add_done_callback(_wake)
        self._cb_fn = cb_fn
        self._cb_arg = cb_arg
        if cb_fn is not None:
            self.add_done_callback(_call)

    @property
    def cpl(self) -> Completion | None:
        """How it ended; None before."""
        if not self.done():
            return None
        error = None if self.cancelled() else self.exception()
        if isinstance(error, StatusError) and isinstance(error.cpl, Completion):
            return error.cpl
        if self.cancelled() or error is not None:
            return host_completion(False)
        return host_completion(True, self.result())

    @property
    def progress(self) -> Progress | None:
        """How far it is; None where nothing was reported yet."""
        return self._reporter.latest

    async def __aiter__(self) -> AsyncIterator[Progress]:
        """Each step as it is reported, until the operation has ended, in whatever way: await it to know in which."""
        seen: Progress | None = None
        while True:
            latest = self._reporter.latest
            if latest is not None and latest is not seen:
                seen = latest
                yield latest
            elif self.done():
                return
            else:
                await self._reporter.wait_change(self.get_loop())


def _wake(operation: Operation[Any]) -> None:
    operation._reporter.wake()


def _call(operation: Operation[Any]) -> None:
    callback = operation._cb_fn
    operation._cb_fn = None
    if callback is not None:
        callback(operation._cb_arg, operation.cpl)  # type: ignore[arg-type]
