"""Owns the journeys of what the controller writes without data of the host's where blocks are protected.

That is Copy, with its checks and tags on both sides, and Write Zeroes.
"""

from __future__ import annotations

from typing import Any

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
            await refused(
                disk.qp.copy(disk.ns, [(lba, nblocks)], dest, **expected, **_format(disk)), CODES[check]
            )
        await disk.write(lba, data, metadata, disk.checks, **disk.tags(lba))
        other = {"app_tag": APP_TAG ^ 1, "app_mask": 0xFFFF}
        await refused(
            disk.qp.copy(disk.ns, [(lba, nblocks)], dest, io_flags=APP, **other, **_format(disk)), CODES[APP]
        )
        assert await disk.read(dest, nblocks, disk.checks, **disk.tags(dest)) == there
        disk.record(dest, *there)
        disk.record(lba, data, metadata)


async def zeroes_without_protection(device: Device) -> None:
    """Write zeroes without PRACT leaves zeros as protection information, deallocated or not, and checks find them."""
    async with opened(device) as disk:
        nblocks, more = 5, device.layout.metadata
        for deallocate in (False, True):
            lba = disk.at(35) + 10 * deallocate
            await _put(disk, lba, nblocks, 9500 + deallocate)
            # Type 1 has the LBA in the command in any case; nothing checks or writes it.
            await disk.qp.write_zeroes(disk.ns, lba, nblocks, deallocate=deallocate)
            zeros = bytes(nblocks * disk.size), bytes(nblocks * more)
            assert await disk.read(lba, nblocks, **disk.tags(lba)) == zeros
            for read in (disk.read, _verify(disk)):
                # The 16-bit guard of zeros is zero, and the 64-bit guard is not.
                if device.layout.guard == 16:
                    await read(lba, nblocks, GUARD, **disk.tags(lba))
                else:
                    await refused(read(lba, nblocks, GUARD, **disk.tags(lba)), CODES[GUARD])
                await refused(read(lba, nblocks, APP, **disk.tags(lba)), CODES[APP])
                if REF & disk.checks:
                    await refused(read(lba, nblocks, REF, **disk.tags(lba)), CODES[REF])
            disk.record(lba, *zeros)


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
