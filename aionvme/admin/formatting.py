"""Owns Format NVM, in two spellings, with progress."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aionvme.admin import namespaces
from aionvme.admin.media import INTERVAL, MediaCommands, check_interval, names_of
from aionvme.admin.ns_management import check_nsid
from aionvme.admin.operation import Operation, Reporter
from aionvme.admin.sending import Callback
from aionvme.errors import ControllerResetError, StatusError, UsageError
from aionvme.spec import entries, media
from aionvme.spec.identify import Dpc, Flbas, Fna, Fpi, IdentifyNamespace, Mc
from aionvme.spec.media import SecureErase
from aionvme.spec.namespaces import ALL_NAMESPACES
from aionvme.spec.opcodes import AdminOpcode, Cns

if TYPE_CHECKING:
    from aionvme.qpair.namespace import Namespace

#: Seconds that a format may take where its caller does not say: it is longer than the time of other admin commands.
FORMAT_SECONDS = 600.0


class FormatCommands(MediaCommands):
    """Format NVM (Base 2.0, 5.14)."""

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
            timeout: Seconds; 0 for none, None for ten minutes. A cancelled or late format is aborted, and where
                that does not end it either, the controller is reset.

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
        check_interval(interval)
        if not 0 <= lbaf < 64:
            raise UsageError(f"lbaf must be from 0 to 63, not {lbaf}")
        if not 0 <= pi <= 3:
            raise UsageError(f"pi must be from 0 to 3, not {pi}")
        if ses not in list(SecureErase):
            raise UsageError(f"ses is one of SecureErase's {names_of(SecureErase)}, not {ses!r}")
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


async def _is_set(event: asyncio.Event, seconds: float) -> bool:
    """Whether it is set by then."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
