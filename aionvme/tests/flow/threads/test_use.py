"""A queue pair in another loop and thread works there, and what it needs of the controller comes from its loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from typing import Any

import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.tests.flow.support import (
    ABORT,
    CREATE_CQ,
    CREATE_SQ,
    DELETE_CQ,
    DELETE_SQ,
    Rig,
    fetched,
    kinds,
    rig,
    turns,
    until,
)
from aionvme.tests.flow.threads.elsewhere import LOST, RESET, elsewhere, there

pytestmark = [pytest.mark.anyloop, pytest.mark.usefixtures("no_leaks")]

MODES = ["poll", "interrupt", "adaptive"]


@pytest.mark.parametrize("completion", MODES)
async def test_it_belongs_to_its_own_loop(completion: str) -> None:
    """Its tasks and callbacks run in the loop that allocated it; closing it there deletes its queues."""
    async with rig() as r, elsewhere() as other:

        async def use() -> None:
            async with r.ctrlr.alloc_io_qpair(completion=completion) as qp:
                assert qp.get_loop() is asyncio.get_running_loop() is other.loop
                assert qp.qid == 2
                buf = r.ctrlr.dma_alloc(512)
                threads: list[int] = []
                request = qp.submit_read(r.ns, buf, 0, 1, lambda *_: threads.append(threading.get_ident()))
                await asyncio.gather(request, *(qp.read(r.ns, buf, lba, 1) for lba in range(64)))
                assert threads == [threading.get_ident()]
                buf.close()

        await other.run(use())
        assert r.mock.queue(2).opcodes == {2: 65}
        assert (r.mock.queue(0).opcodes[DELETE_SQ], r.mock.queue(0).opcodes[DELETE_CQ]) == (1, 1)
        assert r.mock.num_queues == 1
        await r.works()
        async with r.ctrlr.alloc_io_qpair() as again:
            assert again.qid == 2


async def test_several_in_each_of_several_threads() -> None:
    """Two queue pairs in each of three threads write and read their own blocks at once; nothing is mixed up."""
    size, count = 512, 64

    async def work(r: Rig, number: int) -> bytes:
        data = os.urandom(count * size)
        first = number * count
        async with r.ctrlr.alloc_io_qpair(depth=8) as one, r.ctrlr.alloc_io_qpair(depth=8) as two:
            with r.ctrlr.dma_alloc(len(data)) as out, r.ctrlr.dma_alloc(len(data)) as back:
                memoryview(out)[:] = data
                pairs = (one, two)
                await asyncio.gather(
                    *(
                        pairs[n % 2].write(r.ns, memoryview(out)[n * size :], first + n, 1)
                        for n in range(count)
                    )
                )
                await asyncio.gather(
                    *(
                        pairs[n % 2 - 1].read(r.ns, memoryview(back)[n * size :], first + n, 1)
                        for n in range(count)
                    )
                )
                assert bytes(back) == data
        return data

    async with rig() as r, elsewhere() as one, elsewhere() as two, elsewhere() as three:
        written = await asyncio.gather(
            work(r, 0), *(other.run(work(r, n)) for n, other in enumerate((one, two, three), 1))
        )
        assert r.mock.peek(1, 0, 4 * count) == b"".join(written)
        assert r.mock.num_queues == 1


async def test_it_is_used_by_no_one_else() -> None:
    """The controller's own thread, too, is told that the queue pair is another's."""
    async with rig() as r, elsewhere() as other:
        o = await other.run(there(r))
        with pytest.raises(
            aionvme.WrongLoopError, match="another thread: allocate a queue pair in each loop"
        ):
            o.read()
        await other.run(o.qp.close())


async def test_what_the_controller_does_only_in_its_own_loop() -> None:
    """Admin commands, reset and close from another thread say where they belong."""
    async with rig() as r, elsewhere() as other:
        say = "run_coroutine_threadsafe"

        async def attempt() -> None:
            with pytest.raises(aionvme.WrongLoopError, match=say):
                r.ctrlr.submit_identify(1)
            with pytest.raises(aionvme.WrongLoopError, match=say):
                await r.ctrlr.reset()
            with pytest.raises(aionvme.WrongLoopError, match=say):
                await r.ctrlr.close()

        await other.run(attempt())


async def test_memory_from_every_thread() -> None:
    """Buffers and registrations are made and given back in two threads at once, beside I/O on others of them."""

    async def churn(qp: aionvme.IoQueuePair, r: Rig, seed: int) -> None:
        for n in range(60):
            buffers = [r.ctrlr.dma_alloc(512 << (n + k) % 6) for k in range(4)]
            array = bytearray(8192)
            with r.ctrlr.dma_register(array):
                view = memoryview(array)[:512]
                await asyncio.gather(
                    *(qp.read(r.ns, buf, seed, 1) for buf in buffers), qp.read(r.ns, view, seed, 1)
                )
                assert bytes(view) == bytes([seed]) * 512
                view.release()
            assert all(bytes(memoryview(buf)[:512]) == bytes([seed]) * 512 for buf in buffers)
            for buf in buffers:
                buf.close()

    async with rig() as r, elsewhere() as other:
        before = len(r.ctrlr._dma.mappings())
        for lba in (1, 2):
            r.mock.poke(1, lba, bytes([lba]) * 512)

        async def use() -> None:
            async with r.ctrlr.alloc_io_qpair() as qp:
                await churn(qp, r, 2)

        await asyncio.gather(churn(r.qp, r, 1), other.run(use()))
        assert len(r.ctrlr._dma.mappings()) <= before + 1


# -- allocating --------------------------------------------------------------------------------------------------------


async def test_refused_allocation_leaves_no_queue() -> None:
    """A refusal, by the controller or by the arguments, is raised there; the identifier is free again."""
    async with rig() as r, elsewhere() as other:
        r.mock.fail(0x0101, qid=0, opcode=CREATE_SQ)
        with pytest.raises(aionvme.CommandSpecificError):
            await other.run(there(r))
        with pytest.raises(aionvme.UsageError, match="depth must be"):
            await other.run(there(r, depth=0))
        o = await other.run(there(r))
        assert (o.qp.qid, r.mock.num_queues) == (2, 2)
        await other.run(o.qp.close())


@pytest.mark.parametrize("opcode", [CREATE_CQ, CREATE_SQ])
async def test_cancelled_allocation_leaves_no_queue(opcode: int) -> None:
    """Cancelled there at either step, it goes on until the controller has no such queue again."""
    async with rig() as r, elsewhere() as other:
        held = r.mock.hold(qid=0, opcode=opcode, count=1)
        allocating = other.start(there(r))
        await until(lambda: held.commands)
        allocating.cancel()
        await other.call(int)
        held.release()
        await until(lambda: 2 not in r.ctrlr._queues._taken)
        assert (r.mock.queue(0).opcodes[DELETE_CQ], r.mock.num_queues) == (1, 1)
        o = await other.run(there(r))
        assert o.qp.qid == 2
        await other.run(o.qp.close())


@pytest.mark.parametrize("opcode", [CREATE_CQ, CREATE_SQ])
async def test_reset_while_it_is_allocated(opcode: int) -> None:
    """The allocation ends there with ControllerResetError, and nothing of it is left."""
    async with rig() as r, elsewhere() as other:
        held = r.mock.hold(qid=0, opcode=opcode, count=1)
        allocating = other.start(there(r))
        await until(lambda: held.commands)
        await r.ctrlr.reset()
        assert await kinds([asyncio.wrap_future(allocating)]) == [RESET]
        o = await other.run(there(r))
        assert (o.qp.qid, r.mock.num_queues) == (2, 2)
        await other.run(o.qp.close())


# -- cancelling and timeouts -------------------------------------------------------------------------------------------


async def test_cancelled_command_is_aborted_from_the_controllers_loop() -> None:
    """A cancellation sends one Abort on the admin queue, and is raised there when the command has ended."""
    async with rig() as r, elsewhere() as other:
        o = await other.run(there(r))
        held = r.mock.hold(qid=2)
        reading = other.start(_read(o))
        await fetched(r.mock, 1, qid=2)
        await other.call(lambda: [task.cancel() for task in asyncio.all_tasks() if "_read" in repr(task)])
        await until(reading.done)
        assert reading.cancelled()
        assert r.mock.queue(0).opcodes[ABORT] == 1
        held.stop()
        assert await other.run(_kinds(o, 1)) == [None]
        await other.run(o.qp.close())


async def _read(r: Rig, **keywords: Any) -> None:
    await r.read(**keywords)


async def _kinds(r: Rig, count: int, **keywords: Any) -> list[type[BaseException] | None]:
    return await kinds(r.reads(count, **keywords))


async def test_command_over_its_time_is_aborted() -> None:
    """A time limit ends a command there by Abort."""
    async with rig() as r, elsewhere() as other:
        o = await other.run(there(r))
        with r.mock.hold(qid=2):
            assert await other.run(_kinds(o, 1, timeout=0.05)) == [aionvme.CommandTimeoutError]
        assert r.mock.queue(0).opcodes[ABORT] == 1
        assert await other.run(_kinds(o, 1)) == [None]
        await other.run(o.qp.close())


async def test_command_that_abort_does_not_end_leads_to_a_reset() -> None:
    """Late there, and Abort fails: a reset, which ends the others there and here; then both queue pairs work again."""
    async with rig(abort_timeout=0.1) as r, elsewhere() as other:
        o = await other.run(there(r))
        r.mock.fail(aionvme.StatusCode.INTERNAL_ERROR, qid=0, opcode=ABORT, count=None)
        held = [r.mock.hold(qid=1), r.mock.hold(qid=2)]
        here = r.reads(2, timeout=0)
        late, others = other.start(_kinds(o, 1, timeout=0.05)), other.start(_kinds(o, 2, timeout=0))
        await fetched(r.mock, 2)
        await fetched(r.mock, 3, qid=2)
        assert await asyncio.wrap_future(late) == [aionvme.CommandTimeoutError]
        assert await asyncio.wrap_future(others) == [RESET] * 2
        assert await kinds(here) == [RESET] * 2
        for each in held:
            each.stop()
        assert await other.run(_kinds(o, 2)) == [None] * 2
        await r.works()
        await other.run(o.qp.close())


# -- reset, close, loss ------------------------------------------------------------------------------------------------


async def test_reset_ends_what_is_in_flight_there_and_posts_what_waits() -> None:
    """In flight there: ControllerResetError; queued there: posted afterwards, in order."""
    async with rig() as r, elsewhere() as other:
        o = await other.run(there(r, depth=2))
        held = r.mock.hold(qid=2)
        told: list[int] = []

        async def submit() -> list[type[BaseException] | None]:
            inside = o.reads(2)
            queued = [
                o.qp.submit_read(r.ns, o.buf, 0, 1, lambda n, _cpl: told.append(n), n) for n in range(4)
            ]
            return await kinds([*inside, *queued])

        ended = other.start(submit())
        await fetched(r.mock, 2, qid=2)
        held.stop()
        await r.ctrlr.reset()
        assert await asyncio.wrap_future(ended) == [RESET, RESET, None, None, None, None]
        assert told == [0, 1, 2, 3]
        await other.run(o.qp.close())


async def test_commands_there_end_only_when_the_device_has_let_go() -> None:
    """Until RDY=0 is seen here, what is in flight there does not end: the device may still write its memory."""
    async with rig(MockController(timeout=30)) as r, elsewhere() as other:
        o = await other.run(there(r))
        held = r.mock.hold(qid=2)
        ended = other.start(_kinds(o, 2))
        await fetched(r.mock, 2, qid=2)
        r.mock.stuck = True
        resetting = asyncio.create_task(r.ctrlr.reset())
        await until(lambda: not r.mock._registers.cc & 1)
        await turns(50)
        await other.call(int)
        assert (resetting.done(), ended.done(), o.qp.outstanding) == (False, False, 2)
        held.stop()
        r.mock.stuck = False
        assert await asyncio.wrap_future(ended) == [RESET] * 2
        await resetting
        await other.run(o.qp.close())


async def test_resets_under_load_from_two_threads() -> None:
    """Each command of either thread ends once, well or with ControllerResetError; afterwards both work."""
    async with rig() as r, elsewhere() as other:
        over = threading.Event()

        async def load(r: Rig) -> Counter[str]:
            ends: Counter[str] = Counter()

            async def one(lba: int) -> None:
                while not over.is_set():
                    [kind] = await kinds([r.read(lba)])
                    ends[kind.__name__ if kind else "ok"] += 1

            await asyncio.gather(*(one(lba) for lba in range(16)))
            assert r.qp.outstanding == 0
            return ends

        o = await other.run(there(r, depth=8))
        here, away = asyncio.create_task(load(r)), other.start(load(o))
        for n in range(1, 6):
            seen = r.mock.queue(2).fetched
            await until(lambda seen=seen: r.mock.queue(2).fetched > seen + 20)  # type: ignore[misc]
            await r.ctrlr.reset()
            assert r.ctrlr._core.epoch == n
        over.set()
        for ends in (await here, await asyncio.wrap_future(away)):
            assert set(ends) <= {"ok", "ControllerResetError"}, ends
            assert ends["ok"]
        assert await other.run(_kinds(o, 4)) == [None] * 4
        await r.works()
        await other.run(o.qp.close())


async def test_controller_closed_while_it_is_open() -> None:
    """Closing the controller waits for the commands there, then deletes the queues; later calls there say closed."""
    async with rig() as r, elsewhere() as other:
        o = await other.run(there(r))
        held = r.mock.hold(qid=2)
        ended = other.start(_kinds(o, 3))
        await fetched(r.mock, 3, qid=2)
        closing = asyncio.create_task(r.ctrlr.close())
        await turns(200)
        assert not closing.done()
        held.stop()
        held.release()
        await closing
        assert await asyncio.wrap_future(ended) == [None] * 3
        assert r.mock.queue(0).opcodes[DELETE_SQ] == 2

        async def afterwards() -> None:
            with pytest.raises(aionvme.UsageError, match="closed"):
                o.read()
            await o.qp.close()
            with pytest.raises(aionvme.UsageError, match="closed"):
                await r.ctrlr.alloc_io_qpair()

        await other.run(afterwards())


async def test_loss_ends_what_is_there() -> None:
    """Surprise removal: commands in flight and queued there end with ControllerLostError, later calls raise it."""
    async with rig() as r, elsewhere() as other:
        o = await other.run(there(r, depth=2))
        r.mock.hold()
        ended = other.start(_kinds(o, 4, timeout=0))
        await fetched(r.mock, 2, qid=2)
        r.mock.remove()
        assert await asyncio.wrap_future(ended) == [LOST] * 4

        async def afterwards() -> None:
            with pytest.raises(LOST, match="gone"):
                o.read()
            with pytest.raises(LOST, match="gone"):
                await r.ctrlr.alloc_io_qpair()
            await o.qp.close()

        await other.run(afterwards())


async def test_a_removal_waits_for_its_commands() -> None:
    """Asked back by the system: commands there complete first, and the controller ends in its own loop's thread."""
    async with rig() as r, elsewhere() as other:
        o = await other.run(there(r))
        ends: list[int] = []
        told = r.ctrlr._on_closed
        r.ctrlr._on_closed = lambda: (ends.append(threading.get_ident()), told and told())  # type: ignore[func-returns-value]
        held = r.mock.hold(qid=2)
        ended = other.start(_kinds(o, 2, timeout=0))
        await fetched(r.mock, 2, qid=2)
        r.mock.request_removal()
        await until(lambda: o.qp.closed)
        held.stop()
        held.release()
        assert await asyncio.wrap_future(ended) == [None] * 2
        await until(lambda: ends)
        assert ends == [threading.get_ident()]
        await other.run(o.qp.close())


async def test_foreign_completion_there() -> None:
    """A completion that cannot be ends that queue pair by a reset, as in the controller's own loop."""
    async with rig() as r, elsewhere() as other:
        o = await other.run(there(r))
        held = r.mock.hold(qid=2)
        reported: list[str] = []
        other.loop.call_soon_threadsafe(
            other.loop.set_exception_handler, lambda _loop, context: reported.append(context["message"])
        )
        ended = other.start(_kinds(o, 2))
        await fetched(r.mock, 2, qid=2)
        r.mock.inject_cqe(2, cid=0x3F7F)
        assert await asyncio.wrap_future(ended) == [RESET] * 2
        held.stop()
        assert ["no command that is outstanding" in message for message in reported] == [True]
        with pytest.raises(aionvme.ControllerFailedError, match="allocate another"):
            await other.run(_read(o))
        await other.run(o.qp.close())
        await r.works()


async def test_shadow_doorbells_and_the_memory_buffer_there() -> None:
    """A queue pair there whose submission queue lies in the controller, with shadow doorbells, works over a reset."""
    mock = MockController(cmb=65536, timeout=0.5)
    async with rig(mock, shadow_doorbells=True, use_cmb_sqs=True) as r, elsewhere() as other:
        o = await other.run(there(r, depth=8))
        for _ in range(2):
            assert await other.run(_kinds(o, 64)) == [None] * 64
            await r.ctrlr.reset()
        await other.run(o.qp.close())
