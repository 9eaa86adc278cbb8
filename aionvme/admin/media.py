"""Owns what the controller goes on with by itself: sanitize and self-test, in two spellings, with progress.

Each of the two, as a format, is an `Operation`: awaited it gives the result, iterated its progress, and both may be
done at once.

    operation = ctrlr.sanitize(SanitizeAction.BLOCK_ERASE)
    async for progress in operation:
        print(f"{progress.fraction:.0%}")
    log = await operation

What goes on after its command is followed in its log page, read each `interval` seconds, and at once when an event
tells of the page. `sanitize_progress` and `self_test_progress`
follow one that somebody else began.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TypeVar

from aionvme.admin.operation import Operation, Reporter
from aionvme.admin.sending import Callback, Sender
from aionvme.errors import ControllerResetError, OperationFailedError, UsageError
from aionvme.spec import entries, media
from aionvme.spec.logs.health import (
    SanitizeLog,
    SanitizeState,
    SelfTestLog,
    SelfTestResult,
    SelfTestResultCode,
)
from aionvme.spec.media import Sanicap, SanitizeAction, SecureErase, SelfTestCode
from aionvme.spec.namespaces import ALL_NAMESPACES
from aionvme.spec.opcodes import AdminOpcode, LogPageId
from aionvme.spec.structure import Structure

Page = TypeVar("Page", bound=Structure)

#: Seconds between two looks at the progress.
INTERVAL = 1.0
_SANITIZED = 65536
_LARGEST_NSID = 0xFFFFFFFE
_CAPABILITY = {
    SanitizeAction.BLOCK_ERASE: "bes",
    SanitizeAction.OVERWRITE: "ows",
    SanitizeAction.CRYPTO_ERASE: "ces",
    SanitizeAction.EXIT_MEDIA_VERIFICATION: "vers",
}


class MediaCommands(Sender):
    """Sanitize and Device Self-test (Base 2.0, 5.24 and 5.9)."""

    # -- sanitize ------------------------------------------------------------------------------------------------------

    def sanitize(
        self,
        action: int,
        *,
        ause: bool = False,
        owpass: int = 1,
        oipbp: bool = False,
        ndas: bool = False,
        emvs: bool = False,
        ovrpat: int = 0,
        interval: float = INTERVAL,
        timeout: float | None = None,
    ) -> Operation[SanitizeLog]:
        """Begins a sanitize operation of the whole NVM subsystem, and ends with it: the sanitize status log.

        Nothing ends a sanitize operation once it is begun: cancelling ends the wait only, a controller reset neither.
        While it goes on the controller executes no I/O and few admin commands, and answers SANITIZE_IN_PROGRESS; after
        one that failed, SANITIZE_FAILED until it is left. Progress is in 65536ths.

        Args:
            action: A `SanitizeAction`. EXIT_FAILURE and EXIT_MEDIA_VERIFICATION are done at once.
            ause: After a failure EXIT_FAILURE is allowed; else only another sanitize operation helps.
            owpass: Passes of an overwrite, 1 to 16.
            oipbp: The pattern is inverted between them.
            ndas: Blocks are not deallocated afterwards.
            emvs: Media verification is entered afterwards.
            ovrpat: Pattern of an overwrite, 32 bits.
            interval: Seconds between two looks at the progress.
            timeout: Seconds for each command, not for the whole.

        Raises:
            UsageError: No such action, or one that the controller does not have (SANICAP).
            StatusError: SANITIZE_IN_PROGRESS where one goes on already, and others.
            OperationFailedError: The sanitize operation failed; `.result` is the log.
        """
        return self.submit_sanitize(
            action,
            ause=ause,
            owpass=owpass,
            oipbp=oipbp,
            ndas=ndas,
            emvs=emvs,
            ovrpat=ovrpat,
            interval=interval,
            timeout=timeout,
        )

    def submit_sanitize(
        self,
        action: int,
        cb_fn: Callback | None = None,
        cb_arg: object = None,
        *,
        ause: bool = False,
        owpass: int = 1,
        oipbp: bool = False,
        ndas: bool = False,
        emvs: bool = False,
        ovrpat: int = 0,
        interval: float = INTERVAL,
        timeout: float | None = None,
    ) -> Operation[SanitizeLog]:
        """`sanitize` with a callback, called at the end of the sanitize operation."""
        self._check_sanitize(action, ndas, emvs)
        check_interval(interval)
        if not 1 <= owpass <= 16:
            raise UsageError(f"owpass must be from 1 to 16, not {owpass}")
        if not 0 <= ovrpat < 1 << 32:
            raise UsageError(f"ovrpat must have 32 bits, not {ovrpat:#x}")
        overwrites = action == SanitizeAction.OVERWRITE
        sqe = media.sanitize(
            action,
            ause=ause,
            owpass=owpass & 0xF if overwrites else 0,
            oipbp=oipbp,
            ndas=ndas,
            emvs=emvs,
            ovrpat=ovrpat if overwrites else 0,
        )
        reporter = Reporter()
        coro = self._sanitize(sqe, action, interval, timeout, reporter)
        return self._operation("sanitize", coro, cb_fn, cb_arg, reporter)

    def _check_sanitize(self, action: int, ndas: bool, emvs: bool) -> None:
        self._admin.check_open()
        data = self._identified()
        if action not in list(SanitizeAction):
            raise UsageError(f"action is one of SanitizeAction's {names_of(SanitizeAction)}, not {action!r}")
        if data is None:
            return
        sanicap = Sanicap(data.sanicap)
        if not (sanicap.ces or sanicap.bes or sanicap.ows):
            raise UsageError(
                f"the controller has no Sanitize (SANICAP {data.sanicap:#x} in Identify Controller)"
            )
        needed = _CAPABILITY.get(SanitizeAction(action))
        if needed is not None and not getattr(sanicap, needed):
            raise UsageError(
                f"action: the controller has no {SanitizeAction(action).name} (SANICAP {data.sanicap:#x})"
            )
        if ndas and sanicap.ndi:
            raise UsageError(f"ndas: the controller deallocates after a sanitize (SANICAP {data.sanicap:#x})")
        if emvs and not sanicap.vers:
            raise UsageError(f"emvs: the controller has no media verification (SANICAP {data.sanicap:#x})")

    def sanitize_progress(
        self, *, interval: float = INTERVAL, timeout: float | None = None
    ) -> Operation[SanitizeLog]:
        """Follows a sanitize operation that goes on, whoever began it: as `sanitize`, without beginning one."""
        self._admin.check_open()
        check_interval(interval)
        reporter = Reporter()
        coro = self._watch_sanitize(interval, timeout, reporter)
        return self._operation("sanitize progress", coro, None, None, reporter)

    async def _sanitize(
        self, sqe: bytes, action: int, interval: float, timeout: float | None, report: Reporter
    ) -> SanitizeLog:
        await self._send(sqe, None, None, timeout=timeout)
        if action in (SanitizeAction.EXIT_FAILURE, SanitizeAction.EXIT_MEDIA_VERIFICATION):
            return await self._log(LogPageId.SANITIZE_STATUS, SanitizeLog, timeout)
        return await self._watch_sanitize(interval, timeout, report)

    async def _watch_sanitize(self, interval: float, timeout: float | None, report: Reporter) -> SanitizeLog:
        while True:
            # A reset does not end it.
            with contextlib.suppress(ControllerResetError):
                log = await self._log(LogPageId.SANITIZE_STATUS, SanitizeLog, timeout)
                if log.state != SanitizeState.IN_PROGRESS:
                    break
                report(log.sprog, _SANITIZED, "sanitizing")
            await self._core.nudges.wait(LogPageId.SANITIZE_STATUS, interval)
        if log.state == SanitizeState.FAILED:
            raise OperationFailedError("the sanitize operation failed", log)
        report(_SANITIZED, _SANITIZED, "sanitized")
        return log

    # -- self-test -----------------------------------------------------------------------------------------------------

    def device_self_test(
        self,
        code: int,
        nsid: int = ALL_NAMESPACES,
        *,
        interval: float = INTERVAL,
        timeout: float | None = None,
    ) -> Operation[SelfTestResult]:
        """Begins a self-test, and ends with it: its `SelfTestResult`. Commands are executed all the while.

        Cancelled, it has the controller abort the self-test. Progress is in percent.

        Args:
            code: A `SelfTestCode`; ABORT aborts the one that goes on, and gives its result.
            nsid: Which namespace is tested: FFFFFFFFh all that are active, 0 none but the controller.
            interval: Seconds between two looks at the progress.
            timeout: Seconds for each command, not for the whole.

        Raises:
            UsageError: No such code or namespace, or the controller has no such command.
            StatusError: SELF_TEST_IN_PROGRESS where one goes on already, and others.
            OperationFailedError: The self-test failed or was aborted; `.result` is its result.
        """
        return self.submit_device_self_test(code, nsid, interval=interval, timeout=timeout)

    def submit_device_self_test(
        self,
        code: int,
        nsid: int = ALL_NAMESPACES,
        cb_fn: Callback | None = None,
        cb_arg: object = None,
        *,
        interval: float = INTERVAL,
        timeout: float | None = None,
    ) -> Operation[SelfTestResult]:
        """`device_self_test` with a callback, called at the end of the self-test."""
        self._require("self_test", "Device Self-test", AdminOpcode.DEVICE_SELF_TEST)
        check_interval(interval)
        if code not in list(SelfTestCode):
            raise UsageError(f"code is one of SelfTestCode's {names_of(SelfTestCode)}, not {code!r}")
        if not 0 <= nsid <= _LARGEST_NSID and nsid != ALL_NAMESPACES:
            raise UsageError(f"nsid must be from 0 to {_LARGEST_NSID:#x}, or 0xffffffff, not {nsid}")
        reporter = Reporter()
        coro = self._self_test(code, nsid, interval, timeout, reporter)
        return self._operation("self-test", coro, cb_fn, cb_arg, reporter)

    def self_test_progress(
        self, *, interval: float = INTERVAL, timeout: float | None = None
    ) -> Operation[SelfTestResult]:
        """Follows a self-test that goes on, whoever began it; cancelling ends the wait only.

        Raises:
            UsageError: There is none, and never was one.
        """
        self._require("self_test", "Device Self-test", AdminOpcode.DEVICE_SELF_TEST)
        check_interval(interval)
        reporter = Reporter()
        coro = self._watch_self_test(interval, timeout, reporter)
        return self._operation("self-test progress", coro, None, None, reporter)

    async def _self_test(
        self, code: int, nsid: int, interval: float, timeout: float | None, report: Reporter
    ) -> SelfTestResult:
        await self._send(media.device_self_test(code, nsid=nsid), None, None, timeout=timeout)
        if code == SelfTestCode.ABORT:
            return _latest(await self._log(LogPageId.DEVICE_SELF_TEST, SelfTestLog, timeout))
        try:
            return await self._watch_self_test(interval, timeout, report)
        except asyncio.CancelledError:
            await self._send(
                media.device_self_test(SelfTestCode.ABORT, nsid=nsid), None, None, timeout=timeout
            )
            raise

    async def _watch_self_test(
        self, interval: float, timeout: float | None, report: Reporter
    ) -> SelfTestResult:
        while True:
            # A reset ends a short self-test, which its result says, and no extended one.
            with contextlib.suppress(ControllerResetError):
                log = await self._log(LogPageId.DEVICE_SELF_TEST, SelfTestLog, timeout)
                if not log.running:
                    break
                report(min(log.percent, 100), 100, "testing")
            await asyncio.sleep(interval)
        result = _latest(log)
        if result.result != SelfTestResultCode.NO_ERROR:
            raise OperationFailedError(f"the self-test ended with {_result_name(result.result)}", result)
        report(100, 100, "tested")
        return result

    # -- pages ---------------------------------------------------------------------------------------------------------

    async def _page(self, sqe: bytes, nbytes: int, timeout: float | None = None) -> bytes:
        page: bytes = await self._send(
            sqe, None, None, timeout=timeout, nbytes=nbytes, decode=lambda _cpl, data: data
        )
        return page

    async def _log(self, lid: int, kind: type[Page], timeout: float | None) -> Page:
        # What an event belongs to the page is for who waits for events.
        sqe = entries.get_log_page(lid, nbytes=kind.SIZE, retain_event=True)
        return kind.decode(await self._page(sqe, kind.SIZE, timeout))


def check_interval(interval: float) -> None:
    """`UsageError` for what is no time between two looks."""
    if not 0 < interval < 3600:
        raise UsageError(f"interval must be more than 0 and less than 3600 seconds, not {interval}")


def _latest(log: SelfTestLog) -> SelfTestResult:
    used = log.used_results
    if not used:
        raise UsageError("there is no self-test, and there was none that the log knows of")
    return used[0]


def _result_name(result: int) -> str:
    return SelfTestResultCode(result).name if result in list(SelfTestResultCode) else f"result {result:#x}"


def names_of(kind: type[SanitizeAction] | type[SecureErase] | type[SelfTestCode]) -> str:
    """The members of an enumeration, for messages."""
    return ", ".join(member.name for member in kind)
