"""Owns a mock controller's firmware: what was downloaded, its slots, and what a reset activates (Base 2.0, 3.11)."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import attrs

from aionvme.errors import UsageError
from aionvme.mock.refusal import Refused
from aionvme.spec.firmware import RESET_BY_STATUS, CommitAction, FirmwareCommitCdw10, ResetNeeded
from aionvme.spec.identify import Frmw
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.mock.machine import Machine
    from aionvme.spec.entries import Sqe

__all__ = ["Firmware", "firmware_image"]

#: FWUG 1: pieces are multiples of 4 KiB, but for the last.
GRANULARITY = 4096
SLOTS = 3
MOST = 16 << 20  # bytes of an image
FRMW = Frmw(slot1_read_only=1, slots=SLOTS, without_reset=1, overlap_detected=1).value
_MAGIC = b"aionvmeF"
_HEAD = struct.Struct("<8s8sIIII")  # magic, revision, bytes, reset needed, flags, CRC-32 of what follows
_STATUS_OF = {needed: status for status, needed in RESET_BY_STATUS.items()}


def firmware_image(
    revision: str, *, nbytes: int = 65536, reset: ResetNeeded = ResetNeeded.CONTROLLER
) -> bytes:
    """A firmware image that the mock takes.

    Args:
        revision: What Identify Controller says (FR) once it is active: ASCII, at most 8 characters.
        nbytes: Its size, a multiple of 4, from 32.
        reset: What it takes to activate it; NONE for an image that can be activated without.
    """
    name = revision.encode("ascii")
    if not 1 <= len(name) <= 8:
        raise UsageError(f"revision must have 1 to 8 characters, not {revision!r}")
    if nbytes < _HEAD.size or nbytes % 4:
        raise UsageError(f"nbytes must be a multiple of 4, at least {_HEAD.size}, not {nbytes}")
    # No two pieces alike, so that one in the wrong place is noticed.
    body = b"".join(struct.pack("<I", number) for number in range((nbytes - _HEAD.size) // 4))
    head = _HEAD.pack(_MAGIC, name.ljust(8), nbytes, int(reset), 0, zlib.crc32(body))
    return head + body


@attrs.frozen
class Image:
    """What is in a slot: its revision, and what it takes to activate it."""

    revision: str
    reset: ResetNeeded = ResetNeeded.CONTROLLER


class Firmware:
    """The firmware of one controller.

    Attributes:
        slots: What is in each slot, by number.
        active: The slot whose image runs.
        pending: The slot whose image runs after the next reset, or 0.
        boot_partition: The active one.
    """

    def __init__(self, machine: Machine, revision: str) -> None:
        self._machine = machine
        self._pieces: dict[int, bytes] = {}
        self.slots = {1: Image(revision)}
        self.active = 1
        self.pending = 0
        self.boot_partition = 0

    @property
    def revision(self) -> str:
        """Of the image that runs (FR)."""
        return self.slots[self.active].revision

    def log_page(self) -> bytes:
        """Firmware slot information, log page 03h (5.16.1.4)."""
        head = bytes([self.active | self.pending << 4]) + bytes(7)
        names = (
            self.slots[n].revision.encode("latin-1").ljust(8) if n in self.slots else bytes(8)
            for n in range(1, 8)
        )
        return (head + b"".join(names)).ljust(512, b"\0")

    def reset(self, kind: ResetNeeded) -> None:
        """A reset of this kind: pieces are forgotten, and what waited for it is activated."""
        self._pieces.clear()
        if self.pending and self.slots[self.pending].reset <= kind:
            self.active, self.pending = self.pending, 0

    def download(self, sqe: Sqe) -> int:
        """Firmware Image Download (5.13)."""
        nbytes, offset = (sqe.cdw10 + 1) * 4, sqe.cdw11 * 4
        if offset % GRANULARITY or offset + nbytes > MOST:
            raise Refused(StatusCode.INVALID_FIELD)
        status, piece = self._machine.data_out(sqe.prp1, sqe.prp2, nbytes)
        if status:
            raise Refused.by_field(status)
        if any(at < offset + nbytes and offset < at + len(other) for at, other in self._pieces.items()):
            raise Refused(StatusCode.OVERLAPPING_RANGE)
        self._pieces[offset] = piece
        return 0

    def commit(self, sqe: Sqe) -> int:
        """Firmware Commit (5.12). The status of success may say which reset is needed."""
        dword = FirmwareCommitCdw10(sqe.cdw10)
        action = dword.ca
        if action in (CommitAction.REPLACE_BOOT_PARTITION, CommitAction.ACTIVATE_BOOT_PARTITION):
            # There are no boot partitions (CAP.BPS).
            raise Refused(StatusCode.INVALID_FIELD)
        if action not in list(CommitAction):
            raise Refused(StatusCode.INVALID_FIELD)
        if dword.fs > SLOTS:
            raise Refused(StatusCode.INVALID_FIRMWARE_SLOT)
        slot = dword.fs or self._choose(action)
        replaces = action in (CommitAction.REPLACE, CommitAction.REPLACE_AND_ACTIVATE) or (
            action == CommitAction.ACTIVATE_NOW and bool(self._pieces)
        )
        if replaces:
            self._store(slot)
        elif slot not in self.slots:
            raise Refused(StatusCode.INVALID_FIRMWARE_SLOT)
        if action != CommitAction.REPLACE:
            self._activate(slot, at_once=action == CommitAction.ACTIVATE_NOW)
        return 0

    def _choose(self, action: int) -> int:
        if action == CommitAction.ACTIVATE:
            return self.active
        free = [n for n in range(2, SLOTS + 1) if n not in self.slots and n != self.active]
        return free[0] if free else next(n for n in range(2, SLOTS + 1) if n != self.active)

    def _store(self, slot: int) -> None:
        if slot == 1:
            raise Refused(StatusCode.INVALID_FIRMWARE_SLOT)  # read only
        image = self._assembled()
        self._pieces.clear()
        self.slots[slot] = image

    def _assembled(self) -> Image:
        whole = b"".join(self._pieces[at] for at in sorted(self._pieces))
        contiguous = sum(map(len, self._pieces.values())) == max(
            (at + len(piece) for at, piece in self._pieces.items()), default=0
        )
        if not contiguous or len(whole) < _HEAD.size:
            raise Refused(StatusCode.INVALID_FIRMWARE_IMAGE)
        magic, revision, nbytes, reset, _flags, crc = _HEAD.unpack_from(whole)
        good = magic == _MAGIC and nbytes == len(whole) and crc == zlib.crc32(whole[_HEAD.size :])
        if not good or reset not in list(ResetNeeded):
            raise Refused(StatusCode.INVALID_FIRMWARE_IMAGE)
        return Image(revision.decode("latin-1").rstrip(), ResetNeeded(reset))

    def _activate(self, slot: int, *, at_once: bool) -> None:
        needed = self.slots[slot].reset
        if at_once and needed is ResetNeeded.NONE:
            self.active, self.pending = slot, 0
            return
        self.pending = slot if slot != self.active else 0
        # The next controller level reset is what the other two actions ask for.
        if needed > ResetNeeded.CONTROLLER or (at_once and needed):
            raise Refused(_STATUS_OF[needed], dnr=False)
