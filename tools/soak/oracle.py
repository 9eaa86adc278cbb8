"""Owns what each block may hold: the last write that was acknowledged, or one since that ended otherwise."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterable

# CRC-32 of what follows, LBA, version; the rest is a pattern of the version.
_HEAD = struct.Struct("<IQQ")
ZEROES = 0
"""The version of a block of zeroes."""


class Oracle:
    """The blocks of one namespace, zeroes at first.

    Attributes:
        verified: How many blocks that were read had what they had to.
        lost: What was wrong of the others.
    """

    def __init__(self, nblocks: int, block_size: int) -> None:
        self.block_size = block_size
        self.verified = 0
        self.lost: list[str] = []
        self._versions = itertools.count(1)
        # What a block may hold: one version, or several where the end of a write was not told.
        self._allowed: list[set[int]] = [{ZEROES} for _ in range(nblocks)]
        self._zeroes = bytes(block_size)

    def version(self) -> int:
        """One that no block had."""
        return next(self._versions)

    def block(self, lba: int, version: int) -> bytes:
        """What a block of a version is."""
        if version == ZEROES:
            return self._zeroes
        pattern = struct.pack("<QQ", version * 0x9E3779B97F4A7C15 & (1 << 64) - 1, lba)
        body = (pattern * (self.block_size // len(pattern)))[: self.block_size - _HEAD.size]
        crc = zlib.crc32(struct.pack("<QQ", lba, version) + body)
        return _HEAD.pack(crc, lba, version) + body

    def begin(self, lbas: Iterable[int], version: int) -> None:
        """They are about to be written: from now on they may be so."""
        for lba in lbas:
            self._allowed[lba].add(version)

    def acknowledge(self, lbas: Iterable[int], version: int) -> None:
        """The device said that they are written."""
        for lba in lbas:
            self._allowed[lba] = {version}

    def known(self, lba: int) -> int | None:
        """The version that is there for certain; None if there are several."""
        allowed = self._allowed[lba]
        return next(iter(allowed)) if len(allowed) == 1 else None

    def check(self, lba: int, block: bytes, how: str) -> None:
        """What was read of one. Which of several versions it is stands from then on: no command is under way."""
        version = self._version_of(lba, block)
        if version in self._allowed[lba]:
            self.verified += 1
        else:
            wanted = " or ".join(map(str, sorted(self._allowed[lba])))
            found = "damaged" if version is None else f"version {version}"
            self.lost.append(
                f"LBA {lba}, read by {how}: {found}, and it must be version {wanted}; begins {block[:24].hex()}"
            )
        if version is not None:
            self._allowed[lba] = {version}

    def _version_of(self, lba: int, block: bytes) -> int | None:
        if block == self._zeroes:
            return ZEROES
        crc, there, version = _HEAD.unpack_from(block)
        if there != lba or crc != zlib.crc32(block[4:]):
            return None
        return int(version)
