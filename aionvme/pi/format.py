"""How a namespace is formatted, as far as protection information is concerned; what follows from it for the bytes."""

from __future__ import annotations

from enum import IntEnum, unique
from typing import Self

import attrs
import numpy as np

from aionvme.errors import UsageError
from aionvme.spec.identify import Dps, IdentifyNamespace
from aionvme.spec.identify_sets import ExtendedFormatBits, IdentifyNvmNamespace, Pic


@unique
class Guard(IntEnum):
    """The guard of a protection information format. The values are those of PIF (NVM Command Set 1.0, Figure 101)."""

    CRC16 = 0
    CRC32C = 1
    CRC64 = 2


# Big endian, guard first (NVM Command Set 1.0, 5.2.1, the figures of the formats). The storage and reference space is
# `low`, and where it has more than 32 bits also `high`, 16 bits above.
_TUPLES = {
    Guard.CRC16: np.dtype([("guard", ">u2"), ("app", ">u2"), ("low", ">u4")]),
    Guard.CRC32C: np.dtype([("guard", ">u4"), ("app", ">u2"), ("high", ">u2"), ("low", ">u8")]),
    Guard.CRC64: np.dtype([("guard", ">u8"), ("app", ">u2"), ("high", ">u2"), ("low", ">u4")]),
}
_SPACE_BITS = {Guard.CRC16: 32, Guard.CRC32C: 80, Guard.CRC64: 48}
# Smallest and largest STS (Figure 101).
_STORAGE_TAG_BITS = {Guard.CRC16: (0, 32), Guard.CRC32C: (16, 64), Guard.CRC64: (0, 48)}

# The PIF that points to QPIF, after NVM Command Set 1.0.
_QUALIFIED = 3


@attrs.frozen(kw_only=True)
class Format:
    """A namespace's format with protection information (NVM Command Set 1.0, 5.2).

    Attributes:
        block_size: Data bytes of a logical block.
        metadata_size: Metadata bytes of a logical block, the protection information among them.
        pi_type: 1, 2 or 3.
        guard: Which guard, and with it which format of 8 or 16 bytes.
        pi_first: Protection information is the first bytes of the metadata, and the guard covers no metadata; else
            it is the last, and the guard covers the metadata before it.
        extended: Each block's metadata follows its data in the same buffer; else it has a buffer of its own.
        storage_tag_bits: Size of the storage tag (STS), 0 for none. It is taken from the reference tag.
        storage_tag_mask: Bits of the storage tag that are checked (LBSTM); those above its size do not matter.

    Raises:
        UsageError: There is no such format.
    """

    block_size: int
    metadata_size: int
    pi_type: int = 1
    guard: Guard = attrs.field(default=Guard.CRC16, converter=Guard)
    pi_first: bool = False
    extended: bool = False
    storage_tag_bits: int = 0
    storage_tag_mask: int = (1 << 64) - 1

    def __attrs_post_init__(self) -> None:
        if self.block_size < 1:
            raise UsageError(f"a block of {self.block_size} bytes")
        if self.pi_type not in (1, 2, 3):
            raise UsageError(f"protection information of type {self.pi_type}: the types are 1, 2 and 3")
        if self.metadata_size < self.pi_size:
            raise UsageError(
                f"{self.metadata_size} bytes of metadata cannot hold the {self.pi_size} bytes of protection "
                f"information that a {self.guard.name} guard has"
            )
        least, most = _STORAGE_TAG_BITS[self.guard]
        if not least <= self.storage_tag_bits <= most:
            raise UsageError(
                f"a storage tag of {self.storage_tag_bits} bits: with a {self.guard.name} guard it has "
                f"{least} to {most}"
            )

    @classmethod
    def of(cls, namespace: IdentifyNamespace, nvm: IdentifyNvmNamespace | None = None) -> Self:
        """The format of a namespace.

        Args:
            namespace: Identify Namespace (CNS 00h).
            nvm: The NVM command set's own Identify Namespace (CNS 05h), which says guard and storage tag size. A
                controller without extended LBA formats (CTRATT.ELBAS) has none; then the guard is 16 bits.

        Raises:
            UsageError: The namespace is formatted without protection information, or in a format not known here.
        """
        if not namespace.protection_type:
            raise UsageError("the namespace is formatted without protection information")
        guard, storage_tag_bits, mask = 0, 0, (1 << 64) - 1
        if nvm is not None:
            format_bits = ExtendedFormatBits(nvm.elbaf[namespace.lba_format_index].value)
            guard, storage_tag_bits, mask = format_bits.pif, format_bits.sts, nvm.lbstm
            if guard == _QUALIFIED and Pic(nvm.pic).qpifs:
                guard = format_bits.qpif
        if guard not in tuple(Guard):
            raise UsageError(
                f"the namespace has a protection information format that is not known here: {guard}"
            )
        return cls(
            block_size=namespace.block_size,
            metadata_size=namespace.metadata_size,
            pi_type=namespace.protection_type,
            guard=Guard(guard),
            pi_first=bool(Dps(namespace.dps).first),
            extended=namespace.extended,
            storage_tag_bits=storage_tag_bits,
            storage_tag_mask=mask,
        )

    # -- what follows from it ------------------------------------------------------------------------------------------

    @property
    def dtype(self) -> np.dtype[np.void]:
        """The protection information of one block, as numpy sees it: guard, app, perhaps high, low."""
        return _TUPLES[self.guard]

    @property
    def has_high(self) -> bool:
        """The storage and reference space has more than `low` holds."""
        return "high" in (self.dtype.names or ())

    @property
    def low_bits(self) -> int:
        """How much of the storage and reference space `low` holds."""
        return self.dtype["low"].itemsize * 8

    @property
    def pi_size(self) -> int:
        """Bytes of protection information: 8, or 16 with the larger guards."""
        return self.dtype.itemsize

    @property
    def pi_offset(self) -> int:
        """Where in a block's metadata it begins."""
        return 0 if self.pi_first else self.metadata_size - self.pi_size

    @property
    def covered_metadata(self) -> int:
        """Bytes of a block's metadata that the guard covers besides the data: those before the information."""
        return self.pi_offset

    @property
    def ref_tag_bits(self) -> int:
        """Size of the reference tag: what the storage tag leaves of the storage and reference space."""
        return _SPACE_BITS[self.guard] - self.storage_tag_bits

    @property
    def ref_tag_mask(self) -> int:
        """The largest reference tag; 0 where none is defined."""
        return (1 << self.ref_tag_bits) - 1

    def initial_ref_tag(self, ref_tag: int) -> int:
        """The reference tag of a command's first block, for `ref_tag` as `generate` and `verify` take it.

        Type 1 has the least significant bits of the LBA (NVM Command Set 1.0, 5.2.3), so an LBA may be given whole.

        Raises:
            UsageError: It does not fit, with type 2 or 3; or it is negative.
        """
        if ref_tag < 0 or (self.pi_type != 1 and ref_tag > self.ref_tag_mask):
            raise UsageError(f"reference tag {ref_tag:#x} does not fit in {self.ref_tag_bits} bits")
        return ref_tag & self.ref_tag_mask

    def command_dwords(self, ref_tag: int, storage_tag: int = 0) -> tuple[int, int, int]:
        """Command dwords 2, 3 and 14 for a command with these tags (NVM Command Set 1.0, 5.2.1.4.1).

        Raises:
            UsageError: A tag does not fit.
        """
        space = self.space(self.initial_ref_tag(ref_tag), storage_tag)
        return space >> 64, space >> 32 & 0xFFFF_FFFF, space & 0xFFFF_FFFF

    def space(self, ref_tag: int, storage_tag: int) -> int:
        """The storage and reference space: the storage tag above the reference tag.

        Raises:
            UsageError: The storage tag does not fit.
        """
        if not 0 <= storage_tag < 1 << self.storage_tag_bits:
            raise UsageError(f"storage tag {storage_tag:#x} does not fit in {self.storage_tag_bits} bits")
        return storage_tag << self.ref_tag_bits | ref_tag
