"""Owns what takes several admin commands and is used as one: awaited, called back, cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from aionvme.errors import StatusError
from aionvme.qpair.request import Completion, host_completion

T = TypeVar("T")


class Operation(asyncio.Task[T]):
    """Several admin commands as one: a page longer than one transfer, a firmware image, a wait for an end.

    A task, and so all that asyncio does with one; besides, it has the `cpl` of a `Request`. Cancelled, it aborts the
    command that it has outstanding, and ends when that has.

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
    ) -> None:
        super().__init__(coro, loop=loop, name=name)
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


def _call(operation: Operation[Any]) -> None:
    callback = operation._cb_fn
    operation._cb_fn = None
    if callback is not None:
        callback(operation._cb_arg, operation.cpl)  # type: ignore[arg-type]
