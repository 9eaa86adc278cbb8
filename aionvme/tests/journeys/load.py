"""Owns the journeys under load: what happens to a controller while many commands are outstanding on it."""

from __future__ import annotations

import asyncio

import aionvme
from aionvme.tests.journeys.device import Device, MiB, fill, pattern, stale

WRITERS = 8
BLOCKS = 4  # of each writer
RESETS = 3


async def resets_under_load(device: Device) -> None:
    """Writers that submit again what a reset ended lose no write that was acknowledged, on either queue pair."""
    async with (
        device.connect() as ctrlr,
        ctrlr.alloc_io_qpair(depth=WRITERS) as one,
        ctrlr.alloc_io_qpair(depth=2, completion="interrupt") as other,
    ):
        ns, size, first = ctrlr.namespaces[1], device.block_size, device.blocks(15 * MiB + 3 * MiB // 4)
        acknowledged: dict[int, bytes] = {}
        ended = 0
        enough = False

        async def writer(number: int) -> None:
            nonlocal ended
            qp, buf, turn = (one, other)[number % 2], ctrlr.dma_alloc(size), 0
            while not enough:
                lba = first + number * BLOCKS + turn % BLOCKS
                data = pattern(30_000 + number * 1000 + turn, size)
                fill(buf, data)
                while acknowledged.get(lba) is not data:
                    try:
                        await qp.write(ns, buf, lba, 1)
                    except aionvme.ControllerResetError:
                        ended += 1
                    else:
                        acknowledged[lba] = data
                turn += 1

        async with asyncio.TaskGroup() as group:
            for number in range(WRITERS):
                group.create_task(writer(number))
            for _ in range(RESETS):
                begun = one.counters["completions"] + other.counters["completions"]
                while one.counters["completions"] + other.counters["completions"] < begun + device.many // 4:  # noqa: ASYNC110 -- nobody tells
                    await asyncio.sleep(0)
                await ctrlr.reset()
            enough = True
        assert ended
        assert len(acknowledged) == WRITERS * BLOCKS
        for lba, data in acknowledged.items():
            back = stale(ctrlr, size)
            await one.read(ns, back, lba, 1)
            assert bytes(back) == data
            device.record_blocks(lba, data)


WRITING = (resets_under_load,)
OTHERS = ()
