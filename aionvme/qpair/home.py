"""Where a queue pair or a controller lives, a loop and its thread; and how others have calls made there.

Nothing is locked: what belongs to a loop is only touched there, and whoever wants something of it sends it there. The
other loop may be busy for long, may have stopped, or be closed, so that whoever waits does so for a bounded time.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar, cast

from aionvme.qpair.poller import start_to_end

T = TypeVar("T")


class NoAnswer(Exception):
    """The other loop is closed, its thread has ended, or it did not turn for as long as one is patient."""


class Home:
    """A loop and the thread that it runs in.

    Attributes:
        loop: The loop.
        patience: Seconds that it may take to answer.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, patience: float) -> None:
        self.loop = loop
        self.patience = patience
        self._thread = threading.current_thread()

    @property
    def here(self) -> bool:
        """Whether this is its thread."""
        return threading.get_ident() == self._thread.ident

    @property
    def gone(self) -> bool:
        """Whether nothing will ever run there any more, so that others may touch what was its own."""
        return self.loop.is_closed() or not self._thread.is_alive()

    def tell(self, call: Callable[[], object]) -> None:
        """Has a call made there: at once if that is here or gone, else soon, and nobody waits."""
        if self.here or self.gone or not self._post(call):
            call()

    async def call(self, call: Callable[[], T]) -> T:
        """What a call gives that is made there; at once if that is here or gone.

        Raises:
            NoAnswer: In time there was none. The call will be made when the loop turns again.
        """
        if self.here or self.gone:
            return call()
        errand = _Errand(self, call, None)
        try:
            return await self._wait_for(errand)
        except NoAnswer:
            if self._may_take_over(errand):
                return call()
            raise

    def _may_take_over(self, errand: _Errand[Any]) -> bool:
        return self.gone and errand.claim()

    async def run(
        self, start: Callable[[], Coroutine[Any, Any, T]], orphan: Callable[[T], object] | None = None
    ) -> T:
        """What a coroutine gives that runs there, to its end, however long that takes while the loop turns.

        Args:
            start: Makes it.
            orphan: Told, there, what it gave if nobody waited for it any more.

        Raises:
            NoAnswer: The loop does not turn. If the coroutine had not begun by then, it never will.
        """
        if self.here:
            return await start()
        errand: _Errand[T] = _Errand(self, start, orphan)
        try:
            return await self._wait_for(errand)
        except NoAnswer:
            errand.claim()
            raise

    async def _wait_for(self, errand: _Errand[T]) -> T:
        if self.gone or not self._post(errand.begin):
            raise NoAnswer
        while not errand.answer.done():
            errand.heard = False
            self._post(errand.hear)
            await asyncio.wait([errand.answer], timeout=self.patience)
            if not errand.answer.done() and not errand.heard:
                errand.given_up = True
                raise NoAnswer
        return errand.answer.result()

    def _post(self, call: Callable[[], object]) -> bool:
        try:
            self.loop.call_soon_threadsafe(call)
        except RuntimeError:
            return False  # It is closed.
        return True


class _Errand(Generic[T]):
    """A call, or a coroutine, that was sent to another loop, and the future that gets its result in this one."""

    def __init__(
        self,
        home: Home,
        start: Callable[[], T] | Callable[[], Coroutine[Any, Any, T]],
        orphan: Callable[[T], object] | None,
    ) -> None:
        self._home = home
        self._start = start
        self._orphan = orphan
        self._claims = [True]
        self._sender = asyncio.get_running_loop()
        self.answer: asyncio.Future[T] = self._sender.create_future()
        self.heard = False
        self.given_up = False

    def claim(self) -> bool:
        """Whether the caller may run it: the first that asks, in whatever thread."""
        try:
            return self._claims.pop()
        except IndexError:
            return False

    # -- in the other loop ---------------------------------------------------------------------------------------------

    def hear(self) -> None:
        """The other loop turns."""
        self.heard = True

    def begin(self) -> None:
        """Runs it."""
        if not self.claim():
            return
        try:
            started = self._start()
        except Exception as error:
            self._send(None, error)
            return
        if asyncio.iscoroutine(started):
            start_to_end(started, self._home.loop).add_done_callback(self._ended)
        else:
            self._send(started, None)

    def _ended(self, future: asyncio.Future[T]) -> None:
        error = future.exception()
        self._send(None if error else future.result(), error)

    def _send(self, result: T | None, error: BaseException | None) -> None:
        try:
            self._sender.call_soon_threadsafe(self._receive, result, error)
        except RuntimeError:
            self._leave(result, error)  # Who asked is gone.

    def _leave(self, result: T | None, error: BaseException | None) -> None:
        if self._orphan is not None and error is None:
            self._orphan(cast("T", result))

    # -- in the sender's loop ------------------------------------------------------------------------------------------

    def _receive(self, result: T | None, error: BaseException | None) -> None:
        if self.given_up:
            self._home.tell(partial(self._leave, result, error))
        elif error is not None:
            self.answer.set_exception(error)
        else:
            with contextlib.suppress(asyncio.InvalidStateError):
                self.answer.set_result(cast("T", result))
