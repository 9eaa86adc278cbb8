"""Loops that block or end, the queue pair's or the controller's: everything ends, in bounded time, and says why."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.tests.flow.support import (
    ABORT,
    CREATE_CQ,
    CREATE_SQ,
    DELETE_SQ,
    PATIENCE,
    Rig,
    fetched,
    kinds,
    rig,
    turns,
    until,
)
from aionvme.tests.flow.threads.elsewhere import RESET, Elsewhere, elsewhere, there

pytestmark = [pytest.mark.anyloop, pytest.mark.usefixtures("no_leaks")]

FAILED, LOST = aionvme.ControllerFailedError, aionvme.ControllerLostError
TIMEOUT, WRONG = aionvme.CommandTimeoutError, aionvme.WrongLoopError
PATIENT = 0.3  # loop_timeout of these tests
SLACK = 5.0  # what a busy machine adds


async def _kinds(r: Rig, count: int, **keywords: Any) -> list[type[BaseException] | None]:
    return await kinds(r.reads(count, **keywords))


def _iovas(r: Rig) -> set[int]:
    """Where the next buffers of a page lie, as far as the arena goes."""
    buffers = [r.ctrlr.dma_alloc(512) for _ in range(400)]
    return {buf.iova for buf in buffers}


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "aionvme")


# -- the queue pair's loop ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("silent", [False, True], ids=["held", "silent"])
async def test_its_loop_is_torn_down_with_commands_in_flight(silent: bool) -> None:
    """As by `asyncio.run`: every task there ends, by Abort or by a reset, and then the loop; the controller goes on."""
    async with rig(abort_timeout=0.1) as r, elsewhere() as other:
        o = await other.run(there(r))
        ends: list[type[BaseException] | None] = []

        async def read(lba: int) -> None:
            ends.extend(await kinds([o.read(lba, timeout=0)]))

        async def start() -> list[asyncio.Task[None]]:
            return [asyncio.create_task(read(lba)) for lba in range(8)]

        held = r.mock.hold(qid=2)
        tasks = await other.run(start())
        await fetched(r.mock, 8, qid=2)
        if silent:
            r.mock.hold(qid=0, opcode=ABORT)
        begun = time.monotonic()
        await other.end()
        assert r.ctrlr._core.epoch >= silent
        assert time.monotonic() - begun < SLACK
        assert all(task.done() for task in tasks)
        # A task that is cancelled while it gathers is told so once its commands have ended.
        assert ends == []
        assert all(task.cancelled() for task in tasks)
        assert r.mock.queue(0).opcodes.get(ABORT, 0) >= (1 if silent else 8)
        held.stop()
        await r.works()


@pytest.mark.parametrize("abandoned", [False, True], ids=["torn down", "abandoned"])
async def test_its_thread_ended_and_nobody_closed_it(abandoned: bool) -> None:
    """The controller closes a queue pair whose loop is gone, with or without commands in flight."""
    async with rig() as r, elsewhere() as other:
        o = await other.run(there(r))
        if abandoned:
            r.mock.hold(qid=2)
            await other.call(lambda: [o.qp.submit_read(r.ns, o.buf, 0, 1, lambda *_: None) for _ in range(3)])
            await fetched(r.mock, 3, qid=2)
        await other.end(abandoned=abandoned)
        begun = time.monotonic()
        await r.ctrlr.close()
        assert time.monotonic() - begun < SLACK
        assert r.mock.queue(0).opcodes[DELETE_SQ] == 2
        assert o.qp.outstanding == 0
        assert o.qp.disposed


async def test_reset_when_its_loop_is_gone() -> None:
    """A reset takes over what its loop can't do any more; the controller is usable and can be closed."""
    async with rig() as r, elsewhere() as other:
        o = await other.run(there(r))
        r.mock.hold(qid=2)
        await other.call(lambda: [o.qp.submit_read(r.ns, o.buf, 0, 1, lambda *_: None) for _ in range(3)])
        await fetched(r.mock, 3, qid=2)
        await other.end(abandoned=True)
        await r.ctrlr.reset()
        assert o.qp.outstanding == 0
        await r.works()


async def test_its_loop_is_blocked_during_a_reset(caplog: pytest.LogCaptureFixture) -> None:
    """The reset goes on without that queue pair, whose commands end when its loop turns again; others work."""
    async with rig(loop_timeout=PATIENT) as r, elsewhere() as other:
        o = await other.run(there(r, depth=2))
        iova = o.qp.sq_iova
        held = r.mock.hold(qid=2)
        ended = other.start(_kinds(o, 4, timeout=0))
        await fetched(r.mock, 2, qid=2)
        async with other.blocked():
            begun = time.monotonic()
            await r.ctrlr.reset()
            assert PATIENT <= time.monotonic() - begun < PATIENT + SLACK
            await r.works()
            assert r.mock.num_queues == 1
            # What it has may still be looked at by its thread.
            assert iova not in _iovas(r)
        held.stop()
        assert await asyncio.wrap_future(ended) == [RESET, RESET, FAILED, FAILED]
        assert ["left out of a reset" in record.message for record in caplog.records] == [True]

        async def afterwards() -> None:
            with pytest.raises(FAILED, match=r"left out of a reset.*allocate another"):
                o.read()
            await o.qp.close()
            assert o.qp.disposed
            again = await there(r)
            assert (again.qp.qid, await _kinds(again, 1)) == (2, [None])
            await again.qp.close()

        await other.run(afterwards())


@pytest.mark.parametrize("completion", ["poll", "interrupt"])
async def test_its_loop_is_blocked_during_a_close(completion: str, caplog: pytest.LogCaptureFixture) -> None:
    """Close ends in bounded time and raises; the commands there end when the loop turns again."""
    async with rig(loop_timeout=PATIENT) as r, elsewhere() as other:
        o = await other.run(there(r, completion=completion))
        await r.ctrlr.alloc_io_qpair()
        r.mock.hold(qid=2)
        ended = other.start(_kinds(o, 2, timeout=0))
        await fetched(r.mock, 2, qid=2)
        async with other.blocked():
            begun = time.monotonic()
            with pytest.raises(FAILED, match="2 commands outstanding, as its event loop did not answer"):
                await r.ctrlr.close()
            assert time.monotonic() - begun < 10 * PATIENT + SLACK
            assert r.mock.num_queues == 0
            assert r.mock.queue(0).opcodes[DELETE_SQ] == 3
            assert r.ctrlr._dma.closed
            # By their numbers its loop might look at other files.
            assert bool(r.ctrlr._core.irq_fds)
            assert not _disposed(o), "its thread may be looking at it"
        # Deleting the queue had the device complete them, which its thread may yet see.
        assert set(await asyncio.wrap_future(ended)) <= {FAILED, aionvme.GenericStatusError}
        await other.run(o.qp.close())
        assert _disposed(o)
        assert any("memory is given back when it runs again" in record.message for record in caplog.records)
        assert not r.ctrlr._core.irq_fds


def _disposed(r: Rig) -> bool:
    return r.qp.disposed


async def test_its_loop_is_blocked_while_it_is_allocated() -> None:
    """What was asked for by a loop that does not turn is not made, nor later; the identifier is free."""
    async with rig(loop_timeout=PATIENT) as r, elsewhere() as other:
        stuck, unblocked = threading.Event(), threading.Event()

        async def ask() -> list[type[BaseException] | None]:
            allocating = asyncio.ensure_future(there(r))
            await turns()
            stuck.set()
            unblocked.wait()
            return await kinds([allocating])

        asked = other.start(ask())
        # This loop stands still until that one does.
        assert stuck.wait(PATIENCE)
        await until(lambda: 2 in r.ctrlr._queues._taken)
        await until(lambda: 2 not in r.ctrlr._queues._taken)
        unblocked.set()
        assert await asyncio.wrap_future(asked) == [WRONG]
        assert r.mock.queue(0).opcodes[CREATE_CQ] == 1
        assert (
            await other.call(lambda: [task for task in asyncio.all_tasks() if " qp " in task.get_name()])
            == []
        )
        o = await other.run(there(r))
        assert o.qp.qid == 2
        await other.run(o.qp.close())


async def test_loss_while_its_loop_is_blocked() -> None:
    """Loss here does not wait for a loop there; its commands end as lost when it turns again."""
    async with rig(loop_timeout=PATIENT) as r, elsewhere() as other:
        o = await other.run(there(r))
        r.mock.hold()
        ended = other.start(_kinds(o, 2, timeout=0))
        here = r.reads(1, timeout=0)
        await fetched(r.mock, 2, qid=2)
        async with other.blocked():
            r.mock.remove()
            assert await kinds(here) == [LOST]
        assert await asyncio.wrap_future(ended) == [LOST] * 2
        await other.run(o.qp.close())


# -- the controller's loop ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def far_controller(**opts: Any) -> AsyncIterator[tuple[Rig, Elsewhere]]:
    """A controller of another loop, and a queue pair of this one. Closing the controller is up to the test."""
    with MockController(timeout=0.5) as mock:
        async with elsewhere() as home:

            async def connect() -> aionvme.Controller:
                return await aionvme.connect(mock, aionvme.ControllerOptions(loop_timeout=PATIENT, **opts))

            ctrlr = await home.run(connect())
            try:
                qp = await ctrlr.alloc_io_qpair(depth=8)
                yield Rig(mock, ctrlr, qp, ctrlr.namespaces[1], ctrlr.dma_alloc(512)), home
            finally:
                mock.remove()


async def test_controllers_loop_is_blocked() -> None:
    """I/O here goes on; what needs that loop raises in bounded time, and what it was asked meanwhile is undone."""
    async with far_controller() as (r, home):
        async with home.blocked():
            assert await _kinds(r, 64) == [None] * 64
            begun = time.monotonic()
            with pytest.raises(WRONG, match=r"did not answer within 0\.3 s .*no queue pair was made"):
                await r.ctrlr.alloc_io_qpair()
            with pytest.raises(WRONG, match="could not be deleted, and keeps its memory"):
                await r.qp.close()
            assert time.monotonic() - begun < 10 * PATIENT + SLACK
            assert not r.qp.disposed
        await home.run(r.ctrlr.close())
        assert r.mock.queue(0).opcodes[CREATE_SQ] == 1
        assert r.mock.num_queues == 0
        assert r.qp.disposed


async def test_controllers_loop_blocks_in_the_middle_of_an_allocation() -> None:
    """The queue pair that is made after all, when nobody waits for it any more, is deleted again."""
    async with far_controller() as (r, home):
        held = r.mock.hold(qid=0, opcode=CREATE_SQ, count=1)
        allocating = asyncio.ensure_future(_alloc(r.ctrlr))
        await until(lambda: held.commands)
        async with home.blocked():
            held.release()
            assert await kinds([allocating]) == [WRONG]
        await until(lambda: 2 not in r.ctrlr._queues._taken)
        assert (r.mock.queue(0).opcodes[DELETE_SQ], r.mock.num_queues) == (1, 1)
        async with r.ctrlr.alloc_io_qpair() as again:
            assert again.qid == 2
        await r.qp.close()
        await home.run(r.ctrlr.close())


async def _alloc(ctrlr: aionvme.Controller) -> aionvme.IoQueuePair:
    return await ctrlr.alloc_io_qpair()


async def test_late_command_while_the_controllers_loop_is_blocked(caplog: pytest.LogCaptureFixture) -> None:
    """It ends in bounded time although it cannot be aborted; its memory is not used again before the device lets go."""
    async with far_controller(abort_timeout=0.1) as (r, home):
        iova, held = r.buf.iova, r.mock.hold(qid=1)
        async with home.blocked():
            requests = [r.read(timeout=0.05), *r.reads(3, timeout=0)]
            await fetched(r.mock, 4)
            begun = time.monotonic()
            assert await kinds(requests) == [TIMEOUT, FAILED, FAILED, FAILED]
            assert time.monotonic() - begun < 0.15 + PATIENT + SLACK
            with pytest.raises(FAILED, match="does not run"):
                r.read()
            r.buf.close()
            assert not _iovas(r) & {iova, r.qp.sq_iova}
        assert any("could neither be aborted" in record.message for record in caplog.records)
        held.stop()
        # What it was told meanwhile it does now: a reset, after which the memory is free.
        await until(lambda: r.qp.disposed)
        assert _iovas(r) >= {iova, r.qp.sq_iova}
        async with r.ctrlr.alloc_io_qpair() as again:
            await again.read(r.ns, r.ctrlr.dma_alloc(512), 0, 1)
        await r.qp.close()
        await home.run(r.ctrlr.close())


async def test_controllers_loop_ended_without_a_close() -> None:
    """I/O here goes on; a command that nobody can abort ends all the same; the rest says that the loop is closed."""
    async with far_controller(abort_timeout=0.1) as (r, home):
        await home.end()
        assert await _kinds(r, 64) == [None] * 64
        r.mock.hold(qid=1)
        requests = r.reads(2, timeout=0)
        await fetched(r.mock, 2)
        requests[0].cancel()
        begun = time.monotonic()
        assert await kinds(requests) == [asyncio.CancelledError, FAILED]
        assert time.monotonic() - begun < 0.1 + SLACK
        with pytest.raises(WRONG, match=r"event loop that does not run.*connect in this one"):
            await r.ctrlr.alloc_io_qpair()
        with pytest.raises(WRONG, match=r"is closed: .*could not be deleted"):
            await r.qp.close()
        with pytest.raises(WRONG, match="another event loop: connect in each loop"):
            await r.ctrlr.close()
        await _drop(r)


async def _drop(r: Rig) -> None:
    """Nobody closed the controller: it says so when it is dropped, here, and gives everything back."""
    core = r.ctrlr._core
    with pytest.warns(ResourceWarning, match="was not closed"):
        r.ctrlr.__del__()
    assert core.state.value == "closed"
    assert r.qp.disposed


async def test_controller_is_dropped_in_another_thread() -> None:
    """A controller that is collected in any thread cuts the device off, and commands end in the loop of each."""
    async with rig() as r, elsewhere() as other:
        o = await other.run(there(r))
        r.mock.hold()
        here, ended = r.reads(2, timeout=0), other.start(_kinds(o, 2, timeout=0))
        await fetched(r.mock, 2)
        await fetched(r.mock, 2, qid=2)

        def drop() -> None:
            with pytest.warns(ResourceWarning, match="was not closed"):
                r.ctrlr.__del__()

        await other.call(drop)
        assert await kinds(here) == [FAILED] * 2
        assert await asyncio.wrap_future(ended) == [FAILED] * 2
        await until(lambda: o.qp.disposed and r.qp.disposed)
