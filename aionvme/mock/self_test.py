"""Owns the self-test of a mock's subsystem, and its log page (NVMe Base 2.0, 5.9, 5.16.1.7 and 8.6)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from aionvme.mock.refusal import Refused
from aionvme.spec.media import SelfTestCode
from aionvme.spec.namespaces import ALL_NAMESPACES
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.mock.media_options import MediaOptions
    from aionvme.mock.subsystem import Subsystem
    from aionvme.spec.entries import Sqe

__all__ = ["SelfTest"]

_BY_COMMAND, _BY_RESET, _BY_REMOVAL, _BY_FORMAT, _BY_SANITIZE = 1, 2, 3, 4, 9
_RESULTS = 20
_NOT_USED = bytes([0xF]) + bytes(27)


class SelfTest:
    """One self-test at a time in the subsystem (DSTO bit 0). Looked at and changed with the subsystem's lock held."""

    def __init__(self, subsystem: Subsystem, options: MediaOptions) -> None:
        self._subsystem = subsystem
        self._options = options
        self._running = 0  # the code, or 0
        self._nsid = 0
        self._member = 0
        self._begun = 0.0
        self._number = 0
        self._results: list[bytes] = []  # the latest first

    @property
    def minutes(self) -> int:
        """How long an extended self-test takes (EDSTT)."""
        return max(int((self._options.self_test_time + 59) / 60), 1)

    def execute(self, sqe: Sqe, member: int) -> int:
        """Device Self-test."""
        code = sqe.cdw10 & 0xF
        with self._subsystem.lock:
            if code == SelfTestCode.ABORT:
                self._end(_BY_COMMAND)
                return 0
            if code not in (SelfTestCode.SHORT, SelfTestCode.EXTENDED):
                raise Refused(StatusCode.INVALID_FIELD)
            if sqe.nsid not in (0, ALL_NAMESPACES):
                self._subsystem.inventory.active(sqe.nsid, member)
            if self._running:
                raise Refused(StatusCode.SELF_TEST_IN_PROGRESS, dnr=False)
            self._begin(code, sqe.nsid, member)
        return 0

    def _begin(self, code: int, nsid: int, member: int) -> None:
        clock = self._subsystem.clock
        self._running, self._nsid, self._member, self._begun = code, nsid, member, clock.now()
        self._number += 1
        number = self._number
        if not self._options.self_test_time:
            self._end(self._options.self_test_result)
            return

        def end() -> None:
            with self._subsystem.lock:
                if number == self._number:
                    self._end(self._options.self_test_result)

        clock.at(self._begun + self._options.self_test_time, end)

    def _end(self, result: int) -> None:
        if not self._running:
            return
        segment = 1 if result == 7 else 0
        entry = struct.pack(
            "<BBBxQIQBBH", self._running << 4 | result, segment, 0, int(self._begun / 3600), 0, 0, 0, 0, 0
        )
        self._results = [entry, *self._results][:_RESULTS]
        self._running = 0
        self._number += 1

    def controller_was_reset(self, member: int) -> None:
        """Its short self-test is aborted; an extended one goes on (8.7.1)."""
        with self._subsystem.lock:
            if self._running == SelfTestCode.SHORT and member == self._member:
                self._end(_BY_RESET)

    def namespace_removed(self, nsid: int) -> None:
        """A namespace was deleted."""
        if self._nsid in (nsid, ALL_NAMESPACES):
            self._end(_BY_REMOVAL)

    def formatted(self, nsid: int) -> None:
        """A namespace is formatted."""
        if self._nsid in (nsid, ALL_NAMESPACES):
            self._end(_BY_FORMAT)

    def sanitized(self) -> None:
        """A sanitize operation begins."""
        self._end(_BY_SANITIZE)

    def log_page(self) -> bytes:
        """Device self-test, log page 06h."""
        with self._subsystem.lock:
            percent = 0
            if self._running:
                passed = self._subsystem.clock.now() - self._begun
                percent = min(int(passed / self._options.self_test_time * 100), 99)
            results = (self._results + [_NOT_USED] * _RESULTS)[:_RESULTS]
            return bytes([self._running, percent, 0, 0]) + b"".join(results)
