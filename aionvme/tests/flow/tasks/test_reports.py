"""A failure that nobody was told of is reported once, as asyncio reports that of a future."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable

import pytest

import aionvme
from aionvme.tests.flow.tasks.stage import BLOCK, Stage, raw_read


async def _await(request: aionvme.Request) -> None:
    with pytest.raises(aionvme.StatusError):
        await request


async def _gather(request: aionvme.Request) -> None:
    await asyncio.gather(request, return_exceptions=True)


async def _has_ended(request: aionvme.Request) -> None:
    ended = asyncio.Event()
    request.add_done_callback(lambda _request: ended.set())
    await ended.wait()


async def _ask(request: aionvme.Request) -> None:
    await _has_ended(request)
    assert request.exception()


async def _ask_result(request: aionvme.Request) -> None:
    await _has_ended(request)
    with pytest.raises(aionvme.StatusError):
        request.result()


async def _cancel(request: aionvme.Request) -> None:
    request.cancel()


async def _nothing(request: aionvme.Request) -> None:
    pass


@pytest.mark.parametrize(
    ("look", "reports"),
    [(_await, 0), (_gather, 0), (_ask, 0), (_ask_result, 0), (_cancel, 0), (_nothing, 1)],
)
def test_of_an_awaited_failure(
    stage: Stage, look: Callable[[aionvme.Request], Awaitable[None]], reports: int
) -> None:
    """Whoever saw the failure, or gave the command up, was told; otherwise it is reported once, with the error."""

    async def fail(stage: Stage) -> None:
        request = stage.failing()
        await look(request)
        await stage.until(request.done)
        await stage.turns(4)
        del request
        gc.collect()
        assert len(stage.reports) == reports
        for report in stage.reports:
            assert isinstance(report["exception"], aionvme.StatusError)
            assert "nobody awaited" in report["message"]
        stage.reports.clear()

    stage.run(fail)


def test_of_a_failure_in_a_cycle(stage: Stage) -> None:
    """A request that only the collector finds is reported as well."""

    async def fail(stage: Stage) -> None:
        for _ in range(20):
            request = stage.failing()
            await stage.until(request.done)
            cycle: list[object] = [request]
            cycle.append(cycle)
            del request, cycle
        gc.collect()
        assert len(stage.reports) == 20
        stage.reports.clear()

    stage.run(fail)


def test_of_a_failure_in_a_cycle_with_its_queue_pair(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the collector takes the queue pair too, the loop or standard error is told, whichever is still there."""

    async def fail(stage: Stage) -> None:
        for _ in range(4):
            qp = await stage.ctrlr.alloc_io_qpair(depth=8)
            request = qp.io_raw(raw_read(99), data=memoryview(stage.buf)[:BLOCK])
            await qp.close()
            cycle: list[object] = [qp, request]
            cycle.append(cycle)
            del qp, request, cycle
        gc.collect()
        written = capsys.readouterr().err.count("GenericStatusError")
        assert written + len(stage.reports) == 4
        stage.reports.clear()

    stage.run(fail)


def test_of_a_failure_with_a_callback(stage: Stage) -> None:
    """A callback has been told of the status: nothing is reported."""

    async def fail(stage: Stage) -> None:
        stage.mock.fail(aionvme.StatusCode.INTERNAL_ERROR, qid=stage.qp.qid)
        told: list[aionvme.Completion] = []
        stage.submit(lambda _arg, cpl: told.append(cpl))
        await stage.until(lambda: told)
        gc.collect()
        assert told[0].status == aionvme.StatusCode.INTERNAL_ERROR

    stage.run(fail)


def test_of_success(stage: Stage) -> None:
    """Success that nobody awaits is nobody's concern."""

    async def drop(stage: Stage) -> None:
        stage.read()
        await stage.until(lambda: not stage.qp.outstanding)
        gc.collect()

    stage.run(drop)
