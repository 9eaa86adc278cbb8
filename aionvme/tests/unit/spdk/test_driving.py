"""The private loop: what blocks without a loop, and is awaited in one."""

from __future__ import annotations

import asyncio
import inspect
import signal
import threading
from typing import Any

import pytest

from aionvme.spdk.driving import PRIVATE, blocking, in_loop, in_own_loop


async def _answer() -> int:
    await asyncio.sleep(0)
    return 7


def test_blocks_without_a_loop() -> None:
    """The value itself comes back, and no loop is left."""
    assert blocking(_answer) == 7
    assert PRIVATE._loop is None
    assert not in_loop()


def test_is_awaited_in_a_loop() -> None:
    """Inside a loop it is an awaitable, and no other loop is made."""

    async def main() -> Any:
        assert in_loop()
        answer = blocking(_answer)
        assert inspect.isawaitable(answer)
        assert PRIVATE._loop is None
        return await answer

    assert asyncio.run(main()) == 7


def test_calls_inside_the_loop() -> None:
    """A call that needs a running loop has one, here as there."""
    assert not in_loop()
    assert in_own_loop(in_loop)

    async def main() -> bool:
        outer = asyncio.get_running_loop()
        return in_own_loop(asyncio.get_running_loop) is outer

    assert asyncio.run(main())


def test_exceptions_come_out() -> None:
    """What the coroutine raises is raised, and the loop goes all the same."""

    async def bad() -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        blocking(bad)
    assert PRIVATE._loop is None
    assert not PRIVATE.turning


def test_interrupt() -> None:
    """Ctrl-C ends a blocking call: it is cancelled, has its end, and then the interrupt is raised."""
    ended: list[str] = []

    async def long() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(signal.raise_signal, signal.SIGINT)
        try:
            await loop.create_future()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            ended.append("ended")
            raise

    with pytest.raises(KeyboardInterrupt):
        blocking(long)
    assert ended == ["ended"]
    assert PRIVATE._loop is None


def test_each_thread_has_its_own() -> None:
    """The loop of a thread is no other thread's."""
    loops: list[Any] = []

    async def which() -> None:
        loops.append(asyncio.get_running_loop())

    blocking(which)
    thread = threading.Thread(target=lambda: blocking(which))
    thread.start()
    thread.join()
    assert loops[0] is not loops[1]


def test_turn_without_a_loop() -> None:
    """There is nothing to turn before a controller is attached."""
    PRIVATE.turn(at_once=True)
    assert PRIVATE._loop is None
