"""The driver on a mock that shares its loop, instead of having a thread."""

from __future__ import annotations

import asyncio

import aionvme
from aionvme.mock import MockController


def test_a_mock_that_is_a_task_of_the_loop_can_be_connected_to() -> None:
    """The mock may share the driver's loop instead of having a thread: a write reads back."""

    async def main() -> bytes:
        with MockController(drive="loop") as mock:
            async with aionvme.connect(mock) as ctrlr, ctrlr.alloc_io_qpair(depth=4) as qp:
                ns = ctrlr.namespaces[1]
                with ctrlr.dma_alloc(ns.block_size) as buf:
                    memoryview(buf)[:4] = b"loop"
                    await qp.write(ns, buf, 3, 1)
                    await qp.read(ns, buf, 3, 1)
                    return bytes(buf)[:4]

    for run in (asyncio.run, aionvme.run):
        assert run(main()) == b"loop"
