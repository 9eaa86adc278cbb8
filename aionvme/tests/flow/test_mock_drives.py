"""What drives the mock: the driver's own loop, or a thread that a test interferes with."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.spec.opcodes import AdminOpcode, FeatureId, LogPageId
from aionvme.tests.flow.support import PATIENCE, rig, until


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


@pytest.mark.asyncio
async def test_releasing_a_command_loses_no_other_that_the_mock_has_just_fetched() -> None:
    """While its thread waits for the interpreter with an admin command, a release has that executed before its own."""
    async with rig() as r:
        for _ in range(500):
            held = r.mock.hold(qid=0, opcode=AdminOpcode.GET_LOG_PAGE, count=1)
            page = asyncio.ensure_future(r.ctrlr.get_log_page(LogPageId.SMART))
            await until(partial(getattr, held, "commands"))
            feature = asyncio.ensure_future(r.ctrlr.get_feature(FeatureId.NUMBER_OF_QUEUES))
            # Long enough to be fetched, too short to be executed.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            held.release()
            await asyncio.wait_for(asyncio.gather(page, feature), PATIENCE)
