"""Queues that were created too late, or beside a reset: what the controller has of them is deleted, and no danger."""

from __future__ import annotations

import asyncio

import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.spec.opcodes import AdminOpcode
from aionvme.tests.flow.support import until

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.mark.asyncio
@pytest.mark.parametrize("opcode", [AdminOpcode.CREATE_IO_CQ, AdminOpcode.CREATE_IO_SQ])
async def test_a_queue_that_was_created_too_late(opcode: int) -> None:
    """The command timed out, and then succeeded before it could be aborted: the controller keeps no such queue."""
    with MockController() as mock:
        opts = aionvme.ControllerOptions(admin_timeout=1.0, abort_timeout=30.0, num_io_queues=1)
        async with aionvme.connect(mock, opts) as ctrlr:
            with (
                mock.hold(qid=0, opcode=opcode, count=1) as late,
                mock.hold(qid=0, opcode=AdminOpcode.ABORT) as abort,
            ):
                alloc = asyncio.create_task(_alloc(ctrlr))
                await until(lambda: abort.commands)
                late.release()
            with pytest.raises(aionvme.CommandTimeoutError):
                await alloc
            # The only queue identifier that there is.
            async with ctrlr.alloc_io_qpair() as qp:
                await qp.flush(ctrlr.namespaces[1])


@pytest.mark.asyncio
@pytest.mark.parametrize("turns", range(4))
async def test_a_queue_that_was_created_beside_a_reset(turns: int) -> None:
    """Whether it was created before the reset or after it, the controller keeps no queue that nobody has."""
    with MockController() as mock:
        async with aionvme.connect(mock, aionvme.ControllerOptions(num_io_queues=1)) as ctrlr:
            alloc = asyncio.create_task(_alloc(ctrlr))
            for _ in range(turns):
                await asyncio.sleep(0)
            await ctrlr.reset()
            try:
                qp = await alloc
            except aionvme.ControllerResetError:
                assert mock.num_queues == 0
                qp = await _alloc(ctrlr)
            async with qp:
                await qp.flush(ctrlr.namespaces[1])


async def _alloc(ctrlr: aionvme.Controller) -> aionvme.IoQueuePair:
    return await ctrlr.alloc_io_qpair()
