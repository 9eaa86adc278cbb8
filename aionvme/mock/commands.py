"""Owns which I/O commands and features a mock controller has, and how large they may be: its options of that kind."""

from __future__ import annotations

from typing import Any, TypedDict

import attrs

from aionvme.errors import UsageError
from aionvme.spec.opcodes import NvmOpcode

__all__ = ["CommandOptions", "Commands"]

_PAGE = 4096  # of CAP.MPSMIN
#: Any alignment, bit buckets, metadata pointers to any byte and to SGLs.
SGLS = 1 | 1 << 16 | 1 << 17 | 1 << 19
#: All: Compare to Copy, with saving and selecting of features, and the timestamp.
ONCS = 0x1FF

# Bit of ONCS that says that a command is there; Flush, Read and Write are there always.
_ONCS_BITS = {
    NvmOpcode.FLUSH: None,
    NvmOpcode.WRITE: None,
    NvmOpcode.READ: None,
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
RESERVATIONS = 1 << 5
TIMESTAMP = 1 << 6


class CommandOptions(TypedDict, total=False):
    """Keywords of `MockController` for its I/O commands and features, with the names that Identify gives them.

    A size limit of 0 is no limit, but for Copy, which has none without.
    """

    sgls: int  # SGL support; 0: PRPs only
    oncs: int  # optional commands; a bit that is 0 switches a command off
    fuses: int  # 1: Compare and Write may be fused
    ocfs: int  # Copy formats, a bit each
    vsl: int  # Verify: 2**n pages of 4096 bytes
    wzsl: int  # Write Zeroes: 2**n pages
    wusl: int  # Write Uncorrectable: 2**n pages
    dmrl: int  # Dataset Management: ranges
    dmrsl: int  # Dataset Management: blocks of one range
    dmsl: int  # Dataset Management: blocks of all
    mssrl: int  # Copy: blocks of one range
    mcl: int  # Copy: blocks of all
    msrc: int  # Copy: ranges, 0's based
    hmpre: int  # host memory buffer: what it would like, in 4 KiB; 0 for no such feature
    hmmin: int  # host memory buffer: what it takes at least, in 4 KiB
    hmminds: int  # host memory buffer: the smallest piece, in 4 KiB; 0 for no limit
    hmmaxd: int  # host memory buffer: pieces; 0 for no limit
    rrls: int  # read recovery levels, a bit each
    nwpc: int  # write protection: bit 0 at all, 1 until a power cycle, 2 for ever
    kas: int  # granularity of the keep alive timer, in 100 ms; 0 for no keep alive
    tbkas: int  # 1: any command restarts the keep alive timer
    features_absent: int  # features that it does not have, a bit each by identifier
    features_fixed: int  # features that can't be changed, a bit each by identifier


def _bits(width: int) -> Any:
    def check(_instance: Any, attribute: attrs.Attribute[Any], value: int) -> None:
        if not 0 <= value < 1 << width:
            raise UsageError(f"{attribute.name} is a number of {width} bits, not {value}")

    return attrs.validators.and_(attrs.validators.instance_of(int), check)


def _power(value: int) -> int:
    """The bytes of a limit."""
    return _PAGE << value if value else 0


@attrs.frozen(kw_only=True)
class Commands:
    """The options of `CommandOptions`, all of them."""

    sgls: int = attrs.field(default=SGLS, validator=_bits(32))
    oncs: int = attrs.field(default=ONCS, validator=_bits(16))
    fuses: int = attrs.field(default=1, validator=_bits(1))
    ocfs: int = attrs.field(default=0xF, validator=_bits(4))
    vsl: int = attrs.field(default=13, validator=_bits(5))
    wzsl: int = attrs.field(default=13, validator=_bits(5))
    wusl: int = attrs.field(default=13, validator=_bits(5))
    dmrl: int = attrs.field(default=128, validator=_bits(8))
    dmrsl: int = attrs.field(default=1 << 22, validator=_bits(32))
    dmsl: int = attrs.field(default=1 << 26, validator=_bits(64))
    mssrl: int = attrs.field(default=512, validator=_bits(16))
    mcl: int = attrs.field(default=4096, validator=_bits(32))
    msrc: int = attrs.field(default=127, validator=_bits(8))
    hmpre: int = attrs.field(default=2048, validator=_bits(32))
    hmmin: int = attrs.field(default=16, validator=_bits(32))
    hmminds: int = attrs.field(default=0, validator=_bits(32))
    hmmaxd: int = attrs.field(default=0, validator=_bits(16))
    rrls: int = attrs.field(default=1 << 4 | 1 << 15, validator=_bits(16))
    nwpc: int = attrs.field(default=0b111, validator=_bits(3))
    kas: int = attrs.field(default=1, validator=_bits(16))
    tbkas: int = attrs.field(default=0, validator=_bits(1))
    features_absent: int = attrs.field(default=0, validator=_bits(256))
    features_fixed: int = attrs.field(default=0, validator=_bits(256))

    def has(self, opcode: NvmOpcode) -> bool:
        """Whether this command is there."""
        bit = _ONCS_BITS.get(opcode, -1)
        return bit is None or (bit >= 0 and bool(self.oncs >> bit & 1))

    def limits(self) -> dict[str, int]:
        """As compiled code has them."""
        limits = {
            name: getattr(self, name)
            for name in ("sgls", "oncs", "fuses", "ocfs", "dmrl", "dmrsl", "dmsl", "mssrl", "mcl", "msrc")
        }
        return limits | {
            "verify": _power(self.vsl),
            "zeroes": _power(self.wzsl),
            "uncorrectable": _power(self.wusl),
        }
