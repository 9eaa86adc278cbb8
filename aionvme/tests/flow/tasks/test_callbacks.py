"""What is called from the reaping loop may raise, and may do anything; no other completion is lost by it."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import pytest

import aionvme
from aionvme.tests.flow.tasks.stage import Stage

EACH = 6  # commands that are reaped in one turn


async def _all_at_once(stage: Stage, call: Callable[[int], object]) -> list[aionvme.Request]:
    """Commands whose callbacks are called one after the other, in one turn, with their number."""
    with stage.mock.hold(qid=stage.qp.qid) as held:
        requests = [stage.submit(lambda i, _cpl: call(i), i) for i in range(EACH)]
        await stage.until(lambda: len(held.commands) == EACH)
    return requests


def test_exceptions_are_reported(stage: Stage) -> None:
    """Each exception of a callback goes to the loop's exception handler; every callback is called once, in order."""

    async def play(stage: Stage) -> None:
        called: list[int] = []

        def call(i: int) -> None:
            called.append(i)
            if i % 2:
                raise ZeroDivisionError(i)

        await _all_at_once(stage, call)
        await stage.until(lambda: len(called) == EACH)
        assert called == list(range(EACH))
        assert [report["exception"].args for report in stage.reports] == [(1,), (3,), (5,)]
        assert all("callback" in report for report in stage.reports)
        stage.reports.clear()

    stage.run(play)


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("kind", ["callback", "done-callback", "task"])
def test_what_stops_the_loop_loses_nothing(stage: Stage, kind: str, exception: type[BaseException]) -> None:
    """KeyboardInterrupt and SystemExit leave the loop as from a handle of asyncio's; the others are told next turn."""
    told: list[int] = []

    def call(i: int) -> None:
        told.append(i)
        if i == 2:
            raise exception

    async def wait(i: int, request: aionvme.Request) -> None:
        await request
        call(i)

    def make(i: int) -> asyncio.Task[None] | None:
        if kind == "callback":
            stage.submit(lambda i, _cpl: call(i), i)
        elif kind == "done-callback":
            stage.read().add_done_callback(lambda _r: call(i))
        else:
            return asyncio.create_task(wait(i, stage.read()))
        return None

    async def play(stage: Stage) -> None:
        with stage.mock.hold(qid=stage.qp.qid) as held:
            tasks = [make(i) for i in range(EACH)]
            await stage.until(lambda: len(held.commands) == EACH)
        await stage.until(lambda: len(told) == EACH)
        assert told == list(range(EACH))
        for task in filter(None, tasks):
            await stage.until(task.done)
            if task.exception() is not None:
                assert type(task.exception()) is exception

    stage.run_through(exception, play)
    assert told == list(range(EACH))


def test_what_stops_the_loop_in_a_callback_leaves_its_waiters(stage: Stage) -> None:
    """A request may have both a callback and waiters: these are told although the callback stopped the loop."""
    told: list[str] = []

    def call(_arg: object, _cpl: object) -> None:
        told.append("callback")
        raise KeyboardInterrupt

    async def play(stage: Stage) -> None:
        request = stage.submit(call)
        request.add_done_callback(lambda _request: told.append("done-callback"))
        await request
        await stage.until(lambda: len(told) == 2)

    stage.run_through(KeyboardInterrupt, play)
    assert told == ["callback", "done-callback"]


@pytest.mark.parametrize("kind", ["done-callback", "task"])
def test_reaping_in_the_context_of_a_waiter(stage: Stage, kind: str) -> None:
    """Called in the context that a waiter wants, which cannot be entered twice, it tells that waiter a turn later."""

    async def play(stage: Stage) -> None:
        context = contextvars.copy_context()
        told: list[object] = []
        qp = await stage.ctrlr.alloc_io_qpair(depth=8, completion="manual")
        request = qp.read(stage.ns, stage.buf, 0, 1)
        if kind == "task":
            task = stage.loop.create_task(_end(request), context=context)
            task.add_done_callback(told.append)
        else:
            request.add_done_callback(told.append, context=context)
        await stage.until(lambda: stage.mock.queue(qp.qid).posted)
        await stage.turns(2)
        stage.loop.call_soon(qp.process_completions, context=context)
        await stage.until(lambda: told)
        await qp.close()

    stage.run(play)


def test_a_callback_that_submits(stage: Stage) -> None:
    """A callback may submit the next command, and does for a thousand, many deep, in a queue of eight."""

    async def play(stage: Stage) -> None:
        ended = 0

        def again(left: int, cpl: aionvme.Completion) -> None:
            nonlocal ended
            assert not cpl.status
            ended += 1
            if left:
                stage.submit(again, left - 1)

        for _ in range(20):
            stage.submit(again, 50)
        await stage.until(lambda: ended == 20 * 51)

    stage.run(play)


def test_a_callback_that_cancels(stage: Stage) -> None:
    """Cancelled by a callback: one reaped with it has ended already; one in flight and one that waits are cancelled."""

    async def play(stage: Stage) -> None:
        seen: list[Any] = []
        told: list[int] = []
        with stage.mock.hold(qid=stage.qp.qid) as held:

            def cancel(_arg: object, _cpl: object) -> None:
                seen.extend((reaped.cancel(), in_flight.cancel(), waiting.cancel()))

            stage.submit(cancel)
            reaped = stage.submit(lambda i, _cpl: told.append(i), 1)
            in_flight, *others = (stage.read(i) for i in range(stage.qp.depth - 2))
            waiting = stage.read()
            waiting = stage.read()
            await stage.until(lambda: len(held.commands) == stage.qp.depth)
            held.release(2)
            await stage.until(lambda: in_flight.done() and waiting.done())
            assert seen == [False, True, True]
            assert told == [1]
            assert not any(other.done() for other in others)
        assert in_flight.cancelled() and waiting.cancelled() and not reaped.cancelled()
        await asyncio.gather(*others)

    stage.run(play)


def test_a_callback_that_reaps(stage: Stage) -> None:
    """`process_completions` from a callback reaps nothing, and calls nothing twice."""

    async def play(stage: Stage) -> None:
        called: list[tuple[int, int]] = []
        await _all_at_once(stage, lambda i: called.append((i, stage.qp.process_completions())))
        await stage.until(lambda: len(called) == EACH)
        assert called == [(i, 0) for i in range(EACH)]

    stage.run(play)


def test_reaping_in_a_task_resumes_no_other_there(stage: Stage) -> None:
    """What `process_completions` reaps in a coroutine is told in the next turn: a task cannot step another."""

    async def play(stage: Stage) -> None:
        with stage.mock.hold(qid=stage.qp.qid) as held:
            tasks = [asyncio.create_task(_end(stage.read(i))) for i in range(3)]
            await stage.until(lambda: len(held.commands) == 3)
        assert stage.qp.process_completions() == 3
        assert not any(task.done() for task in tasks)
        assert not any(cpl.status for cpl in await asyncio.gather(*tasks))

    stage.run(play)


@pytest.mark.parametrize("what", ["close", "reset", "close controller"])
@pytest.mark.parametrize("by", ["callback", "task"])
def test_what_is_told_takes_the_ground_away(stage: Stage, by: str, what: str) -> None:
    """Closed or reset from inside the reaping loop: what was reaped is told, and the rest ends by its rule."""

    async def play(stage: Stage) -> None:
        ctrlr, told = stage.ctrlr, list[int]()
        qp = await ctrlr.alloc_io_qpair(depth=8)
        started: list[asyncio.Task[None]] = []

        def act() -> Any:
            return {"close": qp.close, "reset": ctrlr.reset, "close controller": ctrlr.close}[what]()

        def call(i: int, _cpl: object) -> None:
            told.append(i)
            if i == 1 and by == "callback":
                started.append(asyncio.create_task(act()))

        async def wait(request: aionvme.Request) -> None:
            await request
            await act()

        held = stage.mock.hold(qid=qp.qid)
        for i in range(2):
            qp.submit_read(stage.ns, stage.buf, 0, 1, call, i)
        if by == "task":
            started.append(asyncio.create_task(wait(qp.read(stage.ns, stage.buf, 0, 1))))
        for i in range(2, 4):
            qp.submit_read(stage.ns, stage.buf, 0, 1, call, i)
        late = qp.read(stage.ns, stage.buf, 0, 1)
        queued = [qp.read(stage.ns, stage.buf, 0, 1) for _ in range(4)]
        await stage.until(lambda: len(held.commands) == qp.depth)
        held.release(4 + (by == "task"))
        await stage.until(lambda: len(told) == 4 and started)
        assert told == [0, 1, 2, 3]
        if what == "reset":
            with pytest.raises(aionvme.ControllerResetError):
                await late
        held.stop()
        held.release()
        ended: list[Any] = await asyncio.gather(late, *queued, return_exceptions=True)
        await asyncio.gather(*started)
        lost = [isinstance(one, aionvme.ControllerResetError) for one in ended]
        assert any(lost) == (what == "reset")
        if what != "reset":
            assert not any(cpl.status for cpl in ended)
            with pytest.raises(aionvme.UsageError):
                qp.read(stage.ns, stage.buf, 0, 1)
        if what == "close controller":
            await stage.reconnect()
        else:
            await qp.close()

    stage.run(play)


async def _end(request: aionvme.Request) -> Any:
    return await request
