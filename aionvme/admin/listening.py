"""Owns how a user listens to the asynchronous events of a controller."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aionvme.errors import UsageError

if TYPE_CHECKING:
    from aionvme.admin.core import Core
    from aionvme.admin.event_stream import AsyncEvent, EventStream


class Listening:
    """The part of `Controller` that tells of events."""

    _core: Core

    def _check_loop(self) -> None:
        raise NotImplementedError

    def events(self, *, limit: int = 256) -> EventStream:
        """The asynchronous events from this call on (Base 2.0, 5.2): `async for event in ctrlr.events()`.

        Every call gives an iterator of its own. The log page that belongs to an event has been read, which clears it,
        and is `event.page`. Which events there are is `ControllerOptions.events`.

        Args:
            limit: How many events are kept that were not taken. Beyond that the oldest go, counted in `dropped`.

        Raises:
            UsageError: `limit` is less than 1.
            WrongLoopError: The controller belongs to another loop.
        """
        if limit < 1:
            raise UsageError(f"limit must be 1 or more, not {limit}")
        self._check_loop()
        return self._core.events.stream(limit)

    def on_event(self, cb_fn: Callable[[Any, AsyncEvent], object], cb_arg: Any = None) -> Callable[[], None]:
        """Has `cb_fn(cb_arg, event)` called for every asynchronous event from now on.

        Returns:
            A function that takes this back.
        """
        return self._core.events.add_callback(cb_fn, cb_arg)
