"""Owns the journeys of data: it comes back as it was written, whatever its size, its place and its memory."""

from __future__ import annotations

import array
import mmap
from typing import Any

import numpy as np
import pytest

import aionvme
from aionvme.spec.entries import Sqe
from aionvme.spec.opcodes import NvmOpcode
from aionvme.tests.journeys.device import STALE, Device, MiB, fill, pattern, stale

PAGE = 4096


def _most_blocks(ctrlr: aionvme.Controller, device: Device) -> int:
    """Blocks that one command moves at most."""
    return device.blocks(ctrlr.max_transfer or MiB)


async def sizes(device: Device) -> None:
    """Transfers of one block, about a page or two, and about what one command can move come back as written."""
    async with device.connect() as ctrlr, ctrlr.alloc_io_qpair() as qp:
        ns = ctrlr.namespaces[1]
        most, page = _most_blocks(ctrlr, device), device.blocks(PAGE)
        lba = 3
        for seed, nblocks in enumerate(
            (1, 2, page + 1, 2 * page, 2 * page + 1, most - 1, most, most + 1, 3 * most + 1)
        ):
            nbytes = nblocks * device.block_size
            data = pattern(seed, nbytes)
            with ctrlr.dma_alloc(nbytes) as out, stale(ctrlr, nbytes + PAGE) as back:
                await qp.write(ns, fill(out, data), lba, nblocks)
                await qp.read(ns, back, lba, nblocks)
                assert bytes(memoryview(back)[:nbytes]) == data, nblocks
                assert set(memoryview(back)[nbytes:]) == {STALE}, "the device wrote behind the data"
            device.record_blocks(lba, data)
            lba += nblocks


async def a_split_transfer_is_one_call(device: Device) -> None:
    """A transfer of several commands' size takes as many commands, and one await."""
    async with device.connect() as ctrlr, ctrlr.alloc_io_qpair() as qp:
        ns, most = ctrlr.namespaces[1], _most_blocks(ctrlr, device)
        buf = stale(ctrlr, 3 * most * device.block_size)
        await qp.read(ns, buf, 0, 3 * most)
        assert qp.counters["completions"] == (3 if ctrlr.max_transfer else 1)
        buf.close()


async def unaligned_starts(device: Device) -> None:
    """Data that begins anywhere in a page, at a multiple of 4, comes back, and nothing beside it is touched."""
    async with device.connect() as ctrlr, ctrlr.alloc_io_qpair() as qp:
        ns = ctrlr.namespaces[1]
        lba = device.blocks(6 * MiB) + 1
        for number, offset in enumerate((4, 508, 512, 2044, 4092)):
            # One page, two pages and many: the second PRP is nothing, a page, and a list.
            for nblocks in (1, device.blocks(PAGE), device.blocks(2 * PAGE), device.blocks(5 * PAGE) + 1):
                nbytes = nblocks * device.block_size
                data = pattern(1000 + number, nbytes)
                with stale(ctrlr, nbytes + 2 * PAGE) as out, stale(ctrlr, nbytes + 2 * PAGE) as back:
                    fill(memoryview(out)[offset:], data)
                    await qp.write(ns, memoryview(out)[offset:], lba, nblocks)
                    await qp.read(ns, memoryview(back)[4096 - offset :], lba, nblocks)
                    seen, at = bytes(back), 4096 - offset
                    assert seen[at : at + nbytes] == data, (offset, nblocks)
                    assert set(seen[:at] + seen[at + nbytes :]) == {STALE}, (offset, nblocks)
                device.record_blocks(lba, data)
                lba += nblocks


async def an_odd_start_is_refused(device: Device) -> None:
    """Data that begins at no multiple of 4 is refused at the call, and the queue pair goes on."""
    async with device.connect() as ctrlr, ctrlr.alloc_io_qpair() as qp:
        buf = ctrlr.dma_alloc(2 * PAGE)
        ns = ctrlr.namespaces[1]
        for offset in (1, 2, 3, 4095):
            with pytest.raises(aionvme.UsageError, match="4"):
                qp.read(ns, memoryview(buf)[offset:], 0, 1)
        assert qp.counters["completions"] == 0
        await qp.read(ns, buf, 0, 1)


def _memories(nbytes: int) -> dict[str, Any]:
    """Memory of several owners, of so many bytes each."""
    return {
        "bytearray": bytearray(nbytes),
        "mmap": mmap.mmap(-1, nbytes),
        "array": array.array("Q", bytes(nbytes)),
        "numpy": np.zeros(nbytes, np.uint8),
        "numpy of doubles, as rows": np.zeros((nbytes // 64, 8), np.float64),
    }


async def registered_memory(device: Device) -> None:
    """Memory that the user owns is written from and read into where it is, and is only the user's afterwards."""
    async with device.connect() as ctrlr, ctrlr.alloc_io_qpair() as qp:
        ns = ctrlr.namespaces[1]
        nblocks = device.blocks(3 * PAGE)
        nbytes = nblocks * device.block_size
        lba = device.blocks(8 * MiB)
        for seed, (name, memory) in enumerate(_memories(nbytes).items()):
            data = pattern(2000 + seed, nbytes)
            fill(memory, data)
            with ctrlr.dma_register(memory):
                await qp.write(ns, memory, lba, nblocks)
                fill(memory, bytes(nbytes))
                await qp.read(ns, memory, lba, nblocks)
            assert bytes(memoryview(memory).cast("B")) == data, name
            with pytest.raises(aionvme.UsageError):
                qp.read(ns, memory, lba, nblocks)
            device.record_blocks(lba, data)
            lba += nblocks


async def views(device: Device) -> None:
    """Views of a buffer and its arrays are as good as the buffer, and lead to the part that they show."""
    async with device.connect() as ctrlr, ctrlr.alloc_io_qpair() as qp:
        buf = ctrlr.dma_alloc(8 * PAGE)
        ns, size = ctrlr.namespaces[1], device.block_size
        lba, data = device.blocks(9 * MiB), pattern(3000, size)
        fill(memoryview(buf)[size:], data)
        await qp.write(ns, memoryview(buf)[size : 2 * size], lba, 1)
        words = buf.array(np.uint32)[PAGE:].reshape(-1, 8)
        await qp.read(ns, words, lba, 1)
        assert bytes(memoryview(buf)[4 * PAGE : 4 * PAGE + size]) == data
        await qp.write(ns, memoryview(buf).toreadonly()[4 * PAGE :], lba + 1, 1)
        with pytest.raises(aionvme.UsageError, match="writable"):
            qp.read(ns, memoryview(buf).toreadonly(), lba, 1)
        with pytest.raises(aionvme.UsageError, match="contiguous"):
            qp.read(ns, buf.array(np.uint8)[::2], lba, 1)
        del words
    device.record_blocks(lba, data * 2)


async def flush_and_force_unit_access(device: Device) -> None:
    """A flush succeeds, and so do writes and reads that bypass the volatile cache."""
    async with device.connect() as ctrlr, ctrlr.alloc_io_qpair() as qp:
        ns, lba = ctrlr.namespaces[1], device.blocks(10 * MiB)
        nblocks = device.blocks(2 * PAGE)
        data = pattern(4000, nblocks * device.block_size)
        with ctrlr.dma_alloc(len(data)) as out, stale(ctrlr, len(data)) as back:
            fua = aionvme.IoFlags.FORCE_UNIT_ACCESS
            await qp.write(ns, fill(out, data), lba, nblocks, io_flags=fua)
            await qp.flush(ns)
            await qp.read(ns, back, lba, nblocks, io_flags=fua | aionvme.IoFlags.LIMITED_RETRY)
            assert bytes(back) == data
    device.record_blocks(lba, data)


async def raw_commands(device: Device) -> None:
    """Commands as their 64 bytes write, read and flush like the others, and the caller's bytes stay as they are."""
    async with device.connect() as ctrlr, ctrlr.alloc_io_qpair() as qp:
        lba, nblocks = device.blocks(10 * MiB) + 100, device.blocks(3 * PAGE)
        data = pattern(5000, nblocks * device.block_size)
        with ctrlr.dma_alloc(len(data)) as out, stale(ctrlr, len(data)) as back:
            place = {"nsid": 1, "cdw10": lba, "cdw12": nblocks - 1}
            sqe = bytearray(Sqe(opc=NvmOpcode.WRITE, **place).encode())
            before = bytes(sqe)
            cpl = await qp.io_raw(sqe, data=fill(out, data), write=True)
            assert (cpl.sqid, bytes(sqe)) == (qp.qid, before)
            await qp.io_raw(Sqe(opc=NvmOpcode.FLUSH, nsid=1).encode())
            await qp.io_raw(Sqe(opc=NvmOpcode.READ, **place).encode(), data=back)
            assert bytes(back) == data
    device.record_blocks(lba, data)


async def batches(device: Device) -> None:
    """Blocks that one batch writes in a random order, another reads in another; longer ones than a command, too."""
    async with device.connect() as ctrlr, ctrlr.alloc_io_qpair(depth=16) as qp:
        ns, first = ctrlr.namespaces[1], device.blocks(16 * MiB)
        for seed, nblocks in enumerate((1, _most_blocks(ctrlr, device) + 1)):
            count, size = device.many // (40 if seed else 1), nblocks * device.block_size
            orders = [np.random.default_rng(6000 + seed + at).permutation(count) for at in (0, 10)]
            data = np.frombuffer(pattern(6000 + seed, count * size), np.uint8).reshape(count, size)
            with ctrlr.dma_alloc(count * size) as out, stale(ctrlr, count * size) as back:
                fill(out, data.tobytes())
                written = await qp.write_batch(ns, out, first + orders[0] * nblocks, nblocks)
                read = await qp.read_batch(ns, back, first + orders[1] * nblocks, nblocks, queue_depth=5)
                assert (written.nfailed, read.nfailed) == (0, 0)
                stored = np.empty_like(data)
                stored[orders[0]] = data
                assert np.array_equal(back.array().reshape(count, size), stored[orders[1]])
            device.record_blocks(first, stored.tobytes())
            first += count * nblocks


WRITING = (
    sizes,
    batches,
    unaligned_starts,
    registered_memory,
    views,
    flush_and_force_unit_access,
    raw_commands,
)
OTHERS = (a_split_transfer_is_one_call, an_odd_start_is_refused)
