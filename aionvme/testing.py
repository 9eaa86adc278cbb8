"""Owns the virtual clock: an event loop whose time jumps to the next moment at which anything is to happen.

Driver, loop and mock go by it, so that hours of time limits pass in milliseconds, and the same way each time:

    async def main() -> None:
        with MockController(drive="step", faults=[Fault("lost", opcode=2)]) as mock:
            async with aionvme.connect(mock) as ctrlr, ctrlr.alloc_io_qpair() as qp:
                await qp.read(ctrlr.namespaces[1], buf, 0, 1, timeout=3600)

    aionvme.testing.run(main())

pytest-asyncio takes `VirtualLoop` as a loop factory. While there is one the clock of the whole process is virtual: what
keeps real time (uvloop, another loop, a mock with a thread of its own) is refused with `UsageError`.
"""

from __future__ import annotations

import asyncio
import selectors
import weakref
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Executor
from math import ceil
from typing import Any, TypeVar

import attrs

from aionvme.clock import set_virtual

__all__ = ["VirtualClock", "VirtualLoop", "run"]

T = TypeVar("T")
# Seconds of real time that a loop waits for descriptors and threads where nothing else can happen any more.
_PATIENCE = 5.0
# So that a time is never 0, and that what has no time yet is long ago.
_BEGIN_NS = 1_000_000_000_000


@attrs.frozen
class _Watch:
    look: weakref.WeakMethod[Callable[[], bool]]
    due_ns: weakref.WeakMethod[Callable[[], int]] | None


class VirtualClock:
    """The time of one `VirtualLoop`, and who is asked before it moves.

    Attributes:
        loop: The loop.
        now_ns: The time, in nanoseconds since some moment.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.now_ns = _BEGIN_NS
        self._watches: list[_Watch] = []
        set_virtual(self, self.now_ns)

    def watch(self, look: Callable[[], bool], due_ns: Callable[[], int] | None) -> None:
        """Has `look` called before the time moves, and not moved beyond `due_ns`. Both are held weakly."""
        due = None if due_ns is None else weakref.WeakMethod(due_ns)
        self._watches = [watch for watch in self._watches if watch.look() is not None]
        self._watches.append(_Watch(weakref.WeakMethod(look), due))

    def look(self) -> bool:
        """Asks all, in the order in which they came, whether there is something to do; whether any did something."""
        looks = [look for watch in self._watches if (look := watch.look()) is not None]
        return sum(look() for look in looks) > 0

    def advance(self, seconds: float | None) -> bool:
        """Moves on by so long (None: for ever), or to what is due before; False if that would be for ever."""
        dues = [due() for watch in self._watches if watch.due_ns is not None and (due := watch.due_ns())]
        moments = [due for due in dues if due]
        if seconds is not None:
            moments.append(self.now_ns + ceil(seconds * 1e9))
        if not moments:
            return False
        self.now_ns = max(self.now_ns, min(moments))
        set_virtual(self, self.now_ns)
        return True

    def close(self) -> None:
        """The time is real again."""
        set_virtual(None, 0)


class _Selector(selectors.BaseSelector):
    """Looks at the descriptors without waiting; where a loop would wait, the time moves."""

    def __init__(self, ready: Callable[[], bool]) -> None:
        self._real = selectors.DefaultSelector()
        self._ready = ready
        self.clock: VirtualClock | None = None

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = self._real.select(0)
        if events or self.clock is None or (timeout is not None and timeout <= 0):
            return events
        while self.clock.look():
            # What was done may have made something ready, here or behind a descriptor.
            events = self._real.select(0)
            if events or self._ready():
                return events
        if not self.clock.advance(timeout):
            events = self._real.select(_PATIENCE)
            if not events:
                raise RuntimeError(
                    "nothing can happen any more: no timer, device or descriptor brings what the tasks wait for"
                )
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with a virtual clock, from its making to its `close`. There is one at a time in a process.

    What is run in an executor is run at once, in this thread.

    Attributes:
        clock: Its time.

    Raises:
        UsageError: There is one already.
    """

    def __init__(self) -> None:
        selector = _Selector(lambda: bool(self._ready))  # type: ignore[attr-defined]
        super().__init__(selector)
        try:
            self.clock = selector.clock = VirtualClock(self)
        except BaseException:
            super().close()
            raise
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Seconds of the virtual clock."""
        return self.clock.now_ns / 1e9 if hasattr(self, "clock") else 0.0

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Calls it at once."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Closes the loop; the clock is real again."""
        if not self.is_closed():
            self.clock.close()
        super().close()


def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
    """As `asyncio.run`, on a `VirtualLoop`."""
    with asyncio.Runner(debug=debug, loop_factory=VirtualLoop) as runner:
        return runner.run(main)
