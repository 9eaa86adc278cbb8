"""Owns Get LBA Status, in its two spellings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aionvme.admin.sending import Callback, Sender, check_choice, check_range
from aionvme.errors import UsageError
from aionvme.spec.lba_status import LbaStatus, LbaStatusAction, LbaStatusHead, get_lba_status

if TYPE_CHECKING:
    from aionvme.qpair.request import Request


class LbaStatusCommands(Sender):
    """Get LBA Status (NVM Command Set 1.0, 4.2.1)."""

    def get_lba_status(
        self,
        nsid: int,
        lba: int,
        nblocks: int = 0,
        *,
        action: LbaStatusAction = LbaStatusAction.TRACKED,
        nbytes: int = 4096,
        timeout: float | None = None,
    ) -> Request[LbaStatus]:
        """Get LBA Status: which blocks may not be recoverable: an `LbaStatus`.

        Args:
            nsid: Namespace.
            lba: First block.
            nblocks: Blocks to look at, 65535 at most; 0 to the end of the namespace.
            action: Whether the controller scans, or says what it knows.
            nbytes: Room for the answer, a multiple of 4. What does not fit is asked for from the next block on.
        """
        return self.submit_get_lba_status(nsid, lba, nblocks, action=action, nbytes=nbytes, timeout=timeout)

    def submit_get_lba_status(
        self,
        nsid: int,
        lba: int,
        nblocks: int = 0,
        cb_fn: Callback | None = None,
        cb_arg: Any = None,
        *,
        action: LbaStatusAction = LbaStatusAction.TRACKED,
        nbytes: int = 4096,
        timeout: float | None = None,
    ) -> Request[LbaStatus]:
        """`get_lba_status` with a callback."""
        self._require("lba_status", "Get LBA Status")
        check_choice("action", action, LbaStatusAction)
        check_range("nsid", nsid, 1, 0xFFFFFFFE)
        check_range("lba", lba, 0, 0xFFFFFFFFFFFFFFFF)
        check_range("nblocks", nblocks, 0, 0xFFFF)
        most = self._admin.max_transfer_bytes
        if nbytes % 4 or not LbaStatusHead.SIZE <= nbytes <= most:
            raise UsageError(
                f"nbytes must be a multiple of 4, from {LbaStatusHead.SIZE} to {most} (MDTS), not {nbytes}"
            )
        sqe = get_lba_status(nsid=nsid, lba=lba, nblocks=nblocks, action=action, nbytes=nbytes)
        return self._send(
            sqe,
            cb_fn,
            cb_arg,
            timeout=timeout,
            nbytes=nbytes,
            decode=lambda _cpl, data: LbaStatus.decode(data),
        )
