"""Owns the event loop of a thread that has none running: controllers are driven by it while their caller blocks.

SPDK blocks where asyncio awaits. Without a running loop a blocking call runs this private loop until it has its answer;
inside a running loop it returns an awaitable of the same answer, and there is neither a nested loop nor a thread.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from aionvme import Controller

T = TypeVar("T")

# Polling a queue pair lets the private loop turn (for timeouts, Abort and resets) at most this often.
TURN_SECONDS = 1e-3


def in_loop() -> bool:
    """Whether a loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class PrivateLoop(threading.local):
    """This thread's loop, made at the first use and closed when its last controller was detached.

    Attributes:
        turning: The loop runs: completions that it brings are kept for the function that calls back.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ctrlrs: weakref.WeakSet[Controller] = weakref.WeakSet()
        self._begun: set[asyncio.Task[Any]] = set()
        self._turned = 0.0
        self.turning = False

    def run(self, coro: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine to its end. An interrupt cancels it, and is raised once it has ended."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        loop = self._loop
        self.turning = True
        try:
            task = loop.create_task(coro)
            try:
                return loop.run_until_complete(task)
            except (KeyboardInterrupt, SystemExit):
                task.cancel()
                loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
                raise
        finally:
            self.turning = False
            self.close_if_unused()

    def begin(self, coro: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begins what `turn` then goes on with; inside a running loop, what that goes on with by itself."""
        if in_loop():
            return asyncio.get_running_loop().create_task(coro)
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        task = self._loop.create_task(coro)
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        return task

    def turn(self, *, at_once: bool = False) -> None:
        """Lets what is due in the loop happen, if it has not had its turn just now or `at_once` is true."""
        now = time.monotonic()
        if not at_once and now - self._turned < TURN_SECONDS:
            return
        if self._loop is None or self.turning or in_loop():
            return
        self._turned = now
        self.turning = True
        try:
            self._loop.call_soon(self._loop.stop)
            self._loop.run_forever()
        finally:
            self.turning = False

    def keep(self, ctrlr: Controller) -> None:
        """A controller was attached: it belongs to the loop, if that is what runs."""
        if self.turning:
            self._ctrlrs.add(ctrlr)

    def release(self, ctrlr: Controller) -> None:
        """A controller was detached: with the last one the loop goes."""
        self._ctrlrs.discard(ctrlr)
        self.close_if_unused()

    def close_if_unused(self) -> None:
        """Closes the loop when no controller is attached and nothing is under way."""
        if self._loop is None or self._ctrlrs or self._begun or self.turning:
            return
        loop, self._loop = self._loop, None
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


PRIVATE = PrivateLoop()


def blocking(make: Callable[[], Coroutine[Any, Any, T]]) -> T | Coroutine[Any, Any, T]:
    """What a blocking function of SPDK's does: the answer, or inside a running loop an awaitable of it."""
    return make() if in_loop() else PRIVATE.run(make())


def in_own_loop(call: Callable[[], T]) -> T:
    """Makes a call that must be made inside a running loop, such as submitting an admin command."""
    if in_loop():
        return call()

    async def called() -> T:
        return call()

    return PRIVATE.run(called())
