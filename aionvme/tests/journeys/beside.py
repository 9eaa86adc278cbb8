"""Owns the journeys of separate metadata beside SGLs, and of metadata that is in several places for the device."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import pytest

import aionvme
from aionvme.tests.journeys.device import STALE, Device, fill, pattern, refused, stale
from aionvme.tests.journeys.disk import Disk, opened

PAGE = 4096
# SGLS: metadata in one piece beside an SGL, and metadata that an SGL of its own says (Base 2.0, 5.17.2.1).
IN_ONE_PIECE, BY_AN_SGL = 17, 19


def _sgls(disk: Disk, *bits: int) -> bool:
    sgls = disk.ctrlr.data.sgls
    return bool(sgls & 3) and any(sgls >> bit & 1 for bit in bits)


async def _there_and_back(
    disk: Disk, lba: int, data: bytes, out: Any, back: Any, metadata: bytes, **options: Any
) -> None:
    """Write, compare and read blocks whose metadata is in these places."""
    qp, ns, nblocks = disk.qp, disk.ns, len(data) // disk.size
    fill(out, metadata)
    fill(back, bytes([STALE]) * len(metadata))
    with fill(disk.ctrlr.dma_alloc(len(data)), data) as buf, stale(disk.ctrlr, len(data)) as target:
        await qp.write(ns, buf, lba, nblocks, metadata=out, **options)
        await qp.read(ns, target, lba, nblocks, metadata=back, **options)
        assert bytes(target) == data
        assert bytes(back[: len(metadata)]) == metadata
        await qp.compare(ns, buf, lba, nblocks, metadata=out, **options)
        memoryview(buf)[-1] ^= 1
        code = aionvme.StatusCode.COMPARE_FAILURE
        await refused(qp.compare(ns, buf, lba, nblocks, metadata=out, **options), code)
    disk.record(lba, data, metadata)


async def metadata_beside_an_sgl(device: Device) -> None:
    """SGLs beside separate metadata may be asked for where the controller has them, and the same is stored."""
    async with opened(device) as disk:
        lba, nblocks = disk.at(36), 7
        data, metadata = pattern(9600, nblocks * disk.size), pattern(9601, nblocks * device.layout.metadata)
        out, back = (memoryview(disk.ctrlr.dma_alloc(len(metadata))) for _ in range(2))
        if not _sgls(disk, IN_ONE_PIECE, BY_AN_SGL):
            with (
                disk.ctrlr.dma_alloc(len(data)) as buf,
                pytest.raises(aionvme.UsageError, match="SGLS bits 17"),
            ):
                disk.qp.write(disk.ns, buf, lba, nblocks, metadata=out, sgl=True)
            await _there_and_back(disk, lba, data, out, back, metadata)
            return
        await _there_and_back(disk, lba, data, out, back, metadata, sgl=True)
        # What only an SGL can say goes by one, metadata or not.
        with stale(disk.ctrlr, 3 * len(data)) as odd:
            parts = [memoryview(odd)[4:8], memoryview(odd)[PAGE + 12 :][: len(data) - 4]]
            await disk.qp.write(
                disk.ns, fill(disk.ctrlr.dma_alloc(len(data)), data), lba, nblocks, metadata=out
            )
            request = disk.qp.readv(disk.ns, parts, lba, nblocks, metadata=back)
            await request
            assert request.used_sgl
            assert b"".join(map(bytes, parts)) == data
            assert bytes(back) == metadata
            del parts


def _scattered(ctrlr: Any, count: int) -> tuple[Any, list[Any]]:
    """Pages of which no two are together for the device, and their registrations."""
    memory = np.frombuffer(mmap.mmap(-1, count * PAGE), np.uint8)
    order = [*range(0, count, 2), *range(1, count, 2)]
    return memory, [ctrlr.dma_register(memory[PAGE * n : PAGE * (n + 1)]) for n in order]


async def metadata_in_several_places(device: Device) -> None:
    """Metadata that is cut between two blocks, or within one's, goes along where the controller can be told of it."""
    async with opened(device) as disk:
        more = device.layout.metadata
        out, held = _scattered(disk.ctrlr, 3)
        back, more_held = _scattered(disk.ctrlr, 3)
        nblocks = 9
        data, metadata = pattern(9700, nblocks * disk.size), pattern(9701, nblocks * more)
        for number, offset in enumerate((PAGE - 4 * more, PAGE - 4 * more - 4)):
            lba = disk.at(37) + 12 * number
            places = [memory[offset : offset + len(metadata)] for memory in (out, back)]
            if _sgls(disk, BY_AN_SGL):
                await _there_and_back(disk, lba, data, memoryview(places[0]), memoryview(places[1]), metadata)
                continue
            with fill(disk.ctrlr.dma_alloc(len(data)), data) as buf:
                if number == 0:
                    fill(places[0].data, metadata)
                    await disk.qp.write(disk.ns, buf, lba, nblocks, metadata=places[0])
                    await disk.qp.read(disk.ns, buf, lba, nblocks, metadata=places[1])
                    assert places[1].tobytes() == metadata
                    disk.record(lba, data, metadata)
                else:
                    before = disk.qp.counters["completions"]
                    with pytest.raises(
                        aionvme.UsageError, match=f"metadata: byte {4 * more + 4} is elsewhere"
                    ):
                        disk.qp.write(disk.ns, buf, lba, nblocks, metadata=places[0])
                    assert disk.qp.counters["completions"] == before
        for registration in (*held, *more_held):
            registration.close()


BESIDE = (metadata_beside_an_sgl, metadata_in_several_places)
