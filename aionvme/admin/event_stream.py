"""Owns an asynchronous event as it is told, and the queue of one who iterates over them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import attrs

from aionvme.admin.core import logger
from aionvme.errors import NvmeError

if TYPE_CHECKING:
    from enum import IntEnum

    from aionvme.qpair.request import Completion
    from aionvme.spec.events import EventType


@attrs.frozen
class AsyncEvent:
    """An asynchronous event of a controller (NVMe Base 2.0, 5.2).

    Attributes:
        kind: The `EventType`, or its number.
        information: What happened: an `ErrorEvent`, `SmartEvent`, `NoticeEvent`, `ImmediateEvent`, `OneShotEvent` or
            `IoCommandEvent` by the kind, or its number where the specification has no name for it.
        log_page: Identifier of the log page that belongs to it; None where none does.
        page: That page, typed where it is known, as it was read to clear the event; None without one.
        error: Why the page could not be read; None if it was, or there is none.
        cpl: The `Completion` of the request for the event.
    """

    kind: EventType | int
    information: IntEnum | int
    log_page: int | None
    cpl: Completion = attrs.field(repr=False)
    page: Any = attrs.field(default=None, repr=False)
    error: NvmeError | None = None

    @property
    def namespaces_changed(self) -> bool:
        """Whether namespaces of the controller came, went, or are other ones now."""
        return self.kind == 2 and self.information == 0


class EventStream:
    """The events from its making on, as an asynchronous iterator. `Controller.events` makes it.

    It holds a bounded number of events that were not yet taken; beyond that the oldest go, are counted, and logged. It
    ends when the controller is closed; where that was lost or has failed, the iteration raises why.

    Attributes:
        dropped: How many events were not told, as they were not taken in time.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._events: deque[AsyncEvent] = deque()
        self._wake = asyncio.Event()
        self._ended = False
        self._error: NvmeError | None = None
        self.dropped = 0

    def put(self, event: AsyncEvent) -> None:
        """For the controller: there is an event."""
        if self._ended:
            return
        if len(self._events) == self._limit:
            self._events.popleft()
            self.dropped += 1
            # At 1, 2, 4, 8, ... only: a log that is flooded tells no more.
            if self.dropped & (self.dropped - 1) == 0:
                logger.warning(
                    "%s: %d events were dropped by a reader that takes none", self._name, self.dropped
                )
        self._events.append(event)
        self._wake.set()

    def end(self, error: NvmeError | None) -> None:
        """For the controller: there will be no more events, because of `error`."""
        self._ended = True
        self._error = error
        self._wake.set()

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> AsyncEvent:
        while not self._events:
            if self._error is not None:
                raise type(self._error)(*self._error.args)
            if self._ended:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._events.popleft()

    async def aclose(self) -> None:
        """Ends the iteration, and forgets what was not taken."""
        self._events.clear()
        self.end(None)
