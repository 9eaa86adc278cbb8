"""The admin commands, each in its two spellings: awaited, and with a callback."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from aionvme.errors import UsageError
from aionvme.spec import entries
from aionvme.spec.identify import (
    IdentifyController,
    IdentifyNamespace,
    decode_controller_list,
    decode_namespace_descriptors,
    decode_nsid_list,
)
from aionvme.spec.opcodes import Cns

if TYPE_CHECKING:
    from aionvme.pci.dma import DmaBuffer, DmaSpace
    from aionvme.qpair.io import AdminQueuePair
    from aionvme.qpair.request import Completion, Request

Callback = Callable[[Any, "Completion"], object]

IDENTIFY_BYTES = 4096

_IDENTIFY_DECODERS: dict[int, Callable[[bytes], Any]] = {
    Cns.NAMESPACE: IdentifyNamespace.decode,
    Cns.CONTROLLER: IdentifyController.decode,
    Cns.ACTIVE_NAMESPACES: decode_nsid_list,
    Cns.NAMESPACE_DESCRIPTORS: decode_namespace_descriptors,
    Cns.ALLOCATED_NAMESPACES: decode_nsid_list,
    Cns.ALLOCATED_NAMESPACE: IdentifyNamespace.decode,
    Cns.ATTACHED_CONTROLLERS: decode_controller_list,
    Cns.CONTROLLERS: decode_controller_list,
}


@attrs.frozen
class FeatureValue:
    """What Get Features gave.

    Attributes:
        dw0: Completion dword 0, where most features have their value.
        data: The bytes of the data buffer, empty for a feature without one.
        value: The decoded feature where it is known, else None.
    """

    dw0: int
    data: bytes = b""
    value: Any = None


class AdminCommands:
    """Every admin command `x` as `await ctrlr.x(...)` and `ctrlr.submit_x(..., cb_fn, cb_arg)`.

    `await` gives the decoded value; the callback gets `cb_fn(cb_arg, cpl)` with that value as `cpl.value`. Common
    keyword: `timeout` in seconds, 0 for none, None for the controller's `admin_timeout`.
    """

    _admin: AdminQueuePair
    _dma: DmaSpace
    _urgent = False

    def _send(
        self,
        sqe: bytes,
        cb_fn: Callback | None,
        cb_arg: Any,
        *,
        timeout: float | None,
        nbytes: int = 0,
        payload: Any = None,
        decode: Callable[[Completion, bytes], Any] | None = None,
    ) -> Request:
        """With `nbytes` of data from the controller, of which a copy is decoded, or `payload` to it."""
        # First: on a controller that has ended, the exception is why it did, not that it has no memory.
        self._admin.check_open()
        buffer: DmaBuffer | None = None
        if nbytes or payload is not None:
            buffer = self._dma.alloc(len(payload) if payload is not None else nbytes)
            if payload is not None:
                memoryview(buffer)[: len(payload)] = payload

        def finish(cpl: Completion) -> Any:
            if decode is None:
                return None
            return decode(cpl, bytes(memoryview(buffer)[:nbytes]) if buffer is not None and nbytes else b"")

        return self._admin.submit_admin(
            sqe,
            data=buffer,
            write=payload is not None,
            decode=finish,
            cb_fn=cb_fn,
            cb_arg=cb_arg,
            timeout=timeout,
            urgent=self._urgent,
        )

    # -- identify ------------------------------------------------------------------------------------------------------

    def identify(
        self,
        cns: int,
        *,
        nsid: int = 0,
        cntid: int = 0,
        csi: int = 0,
        cns_specific: int = 0,
        timeout: float | None = None,
    ) -> Request:
        """Identify (Base 2.0, 5.17): the decoded structure or list where `cns` is known, else 4096 bytes."""
        return self.submit_identify(
            cns, nsid=nsid, cntid=cntid, csi=csi, cns_specific=cns_specific, timeout=timeout
        )

    def submit_identify(
        self,
        cns: int,
        cb_fn: Callback | None = None,
        cb_arg: Any = None,
        *,
        nsid: int = 0,
        cntid: int = 0,
        csi: int = 0,
        cns_specific: int = 0,
        timeout: float | None = None,
    ) -> Request:
        """`identify` with a callback."""
        sqe = entries.identify(cns, nsid=nsid, cntid=cntid, csi=csi, cns_specific=cns_specific)
        decoder = _IDENTIFY_DECODERS.get(cns, bytes)
        return self._send(
            sqe,
            cb_fn,
            cb_arg,
            timeout=timeout,
            nbytes=IDENTIFY_BYTES,
            decode=lambda _cpl, data: decoder(data),
        )

    # -- log pages -----------------------------------------------------------------------------------------------------

    def get_log_page(
        self,
        lid: int,
        *,
        nbytes: int,
        nsid: int = 0xFFFFFFFF,
        offset: int = 0,
        lsp: int = 0,
        lsi: int = 0,
        retain_event: bool = False,
        timeout: float | None = None,
    ) -> Request:
        """Get Log Page (Base 2.0, 5.16): the bytes of the page.

        Args:
            lid: Log page identifier.
            nbytes: How many bytes, a multiple of 4, as one command takes.
            nsid: Namespace, or FFFFFFFFh for the controller's own page.
            offset: Byte offset into the page, a multiple of 4.
            lsp, lsi: Log specific field and identifier.
            retain_event: Does not clear the asynchronous event that belongs to the page (RAE).
        """
        return self.submit_get_log_page(
            lid,
            nbytes=nbytes,
            nsid=nsid,
            offset=offset,
            lsp=lsp,
            lsi=lsi,
            retain_event=retain_event,
            timeout=timeout,
        )

    def submit_get_log_page(
        self,
        lid: int,
        cb_fn: Callback | None = None,
        cb_arg: Any = None,
        *,
        nbytes: int,
        nsid: int = 0xFFFFFFFF,
        offset: int = 0,
        lsp: int = 0,
        lsi: int = 0,
        retain_event: bool = False,
        timeout: float | None = None,
    ) -> Request:
        """`get_log_page` with a callback."""
        if nbytes <= 0 or nbytes % 4:
            raise UsageError(f"nbytes must be a multiple of 4 and more than 0, not {nbytes}")
        if offset < 0 or offset % 4:
            raise UsageError(f"offset must be a multiple of 4, not {offset}")
        sqe = entries.get_log_page(
            lid, nbytes=nbytes, nsid=nsid, offset=offset, lsp=lsp, lsi=lsi, retain_event=retain_event
        )
        return self._send(sqe, cb_fn, cb_arg, timeout=timeout, nbytes=nbytes, decode=lambda _cpl, data: data)

    # -- features ------------------------------------------------------------------------------------------------------

    def get_feature(
        self,
        fid: int,
        *,
        cdw11: int = 0,
        nsid: int = 0,
        select: int = 0,
        nbytes: int = 0,
        timeout: float | None = None,
    ) -> Request:
        """Get Features (Base 2.0, 5.15): a `FeatureValue`.

        Args:
            fid: Feature identifier.
            cdw11: The feature's own argument.
            nsid: Namespace of a namespace specific feature.
            select: 0 current, 1 default, 2 saved, 3 supported capabilities.
            nbytes: Size of the feature's data, 0 for one that has none.
        """
        return self.submit_get_feature(
            fid, cdw11=cdw11, nsid=nsid, select=select, nbytes=nbytes, timeout=timeout
        )

    def submit_get_feature(
        self,
        fid: int,
        cb_fn: Callback | None = None,
        cb_arg: Any = None,
        *,
        cdw11: int = 0,
        nsid: int = 0,
        select: int = 0,
        nbytes: int = 0,
        timeout: float | None = None,
    ) -> Request:
        """`get_feature` with a callback."""
        sqe = entries.get_features(fid, cdw11=cdw11, nsid=nsid, select=select)
        return self._send(
            sqe,
            cb_fn,
            cb_arg,
            timeout=timeout,
            nbytes=nbytes,
            decode=lambda cpl, data: FeatureValue(cpl.dw0, data),
        )

    def set_feature(
        self,
        fid: int,
        *,
        cdw11: int = 0,
        cdw12: int = 0,
        nsid: int = 0,
        data: bytes | None = None,
        save: bool = False,
        timeout: float | None = None,
    ) -> Request:
        """Set Features (Base 2.0, 5.27): completion dword 0.

        Args:
            fid: Feature identifier.
            cdw11, cdw12: The feature's value.
            nsid: Namespace of a namespace specific feature.
            data: The feature's data where it has some; copied at the call.
            save: The value outlives a reset and power cycle.
        """
        return self.submit_set_feature(
            fid, cdw11=cdw11, cdw12=cdw12, nsid=nsid, data=data, save=save, timeout=timeout
        )

    def submit_set_feature(
        self,
        fid: int,
        cb_fn: Callback | None = None,
        cb_arg: Any = None,
        *,
        cdw11: int = 0,
        cdw12: int = 0,
        nsid: int = 0,
        data: bytes | None = None,
        save: bool = False,
        timeout: float | None = None,
    ) -> Request:
        """`set_feature` with a callback."""
        sqe = entries.set_features(fid, cdw11=cdw11, cdw12=cdw12, nsid=nsid, save=save)
        return self._send(
            sqe, cb_fn, cb_arg, timeout=timeout, payload=data, decode=lambda cpl, _data: cpl.dw0
        )

    # -- the rest ------------------------------------------------------------------------------------------------------

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
