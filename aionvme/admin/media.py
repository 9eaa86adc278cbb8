"""Owns what is done to the media as a whole: format, sanitize and self-test, in two spellings, with progress.

Each of the three is an `Operation`: awaited it gives the result, iterated its progress, and both may be done at once.

    operation = ctrlr.sanitize(SanitizeAction.BLOCK_ERASE)
    async for progress in operation:
        print(f"{progress.fraction:.0%}")
    log = await operation

What the controller goes on with by itself after the command (sanitize, self-test) is followed in its log page, read each
`interval` seconds. `sanitize_progress` and `self_test_progress` follow one that somebody else began.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, TypeVar

from aionvme.admin import namespaces
from aionvme.admin.ns_management import check_nsid
from aionvme.admin.operation import Operation, Reporter
from aionvme.admin.sending import Callback, Sender
from aionvme.errors import ControllerResetError, OperationFailedError, StatusError, UsageError
from aionvme.spec import entries, media
from aionvme.spec.identify import Dpc, Flbas, Fna, Fpi, IdentifyNamespace, Mc
from aionvme.spec.logs.health import (
    SanitizeLog,
    SanitizeState,
    SelfTestLog,
    SelfTestResult,
    SelfTestResultCode,
)
from aionvme.spec.media import Sanicap, SanitizeAction, SecureErase, SelfTestCode
from aionvme.spec.namespaces import ALL_NAMESPACES
from aionvme.spec.opcodes import AdminOpcode, Cns, LogPageId
from aionvme.spec.structure import Structure

if TYPE_CHECKING:
    from aionvme.qpair.namespace import Namespace

Page = TypeVar("Page", bound=Structure)

#: Seconds that a format may take where its caller does not say: it is longer than the time of other admin commands.
FORMAT_SECONDS = 600.0
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
    """Format NVM, Sanitize and Device Self-test (Base 2.0, 5.14, 5.24 and 5.9)."""

    # -- format --------------------------------------------------------------------------------------------------------

    def format_nvm(
        self,
        nsid: int,
        *,
        lbaf: int,
        ses: int = SecureErase.NONE,
        pi: int = 0,
        pil: bool = False,
        mset: bool = False,
        all_namespaces: bool = False,
        interval: float = INTERVAL,
        timeout: float | None = None,
    ) -> Operation[None]:
        """Formats a namespace. All that is stored there is lost.

        Let no command for the namespace be outstanding: the controller ends those with FORMAT_IN_PROGRESS, or worse.
        `Controller.namespaces` follows before the await returns; where format and settings stay the same (a secure
        erase) the `Namespace` stays the same object, else the old one takes no more commands. Progress is reported
        where the controller reports it (FPI), in percent.

        Args:
            nsid: The namespace; FFFFFFFFh for all that are attached to the controller, with `all_namespaces=True`.
            lbaf: Index of the format, in `ns.data.lba_formats`.
            ses: A `SecureErase`.
            pi: Type of protection information, 1 to 3; 0 for none.
            pil: It is the first bytes of the metadata; else the last.
            mset: Metadata follows each block's data; else it has a buffer of its own.
            all_namespaces: That is meant. Also needed where the controller formats (or, with `ses`, erases) all
                namespaces whichever is named (FNA).
            interval: Seconds between two looks at the progress.
            timeout: Seconds; 0 for none, None for ten minutes. A cancelled or late format is aborted, and where that does
                not end it either, the controller is reset.

        Raises:
            UsageError: No such format or setting, or the controller has no such command.
            StatusError: INVALID_FORMAT, and others.
        """
        return self.submit_format_nvm(
            nsid,
            lbaf=lbaf,
            ses=ses,
            pi=pi,
            pil=pil,
            mset=mset,
            all_namespaces=all_namespaces,
            interval=interval,
            timeout=timeout,
        )

    def submit_format_nvm(
        self,
        nsid: int,
        cb_fn: Callback | None = None,
        cb_arg: object = None,
        *,
        lbaf: int,
        ses: int = SecureErase.NONE,
        pi: int = 0,
        pil: bool = False,
        mset: bool = False,
        all_namespaces: bool = False,
        interval: float = INTERVAL,
        timeout: float | None = None,
    ) -> Operation[None]:
        """`format_nvm` with a callback."""
        self._require("format_nvm", "Format NVM", AdminOpcode.FORMAT_NVM)
        self._check_scope(nsid, ses, all_namespaces)
        _check_interval(interval)
        if not 0 <= lbaf < 64:
            raise UsageError(f"lbaf must be from 0 to 63, not {lbaf}")
        if not 0 <= pi <= 3:
            raise UsageError(f"pi must be from 0 to 3, not {pi}")
        if ses not in list(SecureErase):
            raise UsageError(f"ses is one of SecureErase's {_names(SecureErase)}, not {ses!r}")
        for namespace in self._formatted(nsid):
            _check_format(namespace.data, lbaf, pi, pil, mset)
        sqe = media.format_nvm(nsid, lbaf=lbaf, ses=ses, pi=pi, pil=pil, mset=mset)
        flbas = Flbas(low=lbaf & 0xF, high=lbaf >> 4, extended=int(mset)).value
        reporter = Reporter()
        coro = self._format(nsid, sqe, (flbas, pi | pil << 3), interval, timeout, reporter)
        return self._operation("format", coro, cb_fn, cb_arg, reporter)

    def _check_scope(self, nsid: int, ses: int, all_namespaces: bool) -> None:
        data = self._identified()
        fna = Fna(data.fna if data is not None else 0)
        others = len(self._core.namespaces) > 1 and (fna.format_all or (ses and fna.erase_all))
        if nsid != ALL_NAMESPACES and others:
            if not all_namespaces:
                raise UsageError(
                    f"nsid {nsid}: this controller formats every namespace, whichever is named (FNA {fna.value:#04x}): "
                    "give all_namespaces=True if that is meant"
                )
            all_namespaces = False
        check_nsid(nsid, all_namespaces)
        if ses == SecureErase.CRYPTOGRAPHIC and data is not None and not fna.crypto_erase:
            raise UsageError(f"ses: the controller has no cryptographic erase (FNA {fna.value:#04x})")

    def _formatted(self, nsid: int) -> list[Namespace]:
        """The namespaces that a format concerns, of those that are attached."""
        data = self._identified()
        every = nsid == ALL_NAMESPACES or bool(data is not None and Fna(data.fna).format_all)
        return [each for each in self._core.namespaces.values() if every or each.nsid == nsid]

    async def _format(
        self,
        nsid: int,
        sqe: bytes,
        settings: tuple[int, int],
        interval: float,
        timeout: float | None,
        report: Reporter,
    ) -> None:
        ended = asyncio.Event()
        follower = asyncio.ensure_future(self._follow_format(nsid, interval, ended, report))
        try:
            await self._send(sqe, None, None, timeout=FORMAT_SECONDS if timeout is None else timeout)
            changed = [each.nsid for each in self._formatted(nsid) if _settings(each.data) != settings]
            namespaces.forget(self._core, changed, "was formatted: see ctrlr.namespaces")
        finally:
            ended.set()
            await follower
        await namespaces.refresh(self._core)
        report(100, 100, "formatted")

    async def _follow_format(
        self, nsid: int, interval: float, ended: asyncio.Event, report: Reporter
    ) -> None:
        concerned = self._formatted(nsid)
        if not concerned or not Fpi(concerned[0].data.fpi).supported:
            return
        nsid = concerned[0].nsid
        while not await _is_set(ended, interval):
            # Not every controller tells while it formats.
            with contextlib.suppress(StatusError, ControllerResetError):
                data = IdentifyNamespace.decode(
                    await self._page(entries.identify(Cns.NAMESPACE, nsid=nsid), 4096)
                )
                report(100 - min(Fpi(data.fpi).remaining, 100), 100, "formatting")

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
        _check_interval(interval)
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
            raise UsageError(f"action is one of SanitizeAction's {_names(SanitizeAction)}, not {action!r}")
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
        _check_interval(interval)
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
            await asyncio.sleep(interval)
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
        _check_interval(interval)
        if code not in list(SelfTestCode):
            raise UsageError(f"code is one of SelfTestCode's {_names(SelfTestCode)}, not {code!r}")
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
        _check_interval(interval)
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

    # -- pages -----------------------------------------------------------------------------------------------------------

    async def _page(self, sqe: bytes, nbytes: int, timeout: float | None = None) -> bytes:
        page: bytes = await self._send(
            sqe, None, None, timeout=timeout, nbytes=nbytes, decode=lambda _cpl, data: data
        )
        return page

    async def _log(self, lid: int, kind: type[Page], timeout: float | None) -> Page:
        # What an event belongs to the page is for who waits for events.
        sqe = entries.get_log_page(lid, nbytes=kind.SIZE, retain_event=True)
        return kind.decode(await self._page(sqe, kind.SIZE, timeout))


def _settings(data: IdentifyNamespace) -> tuple[int, int]:
    """What a format sets: FLBAS and DPS, without what means nothing."""
    index = data.lba_format_index
    flbas = Flbas(low=index & 0xF, high=index >> 4, extended=Flbas(data.flbas).extended)
    return flbas.value, data.dps & 0xF


def _check_format(data: IdentifyNamespace, lbaf: int, pi: int, pil: bool, mset: bool) -> None:
    formats = data.lba_formats
    if lbaf >= len(formats):
        raise UsageError(f"lbaf must be less than {len(formats)}, the formats of the namespace, not {lbaf}")
    form = formats[lbaf]
    if form.lbads == 0:
        raise UsageError(f"lbaf {lbaf}: this format is not available now")
    if pi and form.ms < 8:
        raise UsageError(
            f"pi={pi}: format {lbaf} has {form.ms} bytes of metadata, and protection information needs 8"
        )
    if pi and not data.dpc >> (pi - 1) & 1:
        raise UsageError(f"pi={pi}: the namespace does not have that type (DPC {data.dpc:#04x})")
    dpc = Dpc(data.dpc)
    if pi and not (dpc.first if pil else dpc.last):
        raise UsageError(f"pil={pil}: the namespace does not have that (DPC {data.dpc:#04x})")
    mc = Mc(data.mc)
    if form.ms and not (mc.extended if mset else mc.separate):
        raise UsageError(f"mset={mset}: the namespace does not have that (MC {data.mc:#04x})")


def _check_interval(interval: float) -> None:
    if not 0 < interval < 3600:
        raise UsageError(f"interval must be more than 0 and less than 3600 seconds, not {interval}")


def _latest(log: SelfTestLog) -> SelfTestResult:
    used = log.used_results
    if not used:
        raise UsageError("there is no self-test, and there was none that the log knows of")
    return used[0]


def _result_name(result: int) -> str:
    return SelfTestResultCode(result).name if result in list(SelfTestResultCode) else f"result {result:#x}"


def _names(kind: type[SanitizeAction] | type[SecureErase] | type[SelfTestCode]) -> str:
    return ", ".join(member.name for member in kind)


async def _is_set(event: asyncio.Event, seconds: float) -> bool:
    """Whether it is set by then."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
