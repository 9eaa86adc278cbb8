"""The request as a coroutine: `send`, `throw` and `close` let go of the waiter, never of the command."""

from __future__ import annotations

import asyncio

import pytest

import aionvme
from aionvme.tests.flow.tasks.stage import BLOCK, Stage, raw_read


def test_stepped_by_hand(stage: Stage) -> None:
    """A step before the end gives the request itself, asking to be waited for; after the end, the result."""

    async def step(stage: Stage) -> None:
        with stage.mock.hold(qid=stage.qp.qid) as held:
            request = stage.read()
            assert request.send(None) is request
            assert request._asyncio_future_blocking
            request._asyncio_future_blocking = False
            assert next(iter(request)) is request  # type: ignore[call-overload]
            request._asyncio_future_blocking = False
            await stage.until(lambda: held.commands)
        await stage.until(request.done)
        with pytest.raises(StopIteration) as stop:
            request.send(None)
        assert stop.value.value is request.cpl

    stage.run(step)


@pytest.mark.parametrize("error", [ValueError("mine"), ValueError, KeyboardInterrupt()], ids=repr)
def test_throw_leaves_the_command_alone(stage: Stage, error: BaseException | type[BaseException]) -> None:
    """What is thrown comes out at once; the command is not aborted, keeps its memory, and ends as the device says."""

    async def throw(stage: Stage) -> None:
        aborts = stage.aborts
        with stage.mock.hold(qid=stage.qp.qid) as held:
            view = memoryview(stage.buf)[:BLOCK]
            request = stage.qp.io_raw(raw_read(1), data=view)
            coro = _end(request)
            coro.send(None)
            request._asyncio_future_blocking = False
            with pytest.raises(error if isinstance(error, type) else type(error)):
                coro.throw(error)
            await stage.until(lambda: held.commands)
            assert not request.done()
            with pytest.raises(BufferError):
                view.release()
        await stage.until(request.done)
        assert request.result() is request.cpl
        assert stage.aborts == aborts
        view.release()

    stage.run(throw)


def test_throw_of_a_cancellation_is_a_cancel(stage: Stage) -> None:
    """CancelledError thrown before the end means `cancel`, message and all, and it waits on; after it, it is raised."""

    async def throw(stage: Stage) -> None:
        aborts = stage.aborts
        with stage.mock.hold(qid=stage.qp.qid) as held:
            request = stage.read()
            await stage.until(lambda: held.commands)
            for _ in range(2):
                assert request.throw(asyncio.CancelledError("enough")) is request
                request._asyncio_future_blocking = False
            await stage.until(request.done)
        with pytest.raises(asyncio.CancelledError, match="enough"):
            request.result()
        with pytest.raises(asyncio.CancelledError, match="late"):
            request.throw(asyncio.CancelledError("late"))
        assert stage.aborts == aborts + 1

    stage.run(throw)


def test_close_leaves_the_command_alone(stage: Stage) -> None:
    """A coroutine that is closed while it waits drops the request; the command ends by itself."""

    async def close(stage: Stage) -> None:
        aborts = stage.aborts
        with stage.mock.hold(qid=stage.qp.qid) as held:
            view = memoryview(stage.buf)[:BLOCK]
            request = stage.qp.io_raw(raw_read(1), data=view)
            coro = _end(request)
            coro.send(None)
            coro.close()
            request.close()
            await stage.until(lambda: held.commands)
            await stage.turns(4)
            with pytest.raises(BufferError):
                view.release()
        await stage.until(request.done)
        assert request.result() is request.cpl
        assert stage.aborts == aborts
        view.release()

    stage.run(close)


async def _end(request: aionvme.Request) -> object:
    return await request
