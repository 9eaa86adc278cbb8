"""The request as a future: what asyncio, and anyone who holds it, asks of it."""

from __future__ import annotations

import asyncio
import contextvars
import traceback
from collections.abc import Callable
from typing import Any

import pytest

import aionvme
from aionvme.tests.flow.tasks.stage import BLOCK, Stage, raw_read

NAME = contextvars.ContextVar("NAME", default="none")


def test_neither_result_nor_exception_before_the_end(stage: Stage) -> None:
    """Asked too early, both raise InvalidStateError, and the command goes on."""

    async def ask(stage: Stage) -> None:
        with stage.mock.hold(qid=stage.qp.qid) as held:
            request = stage.read()
            await stage.until(lambda: held.commands)
            for ask_for in (request.result, request.exception):
                with pytest.raises(asyncio.InvalidStateError):
                    ask_for()
            assert (request.done(), request.cancelled(), request.cpl) == (False, False, None)
        assert await request is request.result() is request.cpl
        assert request.exception() is None

    stage.run(ask)


def test_result_of_a_failure(stage: Stage) -> None:
    """`result` raises, and `exception` gives, the one StatusError."""

    async def fail(stage: Stage) -> None:
        request = stage.failing()
        await stage.until(request.done)
        error = request.exception()
        assert isinstance(error, aionvme.StatusError)
        assert error.status == aionvme.StatusCode.INVALID_NAMESPACE_OR_FORMAT
        with pytest.raises(aionvme.StatusError) as raised:
            request.result()
        assert raised.value is error
        assert error.cpl is request.cpl

    stage.run(fail)


def test_result_of_a_cancellation(stage: Stage) -> None:
    """`result` and `exception` raise CancelledError with the message, and `cancel` is False from then on."""

    async def cancel(stage: Stage) -> None:
        request = stage.read()
        assert request.cancel("enough") and request.cancel("more than enough")
        with pytest.raises(asyncio.CancelledError):
            await request
        for ask_for in (request.result, request.exception):
            with pytest.raises(asyncio.CancelledError) as raised:
                ask_for()
            assert raised.value.args == ("enough",)
        assert request.cancelled() and not request.cancel()
        assert request.cpl is not None

    stage.run(cancel)


def test_a_waiting_command_is_taken_out_at_once(stage: Stage) -> None:
    """One that waits for a slot was never the device's: it ends in the call, and is not posted."""

    async def cancel(stage: Stage) -> None:
        fetched = stage.mock.queue(stage.qp.qid).fetched
        with stage.mock.hold(qid=stage.qp.qid):
            posted = [stage.read(i) for i in range(stage.qp.depth)]
            request = stage.read()
            task = asyncio.create_task(_end(request))
            await stage.turns(2)
            aborts = stage.aborts
            assert request.cid is None
            task.cancel()
            assert request.cancelled()
            await asyncio.wait([task])
            assert task.cancelled()
        await asyncio.gather(*posted)
        assert stage.mock.queue(stage.qp.qid).fetched - fetched == stage.qp.depth
        assert stage.aborts == aborts

    stage.run(cancel)


def test_callbacks_in_order_and_context(stage: Stage) -> None:
    """Done-callbacks are called once each, in the order of registration, each in its context, with the request."""

    async def register(stage: Stage) -> None:
        called: list[Any] = []
        named = contextvars.copy_context()
        named.run(NAME.set, "given")
        request = stage.read()
        NAME.set("registered")
        request.add_done_callback(lambda r: called.append((1, r, NAME.get())))
        NAME.set("later")
        request.add_done_callback(lambda r: called.append((2, r, NAME.get())), context=named)
        request.add_done_callback(lambda r: called.append((3, r, NAME.get())))
        await stage.until(lambda: len(called) == 3)
        assert called == [(1, request, "registered"), (2, request, "given"), (3, request, "later")]
        request.add_done_callback(lambda r: called.append((4, r, NAME.get())))
        assert len(called) == 3
        await stage.turns(2)
        assert called[3:] == [(4, request, "later")]

    stage.run(register)


def test_callbacks_taken_out(stage: Stage) -> None:
    """`remove_done_callback` takes out every registration of it, says how many, and leaves the others in order."""

    async def remove(stage: Stage) -> None:
        called: list[int] = []
        first, second, third = (_noting(called, i) for i in range(3))
        request = stage.read()
        for callback in (first, second, first, third):
            request.add_done_callback(callback)
        assert request.remove_done_callback(first) == 2
        assert request.remove_done_callback(first) == 0
        await request
        await stage.until(lambda: len(called) == 2)
        assert called == [1, 2]
        assert request.remove_done_callback(second) == 0

    stage.run(remove)


@pytest.mark.parametrize("callbacks", [1, 3])
def test_a_callback_that_raises(stage: Stage, callbacks: int) -> None:
    """It is reported, and the callbacks and completions after it are delivered all the same."""

    async def register(stage: Stage) -> None:
        called: list[int] = []

        def bad(_request: object) -> None:
            raise ZeroDivisionError

        with stage.mock.hold(qid=stage.qp.qid) as held:
            request, after = stage.read(), stage.read()
            request.add_done_callback(bad)
            for i in range(1, callbacks):
                request.add_done_callback(_noting(called, i))
            after.add_done_callback(lambda _r: called.append(9))
            await stage.until(lambda: len(held.commands) == 2)
        await stage.until(lambda: len(called) == callbacks)
        assert sorted(called) == [*range(1, callbacks), 9]
        (report,) = stage.reports
        assert isinstance(report["exception"], ZeroDivisionError)
        stage.reports.clear()

    stage.run(register)


def test_each_task_keeps_its_context(stage: Stage) -> None:
    """Tasks that wait side by side each see their own variables afterwards, and the queue pair none of them."""

    async def wait(name: str) -> tuple[str, str]:
        NAME.set(name)
        await stage.read()
        first = NAME.get()
        NAME.set(name * 2)
        await stage.read()
        return first, NAME.get()

    async def many(stage: Stage) -> None:
        names = [str(i) for i in range(12)]
        assert await asyncio.gather(*map(wait, names)) == [(name, name * 2) for name in names]
        seen: list[str] = []
        stage.submit(lambda _arg, _cpl: seen.append(NAME.get()))
        await stage.until(lambda: seen)
        assert seen == ["none"]

    stage.run(many)


def test_two_tasks_await_one_request(stage: Stage) -> None:
    """Both get the same completion; of a failure the same error."""

    async def both(stage: Stage) -> None:
        request = stage.read()
        first, second = await asyncio.gather(_end(request), _end(request))
        assert first is second is request.cpl
        request = stage.failing()
        errors = await asyncio.gather(_end(request), _end(request), return_exceptions=True)
        assert errors[0] is errors[1] is request.exception()

    stage.run(both)


def test_cancelling_one_of_two_that_await(stage: Stage) -> None:
    """As with a future that two tasks await: the command is cancelled, and both are told."""

    async def cancel(stage: Stage) -> None:
        with stage.mock.hold(qid=stage.qp.qid):
            request = stage.read()
            tasks = [asyncio.create_task(_end(request)) for _ in range(2)]
            await stage.turns(2)
            tasks[0].cancel()
            await asyncio.wait(tasks)
        assert [task.cancelled() for task in tasks] == [True, True]

    stage.run(cancel)


def test_awaited_again(stage: Stage) -> None:
    """A request that has ended gives its result at once, as often as it is asked."""

    async def again(stage: Stage) -> None:
        request: Any = stage.read()
        cpl = await request
        turns = stage.qp.counters["turns"]
        assert await request is cpl
        assert await asyncio.wait_for(request, 0) is cpl
        assert stage.qp.counters["turns"] == turns

    stage.run(again)


def test_traceback_does_not_grow(stage: Stage) -> None:
    """A failure awaited again and again has the traceback of the last time only."""

    async def again(stage: Stage) -> None:
        request = stage.failing()
        depths = []
        for _ in range(5):
            try:
                await request
            except aionvme.StatusError as error:
                depths.append(len(traceback.extract_tb(error.__traceback__)))
        # The first came by way of the task's wake-up.
        assert len(set(depths[1:])) == 1
        assert depths[1] <= depths[0]

    stage.run(again)


def test_what_asyncio_takes_it_for(stage: Stage) -> None:
    """A future and a coroutine, of the loop of its queue pair; `ensure_future` and `wrap_future` leave it as it is."""

    async def look(stage: Stage) -> None:
        request: Any = stage.read()
        assert asyncio.isfuture(request)
        assert asyncio.iscoroutine(request)
        assert asyncio.ensure_future(request) is request
        assert asyncio.wrap_future(request) is request
        assert request.get_loop() is asyncio.get_running_loop()
        await request

    stage.run(look)


def test_the_loop_runs_until_it_is_complete(stage: Stage) -> None:
    """`run_until_complete` takes it as it takes a future; and from another thread, `run_coroutine_threadsafe`."""

    async def elsewhere(stage: Stage) -> None:
        request = stage.read()
        other = asyncio.run_coroutine_threadsafe(request, stage.loop)
        await stage.until(other.done)
        assert other.result() is request.cpl

    requests: list[Any] = []

    async def submit(stage: Stage) -> None:
        requests.append(stage.read())

    stage.run(elsewhere)
    stage.loop.run_until_complete(submit(stage))
    stage.start_stepping()
    assert stage.loop.run_until_complete(requests[0]) is requests[0].cpl
    stage.stop_stepping()


def test_in_the_stack_of_a_task(stage: Stage) -> None:
    """A task whose own coroutine it is can be shown, and has no frames."""

    async def show(stage: Stage) -> None:
        with stage.mock.hold(qid=stage.qp.qid):
            task: asyncio.Task[Any] = asyncio.create_task(stage.read())
            await stage.turns(2)
            assert "Request" in repr(task)
            assert task.get_stack() == []
        await task

    stage.run(show)


def test_a_completion_that_is_there_is_taken_at_once(stage: Stage) -> None:
    """A lone command whose completion is in the queue when it is awaited costs no turn of the loop."""

    async def take(stage: Stage) -> None:
        with stage.mock.hold(qid=stage.qp.qid) as held:
            request = stage.read()
            await stage.until(lambda: held.commands)
            turns = stage.qp.counters["turns"]
            held.release()
            await request
            assert stage.qp.counters["turns"] == turns

    stage.run(take)


def test_value_that_is_a_tuple(stage: Stage) -> None:
    """A decoded value comes back from `await` as it is, a tuple too, which StopIteration would take apart."""

    async def decode(stage: Stage) -> None:
        sqe = bytearray(64)
        sqe[0], sqe[40] = 0x06, 1  # Identify Controller
        admin = stage.ctrlr._admin
        data = memoryview(stage.buf)[:4096]
        assert await admin.submit_admin(sqe, data=data, decode=lambda _cpl: (1, 2)) == (1, 2)

    stage.run(decode)


@pytest.mark.parametrize("expires", ["wait_for", "timeout"])
def test_a_timeout_waits_for_the_device(stage: Stage, expires: str) -> None:
    """The timeouts of asyncio raise TimeoutError once the device has let go, and not before."""

    async def wait_for(request: aionvme.Request) -> None:
        await asyncio.wait_for(request, 1e-6)

    async def timeout(request: aionvme.Request) -> None:
        async with asyncio.timeout(1e-6):
            await request

    async def expire(stage: Stage) -> None:
        io, aborts = stage.mock.hold(qid=stage.qp.qid), stage.mock.hold(qid=0, opcode=0x08)
        view = memoryview(stage.buf)[:BLOCK]
        request = stage.qp.io_raw(raw_read(1), data=view)
        task = asyncio.create_task({"wait_for": wait_for, "timeout": timeout}[expires](request))
        await stage.until(lambda: aborts.commands)
        await stage.turns(8)
        assert not task.done() and not request.done()
        with pytest.raises(BufferError):
            view.release()
        aborts.stop()
        aborts.release()
        await asyncio.wait([task])
        assert isinstance(task.exception(), TimeoutError)
        assert request.cancelled()
        view.release()
        io.stop()

    stage.run(expire)


def _noting(called: list[int], i: int) -> Callable[[object], None]:
    return lambda _request: called.append(i)


async def _end(request: aionvme.Request) -> Any:
    return await request
