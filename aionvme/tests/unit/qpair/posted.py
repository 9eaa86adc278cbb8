"""Owns posted commands as a controller would walk them, and whether they are a transfer."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import attrs

from aionvme.tests.unit.qpair.device import Device
from aionvme.tests.unit.qpair.model import Run, part, total, walk_prps, walk_sgl

SGLS = {"none": 0, "any": 1 | 1 << 16 | 1 << 17, "dwords": 2 | 1 << 16 | 1 << 17, "no buckets": 1 | 1 << 17,
        "metadata": 1 | 1 << 16 | 1 << 19}  # fmt: skip
BESIDE, LISTED = 1 << 17, 1 << 19  # metadata beside an SGL in one piece, or by an SGL of its own


@attrs.frozen
class Shape:
    """A controller and a namespace."""

    block_size: int
    metadata_size: int
    extended: bool
    boundary: int
    page_size: int
    max_transfer: int
    sgls: int
    depth: int

    @property
    def unit(self) -> int:
        return self.block_size + self.metadata_size * self.extended


@attrs.frozen
class Posted:
    """A command, walked."""

    opcode: int
    lba: int
    nblocks: int
    data: list[Run]
    metadata: list[Run]
    ref_tag: int

    @classmethod
    def look(cls, dev: Device, shape: Shape) -> None:
        """Has a device show its commands so."""
        dev.look = lambda sqe: cls.of(dev, shape, sqe)

    @classmethod
    def of(cls, dev: Device, shape: Shape, sqe: bytes) -> Posted:
        flags = sqe[1]
        mptr, prp1, prp2, lba, cdw12, _cdw13, cdw14 = struct.unpack_from("<QQQQIII", sqe, 16)
        nblocks = (cdw12 & 0xFFFF) + 1
        nbytes = nblocks * shape.unit
        assert flags in (0, 0x40, 0x80)
        if flags:
            assert shape.sgls
            data = walk_sgl(sqe[24:40], dev.fetch)
        else:
            data = walk_prps(prp1, prp2, nbytes, shape.page_size, dev.fetch)
        assert total(data) == nbytes
        metadata: list[Run] = [(mptr, nblocks * shape.metadata_size)] if mptr else []
        if flags == 0x80:
            # MPTR is where one descriptor is, at a multiple of 8 (Base 2.0, 3.3.3.1).
            assert shape.sgls & LISTED
            assert mptr % 8 == 0
            metadata = walk_sgl(dev.fetch(mptr, 16), dev.fetch)
        elif flags and mptr:
            assert shape.sgls & BESIDE
        return cls(sqe[0], lba, nblocks, data, metadata, cdw14)


def check(
    shape: Shape, posted: list[Posted], lba: int, nblocks: int, data: Sequence[Run], metadata: Sequence[Run]
) -> None:
    """The commands are the transfer: each block once, in order, in no command that is too long."""
    at = lba
    for piece in posted:
        assert piece.lba == at
        assert piece.nblocks * shape.unit <= max(shape.max_transfer, shape.unit)
        if shape.boundary:
            assert piece.lba // shape.boundary == (piece.lba + piece.nblocks - 1) // shape.boundary
        assert piece.data == part(data, (at - lba) * shape.unit, piece.nblocks * shape.unit)
        if metadata:
            size = shape.metadata_size
            assert piece.metadata == part(metadata, (at - lba) * size, piece.nblocks * size)
        else:
            assert piece.metadata == []
        at += piece.nblocks
    assert at == lba + nblocks
