"""Firmware Image Download and Firmware Commit (NVMe Base 2.0, 5.13 and 5.12)."""

from __future__ import annotations

from enum import IntEnum, unique

from aionvme.spec.bits import Bits, bits
from aionvme.spec.entries import Sqe
from aionvme.spec.opcodes import AdminOpcode
from aionvme.spec.status import StatusCode


@unique
class CommitAction(IntEnum):
    """What Firmware Commit does (CA). 4 and 5 are reserved."""

    REPLACE = 0
    """The downloaded image goes to the slot; nothing is activated."""
    REPLACE_AND_ACTIVATE = 1
    """It goes to the slot, and is activated by the next controller level reset."""
    ACTIVATE = 2
    """The image that is in the slot is activated by the next controller level reset."""
    ACTIVATE_NOW = 3
    """The image, downloaded before or in the slot already, is activated at once, without a reset."""
    REPLACE_BOOT_PARTITION = 6
    """The downloaded image goes to the boot partition."""
    ACTIVATE_BOOT_PARTITION = 7
    """The boot partition is the active one from now on."""


@unique
class ResetNeeded(IntEnum):
    """Which reset activates an image that was committed."""

    NONE = 0
    CONTROLLER = 1
    """A controller level reset: `Controller.reset`."""
    SUBSYSTEM = 2
    """An NVM subsystem reset."""
    CONVENTIONAL = 3
    """A conventional PCI Express reset, or a power cycle."""


#: Statuses that say that the image was committed, and what it takes to activate it.
RESET_BY_STATUS = {
    StatusCode.FIRMWARE_NEEDS_CONTROLLER_RESET: ResetNeeded.CONTROLLER,
    StatusCode.FIRMWARE_NEEDS_SUBSYSTEM_RESET: ResetNeeded.SUBSYSTEM,
    StatusCode.FIRMWARE_NEEDS_CONVENTIONAL_RESET: ResetNeeded.CONVENTIONAL,
}


class FirmwareCommitCdw10(Bits, width=32):
    """Firmware Commit, command dword 10 (NVMe Base 2.0, 5.12)."""

    fs = bits(0, 3, "Firmware slot; 0 has the controller choose one")
    ca = bits(3, 3, "Commit action: `CommitAction`")
    bpid = bits(31, 1, "Boot partition")


def firmware_download(*, offset: int, nbytes: int) -> bytes:
    """Firmware Image Download (NVMe Base 2.0, 5.13).

    Args:
        offset: Where in the image the piece belongs, in bytes, a multiple of 4.
        nbytes: Bytes of the piece, a multiple of 4.
    """
    if nbytes < 4 or nbytes % 4 or offset % 4 or offset < 0:
        raise ValueError(f"an image is downloaded in dwords, not {nbytes} bytes at {offset}")
    return Sqe(opc=AdminOpcode.FIRMWARE_DOWNLOAD, cdw10=nbytes // 4 - 1, cdw11=offset // 4).encode()


def firmware_commit(*, slot: int, action: int, boot_partition: int = 0) -> bytes:
    """Firmware Commit (NVMe Base 2.0, 5.12)."""
    return Sqe(
        opc=AdminOpcode.FIRMWARE_COMMIT,
        cdw10=FirmwareCommitCdw10(fs=slot, ca=action, bpid=boot_partition).value,
    ).encode()
