"""Get LBA Status (NVM Command Set 1.0, 4.2.1)."""

from __future__ import annotations

from enum import IntEnum, unique

import attrs

from aionvme.spec.bits import Bits, bits
from aionvme.spec.entries import Sqe
from aionvme.spec.errors import DecodeError
from aionvme.spec.opcodes import AdminOpcode
from aionvme.spec.structure import Structure, u8, u32, u64


@unique
class LbaStatusAction(IntEnum):
    """How the controller finds them (ATYPE)."""

    ALLOCATED = 0x02
    """Allocated blocks (NVM Command Set 1.1)."""
    SCAN = 0x10
    """Scans for potentially unrecoverable blocks, tracked and untracked."""
    TRACKED = 0x11
    """Potentially unrecoverable blocks that it has tracked, without a scan."""


class LbaStatusCdw13(Bits, width=32):
    """Get LBA Status, command dword 13."""

    rl = bits(0, 16, "Range length in blocks; 0 to the end of the namespace")
    atype = bits(24, 8, "Action type: `LbaStatusAction`")


class LbaStatusDescriptor(Structure, size=16):
    """One range of blocks."""

    dslba: int = u64(0, "Descriptor starting LBA")
    nlb: int = u32(8, "Number of blocks, 0's based")
    status: int = u8(13, "LBA status")

    @property
    def nblocks(self) -> int:
        """Number of blocks, from 1."""
        return self.nlb + 1


class LbaStatusHead(Structure, size=8):
    """What comes before the descriptors."""

    nlsd: int = u32(0, "Number of LBA status descriptors")
    cmpc: int = u8(4, "Completion condition")


@attrs.frozen
class LbaStatus:
    """What Get LBA Status gives.

    Attributes:
        complete: Whether all of the range was looked at (CMPC 2h); not, if the descriptors did not fit, or a scan ended
            early.
        ranges: The descriptors that came.
    """

    complete: bool
    ranges: tuple[LbaStatusDescriptor, ...]

    @classmethod
    def decode(cls, data: bytes) -> LbaStatus:
        """The list.

        Raises:
            DecodeError: It is shorter than its head.
        """
        head = LbaStatusHead.decode(data)
        room = (len(data) - LbaStatusHead.SIZE) // LbaStatusDescriptor.SIZE
        if head.nlsd > room:
            raise DecodeError(f"LBA status: {head.nlsd} descriptors do not fit in {len(data)} bytes")
        first, step = LbaStatusHead.SIZE, LbaStatusDescriptor.SIZE
        return cls(
            head.cmpc == 2,
            tuple(LbaStatusDescriptor.decode(data[first + step * i :]) for i in range(head.nlsd)),
        )


def get_lba_status(*, nsid: int, lba: int, nblocks: int, action: int, nbytes: int) -> bytes:
    """Get LBA Status (NVM Command Set 1.0, 4.2.1). `nblocks` 0: to the end of the namespace."""
    if nbytes < 4 or nbytes % 4:
        raise ValueError(f"LBA status is read in dwords, not {nbytes} bytes")
    return Sqe(
        opc=AdminOpcode.GET_LBA_STATUS,
        nsid=nsid,
        cdw10=lba & 0xFFFFFFFF,
        cdw11=lba >> 32,
        cdw12=nbytes // 4 - 1,
        cdw13=LbaStatusCdw13(rl=nblocks, atype=action).value,
    ).encode()
