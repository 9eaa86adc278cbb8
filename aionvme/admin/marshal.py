"""Owns what goes between the controller's loop and queue pairs that belong to other loops, in other threads.

Such a queue pair does its I/O where it belongs, and its hot path knows nothing of this. The controller's tables, admin
commands, Aborts and resets are the business of the controller's loop, so that what a queue pair asks of its controller
is carried there (`Emissary`), and what the controller does to queue pairs is done in the loop of each (`on_each`).
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from aionvme.admin.core import State, logger
from aionvme.errors import ControllerFailedError, NvmeError, WrongLoopError
from aionvme.qpair.home import Home, NoAnswer
from aionvme.qpair.poller import run_to_end, start_to_end, wait_to_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aionvme.admin.core import Core
    from aionvme.admin.queues import IoQueues, Wishes
    from aionvme.qpair.governed import GovernedQueuePair
    from aionvme.qpair.io import IoQueuePair


# -- from a loop to the controller's ---------------------------------------------------------------------------------


async def alloc(core: Core, queues: IoQueues, wishes: Wishes) -> IoQueuePair:
    """Allocates a queue pair that belongs to the running loop, which is not the controller's.

    Raises:
        WrongLoopError: The controller's loop does not run, or does not answer.
    """
    if not core.loop.is_running():
        raise WrongLoopError(
            f"{core} belongs to an event loop that does not run, and which has to make its queues: keep that loop "
            "running in its thread, or connect in this one"
        )
    loop = asyncio.get_running_loop()
    home = Home(loop, core.opts.loop_timeout)
    asked = start_to_end(
        core.home.run(lambda: queues.alloc(wishes, home), partial(_close_unwanted, core, queues)), loop
    )
    try:
        return await wait_to_end(asked)
    except asyncio.CancelledError:
        with contextlib.suppress(NvmeError, NoAnswer):
            await run_to_end(asked.result().close())
        raise
    except NoAnswer:
        raise _no_answer(core, "no queue pair was made") from None


def _close_unwanted(core: Core, queues: IoQueues, qp: IoQueuePair) -> None:
    # In the controller's loop. Who asked for it has given up, or is gone with its loop.
    if not core.loop.is_closed():
        start_to_end(queues.close_io_qpair(qp), core.loop).add_done_callback(
            lambda future: future.exception()
        )


def _no_answer(core: Core, so: str) -> WrongLoopError:
    why = (
        "is closed"
        if core.loop.is_closed()
        else f"did not answer within {core.opts.loop_timeout:g} s (it is blocked, or has stopped)"
    )
    return WrongLoopError(
        f"the event loop that {core} belongs to {why}: {so}. Keep it running until the queue pairs of other loops "
        "are closed"
    )


class Emissary:
    """What a queue pair in another loop than the controller's asks of the controller, carried to the controller's loop.

    That loop may be blocked or at its end. A command that nobody can abort then ends all the same, in bounded time,
    with an error; its memory is kept, as the device may write it still.
    """

    def __init__(self, core: Core, queues: IoQueues) -> None:
        self._core = core
        self._queues = queues
        self._qp: Callable[[], IoQueuePair | None] = lambda: None
        self._watch: asyncio.TimerHandle | None = None
        self._heard = False

    def serve(self, qp: IoQueuePair) -> None:
        """Whose emissary it is."""
        self._qp = weakref.ref(qp)

    def abort(self, qid: int, cid: int, opcode: int) -> None:
        """For the queue pair: one of its commands is to be aborted."""
        if not self._core.home.gone:
            self._core.home.tell(partial(self._queues.abort, qid, cid, opcode))

    def escalate(self, why: str) -> None:
        """For the queue pair: nothing but a reset helps; and if there is none to be had, the end of the queue pair."""
        if not self._core.home.gone:
            self._core.home.tell(partial(self._queues.escalate, why))
        if self._watch is None:
            self._look_again()

    def _look_again(self) -> None:
        qp = self._qp()
        if qp is None or qp.get_loop().is_closed():
            return
        self._heard = False
        if not self._core.home.gone:
            self._core.home.tell(self._hear)
        # At once where nobody can answer; not from within the queue pair, which is telling us of a command.
        patience = 0.0 if self._core.home.gone else self._core.opts.loop_timeout
        self._watch = qp.get_loop().call_later(patience, self._look)

    def _hear(self) -> None:
        self._heard = True

    def _look(self) -> None:
        self._watch = None
        qp = self._qp()
        if qp is None or not qp.overdue:
            return
        if self._heard:
            self._look_again()
            return
        error = ControllerFailedError(
            f"the event loop of {self._core} does not run: a command could neither be aborted nor ended by a reset, "
            "and its memory is not used again"
        )
        logger.error("%r: %s", qp, error)
        qp.abandon(error)

    async def close_io_qpair(self, qp: IoQueuePair) -> None:
        """Waits for its commands here, and has the rest done there.

        Raises:
            WrongLoopError: The controller's loop does not answer; the queue pair's memory stays as it is.
        """
        qp.refuse(self._core.closed_qpair_error(qp.qid))
        await run_to_end(self._close(qp))

    async def _close(self, qp: IoQueuePair) -> None:
        core = self._core
        await qp.wait_idle()
        if qp.disposed:
            return
        if core.state in (State.ENDED, State.CLOSED):
            # The device reaches no memory any more, and nobody has to be told.
            qp.dispose()
            return
        try:
            await core.home.run(lambda: self._queues.close_io_qpair(qp))
        except NoAnswer:
            raise _no_answer(core, f"{qp!r} could not be deleted, and keeps its memory") from None


# -- from the controller's loop to others ----------------------------------------------------------------------------


async def on_each(
    queues: Iterable[GovernedQueuePair], call: Callable[[GovernedQueuePair], object]
) -> list[GovernedQueuePair]:
    """Has something done to every queue pair, in the loop of each; which did not answer in time.

    To those of this loop first, in order, and without another turn of it.
    """
    loop = asyncio.get_running_loop()
    waiting: list[tuple[GovernedQueuePair, asyncio.Future[Any]]] = []
    for qp in queues:
        if qp.home.here:
            call(qp)
        else:
            waiting.append((qp, start_to_end(qp.home.call(partial(call, qp)), loop)))
    deaf = []
    for qp, answer in waiting:
        try:
            await answer
        except NoAnswer:
            deaf.append(qp)
    return deaf
