"""Owns the journeys of the commands besides reads and writes: what each does to the blocks, and to no others."""

from __future__ import annotations

from typing import Any

import pytest

import aionvme
from aionvme.tests.journeys.device import STALE, Device, MiB, fill, pattern, refused, stale


async def _put(qp: Any, ctrlr: Any, ns: Any, lba: int, data: bytes) -> None:
    with ctrlr.dma_alloc(len(data)) as buf:
        await qp.write(ns, fill(buf, data), lba, len(data) // ns.block_size)


async def _got(qp: Any, ctrlr: Any, ns: Any, lba: int, nblocks: int) -> bytes:
    with stale(ctrlr, nblocks * ns.block_size) as buf:
        await qp.read(ns, buf, lba, nblocks)
        return bytes(buf)


async def compare(device: Device) -> None:
    """Comparing succeeds with what is there, and fails where one bit of any block differs; nothing is changed."""
    async with device.queue_pair() as (ctrlr, ns, qp):
        lba, nblocks = device.blocks(4 * MiB), 9
        data = pattern(6000, nblocks * device.block_size)
        await _put(qp, ctrlr, ns, lba, data)
        with ctrlr.dma_alloc(len(data)) as buf:
            await qp.compare(ns, fill(buf, data), lba, nblocks)
            for at in (0, len(data) // 2, len(data) - 1):
                memoryview(buf)[at] ^= 1
                await refused(qp.compare(ns, buf, lba, nblocks), aionvme.StatusCode.COMPARE_FAILURE)
                memoryview(buf)[at] ^= 1
            await refused(qp.compare(ns, buf, lba + 1, nblocks), aionvme.StatusCode.COMPARE_FAILURE)
            await qp.compare(ns, buf, lba, nblocks)
        with ctrlr.dma_alloc(2 * (ctrlr.max_transfer or 0) or 4096) as buf:
            most = memoryview(buf).nbytes // device.block_size
            if ctrlr.max_transfer:
                with pytest.raises(aionvme.UsageError, match="one command"):
                    qp.compare(ns, buf, lba, most)
        device.record_blocks(lba, data)


async def write_zeroes(device: Device) -> None:
    """The blocks of a write zeroes are zeros, with and without leave to deallocate, and their neighbours stay."""
    async with device.queue_pair() as (ctrlr, ns, qp):
        for number, deallocate in enumerate((False, True)):
            lba, nblocks = device.blocks(4 * MiB + MiB // 2) + 62 * number, 60
            data = bytearray(pattern(6100 + number, nblocks * device.block_size))
            await _put(qp, ctrlr, ns, lba, bytes(data))
            await qp.write_zeroes(ns, lba + 7, 41, deallocate=deallocate)
            data[7 * device.block_size : 48 * device.block_size] = bytes(41 * device.block_size)
            assert await _got(qp, ctrlr, ns, lba, nblocks) == data
            device.record_blocks(lba, bytes(data))


async def dataset_management(device: Device) -> None:
    """Of many ranges that are deallocated each block is as it was or all of one value, and the blocks between stay."""
    async with device.queue_pair() as (ctrlr, ns, qp):
        size, lba, count = device.block_size, device.blocks(5 * MiB), 40
        data = pattern(6200, count * size)
        await _put(qp, ctrlr, ns, lba, data)
        await qp.dataset_management(ns, [(lba, count)], integral_read=True, integral_write=True)
        assert await _got(qp, ctrlr, ns, lba, count) == data
        before, even = qp.counters["completions"], [(lba + i, 1) for i in range(0, count, 2)]
        await qp.dataset_management(ns, even * 15, deallocate=True)
        assert qp.counters["completions"] - before >= 2, "one command has at most 256 ranges"
        seen = await _got(qp, ctrlr, ns, lba, count)
        for i in range(count):
            block, was = seen[i * size : (i + 1) * size], data[i * size : (i + 1) * size]
            assert block == was or (i % 2 == 0 and len(set(block)) == 1), i
        # What they read as, they are to be.
        device.record_blocks(lba, seen)


async def verify(device: Device) -> None:
    """Verifying blocks that can be read succeeds, without a transfer; a range that is not there is refused."""
    async with device.queue_pair() as (ctrlr, ns, qp):
        await _put(qp, ctrlr, ns, device.scratch, pattern(6300, 8 * device.block_size))
        await qp.verify(ns, device.scratch, 8)
        await qp.verify(ns, 0, device.blocks(4 * MiB))
        with pytest.raises(aionvme.UsageError, match="outside"):
            qp.verify(ns, device.nblocks - 1, 2)


async def copy(device: Device) -> None:
    """Several ranges are copied behind each other, those too long for one command or one descriptor as well."""
    async with device.queue_pair() as (ctrlr, ns, qp):
        size, lba, dest = device.block_size, device.blocks(14 * MiB), device.blocks(15 * MiB)
        data = pattern(6400, 250 * size)
        await _put(qp, ctrlr, ns, lba, data)
        guard = pattern(6401, size)
        ranges = [(7, 1), (0, 3), (100, 140), (7, 2), (249, 1), (0, 20)]
        total = sum(nblocks for _, nblocks in ranges)
        await _put(qp, ctrlr, ns, dest - 1, guard)
        await _put(qp, ctrlr, ns, dest + total, guard)
        await qp.copy(ns, [(lba + first, nblocks) for first, nblocks in ranges], dest)
        expected = b"".join(data[first * size : (first + nblocks) * size] for first, nblocks in ranges)
        assert await _got(qp, ctrlr, ns, dest - 1, total + 2) == guard + expected + guard
        assert await _got(qp, ctrlr, ns, lba, 250) == data
        with pytest.raises(aionvme.UsageError, match="overlap"):
            qp.copy(ns, [(lba, 10)], lba + 9)
        device.record_blocks(lba, data)
        device.record_blocks(dest - 1, guard + expected + guard)


def _calls(qp: Any, ns: Any, buf: Any, lba: int) -> dict[str, Any]:
    # The numbers are those of the enumerations in the specification: register, exclusive write.
    return {
        "compare": lambda: qp.compare(ns, buf, lba, 1),
        "write_zeroes": lambda: qp.write_zeroes(ns, lba, 1),
        "write_uncorrectable": lambda: qp.write_uncorrectable(ns, lba + 1, 1),
        "dataset_management": lambda: qp.dataset_management(ns, [(lba, 1)]),
        "verify": lambda: qp.verify(ns, lba, 1),
        "copy": lambda: qp.copy(ns, [(lba, 1)], lba + 2),
        "compare_and_write": lambda: qp.compare_and_write(ns, buf, buf, lba, 1),
        "reservation_register": lambda: qp.reservation_register(ns, 0, nrkey=1),
        "reservation_acquire": lambda: qp.reservation_acquire(ns, 0, 1, crkey=1),
        "reservation_report": lambda: qp.reservation_report(ns),
        "reservation_release": lambda: qp.reservation_release(ns, 0, 1, crkey=1),
        "bit buckets": lambda: qp.readv(ns, [(None, ns.block_size)], lba, 1),
    }


async def what_the_controller_lacks(device: Device) -> None:
    """A command that the controller has succeeds; one that it lacks is refused at the call and never submitted."""
    async with device.queue_pair() as (ctrlr, ns, qp):
        lba = device.scratch + 64
        with ctrlr.dma_alloc(device.block_size) as buf:
            await qp.write(ns, fill(buf, bytes([STALE]) * device.block_size), lba, 1)
            calls = _calls(qp, ns, buf, lba)
            assert device.lacks <= calls.keys()
            for name, call in calls.items():
                before = qp.counters["completions"]
                if name in device.lacks:
                    with pytest.raises(aionvme.UsageError):
                        call()
                    assert qp.counters["completions"] == before, name
                else:
                    await call()
                    assert qp.counters["completions"] > before, name
                if name == "write_zeroes":
                    await qp.write(ns, buf, lba, 1)
            if "write_uncorrectable" not in device.lacks:
                await qp.write(ns, buf, lba + 1, 1)
            if "reservation_register" not in device.lacks:
                await qp.reservation_register(ns, 1, crkey=1)
            await qp.flush(ns)


WRITING = (compare, write_zeroes, dataset_management, copy)
OTHERS = (verify, what_the_controller_lacks)
