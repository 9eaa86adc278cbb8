"""Owns what journeys with metadata hold in their hands: a namespace as blocks and metadata apart, with their tags."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs

import aionvme
from aionvme import pi
from aionvme.spec.nvm import IoFlags
from aionvme.tests.journeys.device import STALE, Device, fill, stale

APP_TAG = 0x1234
ACTION = IoFlags.PRACT
GUARD, APP, REF = IoFlags.PRCHK_GUARD, IoFlags.PRCHK_APP, IoFlags.PRCHK_REF
CODES = {
    GUARD: aionvme.StatusCode.GUARD_CHECK_ERROR,
    APP: aionvme.StatusCode.APPLICATION_TAG_CHECK_ERROR,
    REF: aionvme.StatusCode.REFERENCE_TAG_CHECK_ERROR,
}


class Disk:
    """An open namespace with metadata, as blocks and their metadata apart, however the host has them in memory."""

    def __init__(self, device: Device, ctrlr: Any, ns: Any, qp: Any) -> None:
        self.device, self.ctrlr, self.ns, self.qp = device, ctrlr, ns, qp
        self.layout, self.size = device.layout, device.block_size
        self.most = device.blocks(ctrlr.max_transfer or 1 << 20)
        if self.layout.pi:
            # As it is described by Identify, but apart, which is how `made` has it.
            found = pi.Format.of(ns.data, ns.nvm)
            assert (found.metadata_size, found.extended, found.pi_type, found.pi_first, found.guard) == (
                self.layout.metadata,
                self.layout.extended,
                self.layout.pi,
                self.layout.pi_first,
                pi.Guard.CRC64 if self.layout.guard == 64 else pi.Guard.CRC16,
            )
            self.fmt = found
            self.apart = attrs.evolve(found, extended=False)
            # Type 3 has no reference tag that could be checked.
            self.checks = GUARD | APP if self.layout.pi == 3 else GUARD | APP | REF

    def at(self, place: int) -> int:
        """The first block of a place from 1 to 38; no system looks for a partition table in any of them."""
        return place * (self.device.nblocks // 40)

    def ref_tag(self, lba: int) -> int:
        """The reference tag that these journeys use for a transfer from a block on."""
        return lba if self.layout.pi == 1 else 0x5A0000 + lba

    def tags(self, lba: int) -> dict[str, Any]:
        """The tags of a transfer from a block on."""
        return {"ref_tag": self.ref_tag(lba), "app_tag": APP_TAG, "app_mask": 0xFFFF}

    def made(self, lba: int, data: bytes, metadata: bytes) -> bytes:
        """The metadata with the protection information that the host makes."""
        out = bytearray(metadata)
        pi.generate(self.apart, data, out, ref_tag=self.ref_tag(lba), app_tag=APP_TAG)
        return bytes(out)

    def checked(self, lba: int, data: bytes, metadata: bytes) -> None:
        """The host finds nothing wrong."""
        blocks, rest = (self.joined(data, metadata), None) if self.fmt.extended else (data, metadata)
        pi.verify(
            self.fmt, blocks, rest, ref_tag=self.ref_tag(lba), app_tag=APP_TAG, app_mask=0xFFFF,
            check_ref=self.layout.pi != 3,
        )  # fmt: skip

    def joined(self, data: bytes, metadata: bytes) -> bytes:
        """Each block's metadata behind it."""
        size, more = self.size, self.layout.metadata
        return b"".join(
            data[i * size : (i + 1) * size] + metadata[i * more : (i + 1) * more]
            for i in range(len(data) // size)
        )

    def parted(self, blocks: bytes) -> tuple[bytes, bytes]:
        """Data and metadata of what `joined` has joined."""
        unit = self.size + self.layout.metadata
        each = [blocks[i : i + unit] for i in range(0, len(blocks), unit)]
        return b"".join(one[: self.size] for one in each), b"".join(one[self.size :] for one in each)

    def no_metadata_goes(self, flags: int) -> bool:
        """With PRACT, where it is nothing but protection information, the host has no metadata."""
        return bool(flags & ACTION) and self.layout.metadata == self.layout.pi_bytes

    async def out(
        self, call: Callable[..., Awaitable[Any]], lba: int, data: bytes, metadata: bytes, flags: int = 0, **tags: Any
    ) -> None:  # fmt: skip
        """A command that takes blocks from the host: write or compare."""
        nblocks, separate = len(data) // self.size, None
        if not self.no_metadata_goes(flags):
            if self.layout.extended:
                data = self.joined(data, metadata)
            else:
                separate = fill(self.ctrlr.dma_alloc(len(metadata)), metadata)
        with self.ctrlr.dma_alloc(len(data)) as buf:
            fill(buf, data)
            await call(self.ns, buf, lba, nblocks, metadata=separate, io_flags=flags, **tags)

    async def write(self, lba: int, data: bytes, metadata: bytes, flags: int = 0, **tags: Any) -> None:
        """Write blocks."""
        await self.out(self.qp.write, lba, data, metadata, flags, **tags)

    async def compare(self, lba: int, data: bytes, metadata: bytes, flags: int = 0, **tags: Any) -> None:
        """Compare blocks."""
        await self.out(self.qp.compare, lba, data, metadata, flags, **tags)

    async def read(self, lba: int, nblocks: int, flags: int = 0, **tags: Any) -> tuple[bytes, bytes]:
        """Read blocks: data and metadata, which is empty where none goes to the host."""
        layout, size = self.layout, self.size
        separate: Any = None
        none_goes = self.no_metadata_goes(flags)
        if layout.extended and not none_goes:
            size += layout.metadata
        elif not none_goes:
            separate = stale(self.ctrlr, nblocks * layout.metadata + 4)
        with stale(self.ctrlr, nblocks * size + 4) as buf:
            await self.qp.read(self.ns, buf, lba, nblocks, metadata=separate, io_flags=flags, **tags)
            seen = bytes(buf)
        assert set(seen[-4:]) == {STALE}
        if none_goes:
            return seen[:-4], b""
        if layout.extended:
            return self.parted(seen[:-4])
        assert separate is not None
        metadata = bytes(separate)
        assert set(metadata[-4:]) == {STALE}
        return seen[:-4], metadata[:-4]

    def record(self, lba: int, data: bytes, metadata: bytes) -> None:
        """Both are to be looked for, each where it is stored."""
        self.device.record_blocks(lba, data)
        self.device.record_metadata(lba, metadata)


@asynccontextmanager
async def opened(device: Device) -> AsyncIterator[Disk]:
    async with device.queue_pair() as (ctrlr, ns, qp):
        yield Disk(device, ctrlr, ns, qp)


def flipped(data: bytes, at: int) -> bytes:
    """The same with one wrong bit in that byte."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def wrong_parts(disk: Disk, metadata: bytes, block: int) -> list[tuple[IoFlags, bytes]]:
    """The metadata with one wrong bit in a block's guard, application tag or reference tag; each with its check."""
    guard = disk.layout.guard // 8
    start = block * disk.layout.metadata + disk.fmt.pi_offset
    places = [(GUARD, 0), (APP, guard), (REF, disk.layout.pi_bytes - 1)]
    return [(check, flipped(metadata, start + at)) for check, at in places if check & disk.checks]
