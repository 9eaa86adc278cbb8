"""Owns the journeys of metadata and protection information: where it goes, who makes it, who finds what is wrong.

The host's side is `aionvme.pi`; on a controller that others wrote, the one is checked by the other.
"""

from __future__ import annotations

import pytest

import aionvme
from aionvme import pi
from aionvme.tests.journeys.device import Device, pattern, refused
from aionvme.tests.journeys.disk import ACTION, APP, APP_TAG, CODES, GUARD, flipped, opened, wrong_parts


async def metadata_goes_with_its_block(device: Device) -> None:
    """Metadata comes back with its block, is compared with it, and goes along when a transfer is split."""
    async with opened(device) as disk:
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
                        disk.compare(lba, data, flipped(metadata, at)), aionvme.StatusCode.COMPARE_FAILURE
                    )
            disk.record(lba, data, metadata)
            lba += nblocks


async def copies_take_metadata_along(device: Device) -> None:
    """A copy has the metadata of what it copies."""
    async with opened(device) as disk:
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
    async with opened(device) as disk:
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
    async with opened(device) as disk:
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
                    disk.compare(lba, flipped(data, 0), metadata), aionvme.StatusCode.COMPARE_FAILURE
                )
            if "verify" not in device.lacks:
                await disk.qp.verify(disk.ns, lba, nblocks, io_flags=disk.checks, **tags)
            disk.record(lba, data, metadata)
            lba += nblocks


async def wrong_blocks_are_refused(device: Device) -> None:
    """A wrong guard or tag fails a write with the status of its check and is not stored, where that is checked."""
    async with opened(device) as disk:
        lba, nblocks = disk.at(20), 6
        tags = disk.tags(lba)
        data = pattern(8700, nblocks * disk.size)
        metadata = disk.made(lba, data, pattern(8701, nblocks * device.layout.metadata))
        await disk.write(lba, data, metadata, disk.checks, **tags)
        for check, wrong in wrong_parts(disk, metadata, 4):
            other = pattern(8702, nblocks * disk.size)
            assert disk.made(lba, other, metadata) != metadata
            await refused(disk.write(lba, data, wrong, disk.checks, **tags), CODES[check])
            await refused(disk.write(lba, data, wrong, check, **tags), CODES[check])
        assert await disk.read(lba, nblocks, disk.checks, **tags) == (data, metadata)
        disk.record(lba, data, metadata)


async def wrong_blocks_are_found(device: Device) -> None:
    """Stored without a check, a wrong guard or tag fails what reads it with the check, and the host finds it too."""
    async with opened(device) as disk:
        nblocks, lba = 6, disk.at(21)
        data = pattern(8800, nblocks * disk.size)
        for check, status in CODES.items():
            if not check & disk.checks:
                continue
            tags = disk.tags(lba)
            metadata = disk.made(lba, data, pattern(8801, nblocks * device.layout.metadata))
            wrong = dict(wrong_parts(disk, metadata, 4))[check]
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
    async with opened(device) as disk:
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
    async with opened(device) as disk:
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
    async with opened(device) as disk:
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
