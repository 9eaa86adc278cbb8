"""Owns the journeys of queues elsewhere than usual: in the controller's memory buffer, with shadow doorbells.

They are for a controller that has both.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aionvme
from aionvme.tests.journeys.device import Device, MiB, fill, pattern, stale

MODES = ("poll", "interrupt")
ENTRY = 64
PAGE = 4096


async def _carries_data(
    device: Device, ctrlr: aionvme.Controller, pairs: list[Any], lba: int, seed: int
) -> None:
    """What one queue pair writes at depth the other reads, one by one; more commands than the rings have entries."""
    ns, size = ctrlr.namespaces[device.nsid], device.block_size
    count = 2 * pairs[0].depth + 5
    data = pattern(seed, count * size)
    for out_by, back_by in (pairs, pairs[::-1]):
        with fill(ctrlr.dma_alloc(len(data)), data) as out, stale(ctrlr, len(data)) as back:
            await asyncio.gather(
                *(out_by.write(ns, memoryview(out)[n * size :], lba + n, 1) for n in range(count))
            )
            for n in range(count):
                await back_by.read(ns, memoryview(back)[n * size :], lba + n, 1)
            assert bytes(back) == data
        # So that the other way round has its own.
        data = data[::-1]
    device.record_blocks(lba, data[::-1])


async def _over_a_reset(device: Device, ctrlr: aionvme.Controller, lba: int, seed: int) -> list[Any]:
    """Data, a reset, and data again by the same queue pairs; they are returned open."""
    pairs = [await ctrlr.alloc_io_qpair(depth=12, completion=mode) for mode in MODES]
    await _carries_data(device, ctrlr, pairs, lba, seed)
    before = [(qp.sq_iova, qp.cq_iova) for qp in pairs]
    await ctrlr.reset()
    assert [(qp.sq_iova, qp.cq_iova) for qp in pairs] == before
    await _carries_data(device, ctrlr, pairs, lba, seed + 1)
    return pairs


async def queues_in_the_controller(device: Device) -> None:
    """Submission queues in the controller's memory buffer carry data, before and after a reset."""
    async with device.connect(use_cmb_sqs=True) as ctrlr:
        assert ctrlr.opts.use_cmb_sqs
        pairs = await _over_a_reset(device, ctrlr, device.blocks(MiB), 9500)
        # The controller has one range of addresses for its buffer, where the host's memory is not.
        for qp in pairs:
            with ctrlr.dma_alloc(PAGE) as buf:
                assert abs(qp.cq_iova - buf.iova) < abs(qp.sq_iova - buf.iova)
        assert abs(pairs[0].sq_iova - pairs[1].sq_iova) == PAGE
        for qp in pairs:
            await qp.close()
        async with ctrlr.alloc_io_qpair(depth=12) as again:
            assert again.sq_iova == min(qp.sq_iova for qp in pairs)


async def shadow_doorbells(device: Device) -> None:
    """Queue pairs with shadow doorbells carry data, before and after a reset."""
    async with device.connect(shadow_doorbells=True) as ctrlr:
        assert ctrlr.opts.shadow_doorbells
        for qp in await _over_a_reset(device, ctrlr, device.blocks(MiB + MiB // 4), 9600):
            assert qp.counters["doorbells"] <= qp.counters["completions"]
            await qp.close()


async def both_at_once(device: Device) -> None:
    """Queues in the controller and shadow doorbells go together; a controller opened without them has neither."""
    async with device.connect(use_cmb_sqs=True, shadow_doorbells=True) as ctrlr:
        assert (ctrlr.opts.use_cmb_sqs, ctrlr.opts.shadow_doorbells) == (True, True)
        for qp in await _over_a_reset(device, ctrlr, device.blocks(MiB + MiB // 2), 9700):
            await qp.close()
    async with device.connect() as ctrlr:
        assert (ctrlr.opts.use_cmb_sqs, ctrlr.opts.shadow_doorbells) == (False, False)
        for qp in await _over_a_reset(device, ctrlr, device.blocks(MiB + 3 * MiB // 4), 9800):
            await qp.close()


PLACES = (queues_in_the_controller, shadow_doorbells, both_at_once)
