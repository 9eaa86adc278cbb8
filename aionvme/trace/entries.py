"""Owns one command of a recording: what it was, what came of it, and how it is said in a line."""

from __future__ import annotations

import struct

import attrs

from aionvme.spec.entries import ALL_NAMESPACES, Sqe
from aionvme.spec.opcodes import AdminOpcode, FeatureId, LogPageId, NvmOpcode
from aionvme.spec.status import Status

__all__ = ["Command", "name_of", "transferred_to_host"]

# Dwords 0 and 1, SQ head, SQ identifier, CID, phase and status (NVMe Base 2.0, 3.3.3.2).
_CQE = struct.Struct("<IIHHHH")
# Those with a starting LBA in command dwords 10 and 11, and NLB in 12 (NVM Command Set 1.0, 3.2).
_OF_BLOCKS = {
    NvmOpcode.WRITE, NvmOpcode.READ, NvmOpcode.WRITE_UNCORRECTABLE, NvmOpcode.COMPARE, NvmOpcode.WRITE_ZEROES,
    NvmOpcode.VERIFY,
}  # fmt: skip


@attrs.define(eq=False)
class Command:
    """A command, and what came of it.

    Attributes:
        qid: Of the submission queue; 0 for admin commands.
        sqe: The entry as it was in the ring.
        began_ns: When its doorbell rang, from the beginning of the recording.
        ended_ns: When its completion was reaped, or when it was given up; None if the recording ends before.
        cqe: Its completion, None without one.
        given_up: It ended without a completion: the controller was reset, or is gone.
        data: What it wrote, or read, where that was recorded.
        digest: The SHA-256 of that, where it was recorded.
    """

    qid: int
    sqe: bytes = attrs.field(repr=False)
    began_ns: int
    ended_ns: int | None = None
    cqe: bytes | None = attrs.field(default=None, repr=False)
    given_up: bool = False
    data: bytes | None = attrs.field(default=None, repr=False)
    digest: str | None = None

    @property
    def entry(self) -> Sqe:
        """The submission queue entry."""
        return Sqe.decode(self.sqe)

    @property
    def opcode(self) -> int:
        """Its opcode."""
        return self.sqe[0]

    @property
    def cid(self) -> int:
        """Its command identifier."""
        return int.from_bytes(self.sqe[2:4], "little")

    @property
    def name(self) -> str:
        """Its name, such as "read"."""
        return name_of(self.qid, self.opcode)

    @property
    def status(self) -> Status | None:
        """How it ended; None without a completion."""
        return None if self.cqe is None else Status.from_field(_CQE.unpack(self.cqe)[5] >> 1)

    @property
    def dw0(self) -> int | None:
        """Dword 0 of its completion; None without one."""
        return None if self.cqe is None else int(_CQE.unpack(self.cqe)[0])

    @property
    def outcome(self) -> str:
        """How it ended, in words."""
        if self.status is not None:
            return self.status.text
        return "no completion: reset or lost" if self.given_up else "outstanding"

    @property
    def microseconds(self) -> float | None:
        """From doorbell to completion."""
        return None if self.ended_ns is None else (self.ended_ns - self.began_ns) / 1e3

    @property
    def arguments(self) -> dict[str, int | str]:
        """What it was about: its namespace and blocks, its feature, its log page."""
        entry, found = self.entry, dict[str, int | str]()
        if entry.nsid:
            found["nsid"] = "all" if entry.nsid == ALL_NAMESPACES else entry.nsid
        if self.qid and self.opcode in _OF_BLOCKS:
            found["lba"] = entry.cdw10 | entry.cdw11 << 32
            found["nblocks"] = (entry.cdw12 & 0xFFFF) + 1
        elif not self.qid and self.opcode == AdminOpcode.IDENTIFY:
            found["cns"] = entry.cdw10 & 0xFF
        elif not self.qid and self.opcode == AdminOpcode.GET_LOG_PAGE:
            found["page"] = _name(LogPageId, entry.cdw10 & 0xFF)
        elif not self.qid and self.opcode in (AdminOpcode.SET_FEATURES, AdminOpcode.GET_FEATURES):
            found["feature"] = _name(FeatureId, entry.cdw10 & 0xFF)
        return found


def name_of(qid: int, opcode: int) -> str:
    """What the specification calls a command, in lower case."""
    return _name(NvmOpcode if qid else AdminOpcode, opcode)


def transferred_to_host(opcode: int) -> bool:
    """Whether its data goes to the host (opcode bits 1:0; NVMe Base 2.0, figure 87)."""
    return opcode & 3 == 2


def _name(names: type[NvmOpcode | AdminOpcode | LogPageId | FeatureId], number: int) -> str:
    try:
        return names(number).name.lower()
    except ValueError:
        return f"{number:#04x}"
