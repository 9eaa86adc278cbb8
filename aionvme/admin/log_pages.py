"""Owns Get Log Page, in its two spellings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aionvme.admin.sending import Callback, Sender
from aionvme.errors import UsageError
from aionvme.spec import entries

if TYPE_CHECKING:
    from aionvme.qpair.request import Request


class LogPageCommands(Sender):
    """Get Log Page (Base 2.0, 5.16)."""

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
