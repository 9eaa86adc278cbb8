"""How batches end before their last command: cancelled, late, by a reset, with the controller, with the loop."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import pytest

import aionvme
from aionvme.mock import Fault, MockController
from aionvme.spec.status import StatusCode
from aionvme.tests.flow.support import ABORT, READ, fetched, kinds, rig, turns, until

pytestmark = [pytest.mark.anyloop, pytest.mark.usefixtures("no_leaks")]

CANCELLED = asyncio.CancelledError
ABORTED = int(StatusCode.COMMAND_ABORTED_BY_HOST)
LBAS = np.arange(100)


def aborts(mock: MockController) -> int:
    """Abort commands that the mock has taken."""
    return mock.queue(0).opcodes.get(ABORT, 0)


async def test_cancelled_as_one() -> None:
    """What is in flight is aborted, what is not posted never is, and the memory stays until the device has let go."""
    async with rig(depth=4) as r:
        admin = r.mock.hold(qid=0, opcode=ABORT)
        held = r.mock.hold(qid=1)
        buf = r.ctrlr.dma_alloc(512)
        task: asyncio.Task[Any] = asyncio.create_task(r.qp.read_batch(r.ns, buf, LBAS, 1))
        await fetched(r.mock, 4)
        assert task.cancel()
        await until(lambda: admin.commands)
        await turns()
        assert not task.done()
        iova = buf.iova
        buf.close()
        assert iova not in {r.ctrlr.dma_alloc(512).iova for _ in range(16)}
        admin.stop()
        admin.release()
        assert await kinds([task]) == [CANCELLED]
        assert (r.mock.queue(1).fetched, aborts(r.mock)) == (4, 4)
        assert held.commands == []
        assert iova in {r.ctrlr.dma_alloc(512).iova for _ in range(32)}
        held.stop()
        await r.works()


async def test_cancelled_while_it_runs() -> None:
    """A batch that makes progress ends soon after it was cancelled, and others go on."""
    async with rig(MockController(timeout=0.5, size=1 << 20), depth=8) as r:
        lbas = np.random.default_rng(1).integers(0, r.ns.nblocks, 1_000_000)
        batch = r.qp.read_batch(r.ns, r.buf, lbas, 1)
        task = asyncio.ensure_future(batch)
        await fetched(r.mock, 100)
        reads = r.reads(20)
        assert task.cancel()
        assert await kinds([task, *reads]) == [CANCELLED] + [None] * 20
        assert batch.cancelled()
        assert batch.cpl is not None
        result = batch.cpl.value
        assert result.nfailed == np.count_nonzero(result.statuses) > 0
        assert len(result) - result.nfailed >= 92
        assert r.mock.queue(1).fetched < len(lbas)
        await r.works()


async def test_cancelled_before_it_is_posted() -> None:
    """A batch that waits behind others for its first slot is taken out, and the device never sees it."""
    async with rig(depth=2) as r:
        held = r.mock.hold(qid=1)
        first = r.reads(2)
        batch = r.qp.read_batch(r.ns, r.buf, LBAS, 1)
        assert batch.cid is None
        assert batch.cancel()
        assert batch.done()
        held.stop()
        await fetched(r.mock, 2)
        held.release()
        assert await kinds([*first, batch]) == [None, None, CANCELLED]
        assert r.mock.queue(1).fetched == 2
        await r.works()


async def test_time_counts_for_each_command() -> None:
    """A batch may take longer than the time of each of its commands; one that takes longer ends it, and is named."""
    async with rig(depth=4) as r:
        held = r.mock.hold(qid=1)
        begun = time.monotonic()
        batch = r.qp.read_batch(r.ns, r.buf, LBAS, 1, timeout=0.5)
        while time.monotonic() - begun < 0.8:
            await until(lambda: len(held.commands) == 4)
            held.release(2)
            await asyncio.sleep(0.05)
        await until(lambda: len(held.commands) == 4)
        assert not batch.done()
        posted = r.mock.queue(1).fetched
        with pytest.raises(aionvme.CommandTimeoutError) as caught:
            await batch
        assert (caught.value.opcode, caught.value.qid, caught.value.timeout) == (READ, 1, 0.5)
        assert r.mock.queue(1).fetched == posted
        result = caught.value.result
        aborted = int(StatusCode.ABORTED_BY_REQUEST)
        assert result.statuses.tolist() == [0] * (posted - 4) + [aborted] * 4 + [ABORTED] * (100 - posted)
        assert result.nfailed == 104 - posted
        held.stop()
        await r.works()


async def test_a_command_that_is_lost() -> None:
    """What no Abort ends is ended by the reset, and the batch by its timeout, as any command."""
    async with rig(depth=4, abort_timeout=0.1) as r:
        # No more than these: what is sent when the controller is reset, whenever that may be, is not lost.
        r.mock.add_faults([Fault("lost", qid=1, count=4)])
        r.mock.hold(qid=0, opcode=ABORT)
        batch = r.qp.read_batch(r.ns, r.buf, LBAS, 1, timeout=0.2)
        bystander = r.qp.read_batch(r.ns, r.buf, LBAS, 1)
        await fetched(r.mock, 4)
        with pytest.raises(aionvme.CommandTimeoutError) as caught:
            await batch
        assert caught.value.result.statuses.tolist() == [ABORTED] * 100
        # Nothing of this one had been posted: it goes on after the reset.
        assert (await bystander).nfailed == 0
        await r.works()


@pytest.mark.parametrize("queue_depth", [None, 3])
async def test_reset_in_the_middle(queue_depth: int | None) -> None:
    """A reset ends a batch of which something was posted; the result says what was executed before."""
    async with rig(MockController(timeout=0.5, size=1 << 20), depth=8) as r:
        lbas = np.random.default_rng(3).integers(0, r.ns.nblocks, 1_000_000)
        batch = r.qp.read_batch(r.ns, r.buf, lbas, 1, queue_depth=queue_depth)
        await fetched(r.mock, 1000)
        await r.ctrlr.reset()
        with pytest.raises(aionvme.ControllerResetError) as caught:
            await batch
        done = len(lbas) - caught.value.result.nfailed
        assert 1000 - 8 <= done < len(lbas)
        assert not caught.value.result.statuses[: done - 8].any()
        assert (caught.value.result.statuses[done + 8 :] == ABORTED).all()
        assert (await r.qp.read_batch(r.ns, r.buf, LBAS, 1)).nfailed == 0


async def test_removal_in_the_middle() -> None:
    """A controller that is gone ends a batch with ControllerLostError, and the next is refused."""
    async with rig(MockController(timeout=0.5, size=1 << 20)) as r:
        lbas = np.random.default_rng(4).integers(0, r.ns.nblocks, 1_000_000)
        batch = r.qp.read_batch(r.ns, r.buf, lbas, 1)
        await fetched(r.mock, 1000)
        r.mock.remove()
        with pytest.raises(aionvme.ControllerLostError) as caught:
            await batch
        assert caught.value.result.nfailed > 0
        with pytest.raises(aionvme.ControllerLostError):
            r.qp.read_batch(r.ns, r.buf, LBAS, 1)


async def test_format_in_the_middle() -> None:
    """A namespace that is formatted anew takes no command more of a batch that was made for the old one."""
    async with rig(MockController(timeout=0.5, size=1 << 20), depth=4) as r:
        held = r.mock.hold(qid=1)
        batch = r.qp.read_batch(r.ns, r.buf, LBAS, 1)
        await fetched(r.mock, 4)
        formatting = r.ctrlr.format_nvm(1, lbaf=0)
        await turns()
        held.stop()
        held.release()
        await formatting
        ended = await kinds([batch])
        assert ended in ([None], [aionvme.UsageError])
        assert r.mock.queue(1).fetched in (4, 100)


async def test_close_waits() -> None:
    """Closing a queue pair waits for a batch; new ones are refused meanwhile."""
    async with rig(MockController(timeout=0.5, size=1 << 20)) as r:
        qp = await r.ctrlr.alloc_io_qpair(depth=4)
        batch = qp.read_batch(r.ns, r.buf, np.arange(500), 1, queue_depth=2)
        await qp.close()
        assert batch.done()
        assert batch.result().nfailed == 0
        with pytest.raises(aionvme.UsageError, match="closed"):
            qp.read_batch(r.ns, r.buf, LBAS, 1)


def test_torn_loop() -> None:
    """A program that ends while nobody awaits a batch that goes on and on ends in bounded time."""

    async def program(mock: MockController) -> tuple[aionvme.Controller, aionvme.Request]:
        ctrlr = await aionvme.connect(mock, aionvme.ControllerOptions(abort_timeout=0.2))
        qp = await ctrlr.alloc_io_qpair(depth=4)
        lbas = np.zeros(20_000_000, np.uint64)
        batch = qp.read_batch(ctrlr.namespaces[1], ctrlr.dma_alloc(512), lbas, 1)
        await fetched(mock, 100)
        return ctrlr, batch

    with MockController(timeout=0.5) as mock:
        begun = time.monotonic()
        with pytest.warns(ResourceWarning):
            ctrlr, batch = asyncio.run(program(mock))
            assert time.monotonic() - begun < 5
            assert batch.done()
            assert isinstance(batch.exception(), aionvme.CommandTimeoutError)
            del batch, ctrlr
