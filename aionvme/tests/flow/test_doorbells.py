"""Shadow doorbells, and submission queues in the controller memory buffer."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.spec.opcodes import AdminOpcode
from aionvme.spec.registers import Reg
from aionvme.spec.status import StatusCode

BOTH = {"shadow_doorbells": True, "use_cmb_sqs": True}
CHOICES = [{"shadow_doorbells": True}, {"use_cmb_sqs": True}, BOTH]

pytestmark = [pytest.mark.anyloop]


@asynccontextmanager
async def connected(
    choice: dict[str, Any], **mock: Any
) -> AsyncIterator[tuple[MockController, aionvme.Controller]]:
    """A mock with a buffer for queues, and its controller with these options."""
    with MockController(**{"cmb": 65536, **mock}) as device:
        async with aionvme.connect(device, aionvme.ControllerOptions(**choice)) as ctrlr:
            yield device, ctrlr


@pytest.mark.parametrize("choice", CHOICES, ids=str)
async def test_what_is_written_reads_back(choice: dict[str, Any]) -> None:
    """Two queue pairs carry data in either place, at depth and one by one, also after a reset."""
    data = os.urandom(1 << 18)
    async with connected(choice) as (_, ctrlr):
        ns = ctrlr.namespaces[1]
        out, back = ctrlr.dma_alloc(len(data)), ctrlr.dma_alloc(len(data))
        memoryview(out)[:] = data
        nblocks = len(data) // ns.block_size
        async with ctrlr.alloc_io_qpair(depth=8) as one, ctrlr.alloc_io_qpair(depth=8) as two:
            for _ in range(2):
                await one.write(ns, out, 0, nblocks)
                memoryview(back)[:] = bytes(len(data))
                await asyncio.gather(
                    *(two.read(ns, memoryview(back)[lba * ns.block_size :], lba, 1) for lba in range(nblocks))
                )
                assert bytes(back) == data
                for lba in range(50):
                    await one.read(ns, back, lba, 1)
                await ctrlr.reset()


@asynccontextmanager
async def looking(mock: MockController) -> AsyncIterator[None]:
    """The stepped mock looks once in each turn of the loop, until the block ends."""

    async def look() -> None:
        while True:
            mock.step()
            await asyncio.sleep(0)

    task = asyncio.create_task(look())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_with_shadows_few_doorbells_are_rung() -> None:
    """Until the controller has looked again, one doorbell is enough for all that is posted; nothing is lost."""
    # A thread's looks would come when the machine has time for them.
    with MockController(drive="step") as mock:
        async with looking(mock):
            ctrlr = await aionvme.connect(mock, aionvme.ControllerOptions(shadow_doorbells=True))
            ns, buf = ctrlr.namespaces[1], ctrlr.dma_alloc(512)
            qp = await ctrlr.alloc_io_qpair(depth=8)
        for number in range(50):
            requests = []
            for _ in range(qp.depth):
                requests.append(qp.read(ns, buf, 0, 1))
                # Each is announced in a turn of its own.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            assert qp.counters["doorbells"] == number + 1
            async with looking(mock):
                await asyncio.gather(*requests)
        assert qp.counters["completions"] == 50 * qp.depth
        async with looking(mock):
            await ctrlr.close()


async def test_a_controller_without_them_is_used_as_any_other() -> None:
    """What a controller does not have is not used, and the options say so."""
    async with connected(BOTH, cmb=0, shadow_doorbells=False) as (_, ctrlr):
        assert (ctrlr.opts.shadow_doorbells, ctrlr.opts.use_cmb_sqs) == (False, False)
        async with ctrlr.alloc_io_qpair(depth=4) as qp:
            await qp.read(ctrlr.namespaces[1], ctrlr.dma_alloc(512), 0, 1)


async def test_a_queue_that_has_no_room_in_the_buffer_lies_in_memory() -> None:
    """The buffer takes as many queues as it has room for, and again when they are closed."""
    async with connected({"use_cmb_sqs": True}, cmb=8192) as (_, ctrlr):
        ns, buf = ctrlr.namespaces[1], ctrlr.dma_alloc(512)
        for _ in range(3):
            pairs = [await ctrlr.alloc_io_qpair(depth=63) for _ in range(3)]
            iovas = [qp.sq_iova for qp in pairs]
            assert len(set(iovas)) == 3
            for qp in pairs:
                await qp.read(ns, buf, 0, 1)
                await qp.close()


@pytest.mark.parametrize("lost", [False, True])
async def test_the_buffer_has_no_address_afterwards(lost: bool) -> None:
    """Closed or failed, the controller is told that its buffer has no place among the host's addresses any more."""
    with MockController(cmb=65536, timeout=0.5) as device:
        ctrlr = await aionvme.connect(device, aionvme.ControllerOptions(use_cmb_sqs=True))
        await ctrlr.alloc_io_qpair(depth=4)
        # Not by a read afterwards: closing the function resets the mock.
        written: list[tuple[int, int]] = []
        registers: Any = device._registers
        write = registers.write32

        def watched(offset: int, value: int) -> None:
            written.append((offset, value))
            write(offset, value)

        registers.write32 = watched
        if lost:
            device.fatal()
            device.stuck = True
            with pytest.raises(aionvme.ControllerFailedError):
                await ctrlr.reset()
            device.stuck = False
        await ctrlr.close()
        assert {value for offset, value in written if offset == Reg.CMBMSC} == {0}


async def test_shadows_that_are_refused_after_a_reset_are_left() -> None:
    """A controller that takes no shadows any more is told of commands by its doorbells, on the same queue pair."""
    async with connected({"shadow_doorbells": True}) as (device, ctrlr):
        ns, buf = ctrlr.namespaces[1], ctrlr.dma_alloc(512)
        async with ctrlr.alloc_io_qpair(depth=4) as qp:
            await qp.read(ns, buf, 0, 1)
            device.fail(StatusCode.INVALID_OPCODE, qid=0, opcode=AdminOpcode.DOORBELL_BUFFER_CONFIG)
            await ctrlr.reset()
            assert not ctrlr.opts.shadow_doorbells
            gc.collect()
            before = qp.counters
            for _ in range(20):
                await qp.read(ns, buf, 0, 1)
            after = qp.counters
            assert after["doorbells"] - before["doorbells"] == 20
            async with ctrlr.alloc_io_qpair(depth=4) as other:
                await other.read(ns, buf, 0, 1)


async def test_a_buffer_that_is_refused_after_a_reset_is_the_end() -> None:
    """Queues that lie in a buffer whose address is refused cannot go on, and the reset says why."""
    async with connected({"use_cmb_sqs": True}) as (_, ctrlr):
        await ctrlr.alloc_io_qpair(depth=4)
        cmb = ctrlr._core.cmb
        assert cmb is not None
        cmb.iova = ctrlr.dma_alloc(4096).iova
        with pytest.raises(aionvme.ControllerFailedError, match="CBAI"):
            await ctrlr.reset()
