"""Coroutines that a cancellation does not stop, the poller's task, and what opens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from aionvme.qpair.opening import Opening
from aionvme.qpair.poller import Poller, run_to_end, start_to_end, wait_to_end

pytestmark = pytest.mark.anyloop


async def _value(gate: asyncio.Event, value: object) -> object:
    await gate.wait()
    await asyncio.sleep(0)
    if isinstance(value, BaseException):
        raise value
    return value


async def _turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_value_and_exception_come_through() -> None:
    """What the coroutine returns or raises is what the caller gets.

    Bare yields and futures are waited for.
    """
    gate = asyncio.Event()
    gate.set()
    assert await run_to_end(_value(gate, 5)) == 5
    with pytest.raises(KeyError):
        await run_to_end(_value(gate, KeyError("it")))
    assert await run_to_end(_value(gate, (1, 2))) == (1, 2)


@pytest.mark.parametrize("times", [1, 3])
async def test_cancellation_waits_for_the_end(times: int) -> None:
    """Cancelled once or often, the coroutine goes on; the caller is told at its end, and not before."""
    gate = asyncio.Event()
    ended: list[object] = []

    async def work() -> None:
        ended.append(await _value(gate, 1))

    task = asyncio.create_task(run_to_end(work()))
    await _turns()
    for _ in range(times):
        task.cancel()
        await _turns()
    assert not task.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [1]


async def test_cancellation_before_the_first_step() -> None:
    """A task that is cancelled before it began has not begun the coroutine either."""
    coro = _value(asyncio.Event(), 1)
    task = asyncio.create_task(run_to_end(coro))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    coro.close()


async def test_failure_behind_a_cancellation_is_not_reported_as_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The cancellation is raised in its place, and the loop does not complain that nobody looked at it."""
    gate = asyncio.Event()
    task = asyncio.create_task(run_to_end(_value(gate, KeyError("it"))))
    await _turns()
    task.cancel()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    await _turns()
    assert caplog.records == []


async def test_several_wait_for_one() -> None:
    """Of several who wait, each gets the result; one that is cancelled is told at the end like the others."""
    gate = asyncio.Event()
    future = start_to_end(_value(gate, "it"), asyncio.get_running_loop())
    tasks = [asyncio.create_task(wait_to_end(future)) for _ in range(3)]
    await _turns()
    tasks[1].cancel()
    await _turns()
    assert [task.done() for task in tasks] == [False] * 3
    gate.set()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert (ended[0], type(ended[1]), ended[2]) == ("it", asyncio.CancelledError, "it")


async def test_what_is_done_is_not_waited_for() -> None:
    """A future that is done gives its result at once."""
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    future.set_result(3)
    assert await wait_to_end(future) == 3


class Queue:
    """What a poller needs of a queue pair."""

    def __init__(self) -> None:
        self.asked = 0

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The running one."""
        return asyncio.get_running_loop()

    def begin_finish(self) -> None:
        """Counts."""
        self.asked += 1


def _poller() -> tuple[Poller, Queue]:
    queue = Queue()
    return Poller(queue, "the poller"), queue  # type: ignore[arg-type]


async def test_poller_is_a_task_with_a_name() -> None:
    """It is among all tasks by its name, and ends when the queue pair is closed."""
    poller, _ = _poller()
    assert "the poller" in {task.get_name() for task in asyncio.all_tasks()}
    poller.stop()
    await poller.task
    assert not poller.task.cancelled()


async def test_cancelled_poller_ends_when_its_queue_is_idle() -> None:
    """Cancelling it asks the queue pair to finish, once.

    It ends, as cancelled, when nothing is outstanding.
    """
    poller, queue = _poller()
    await _turns()
    for _ in range(3):
        poller.task.cancel()
        await _turns()
    assert queue.asked == 1
    assert not poller.task.done()
    poller.idle()
    await asyncio.wait([poller.task])
    assert poller.task.cancelled()


async def test_held_poller_does_not_end() -> None:
    """While a recovery holds it, idleness does not end it; letting go asks the queue pair again."""
    poller, queue = _poller()
    await _turns()
    poller.hold()
    poller.hold()
    poller.task.cancel()
    poller.idle()
    await _turns()
    assert not poller.task.done()
    poller.release()
    assert queue.asked == 1
    poller.release()
    assert queue.asked == 2
    poller.idle()
    await asyncio.wait([poller.task])
    assert poller.task.cancelled()


async def test_idleness_alone_ends_nothing() -> None:
    """A poller that nobody cancelled goes on."""
    poller, _ = _poller()
    poller.idle()
    await _turns()
    assert not poller.task.done()
    poller.stop()
    await poller.task


class Thing:
    """What opens and closes."""

    def __init__(self) -> None:
        self.closed = 0

    async def close(self) -> None:
        """Counts."""
        self.closed += 1


def _opener(things: list[Thing], error: BaseException | None = None) -> Callable[[], Opening[Thing]]:
    async def open_it() -> Thing:
        if error is not None:
            raise error
        things.append(Thing())
        return things[-1]

    return lambda: Opening(open_it, "thing()")


async def test_awaited_opening_is_the_callers() -> None:
    """`await` gives the open thing; nobody but the caller closes it."""
    things: list[Thing] = []
    thing = await _opener(things)()
    assert things == [thing]
    assert thing.closed == 0


async def test_entered_opening_is_closed_at_the_end() -> None:
    """`async with` closes it once, also when the body raises, whose exception comes out."""
    things: list[Thing] = []
    async with _opener(things)() as thing:
        assert thing.closed == 0
    assert things[0].closed == 1
    with pytest.raises(KeyError):
        async with _opener(things)():
            raise KeyError("body")
    assert [thing.closed for thing in things] == [1, 1]


async def test_opening_that_fails() -> None:
    """What it raises is raised by both forms, and nothing is closed."""
    things: list[Thing] = []
    opener = _opener(things, OSError("no"))
    with pytest.raises(OSError, match="no"):
        await opener()
    with pytest.raises(OSError, match="no"):
        async with opener():
            pass
    assert things == []


def test_opening_that_is_never_used() -> None:
    """Dropped without `await`, it warns as a coroutine does; it has not begun anything."""
    things: list[Thing] = []
    with pytest.warns(RuntimeWarning, match=r"thing\(\) was never awaited"):
        _opener(things)()
    assert things == []


async def test_opening_is_not_what_it_opens() -> None:
    """Whoever takes it for the open thing is told what to do; what looks for an attribute finds none."""
    opening = _opener([])()
    assert repr(opening) == "<Opening of thing()>"
    with pytest.raises(
        AttributeError, match=r"has no 'closed': it is not open yet; `await` it, or .*`async with`"
    ):
        opening.closed  # type: ignore[attr-defined]  # noqa: B018
    assert not hasattr(opening, "closed")
    assert (await opening).closed == 0
