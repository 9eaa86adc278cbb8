"""Adaptive completion: a queue pair polls while completions come soon, and waits for interrupts while they do not."""

from __future__ import annotations

import asyncio
import time

import pytest

import aionvme
from aionvme.mock import MockController

pytestmark = pytest.mark.usefixtures("no_leaks")

COMMANDS = 20
LATENCY = 0.01


async def _turns(completion: str) -> tuple[int, float]:
    """Turns that a queue pair took for reads of a slow device, one after another; and CPU time of this thread."""
    with MockController(latency=LATENCY) as mock:
        async with aionvme.connect(mock) as ctrlr, ctrlr.alloc_io_qpair(completion=completion) as qp:
            ns = ctrlr.namespaces[1]
            with ctrlr.dma_alloc(ns.block_size) as buf:
                before, cpu = qp.counters["turns"], time.thread_time()
                for lba in range(COMMANDS):
                    await qp.read(ns, buf, lba, 1)
                return qp.counters["turns"] - before, time.thread_time() - cpu


@pytest.mark.anyloop
async def test_a_quiet_queue_pair_waits_for_interrupts() -> None:
    """Where each command takes long, adaptive takes a turn when it is posted, one when it completes, and few more."""
    by_interrupt, _ = await _turns("interrupt")
    adaptive, cpu = await _turns("adaptive")
    assert 2 * COMMANDS <= by_interrupt <= 3 * COMMANDS + 2
    # Besides it may poll for some microseconds, at first, and once in 32 times.
    assert adaptive <= by_interrupt + 40
    assert cpu < COMMANDS * LATENCY / 2


@pytest.mark.anyloop
async def test_a_busy_queue_pair_hears_of_no_interrupts() -> None:
    """While it polls it does not listen, and it listens again when there is nothing: no completion is missed."""
    with MockController() as mock:
        async with aionvme.connect(mock) as ctrlr, ctrlr.alloc_io_qpair(completion="adaptive") as qp:
            ns = ctrlr.namespaces[1]
            with ctrlr.dma_alloc(ns.block_size) as buf:
                for pause in range(30):
                    await asyncio.gather(*(qp.read(ns, buf, lba, 1) for lba in range(200)))
                    await asyncio.sleep(0.001 * (pause % 3))
                    await qp.read(ns, buf, 1, 1)
                assert qp.counters["completions"] == 30 * 201
                assert qp.counters["missed_interrupts"] == 0
