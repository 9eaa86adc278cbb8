"""Owns asynchronous events (Base 2.0, 5.2): requests that wait for one, and those that wait for a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aionvme.mock.refusal import Refused
from aionvme.spec.events import EventDword, EventMask, EventType, NoticeEvent, SmartEvent
from aionvme.spec.opcodes import FeatureId, LogPageId
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.mock.features import Features
    from aionvme.mock.machine import Machine
    from aionvme.spec.entries import Sqe

# What a critical warning of the SMART / health log is reported as (Base 2.1, figures 150 and 206).
_OF_WARNING = {
    EventMask.SPARE: SmartEvent.SPARE_BELOW_THRESHOLD,
    EventMask.TEMPERATURE: SmartEvent.TEMPERATURE_THRESHOLD,
    EventMask.RELIABILITY: SmartEvent.RELIABILITY,
    EventMask.READ_ONLY: SmartEvent.RELIABILITY,
    EventMask.VOLATILE_BACKUP: SmartEvent.RELIABILITY,
    EventMask.PERSISTENT_MEMORY: SmartEvent.RELIABILITY,
}
# Types that no reading clears, and that therefore do not hold others of theirs back.
_NOT_MASKED = (EventType.IMMEDIATE, EventType.ONE_SHOT)

_STORM = EventDword(aet=EventType.SMART, aei=SmartEvent.TEMPERATURE_THRESHOLD, lid=LogPageId.SMART)


class Events:
    """Requests and events of one controller."""

    def __init__(self, machine: Machine, limit: int, features: Features) -> None:
        self._machine = machine
        self._limit = limit
        self._features = features
        self.reset()

    def reset(self) -> None:
        """Everything is forgotten."""
        self._requests: list[int] = []  # CIDs, the oldest first
        self._waiting: list[EventDword] = []
        self._storm = 0  # events that are still to be reported, whatever the host does
        # By type that was reported, the page whose reading lets the next event of that type through.
        self._masked: dict[int, int] = {}

    def request(self, sqe: Sqe) -> int | None:
        """Asynchronous Event Request: stays outstanding until there is one."""
        if len(self._requests) >= self._limit:
            raise Refused(StatusCode.ASYNC_EVENT_LIMIT_EXCEEDED, dnr=False)
        self._requests.append(sqe.cid)
        self._machine.set_busy(0, sqe.cid)
        self._deliver()
        return None

    # -- what happens --------------------------------------------------------------------------------------------------

    def report(self, kind: int, information: int, page: int) -> None:
        """An event happened, switched on or not: its type, information, and the log page that says more."""
        event = EventDword(aet=kind, aei=information, lid=page)
        if kind == EventType.IMMEDIATE and not self._requests:
            return  # It is told now or not at all.
        if event not in self._waiting:
            self._waiting.append(event)
        self._deliver()

    def storm(self, count: int) -> None:
        """A fault: so many events of one kind one after the other, without waiting for the page to be read."""
        self._storm = count
        self._deliver()

    def switched_on(self, event: EventMask) -> bool:
        """Whether the host wants to know of it (5.27.1.8)."""
        return bool(self._features.value(FeatureId.ASYNC_EVENT_CONFIGURATION) & event)

    def notice(self, event: EventMask, information: NoticeEvent, page: LogPageId) -> None:
        """A notice, if it is switched on."""
        if self.switched_on(event):
            self.report(EventType.NOTICE, information, page)

    def namespace_changed(self) -> None:
        """Namespaces of this controller changed; which, is in the changed namespaces page."""
        self.notice(EventMask.NAMESPACE, NoticeEvent.NAMESPACE_CHANGED, LogPageId.CHANGED_NAMESPACES)

    def warning(self, bits: int) -> None:
        """These critical warnings have come to be true."""
        for event, information in _OF_WARNING.items():
            if bits & event and self.switched_on(event):
                self.report(EventType.SMART, information, LogPageId.SMART)

    # -- clearing ------------------------------------------------------------------------------------------------------

    def page_was_read(self, page: int) -> None:
        """Reading its log page lets the next event of that type through; one that nobody asked for yet it clears."""
        if not self._requests:
            self._waiting = [
                event for event in self._waiting if event.lid != page or event.aet in _NOT_MASKED
            ]
        self._masked = {kind: of for kind, of in self._masked.items() if of != page}
        self._deliver()

    def abort(self, cid: int) -> bool:
        """Ends a request; False when there is none with this CID."""
        if cid not in self._requests:
            return False
        self._requests.remove(cid)
        self._machine.complete(0, cid, StatusCode.ABORTED_BY_REQUEST, 0, 0)
        return True

    def _deliver(self) -> None:
        while self._storm and self._requests:
            self._storm -= 1
            self._machine.complete(0, self._requests.pop(0), StatusCode.SUCCESS, _STORM.value, 0)
        for event in list(self._waiting):
            if not self._requests:
                return
            if event.aet in self._masked:
                continue
            self._waiting.remove(event)
            if event.aet not in _NOT_MASKED:
                self._masked[event.aet] = event.lid
            self._machine.complete(0, self._requests.pop(0), StatusCode.SUCCESS, event.value, 0)
