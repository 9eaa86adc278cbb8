"""Owns a mock controller's persistent event log: what happened to it, and the reporting context (Base 2.0, 8.15)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from aionvme.clock import monotonic
from aionvme.mock.refusal import Refused
from aionvme.spec.logs.events import (
    EventAction,
    PersistentEvent,
    PersistentEventHeader,
    PersistentEventLog,
    PersistentEventsHeader,
    PersistentEventType,
    PowerOnResetEvent,
    ResetInformation,
)
from aionvme.spec.opcodes import LogPageId
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.mock.options import MockOptions
    from aionvme.spec.entries import Sqe

__all__ = ["PersistentEvents"]

_KEPT = 64
#: PELS: the most that the log can have, in units of 64 KiB.
UNITS = 1


class PersistentEvents:
    """The events of one controller, and who reads them.

    Args:
        options: Of the mock.
        vid: PCI vendor.
        cntlid: Of the controller.
        smart: Gives its SMART log, of which a snapshot is taken when a context is established.
        firmware: Gives the revision that runs.
        nqn: Of the subsystem.
    """

    def __init__(
        self,
        options: MockOptions,
        vid: int,
        cntlid: int,
        *,
        smart: Callable[[], bytes],
        firmware: Callable[[], str],
        nqn: str,
    ) -> None:
        self._options = options
        self._vid = vid
        self._cntlid = cntlid
        self._smart = smart
        self._firmware = firmware
        self._nqn = nqn
        self._started = monotonic()
        self._events: deque[PersistentEvent] = deque(maxlen=_KEPT)
        self._context: bytes | None = None
        self._generation = 0

    def record(self, etype: int, data: bytes) -> None:
        """Something happened: the type of the event, and what it has to say."""
        head = PersistentEventHeader(
            etype=etype, etrev=1, cntlid=self._cntlid, timestamp=self._milliseconds()
        )
        self._events.appendleft(PersistentEvent(head=head, data=data))

    def came_up(self) -> None:
        """Power on, or a reset. The reporting context does not outlive it."""
        self._context = None
        reset = ResetInformation(
            cntlid=self._cntlid, power_cycle=1, power_on_milliseconds=self._milliseconds()
        )
        event = PowerOnResetEvent(firmware=self._firmware(), controllers=(reset,))
        self.record(PersistentEventType.POWER_ON_OR_RESET, event.encode())

    def page(self, sqe: Sqe) -> bytes:
        """The log as the reporting context has it; what is done with the context is in LSP."""
        action = sqe.cdw10 >> 8 & 0x3
        if action == EventAction.RELEASE:
            page, self._context = self._context or self._build(), None
            return page
        if action == EventAction.ESTABLISH_AND_READ:
            if self._context is not None:
                raise Refused(StatusCode.COMMAND_SEQUENCE_ERROR)
            self._generation = (self._generation + 1) & 0xFFFF
            self.record(PersistentEventType.SMART, self._smart())
            self._context = self._build()
        elif action != EventAction.READ:
            raise Refused(StatusCode.INVALID_FIELD)
        if self._context is None:
            raise Refused(StatusCode.COMMAND_SEQUENCE_ERROR)
        return self._context

    def _milliseconds(self) -> int:
        return int((monotonic() - self._started) * 1000)

    def _build(self) -> bytes:
        supported = 1 << PersistentEventType.SMART | 1 << PersistentEventType.POWER_ON_OR_RESET
        for event in self._events:
            supported |= 1 << event.head.etype
        head = PersistentEventsHeader(
            lid=LogPageId.PERSISTENT_EVENTS,
            lrev=3,
            lhl=PersistentEventsHeader.SIZE - 20,
            timestamp=self._milliseconds(),
            poh=self._milliseconds() // 3_600_000,
            pcc=1,
            vid=self._vid,
            ssvid=self._vid,
            sn=self._options.serial,
            mn=self._options.model,
            subnqn=self._nqn,
            generation=self._generation,
            seb=supported.to_bytes(32, "little"),
        )
        return PersistentEventLog(head=head, events=tuple(self._events)).encode()
