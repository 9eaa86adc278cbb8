"""Owns the journeys of what the controller writes without data of the host's where blocks are protected.

That is Copy, with its checks and tags on both sides, and Write Zeroes.
"""

from __future__ import annotations

from typing import Any

import aionvme
from aionvme.spec.nvm import IoFlags
from aionvme.tests.journeys.device import Device, pattern, refused
from aionvme.tests.journeys.disk import (
    ACTION,
    APP,
    APP_TAG,
    CODES,
    GUARD,
    REF,
    Disk,
    opened,
    wrong_parts,
)


def _format(disk: Disk) -> dict[str, Any]:
    # Source descriptors are of format 1 with a long guard (NVM Command Set 1.0, 3.2.2).
    return {"format": int(disk.layout.guard == 64)}


def _expected(disk: Disk, *lbas: int) -> dict[str, Any]:
    """The tags and checks of a copy's reads, from these blocks on."""
    return {
        "source_flags": disk.checks,
        "source_ref_tags": [disk.ref_tag(lba) for lba in lbas],
        "source_app_tag": APP_TAG,
        "source_app_mask": 0xFFFF,
    }


async def _put(disk: Disk, lba: int, nblocks: int, seed: int) -> tuple[bytes, bytes]:
    """Write blocks with protection information that the host made."""
    data = pattern(seed, nblocks * disk.size)
    metadata = disk.made(lba, data, pattern(seed + 1, nblocks * disk.layout.metadata))
    await disk.write(lba, data, metadata, disk.checks, **disk.tags(lba))
    return data, metadata


def _status(device: Device, check: IoFlags) -> aionvme.StatusCode:
    """How a copy ends that a check fails."""
    if "status of a copy's check" in device.lacks:
        return aionvme.StatusCode.INTERNAL_ERROR
    return CODES[check]


async def copies_have_the_protection_of_what_they_copy(device: Device) -> None:
    """Checked where it is read, protection information goes along unchanged: the reference tags are the old ones."""
    async with opened(device) as disk:
        lba, dest, nblocks = disk.at(26), disk.at(27), 11
        stored = await _put(disk, lba, nblocks, 9200)
        # Of what is written the guard and the application tag can be checked as well.
        tags = {"app_tag": APP_TAG, "app_mask": 0xFFFF}
        await disk.qp.copy(
            disk.ns,
            [(lba, nblocks)],
            dest,
            io_flags=GUARD | APP,
            **tags,
            **_expected(disk, lba),
            **_format(disk),
        )
        assert await disk.read(dest, nblocks, GUARD | APP, **disk.tags(dest)) == stored
        if REF & disk.checks:
            await refused(disk.read(dest, nblocks, REF, **disk.tags(dest)), CODES[REF])
        disk.record(lba, *stored)
        disk.record(dest, *stored)


async def copies_are_protected_anew(device: Device) -> None:
    """With PRACT each block gets the protection information of its new place, in every piece of a copy that is cut."""
    async with opened(device) as disk:
        lba, dest, more = disk.at(28), disk.at(30), device.layout.metadata
        data, metadata = await _put(disk, lba, 19, 9300)
        first, second = (lba + 8, 11), (lba, 5)
        before = disk.qp.counters["completions"]
        await disk.qp.copy(
            disk.ns, [first, second], dest, io_flags=ACTION, **disk.tags(dest), **_expected(disk, lba + 8, lba),
            **_format(disk),
        )  # fmt: skip
        longest = disk.ns.data.mcl
        assert disk.qp.counters["completions"] - before == -(-16 // longest)
        copied = data[8 * disk.size :] + data[: 5 * disk.size]
        anew = disk.made(dest, copied, metadata[8 * more :] + metadata[: 5 * more])
        assert await disk.read(dest, 16, disk.checks, **disk.tags(dest)) == (copied, anew)
        disk.record(lba, data, metadata)
        disk.record(dest, copied, anew)


async def what_is_wrong_is_not_copied(device: Device) -> None:
    """A wrong guard or tag fails a copy that checks it, on either side, with its status, and nothing is written."""
    async with opened(device) as disk:
        lba, dest, nblocks = disk.at(32), disk.at(33), 6
        there = await _put(disk, dest, nblocks, 9400)
        data, metadata = await _put(disk, lba, nblocks, 9402)
        for check, wrong in wrong_parts(disk, metadata, 4):
            await disk.write(lba, data, wrong, 0, **disk.tags(lba))
            expected = _expected(disk, lba) | {"source_flags": check}
            copying = disk.qp.copy(disk.ns, [(lba, nblocks)], dest, **expected, **_format(disk))
            await refused(copying, _status(device, check))
        await disk.write(lba, data, metadata, disk.checks, **disk.tags(lba))
        other = {"app_tag": APP_TAG ^ 1, "app_mask": 0xFFFF}
        copying = disk.qp.copy(disk.ns, [(lba, nblocks)], dest, io_flags=APP, **other, **_format(disk))
        await refused(copying, _status(device, APP))
        assert await disk.read(dest, nblocks, disk.checks, **disk.tags(dest)) == there
        disk.record(dest, *there)
        disk.record(lba, data, metadata)


async def zeroes_without_protection(device: Device) -> None:
    """Write zeroes without PRACT leaves zeros as protection information, deallocated or not, and checks find them."""
    async with opened(device) as disk:
        nblocks, more = 5, device.layout.metadata
        for deallocate in (False, True):
            lba = disk.at(35) + 10 * deallocate
            _, before = await _put(disk, lba, nblocks, 9500 + deallocate)
            await disk.qp.write_zeroes(disk.ns, lba, nblocks, deallocate=deallocate)
            data, metadata = await disk.read(lba, nblocks, **disk.tags(lba))
            assert data == bytes(nblocks * disk.size)
            if "zeroes of protection information" in device.lacks:
                # It was left as it was, or what is a hole in the medium reads as FFh.
                assert metadata in (before, b"\xff" * len(before))
                device.record_blocks(lba, data)
                continue
            assert metadata == bytes(nblocks * more)
            for read in (disk.read, _verify(disk)):
                await _only_zeros_pass(disk, read, lba, nblocks)
            disk.record(lba, data, metadata)


async def _only_zeros_pass(disk: Disk, read: Any, lba: int, nblocks: int) -> None:
    """The 16-bit guard of zeros is zero, and the 64-bit guard is not; nor are these tags."""
    for check, code in CODES.items():
        if check == GUARD and disk.layout.guard == 16:
            await read(lba, nblocks, check, **disk.tags(lba))
        elif check & disk.checks:
            await refused(read(lba, nblocks, check, **disk.tags(lba)), code)


def _verify(disk: Disk) -> Any:
    async def verify(lba: int, nblocks: int, flags: int, **tags: Any) -> None:
        await disk.qp.verify(disk.ns, lba, nblocks, io_flags=flags, **tags)

    return verify


PROTECTED = (
    copies_have_the_protection_of_what_they_copy,
    copies_are_protected_anew,
    what_is_wrong_is_not_copied,
    zeroes_without_protection,
)
