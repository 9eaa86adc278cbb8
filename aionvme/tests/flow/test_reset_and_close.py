"""Reset and close, with commands in flight, by several callers at once, and from inside of callbacks."""

from __future__ import annotations

import asyncio

import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.tests.flow.support import (
    CREATE_CQ,
    CREATE_SQ,
    DELETE_SQ,
    IDENTIFY,
    Recorder,
    fetched,
    kinds,
    rig,
    turns,
    until,
)

pytestmark = [pytest.mark.anyloop, pytest.mark.usefixtures("no_leaks")]

RESET = aionvme.ControllerResetError


async def test_reset_with_commands_in_flight() -> None:
    """In flight: ControllerResetError. Queued: posted afterwards, in order, on the same queue pairs."""
    async with rig(depth=2) as r:
        held = r.mock.hold(qid=1)
        requests = r.reads(2)
        told: list[tuple[int, int]] = []
        for number in range(4):
            r.qp.submit_read(r.ns, r.buf, 0, 1, lambda arg, cpl: told.append((arg, int(cpl.status))), number)
        await fetched(r.mock, 2)
        held.stop()
        await r.ctrlr.reset()
        assert await kinds(requests) == [RESET, RESET]
        await r.works()
        assert told == [(0, 0), (1, 0), (2, 0), (3, 0)]


async def test_reset_is_joined() -> None:
    """Two callers of reset() have one reset between them."""
    async with rig() as r:
        before = r.mock.queue(0).opcodes[CREATE_SQ]
        await asyncio.gather(r.ctrlr.reset(), r.ctrlr.reset())
        assert r.mock.queue(0).opcodes[CREATE_SQ] == before + 1
        await r.works()


async def test_reset_again_and_again() -> None:
    """A reset leaves nothing behind that a later one trips over."""
    async with rig() as r:
        for _ in range(5):
            await r.ctrlr.reset()
            await r.works()


async def test_commands_submitted_during_a_reset_wait_for_its_end() -> None:
    """A command called while the controller is being reset is posted afterwards; admin commands alike."""
    async with rig() as r:
        held = r.mock.hold(qid=0, opcode=IDENTIFY, count=1)
        resetting = asyncio.create_task(r.ctrlr.reset())
        await until(lambda: held.commands)
        requests = [*r.reads(3), r.ctrlr.get_feature(7)]
        await turns()
        assert [request.done() for request in requests] == [False] * 4
        held.release()
        await resetting
        assert await kinds(requests) == [None] * 4


async def test_cancelled_reset_goes_on() -> None:
    """Who is cancelled while waiting for a reset is told so at its end, and the controller is usable."""
    async with rig() as r:
        held = r.mock.hold(qid=0, opcode=IDENTIFY, count=1)
        resetting = asyncio.create_task(r.ctrlr.reset())
        await until(lambda: held.commands)
        resetting.cancel()
        await turns()
        assert not resetting.done()
        held.release()
        assert await kinds([resetting]) == [asyncio.CancelledError]
        await r.works()


@pytest.mark.parametrize("opcode", [CREATE_CQ, CREATE_SQ])
async def test_reset_while_a_queue_pair_is_allocated(opcode: int) -> None:
    """The allocation ends with ControllerResetError, its identifier is free, and nothing of it is left."""
    async with rig() as r:
        held = r.mock.hold(qid=0, opcode=opcode, count=1)
        allocating = asyncio.ensure_future(_alloc(r.ctrlr))
        await until(lambda: held.commands)
        await r.ctrlr.reset()
        assert await kinds([allocating]) == [RESET]
        async with r.ctrlr.alloc_io_qpair() as qp:
            assert qp.qid == 2
            assert r.mock.num_queues == 2
            await qp.read(r.ns, r.buf, 0, 1)


async def _alloc(ctrlr: aionvme.Controller) -> aionvme.IoQueuePair:
    return await ctrlr.alloc_io_qpair()


@pytest.mark.parametrize("opcode", [CREATE_CQ, CREATE_SQ])
async def test_cancelled_allocation_leaves_no_queue(opcode: int) -> None:
    """Cancelled at either step, an allocation goes on until the controller has no such queue again."""
    async with rig() as r:
        held = r.mock.hold(qid=0, opcode=opcode, count=1)
        allocating = asyncio.ensure_future(_alloc(r.ctrlr))
        await until(lambda: held.commands)
        allocating.cancel()
        await turns()
        assert not allocating.done()
        held.release()
        assert await kinds([allocating]) == [asyncio.CancelledError]
        assert r.mock.num_queues == 1
        async with r.ctrlr.alloc_io_qpair() as qp:
            assert qp.qid == 2


async def test_refused_allocation_leaves_no_queue() -> None:
    """A submission queue that is refused takes its completion queue along; the identifier is free again."""
    async with rig() as r:
        r.mock.fail(0x0101, qid=0, opcode=CREATE_SQ)
        with pytest.raises(aionvme.CommandSpecificError):
            await r.ctrlr.alloc_io_qpair()
        async with r.ctrlr.alloc_io_qpair() as qp:
            assert qp.qid == 2


async def test_close_drains() -> None:
    """A close waits for what is in flight and what is queued; every command succeeds."""
    async with rig(depth=2) as r:
        held = r.mock.hold(qid=1)
        requests = r.reads(5)
        await fetched(r.mock, 2)
        closing = asyncio.create_task(r.ctrlr.close())
        await turns()
        assert not closing.done()
        held.stop()
        held.release()
        assert await kinds(requests) == [None] * 5
        await closing
        assert r.mock.queue(1).fetched == 5


async def test_close_twice() -> None:
    """Closing again, at once or later, does nothing more; so it is for queue pairs."""
    async with rig() as r:
        await asyncio.gather(r.qp.close(), r.qp.close())
        await r.qp.close()
        assert r.mock.queue(0).opcodes[DELETE_SQ] == 1
        await asyncio.gather(r.ctrlr.close(), r.ctrlr.close())
        await r.ctrlr.close()


async def test_cancelled_close_is_finished() -> None:
    """A close that is cancelled is finished all the same; the cancellation is raised then."""
    async with rig() as r:
        held = r.mock.hold(qid=0, opcode=DELETE_SQ, count=1)
        closing = asyncio.create_task(r.ctrlr.close())
        await until(lambda: held.commands)
        closing.cancel()
        await turns()
        assert not closing.done()
        held.release()
        assert await kinds([closing]) == [asyncio.CancelledError]
        assert r.mock.num_queues == 0


async def test_close_during_a_reset() -> None:
    """A close that comes in the middle of a reset waits for its end, then closes."""
    async with rig() as r:
        held = r.mock.hold(qid=0, opcode=IDENTIFY, count=1)
        resetting = asyncio.create_task(r.ctrlr.reset())
        await until(lambda: held.commands)
        queued = r.read()
        closing = asyncio.create_task(r.ctrlr.close())
        await turns()
        held.release()
        assert await kinds([resetting, closing, queued]) == [None, None, None]
        with pytest.raises(aionvme.UsageError, match="closed"):
            await r.ctrlr.reset()


async def test_close_of_a_queue_pair_during_a_reset() -> None:
    """The queue pair is gone after it, and the controller goes on."""
    async with rig() as r:
        held = r.mock.hold(qid=0, opcode=IDENTIFY, count=1)
        resetting = asyncio.create_task(r.ctrlr.reset())
        await until(lambda: held.commands)
        closing = asyncio.create_task(r.qp.close())
        await turns()
        held.release()
        await asyncio.gather(resetting, closing)
        assert r.mock.num_queues == 0
        async with r.ctrlr.alloc_io_qpair() as qp:
            assert qp.qid == 1


async def test_queue_pair_closed_while_commands_wait_for_a_slot() -> None:
    """They get their slots and succeed; only then do the queues go."""
    async with rig(depth=1) as r:
        held = r.mock.hold(qid=1)
        requests = r.reads(4)
        closing = asyncio.create_task(r.qp.close())
        await fetched(r.mock, 1)
        with pytest.raises(aionvme.UsageError, match="closed"):
            r.read()
        held.stop()
        held.release()
        assert await kinds([*requests, closing]) == [None] * 5


async def test_command_submitted_by_a_callback_during_close() -> None:
    """It is refused by the call, in the callback; the close goes on, and the error is reported, not lost."""
    async with rig() as r:
        held = r.mock.hold(qid=1)
        r.qp.submit_read(r.ns, r.buf, 0, 1, lambda *_: r.qp.submit_read(r.ns, r.buf, 0, 1))
        await fetched(r.mock, 1)
        closing = asyncio.create_task(r.ctrlr.close())
        await turns()
        with Recorder() as recorder:
            held.release()
            await closing
        assert ["callback" in message for message in recorder.messages] == [True]
        assert isinstance(recorder.contexts[0]["exception"], aionvme.UsageError)


async def test_close_and_reset_from_a_callback() -> None:
    """What a callback starts while completions are told does not disturb those that come after it."""
    async with rig() as r:
        started: list[asyncio.Task[None]] = []
        told: list[int] = []

        def callback(number: int, _cpl: aionvme.Completion) -> None:
            told.append(number)
            if number == 0:
                started.append(asyncio.ensure_future(r.ctrlr.reset()))
            if number == 1:
                started.append(asyncio.ensure_future(r.qp.close()))

        with r.mock.hold(qid=1):
            for number in range(8):
                r.qp.submit_read(r.ns, r.buf, 0, 1, callback, number)
            await fetched(r.mock, 8)
        await until(lambda: len(told) == 8 and len(started) == 2)
        assert await kinds(started) == [None, None]
        assert sorted(told) == list(range(8))


async def test_exception_in_the_body_closes_everything() -> None:
    """`async with` closes the queue pair and the controller when its body raises.

    Raises the same exception.
    """
    with MockController() as mock:
        error = RuntimeError("on purpose")
        with pytest.raises(RuntimeError) as caught:  # noqa: PT012
            async with aionvme.connect(mock) as ctrlr, ctrlr.alloc_io_qpair() as qp:
                qp.submit_read(ctrlr.namespaces[1], ctrlr.dma_alloc(512), 0, 1)
                raise error
        assert caught.value is error
        assert (ctrlr.closed, qp.closed, mock.num_queues) == (True, True, 0)
        assert mock.counters.reads == 1


async def test_undeletable_queue_pair_keeps_its_memory() -> None:
    """When the controller refuses to delete a queue, its identifier and memory stay until a reset."""
    async with rig() as r:
        iova = r.qp.sq_iova
        r.mock.fail(0x0101, qid=0, opcode=DELETE_SQ)
        await r.qp.close()
        buffers = [r.ctrlr.dma_alloc(512) for _ in range(400)]  # more than an arena has
        assert iova not in {buf.iova for buf in buffers}
        async with r.ctrlr.alloc_io_qpair() as other:
            assert other.qid == 2
        await r.ctrlr.reset()
        async with r.ctrlr.alloc_io_qpair() as other:
            assert other.qid == 1
