"""Owns the sanitize operation of a mock's subsystem, and its log page (NVMe Base 2.0, 5.24, 5.16.1.25 and 8.21)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aionvme.mock.refusal import Refused
from aionvme.spec.media import Sanicap, SanitizeAction, SanitizeCdw10
from aionvme.spec.opcodes import AdminOpcode, LogPageId
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.mock.media_options import MediaOptions
    from aionvme.mock.subsystem import Subsystem
    from aionvme.spec.entries import Sqe

__all__ = ["SANICAP", "Sanitizing"]

#: Blocks are always deallocated afterwards.
SANICAP = Sanicap(ces=1, bes=1, ows=1, ndi=1).value
_NEVER, _SUCCEEDED, _IN_PROGRESS, _FAILED = range(4)
_ERASES = (SanitizeAction.BLOCK_ERASE, SanitizeAction.OVERWRITE, SanitizeAction.CRYPTO_ERASE)
# I/O command set specific status: the sanitize operation has completed (5.2).
_EVENT_TYPE, _EVENT = 6, 1
# What is executed while it goes on, and after it failed (figure of 8.21.3).
_ALLOWED = frozenset(
    {
        AdminOpcode.DELETE_IO_SQ,
        AdminOpcode.CREATE_IO_SQ,
        AdminOpcode.GET_LOG_PAGE,
        AdminOpcode.DELETE_IO_CQ,
        AdminOpcode.CREATE_IO_CQ,
        AdminOpcode.IDENTIFY,
        AdminOpcode.ABORT,
        AdminOpcode.SET_FEATURES,
        AdminOpcode.GET_FEATURES,
        AdminOpcode.ASYNC_EVENT_REQUEST,
        AdminOpcode.KEEP_ALIVE,
        AdminOpcode.DOORBELL_BUFFER_CONFIG,
        AdminOpcode.SANITIZE,
    }
)


class Sanitizing:
    """One operation at a time, whichever controller began it. Looked at and changed with the subsystem's lock held."""

    def __init__(self, subsystem: Subsystem, options: MediaOptions) -> None:
        self._subsystem = subsystem
        self._options = options
        self._state = _NEVER
        self._dword = SanitizeCdw10()
        self._begun = 0.0
        self._member = 0
        self._left = False  # a failure that EXIT_FAILURE left

    def check(self, opcode: int | None) -> None:
        """Refuses an admin command that is not executed now; None for an I/O command."""
        if self._state in (_IN_PROGRESS, _FAILED) and not self._left and opcode not in _ALLOWED:
            raise Refused(self._refusal, dnr=False)

    @property
    def _refusal(self) -> StatusCode:
        return StatusCode.SANITIZE_FAILED if self._state == _FAILED else StatusCode.SANITIZE_IN_PROGRESS

    def execute(self, sqe: Sqe, member: int) -> int:
        """Sanitize."""
        dword = SanitizeCdw10(sqe.cdw10)
        with self._subsystem.lock:
            if dword.sanact not in (*_ERASES, SanitizeAction.EXIT_FAILURE) or dword.ndas or dword.emvs:
                raise Refused(StatusCode.INVALID_FIELD)
            if self._state == _IN_PROGRESS:
                raise Refused(StatusCode.SANITIZE_IN_PROGRESS, dnr=False)
            nsids = [nsid for nsid, _each in self._subsystem.inventory]
            if dword.sanact == SanitizeAction.EXIT_FAILURE:
                return self._exit()
            if self._state == _FAILED and not self._left and dword.ause and not self._dword.ause:
                raise Refused(StatusCode.SANITIZE_FAILED)
            self._subsystem.check_write(nsids, member)
            self._begin(dword, member)
        return 0

    def _exit(self) -> int:
        if self._state == _FAILED:
            if not self._dword.ause:
                raise Refused(StatusCode.SANITIZE_FAILED)
            # The log goes on to say that it failed; commands are executed again.
            self._left = True
            self._refuse(0)
        return 0

    def _begin(self, dword: SanitizeCdw10, member: int) -> None:
        clock = self._subsystem.clock
        self._state, self._dword, self._member = _IN_PROGRESS, dword, member
        self._begun, self._left = clock.now(), False
        self._refuse(StatusCode.SANITIZE_IN_PROGRESS)
        self._subsystem.self_test.sanitized()
        if self._options.sanitize_time:
            clock.at(self._begun + self._options.sanitize_time, self._end_later)
        else:
            self._end()

    def _end_later(self) -> None:
        # Before its lock, the subsystem's: who holds that waits for no machine.
        with self._subsystem.machine(self._member), self._subsystem.lock:
            self._end()

    def _end(self) -> None:
        if self._options.sanitize_fails:
            self._state = _FAILED
            self._refuse(StatusCode.SANITIZE_FAILED)
        else:
            self._state = _SUCCEEDED
            for nsid, _each in self._subsystem.inventory:
                self._subsystem.inventory.erase(nsid)
            self._refuse(0)
        self._subsystem.report(self._member, _EVENT_TYPE, _EVENT, LogPageId.SANITIZE_STATUS)

    def _refuse(self, status: int) -> None:
        for nsid, _each in self._subsystem.inventory:
            self._subsystem.inventory.refuse(nsid, status)

    def log_page(self) -> bytes:
        """Sanitize status, log page 81h."""
        with self._subsystem.lock:
            seconds = self._options.sanitize_time
            progress = 0xFFFF
            if self._state == _IN_PROGRESS:
                passed = self._subsystem.clock.now() - self._begun
                progress = min(int(passed / seconds * 65536), 65535)
            overwritten = self._dword.sanact == SanitizeAction.OVERWRITE and self._state == _SUCCEEDED
            passes = (self._dword.owpass or 16) if overwritten else 0
            estimate = max(int(seconds + 0.999), 1)
            numbers = (estimate, estimate, estimate, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
            head = progress.to_bytes(2, "little") + (self._state | passes << 3).to_bytes(2, "little")
            head += self._dword.value.to_bytes(4, "little")
            return (head + b"".join(number.to_bytes(4, "little") for number in numbers)).ljust(512, b"\0")
