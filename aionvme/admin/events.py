"""Owns asynchronous events (NVMe Base 2.0, 5.2): requests kept armed, pages read, and everyone told in order."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import attrs

from aionvme.admin.core import State, logger
from aionvme.admin.event_stream import AsyncEvent, EventStream
from aionvme.errors import NvmeError, StatusError, UsageError
from aionvme.spec import entries
from aionvme.spec.events import EventDword, EventMask, supported_events
from aionvme.spec.logs.captures import TelemetryHeader
from aionvme.spec.opcodes import FeatureId, LogPageId
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.admin.core import Core
    from aionvme.qpair.request import Completion

#: Requests that are kept armed, where the controller takes so many.
REQUESTS = 4
#: Events that were taken from the controller and not yet told; it keeps what comes beyond that.
MOST_PENDING = 32
#: How many times the same event may come at once; then its page, and thus the next one, is read later and later.
AT_ONCE = 4
HOLD_SECONDS, HOLD_SECONDS_MOST = 0.05, 10.0
#: Requests that fail one after the other, until no more are made before the next reset.
MOST_FAILURES = 8
_UNKNOWN_PAGE_BYTES = 512

Hook = Callable[[AsyncEvent], Awaitable[None]]


@attrs.define
class _Repeat:
    """How often one event came of late.

    Attributes:
        count: So often.
        quiet_at: When it is forgotten, in the loop's time.
    """

    count: int = 0
    quiet_at: float = 0.0


class Events:
    """The events of one controller."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._armed = 0
        self._wanted = 0
        self._failures = 0
        self._held: dict[asyncio.TimerHandle, None] = {}
        self._backlog: deque[AsyncEvent] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._repeats: dict[int, _Repeat] = {}
        self._hooks: list[Hook] = []
        self._callbacks: dict[object, tuple[Callable[[Any, AsyncEvent], object], Any]] = {}
        self._streams: weakref.WeakSet[EventStream] = weakref.WeakSet()

    # -- who is told ---------------------------------------------------------------------------------------------------

    def add_hook(self, hook: Hook) -> None:
        """Has `await hook(event)` run, the event's page having been read, before anybody else is told of it.

        For parts of the controller. What it raises is logged; it may send commands.
        """
        self._hooks.append(hook)

    def add_callback(self, cb_fn: Callable[[Any, AsyncEvent], object], cb_arg: Any) -> Callable[[], None]:
        """Has `cb_fn(cb_arg, event)` called for every event; what this gives takes that back."""
        key = object()
        self._callbacks[key] = (cb_fn, cb_arg)
        return lambda: self._callbacks.pop(key, None) and None

    def stream(self, limit: int) -> EventStream:
        """The events from now on."""
        stream = EventStream(str(self._core), limit)
        if self._core.state in (State.CLOSED, State.ENDED):
            stream.end(self._core.error)
        else:
            self._streams.add(stream)
        return stream

    # -- at every bring-up ---------------------------------------------------------------------------------------------

    async def configure(self) -> None:
        """Says which events are wanted: before what they tell the changes of is read, so that no change is missed."""
        core = self._core
        data = core.data
        assert data is not None
        has = supported_events(oaes=data.oaes, lpa=data.lpa, pmr=bool(core.registers.cap.pmrs))
        wanted = core.opts.events
        mask = has & ~EventMask.TELEMETRY if wanted is None else has & wanted
        self._armed = self._failures = self._wanted = 0
        if wanted == EventMask(0):
            return
        core.opts.events = await self._set(mask)
        # One request of those that it takes is left to who sends one himself.
        self._wanted = min(REQUESTS, max(data.aerl, 1))

    def start(self) -> None:
        """Arms the requests. Of a reset before, nothing is left."""
        self._arm()

    async def _set(self, mask: EventMask) -> EventMask:
        commands = self._core.urgent
        try:
            await commands.set_feature(FeatureId.ASYNC_EVENT_CONFIGURATION, cdw11=int(mask))
        except StatusError as error:
            logger.info("%s: keeps its own choice of events: %s", self._core, error)
        else:
            return mask
        try:
            return EventMask((await commands.get_feature(FeatureId.ASYNC_EVENT_CONFIGURATION)).dw0)
        except StatusError:
            return EventMask(0)

    def _arm(self) -> None:
        core = self._core
        while self._armed < self._wanted and self._pending < MOST_PENDING:
            if core.state in (State.CLOSED, State.ENDED, State.CLOSING) or core.admin.closed:
                return
            self._armed += 1
            core.admin.submit_admin(
                entries.async_event_request(),
                cb_fn=self._completed,
                cb_arg=core.epoch,
                timeout=0,
                urgent=True,
                standing=True,
            )

    @property
    def _pending(self) -> int:
        return len(self._backlog) + len(self._held)

    # -- an event ------------------------------------------------------------------------------------------------------

    def _completed(self, epoch: int, cpl: Completion) -> None:
        # In a turn of its own: completions may be polled for while the loop does not run.
        if not self._core.loop.is_closed():
            self._core.loop.call_soon(self._ended, epoch, cpl)

    def _ended(self, epoch: int, cpl: Completion) -> None:
        if epoch != self._core.epoch:
            return  # A reset ended it, and has armed others.
        self._armed -= 1
        if cpl.status:
            self._failed(cpl)
            return
        self._failures = 0
        dword = EventDword(cpl.dw0)
        event = AsyncEvent(kind=dword.kind, information=dword.information, log_page=dword.log_page, cpl=cpl)
        seconds = self._hold(cpl.dw0)
        if seconds:
            self._take_later(event, seconds)
        else:
            self._take(event)
        self._arm()

    def _failed(self, cpl: Completion) -> None:
        if cpl.status.code == StatusCode.COMMAND_ABORTED_BY_HOST:
            return  # The controller is reset, closed or lost.
        self._failures += 1
        if cpl.status.code == StatusCode.ASYNC_EVENT_LIMIT_EXCEEDED:
            # It takes fewer than it says, or somebody else has sent some.
            self._wanted = min(self._wanted, self._armed)
            logger.info("%s: holds %d requests for events, and takes no more", self._core, self._wanted)
        if self._failures >= MOST_FAILURES:
            self._wanted = 0
            logger.warning("%s: tells no more events: requests end with %s", self._core, cpl.status)
        self._arm()

    def _hold(self, dw0: int) -> float:
        """For how long an event is left alone that comes again and again: until it is read, no other of its type does.

        A condition that lasts may be reported anew each time that its page was read (5.2).
        """
        now = self._core.loop.time()
        repeat = self._repeats.setdefault(dw0, _Repeat())
        if now >= repeat.quiet_at:
            repeat.count = 0
        repeat.count += 1
        if len(self._repeats) > MOST_PENDING:
            self._repeats.clear()
        over = repeat.count - AT_ONCE
        seconds = 0.0 if over <= 0 else min(HOLD_SECONDS * 2 ** min(over - 1, 30), HOLD_SECONDS_MOST)
        repeat.quiet_at = now + 1.0 + 2 * seconds
        return seconds

    def _take_later(self, event: AsyncEvent, seconds: float) -> None:
        def take() -> None:
            del self._held[timer]
            self._take(event)

        timer = self._core.loop.call_later(seconds, take)
        self._held[timer] = None

    def _take(self, event: AsyncEvent) -> None:
        self._backlog.append(event)
        if self._worker is None and not self._core.loop.is_closed():
            self._worker = self._core.loop.create_task(self._work(), name=f"aionvme {self._core} events")

    async def _work(self) -> None:
        """One event after the other: its page, the controller's own parts, then everybody else."""
        try:
            while self._backlog:
                event = await self._with_page(self._backlog.popleft())
                for hook in self._hooks:
                    try:
                        await hook(event)
                    except NvmeError as error:
                        logger.warning("%s: %r could not be followed: %s", self._core, event, error)
                self._tell(event)
                self._arm()
        finally:
            self._worker = None

    async def _with_page(self, event: AsyncEvent) -> AsyncEvent:
        lid = event.log_page
        if lid is None:
            return event
        try:
            page = await self._read(lid)
        except NvmeError as error:
            logger.info("%s: page %#04x of %r could not be read: %s", self._core, lid, event, error)
            return attrs.evolve(event, error=error)
        return attrs.evolve(event, page=page)

    def _read(self, lid: int) -> Awaitable[Any]:
        commands = self._core.commands
        if lid == LogPageId.TELEMETRY_CONTROLLER:
            # Its header; reading it with the event cleared would let the controller overwrite what it wants to tell
            # (5.16.1.9), so that is left to who reads all of it.
            return commands.get_log_page(lid, nbytes=TelemetryHeader.SIZE, retain_event=True)
        try:
            return commands.get_log_page(lid)
        except UsageError:
            # A vendor's page of a size that nobody knows: any part of it clears the event.
            return commands.get_log_page(lid, nbytes=_UNKNOWN_PAGE_BYTES)

    def _tell(self, event: AsyncEvent) -> None:
        for stream in list(self._streams):
            stream.put(event)
        for cb_fn, cb_arg in list(self._callbacks.values()):
            try:
                cb_fn(cb_arg, event)
            except Exception as error:
                self._core.loop.call_exception_handler(
                    {"message": f"exception in a callback for events of {self._core}", "exception": error}
                )

    # -- the end -------------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """No more requests: the controller is closed. What was taken is told."""
        self._wanted = 0
        for timer in list(self._held):
            timer.cancel()
        self._held.clear()
        worker = self._worker
        if worker is not None:
            await asyncio.wait([worker])

    def end(self, error: NvmeError | None) -> None:
        """No more events, because of `error` or a close: who iterates is told."""
        self._wanted = 0
        for timer in list(self._held):
            timer.cancel()
        self._held.clear()
        self._backlog.clear()
        for stream in list(self._streams):
            stream.end(error)
