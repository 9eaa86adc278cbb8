"""Owns a controller's firmware: images in pieces, and their commit, in two spellings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from aionvme.admin.operation import Operation, Reporter
from aionvme.admin.sending import Callback, Sender, check_choice, check_range
from aionvme.errors import CommandSpecificError, UsageError
from aionvme.spec import firmware
from aionvme.spec.firmware import CommitAction, ResetNeeded
from aionvme.spec.identify import Frmw

if TYPE_CHECKING:
    from typing_extensions import Buffer

# Without a word of the controller: 4 KiB, which every controller takes that says nothing (Base 2.0, FWUG).
_GRANULARITY = 4096
_NO_RESTRICTION = 0xFF
_PIECE = 65536
_BOOT = (CommitAction.REPLACE_BOOT_PARTITION, CommitAction.ACTIVATE_BOOT_PARTITION)


@attrs.frozen
class FirmwareCommitted:
    """What a Firmware Commit that succeeded says.

    Attributes:
        reset: Which reset activates the image; nothing more than the next one where it is NONE.
        overlapping: Bits 1:0 of dword 0: pieces that overlapped were downloaded, through 1 this controller or another
            of the subsystem, through 2 a management endpoint.
    """

    reset: ResetNeeded
    overlapping: int = 0


class FirmwareCommands(Sender):
    """Firmware Image Download and Firmware Commit (Base 2.0, 5.13 and 5.12)."""

    def firmware_download(
        self, image: Buffer, *, offset: int = 0, piece: int | None = None, timeout: float | None = None
    ) -> Operation[None]:
        """Downloads a firmware image in pieces; `firmware_commit` puts it to use.

            download = ctrlr.firmware_download(image)
            async for progress in download:
                print(f"{progress.fraction:.0%}")
            await download

        Args:
            image: Its bytes, a multiple of 4; copied at the call.
            offset: Where they belong in the whole image, in bytes.
            piece: Bytes of each command; by default what the controller takes at once (FWUG, MDTS), 64 KiB at most.
            timeout: Seconds for each piece.

        Raises:
            UsageError: The controller takes no firmware, or a size or offset that it does not take.
            StatusError: It refused a piece; what was downloaded before is not committed.
        """
        return self.submit_firmware_download(image, offset=offset, piece=piece, timeout=timeout)

    def submit_firmware_download(
        self,
        image: Buffer,
        cb_fn: Callback | None = None,
        cb_arg: Any = None,
        *,
        offset: int = 0,
        piece: int | None = None,
        timeout: float | None = None,
    ) -> Operation[None]:
        """`firmware_download` with a callback, called once at the end."""
        self._require("firmware", "Firmware Image Download")
        held = bytes(image)
        if not held or len(held) % 4:
            raise UsageError(f"image must have a multiple of 4 bytes, and some, not {len(held)}")
        unit = self._firmware_unit()
        if offset < 0 or offset % unit:
            raise UsageError(f"offset must be a multiple of {unit} (FWUG), not {offset}")
        piece = self._firmware_piece(piece, unit)
        reporter = Reporter()
        coro = self._download(held, offset, piece, timeout, reporter)
        return self._operation("firmware download", coro, cb_fn, cb_arg, reporter)

    def _firmware_unit(self) -> int:
        """Bytes that a piece's size and offset are multiples of (FWUG: 4 KiB each; 0 not said, FFh any dword)."""
        data = self._identified()
        fwug = data.fwug if data is not None else 0
        return 4 if fwug == _NO_RESTRICTION else (fwug or 1) * _GRANULARITY

    def _firmware_piece(self, piece: int | None, unit: int) -> int:
        most = self._admin.max_transfer_bytes
        if piece is None:
            return max(min(_PIECE, most) // unit, 1) * unit
        if piece <= 0 or piece % unit or piece > most:
            raise UsageError(f"piece must be a multiple of {unit} (FWUG), at most {most} (MDTS), not {piece}")
        return piece

    async def _download(
        self, image: bytes, offset: int, piece: int, timeout: float | None, report: Reporter
    ) -> None:
        report(0, len(image), "downloading")
        for start in range(0, len(image), piece):
            part = image[start : start + piece]
            sqe = firmware.firmware_download(offset=offset + start, nbytes=len(part))
            await self._send(sqe, None, None, timeout=timeout, payload=part)
            report(start + len(part), len(image), "downloading")

    def firmware_commit(
        self,
        slot: int = 0,
        action: CommitAction = CommitAction.REPLACE_AND_ACTIVATE,
        *,
        boot_partition: int = 0,
        timeout: float | None = None,
    ) -> Operation[FirmwareCommitted]:
        """Firmware Commit: puts the downloaded image into a slot, or activates one: a `FirmwareCommitted`.

        A status that says no more than which reset the activation needs is no error: it is `reset` of the result.

        Args:
            slot: Firmware slot, from 1; 0 has the controller choose.
            action: A `CommitAction`.
            boot_partition: 0 or 1, for the two actions on boot partitions.

        Raises:
            UsageError: There is no such slot, or it is read only; or the controller can't activate without a reset.
            StatusError: The image is invalid, the activation prohibited, or would take too long without a reset.
        """
        return self.submit_firmware_commit(slot, action, boot_partition=boot_partition, timeout=timeout)

    def submit_firmware_commit(
        self,
        slot: int = 0,
        action: CommitAction = CommitAction.REPLACE_AND_ACTIVATE,
        cb_fn: Callback | None = None,
        cb_arg: Any = None,
        *,
        boot_partition: int = 0,
        timeout: float | None = None,
    ) -> Operation[FirmwareCommitted]:
        """`firmware_commit` with a callback."""
        self._require("firmware", "Firmware Commit")
        self._check_commit(slot, action, boot_partition)
        sqe = firmware.firmware_commit(slot=slot, action=action, boot_partition=boot_partition)
        return self._operation("firmware commit", self._commit(sqe, timeout), cb_fn, cb_arg)

    def _check_commit(self, slot: int, action: int, boot_partition: int) -> None:
        check_choice("action", action, CommitAction)
        check_range("boot_partition", boot_partition, 0, 1)
        data = self._identified()
        if data is None or action in _BOOT:
            return
        frmw = Frmw(data.frmw)
        if not 0 <= slot <= frmw.slots:
            raise UsageError(
                f"slot must be from 1 to {frmw.slots}, or 0 for the controller's choice, not {slot}"
            )
        if slot == 1 and frmw.slot1_read_only and action != CommitAction.ACTIVATE:
            raise UsageError("slot 1 of this controller is read only (FRMW): it can only be activated")

    async def _commit(self, sqe: bytes, timeout: float | None) -> FirmwareCommitted:
        try:
            dw0 = await self._send(sqe, None, None, timeout=timeout, decode=lambda cpl, _data: cpl.dw0)
        except CommandSpecificError as error:
            for status, needed in firmware.RESET_BY_STATUS.items():
                if error.status == status:
                    return FirmwareCommitted(needed, error.cpl.dw0 & 3)
            raise
        return FirmwareCommitted(ResetNeeded.NONE, dw0 & 3)
