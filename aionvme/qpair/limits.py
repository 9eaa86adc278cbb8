"""Owns what one controller's I/O queue pairs may be asked: optional commands, and the sizes of those it has."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from aionvme.errors import UsageError
from aionvme.spec.opcodes import NvmOpcode

# Optional commands by the bit of ONCS that says that they are there (Base 2.0, 5.17.2.1).
_ONCS_BITS = {
    NvmOpcode.COMPARE: 0,
    NvmOpcode.WRITE_UNCORRECTABLE: 1,
    NvmOpcode.DATASET_MANAGEMENT: 2,
    NvmOpcode.WRITE_ZEROES: 3,
    NvmOpcode.RESERVATION_REGISTER: 5,
    NvmOpcode.RESERVATION_REPORT: 5,
    NvmOpcode.RESERVATION_ACQUIRE: 5,
    NvmOpcode.RESERVATION_RELEASE: 5,
    NvmOpcode.VERIFY: 7,
    NvmOpcode.COPY: 8,
}


@attrs.frozen(kw_only=True)
class Limits:
    """What Identify and the commands-supported log say of a controller's I/O commands.

    Attributes:
        name: Of the controller, for messages.
        oncs, fuses, sgls, ocfs: As Identify Controller has them.
        host_id_extended: Whether the host identifier has 128 bits, and reservation reports are extended.
        verify_bytes, write_zeroes_bytes, write_uncorrectable_bytes: Most bytes of one command, 0 for no limit but the
            65,536 blocks that it can say.
        dsm_ranges, dsm_range_blocks, dsm_blocks: Most ranges of a Dataset Management command, blocks of one range, and
            blocks of all; 0 for no limit.
        in_log: Whether the commands-supported log has an I/O opcode; None where there is no such log.
    """

    name: str = "the controller"
    oncs: int = 0
    fuses: int = 0
    sgls: int = 0
    ocfs: int = 1
    host_id_extended: bool = False
    verify_bytes: int = 0
    write_zeroes_bytes: int = 0
    write_uncorrectable_bytes: int = 0
    dsm_ranges: int = 0
    dsm_range_blocks: int = 0
    dsm_blocks: int = 0
    in_log: Callable[[int], bool] | None = None

    def require(self, opcode: int) -> None:
        """`UsageError` where the controller does not have an I/O command.

        The commands supported log knows every opcode. Where there is one it is believed: there are controllers that
        have a command there and in fact, and no bit of ONCS for it.
        """
        command = NvmOpcode(opcode)
        words = command.name.lower().replace("_", " ")
        bit = _ONCS_BITS.get(command)
        reasons = []
        if bit is not None and not self.oncs >> bit & 1:
            reasons.append(f"ONCS bit {bit} is 0")
        if self.in_log is not None:
            if self.in_log(opcode):
                return
            reasons.append("its commands supported log says so")
        if reasons:
            raise UsageError(f"{self.name} does not have the {words} command ({', and '.join(reasons)})")

    def require_compare_and_write(self) -> None:
        """`UsageError` where the controller does not have the fused operation."""
        if not self.fuses & 1:
            raise UsageError(f"{self.name} does not have fused compare and write (FUSES bit 0 is 0)")
