"""Owns the journeys of metadata and protection information: where it goes, who makes it, who finds what is wrong.

The host's side is `aionvme.pi`; on a controller that others wrote, the one is checked by the other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest

import aionvme
from aionvme import pi
from aionvme.spec.nvm import IoFlags
from aionvme.tests.journeys.device import STALE, Device, fill, pattern, refused, stale

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
async def _disk(device: Device) -> AsyncIterator[Disk]:
    async with device.queue_pair() as (ctrlr, ns, qp):
        yield Disk(device, ctrlr, ns, qp)


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


async def metadata_goes_with_its_block(device: Device) -> None:
    """Metadata comes back with its block, is compared with it, and goes along when a transfer is split."""
    async with _disk(device) as disk:
        more, lba = device.layout.metadata, disk.at(1)
        for seed, nblocks in enumerate((1, 9, disk.most + 3)):
            data = pattern(8000 + seed, nblocks * disk.size)
            metadata = pattern(8100 + seed, nblocks * more)
            await disk.write(lba, data, metadata)
            seen = await disk.read(lba, nblocks)
            assert seen[0] == data, nblocks
            assert seen[1] == metadata, (
                nblocks,
                [i for i in range(nblocks * more) if seen[1][i] != metadata[i]],
            )
            if nblocks == 9:
                await disk.compare(lba, data, metadata)
                for at in (0, len(metadata) - 1):
                    await refused(
                        disk.compare(lba, data, _flipped(metadata, at)), aionvme.StatusCode.COMPARE_FAILURE
                    )
            disk.record(lba, data, metadata)
            lba += nblocks


async def copies_take_metadata_along(device: Device) -> None:
    """A copy has the metadata of what it copies."""
    async with _disk(device) as disk:
        more, lba = device.layout.metadata, disk.at(20)
        data, metadata = pattern(8200, 20 * disk.size), pattern(8201, 20 * more)
        await disk.write(lba, data, metadata)
        await disk.qp.copy(disk.ns, [(lba + 12, 8), (lba, 3)], lba + 50)
        expected = (
            data[12 * disk.size :] + data[: 3 * disk.size],
            metadata[12 * more :] + metadata[: 3 * more],
        )
        assert await disk.read(lba + 50, 11) == expected
        disk.record(lba, data, metadata)
        disk.record(lba + 50, *expected)


async def made_by_the_controller(device: Device) -> None:
    """What the controller makes in a write is what the host would have made, in every piece of a split transfer."""
    async with _disk(device) as disk:
        lba = disk.at(1)
        for seed, nblocks in enumerate((1, 7, disk.most + 5)):
            data = pattern(8300 + seed, nblocks * disk.size)
            given = pattern(8400 + seed, nblocks * device.layout.metadata)
            expected = disk.made(lba, data, given)
            await disk.write(lba, data, given, ACTION, **disk.tags(lba))
            seen = await disk.read(lba, nblocks, disk.checks, **disk.tags(lba))
            disk.checked(lba, *seen)
            assert seen == (data, expected)
            disk.record(lba, data, expected)
            lba += nblocks


async def made_by_the_host(device: Device) -> None:
    """What the host makes passes the controller's checks in writes, reads, compares and verifies."""
    async with _disk(device) as disk:
        lba = disk.at(10)
        for seed, nblocks in enumerate((1, 7, disk.most + 5)):
            data = pattern(8500 + seed, nblocks * disk.size)
            metadata = disk.made(lba, data, pattern(8600 + seed, nblocks * device.layout.metadata))
            tags = disk.tags(lba)
            await disk.write(lba, data, metadata, disk.checks, **tags)
            stripped = await disk.read(lba, nblocks, ACTION | disk.checks, **tags)
            assert stripped == (data, b"" if disk.no_metadata_goes(ACTION) else metadata)
            assert await disk.read(lba, nblocks, disk.checks, **tags) == (data, metadata)
            if nblocks == 7:
                await disk.compare(lba, data, metadata, disk.checks, **tags)
                await refused(
                    disk.compare(lba, _flipped(data, 0), metadata), aionvme.StatusCode.COMPARE_FAILURE
                )
            if "verify" not in device.lacks:
                await disk.qp.verify(disk.ns, lba, nblocks, io_flags=disk.checks, **tags)
            disk.record(lba, data, metadata)
            lba += nblocks


def _wrong(disk: Disk, metadata: bytes, block: int) -> list[tuple[IoFlags, bytes]]:
    """The metadata with one wrong bit in a block's guard, application tag or reference tag; each with its check."""
    guard = disk.layout.guard // 8
    start = block * disk.layout.metadata + disk.fmt.pi_offset
    places = [(GUARD, 0), (APP, guard), (REF, disk.layout.pi_bytes - 1)]
    return [(check, _flipped(metadata, start + at)) for check, at in places if check & disk.checks]


async def wrong_blocks_are_refused(device: Device) -> None:
    """A wrong guard or tag fails a write with the status of its check and is not stored, where that is checked."""
    async with _disk(device) as disk:
        lba, nblocks = disk.at(20), 6
        tags = disk.tags(lba)
        data = pattern(8700, nblocks * disk.size)
        metadata = disk.made(lba, data, pattern(8701, nblocks * device.layout.metadata))
        await disk.write(lba, data, metadata, disk.checks, **tags)
        for check, wrong in _wrong(disk, metadata, 4):
            other = pattern(8702, nblocks * disk.size)
            assert disk.made(lba, other, metadata) != metadata
            await refused(disk.write(lba, data, wrong, disk.checks, **tags), CODES[check])
            await refused(disk.write(lba, data, wrong, check, **tags), CODES[check])
        assert await disk.read(lba, nblocks, disk.checks, **tags) == (data, metadata)
        disk.record(lba, data, metadata)


async def wrong_blocks_are_found(device: Device) -> None:
    """Stored without a check, a wrong guard or tag fails what reads it with the check, and the host finds it too."""
    async with _disk(device) as disk:
        nblocks, lba = 6, disk.at(21)
        data = pattern(8800, nblocks * disk.size)
        for check, status in CODES.items():
            if not check & disk.checks:
                continue
            tags = disk.tags(lba)
            metadata = disk.made(lba, data, pattern(8801, nblocks * device.layout.metadata))
            wrong = dict(_wrong(disk, metadata, 4))[check]
            await disk.write(lba, data, wrong, 0, **tags)
            await refused(disk.read(lba, nblocks, check, **tags), status)
            await refused(disk.read(lba, nblocks, disk.checks | ACTION, **tags), status)
            if "verify" not in device.lacks:
                await refused(disk.qp.verify(disk.ns, lba, nblocks, io_flags=check, **tags), status)
            assert await disk.read(lba, nblocks, disk.checks & ~check, **tags) == (data, wrong)
            with pytest.raises(pi.ProtectionError, match="block 4"):
                disk.checked(lba, data, wrong)
            disk.record(lba, data, wrong)
            lba += nblocks


async def only_masked_bits_of_an_application_tag_count(device: Device) -> None:
    """An application tag is compared in the bits of its mask alone."""
    async with _disk(device) as disk:
        lba = disk.at(22)
        data, tags = pattern(8900, disk.size), disk.tags(lba)
        metadata = disk.made(lba, data, bytes(device.layout.metadata))
        await disk.write(lba, data, metadata, disk.checks, **tags)
        await disk.read(lba, 1, APP, **tags | {"app_tag": APP_TAG ^ 0x0F00, "app_mask": 0xF0FF})
        wrong = tags | {"app_tag": APP_TAG ^ 0x0F00, "app_mask": 0xFFFF}
        await refused(disk.read(lba, 1, APP, **wrong), CODES[APP])
        disk.record(lba, data, metadata)


async def tags_that_switch_checks_off(device: Device) -> None:
    """FFFFh as application tag, with type 3 along with ones as reference tag, and the block is not checked."""
    async with _disk(device) as disk:
        lba, data = disk.at(23), pattern(9000, disk.size)
        metadata = bytearray(disk.made(lba, data, bytes(device.layout.metadata)))
        guard, start = device.layout.guard // 8, disk.fmt.pi_offset
        metadata[start : start + guard] = bytes(guard)
        metadata[start + guard : start + guard + 2] = b"\xff\xff"
        tags = disk.tags(lba)
        await disk.write(lba, data, bytes(metadata), 0, **tags)
        if device.layout.pi == 3:
            await refused(disk.read(lba, 1, disk.checks, **tags), CODES[GUARD])
            metadata[start + guard : start + device.layout.pi_bytes] = b"\xff" * (
                device.layout.pi_bytes - guard
            )
            await disk.write(lba, data, bytes(metadata), 0, **tags)
        assert await disk.read(lba, 1, disk.checks, **tags) == (data, bytes(metadata))
        disk.checked(lba, data, bytes(metadata))
        disk.record(lba, data, bytes(metadata))


async def zeroes_with_protection(device: Device) -> None:
    """Write zeroes with PRACT makes the protection information of zeros, in its blocks alone."""
    async with _disk(device) as disk:
        lba, nblocks, more = disk.at(24), 12, device.layout.metadata
        data, tags = pattern(9100, nblocks * disk.size), disk.tags(lba)
        metadata = disk.made(lba, data, pattern(9101, nblocks * more))
        await disk.write(lba, data, metadata, disk.checks, **tags)
        inner = disk.tags(lba + 3)
        await disk.qp.write_zeroes(disk.ns, lba + 3, 5, io_flags=ACTION, **inner)
        zeros = bytes(5 * disk.size)
        made = disk.made(lba + 3, zeros, bytes(5 * more))
        data = data[: 3 * disk.size] + zeros + data[8 * disk.size :]
        metadata = metadata[: 3 * more] + made + metadata[8 * more :]
        assert await disk.read(lba, nblocks, disk.checks, **tags) == (data, metadata)
        disk.record(lba, data, metadata)


PLAIN = (metadata_goes_with_its_block, copies_take_metadata_along)
PROTECTED = (
    made_by_the_controller,
    made_by_the_host,
    wrong_blocks_are_refused,
    wrong_blocks_are_found,
    only_masked_bits_of_an_application_tag_count,
    tags_that_switch_checks_off,
    zeroes_with_protection,
)
