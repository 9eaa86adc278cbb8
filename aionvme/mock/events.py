"""Owns asynchronous events (Base 2.0, 5.2): requests that wait for one, and those that wait for a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aionvme.mock.refusal import Refused
from aionvme.spec.opcodes import LogPageId
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.mock.features import Features
    from aionvme.mock.machine import Machine
    from aionvme.spec.entries import Sqe

_TYPE_OF_PAGE = {
    LogPageId.ERROR_INFORMATION: 0,
    LogPageId.SMART: 1,
    LogPageId.FIRMWARE_SLOT: 2,
    LogPageId.CHANGED_NAMESPACES: 2,
    LogPageId.SANITIZE_STATUS: 6,
}


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
        self._waiting: list[tuple[int, int]] = []  # type, completion dword 0
        self._masked: set[int] = set()  # types whose log page has not been read since

    def request(self, sqe: Sqe) -> int | None:
        """Asynchronous Event Request: stays outstanding until there is one."""
        if len(self._requests) >= self._limit:
            raise Refused(StatusCode.ASYNC_EVENT_LIMIT_EXCEEDED, dnr=False)
        self._requests.append(sqe.cid)
        self._machine.set_busy(0, sqe.cid)
        self._deliver()
        return None

    def report(self, kind: int, information: int, page: int) -> None:
        """An event happened: its type, information, and the log page that says more."""
        event = (kind, kind | information << 8 | page << 16)
        if event not in self._waiting:
            self._waiting.append(event)
        self._deliver()

    def page_was_read(self, page: int) -> None:
        """Reading its log page lets the next event of that type through."""
        kind = _TYPE_OF_PAGE.get(LogPageId(page)) if page in _TYPE_OF_PAGE else None
        if kind is not None:
            self._masked.discard(kind)
            self._deliver()

    def abort(self, cid: int) -> bool:
        """Ends a request; False when there is none with this CID."""
        if cid not in self._requests:
            return False
        self._requests.remove(cid)
        self._machine.complete(0, cid, StatusCode.ABORTED_BY_REQUEST, 0, 0)
        return True

    def _deliver(self) -> None:
        for event in list(self._waiting):
            if not self._requests:
                return
            kind, dw0 = event
            if kind in self._masked:
                continue
            self._waiting.remove(event)
            self._masked.add(kind)
            self._machine.complete(0, self._requests.pop(0), StatusCode.SUCCESS, dw0, 0)
