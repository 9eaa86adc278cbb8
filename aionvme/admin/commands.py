"""The admin commands, each in its two spellings: awaited, and with a callback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aionvme.admin.directives import DirectiveCommands
from aionvme.admin.features import FeatureCommands
from aionvme.admin.firmware import FirmwareCommands
from aionvme.admin.formatting import FormatCommands
from aionvme.admin.host_memory import HostMemoryCommands
from aionvme.admin.lba_status import LbaStatusCommands
from aionvme.admin.ns_management import NamespaceCommands
from aionvme.admin.security import SecurityCommands
from aionvme.admin.sending import Callback
from aionvme.admin.telemetry import TelemetryCommands
from aionvme.admin.virtualization import VirtualizationCommands
from aionvme.spec import entries

if TYPE_CHECKING:
    from aionvme.qpair.request import Request


class AdminCommands(
    NamespaceCommands,
    FormatCommands,
    TelemetryCommands,
    FeatureCommands,
    HostMemoryCommands,
    FirmwareCommands,
    SecurityCommands,
    DirectiveCommands,
    VirtualizationCommands,
    LbaStatusCommands,
):
    """Every admin command `x` as `await ctrlr.x(...)` and `ctrlr.submit_x(..., cb_fn, cb_arg)`.

    `await` gives the decoded value; the callback gets `cb_fn(cb_arg, cpl)` with that value as `cpl.value`. Common
    keyword: `timeout` in seconds, 0 for none, None for the controller's `admin_timeout`.
    """

    def abort(self, qid: int, cid: int, *, timeout: float | None = None) -> Request:
        """Abort (Base 2.0, 5.1): whether the controller aborted the command; it completes in either case."""
        return self.submit_abort(qid, cid, timeout=timeout)

    def submit_abort(
        self,
        qid: int,
        cid: int,
        cb_fn: Callback | None = None,
        cb_arg: Any = None,
        *,
        timeout: float | None = None,
    ) -> Request:
        """`abort` with a callback."""
        sqe = entries.abort(sqid=qid, cid=cid)
        return self._send(sqe, cb_fn, cb_arg, timeout=timeout, decode=lambda cpl, _data: not cpl.dw0 & 1)

    def admin_raw(
        self, sqe: bytes, *, data: Any = None, write: bool = False, timeout: float | None = None
    ) -> Request:
        """An admin command as its 64 bytes: the `Completion`.

        Args:
            sqe: 64 bytes; the command identifier and, with `data`, the data pointer are filled in here.
            data: Memory that is mapped for DMA (`dma_alloc`), all of which the command transfers.
            write: The data goes to the controller.
        """
        return self.submit_admin_raw(sqe, data=data, write=write, timeout=timeout)

    def submit_admin_raw(
        self,
        sqe: bytes,
        cb_fn: Callback | None = None,
        cb_arg: Any = None,
        *,
        data: Any = None,
        write: bool = False,
        timeout: float | None = None,
    ) -> Request:
        """`admin_raw` with a callback."""
        return self._admin.submit_admin(
            sqe,
            data=data,
            write=write,
            value_wanted=False,
            cb_fn=cb_fn,
            cb_arg=cb_arg,
            timeout=timeout,
            urgent=self._urgent,
        )
