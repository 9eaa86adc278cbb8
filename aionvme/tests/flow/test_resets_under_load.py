"""Resets while many commands are outstanding: whoever submits again what a reset ended loses nothing.

Not a journey: QEMU 7.2 crashes (segmentation faults at changing places) when its controller is disabled under such
load. The VM tier has a test of its own, which holds the writers back for a moment before each reset.
"""

from __future__ import annotations

import asyncio

import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.tests.flow.support import BLOCK, quiet
from aionvme.tests.journeys.device import fill, pattern

pytestmark = [pytest.mark.anyloop, pytest.mark.usefixtures("no_leaks")]

WRITERS = 8
BLOCKS = 4  # of each writer
RESETS = 5
COMPLETIONS = 100  # between two resets


async def test_resets_under_load() -> None:
    """Writers that submit again what a reset ended lose no write that was acknowledged, on either queue pair."""
    quiet()
    acknowledged: dict[int, bytes] = {}
    ended = 0
    enough = False
    with MockController() as mock:
        async with (
            aionvme.connect(mock) as ctrlr,
            ctrlr.alloc_io_qpair(depth=WRITERS) as one,
            ctrlr.alloc_io_qpair(depth=2, completion="interrupt") as other,
        ):
            ns = ctrlr.namespaces[1]

            async def writer(number: int) -> None:
                nonlocal ended
                qp, buf, turn = (one, other)[number % 2], ctrlr.dma_alloc(BLOCK), 0
                while not enough:
                    lba = number * BLOCKS + turn % BLOCKS
                    data = pattern(number << 32 | turn, BLOCK)
                    fill(buf, data)
                    while acknowledged.get(lba) is not data:
                        try:
                            await qp.write(ns, buf, lba, 1)
                        except aionvme.ControllerResetError:
                            ended += 1
                        else:
                            acknowledged[lba] = data
                    turn += 1

            def completions() -> int:
                return sum(qp.counters["completions"] for qp in (one, other))

            async with asyncio.TaskGroup() as group:
                for number in range(WRITERS):
                    group.create_task(writer(number))
                for _ in range(RESETS):
                    begun = completions()
                    while completions() < begun + COMPLETIONS:  # noqa: ASYNC110 -- nobody tells
                        await asyncio.sleep(0)
                    await ctrlr.reset()
                enough = True
        assert ended
        assert len(acknowledged) == WRITERS * BLOCKS
        assert [lba for lba, data in acknowledged.items() if mock.peek(1, lba) != data] == []
