"""Owns what a controller does for other processes that drive queue pairs of it: telling the controller of their queues.

Such a queue pair is rings in the other process's memory, of which this process knows the I/O addresses alone. How the
processes speak is no business of this module's.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

import attrs

from aionvme.admin.core import State, logger
from aionvme.errors import ControllerResetError, NvmeError, UsageError
from aionvme.qpair.poller import run_to_end
from aionvme.spec import entries

if TYPE_CHECKING:
    from aionvme.admin.controller import Controller
    from aionvme.admin.core import Core
    from aionvme.admin.queues import IoQueues, Wishes
    from aionvme.admin.recovery import Recovery

__all__ = ["Borrowers", "Lending", "LentQueue", "lending"]


class Borrowers(Protocol):
    """Who is told of what happens to a controller, for other processes."""

    def stopped(self, error: NvmeError) -> None:
        """The device has let go of all their memory, and knows none of their queues any more, because of `error`."""

    def namespaces_changed(self) -> None:
        """`Core.namespaces` is not what it was."""

    async def finish(self, error: NvmeError) -> None:
        """The controller is to be closed: ends what they have with `error`, in bounded time."""


@attrs.frozen(eq=False)
class LentQueue:
    """A queue pair that another process drives.

    Attributes:
        qid, entries, sq_iova, cq_iova, completion: As `IoQueuePair` has them.
    """

    qid: int
    entries: int
    sq_iova: int
    cq_iova: int
    completion: str

    def has_outstanding(self, _cid: int) -> bool:
        """Whether the device owns a command with this identifier: who drives the queue pair said so."""
        return True


@attrs.frozen
class Lending:
    """The queue pairs of other processes, as the controller is told of them."""

    core: Core
    recovery: Recovery
    queues: IoQueues

    def check(self) -> None:
        """Raises `UsageError` for a controller that is closed, or of which other processes can have no queue pair."""
        self.core.admin.check_open()
        if self.core.state in (State.CLOSING, State.CLOSED):
            raise self.core.closed_error()
        if self.core.shadows is not None:
            raise UsageError(
                f"{self.core} looks at shadow doorbells, which are in this process's memory: connect with "
                "ControllerOptions(shadow_doorbells=False) to lend it"
            )

    def reserve(self, wishes: Wishes) -> tuple[int, int, int]:
        """As `IoQueues.reserve`."""
        return self.queues.reserve(wishes)

    def forget(self, qid: int) -> None:
        """As `IoQueues.forget`."""
        self.queues.forget(qid)

    async def create(self, queue: LentQueue) -> None:
        """Tells the controller of both queues.

        Raises:
            StatusError: It refused, and knows neither.
            ControllerResetError: It was reset meanwhile, and knows neither.
        """
        core, epoch = self.core, self.core.epoch
        await core.commands.admin_raw(self.queues.cq_sqe(queue))
        try:
            await core.commands.admin_raw(self.queues.sq_sqe(queue))
        except ControllerResetError:
            raise
        except NvmeError:
            await self._delete(queue, entries.delete_io_cq(queue.qid))
            raise
        if core.epoch != epoch:
            # Made before that reset, the controller knows them no more; made after it, it does.
            await self._delete(queue, entries.delete_io_sq(queue.qid), entries.delete_io_cq(queue.qid))
            raise ControllerResetError(
                f"{core} was reset while a queue pair was being made: allocate it again"
            )
        core.lent[queue.qid] = queue

    async def delete(self, queue: LentQueue) -> None:
        """Sees to it that the controller knows neither queue, by a reset if it has to be; or is cut off from memory.

        Commands that it has of them end (Base 2.0, 5.6).
        """
        await run_to_end(self._delete_both(queue))

    async def _delete_both(self, queue: LentQueue) -> None:
        await self.recovery.settled()
        if self.core.lent.get(queue.qid) is not queue:
            return
        del self.core.lent[queue.qid]
        await self._delete(queue, entries.delete_io_sq(queue.qid), entries.delete_io_cq(queue.qid))

    async def _delete(self, queue: LentQueue, *sqes: bytes) -> None:
        core = self.core
        if self._is_cut_off():
            return
        try:
            for sqe in sqes:
                await self.queues.delete_one(sqe)
        except ControllerResetError:
            return  # It has no queues any more.
        except NvmeError as error:
            if not self._is_cut_off():
                logger.warning(
                    "%s: queue pair %d of another process could not be deleted: %s", core, queue.qid, error
                )
                self.recovery.escalate(f"queue pair {queue.qid} could not be deleted")
                with contextlib.suppress(NvmeError):
                    await self.recovery.settled()

    def _is_cut_off(self) -> bool:
        """Whether the device reaches no memory any more."""
        return self.core.state in (State.ENDED, State.CLOSED)

    def abort(self, qid: int, cid: int, opcode: int) -> None:
        """For the queue pair: one of its commands is to be aborted."""
        self.recovery.abort(qid, cid, opcode)

    def escalate(self, why: str) -> None:
        """For the queue pair: nothing but a reset helps."""
        self.recovery.escalate(why)


def lending(ctrlr: Controller) -> Lending:
    """What a controller does for other processes.

    Raises:
        WrongLoopError: It belongs to another loop than the running one.
        UsageError: It is closed, or can't be lent.
    """
    ctrlr._check_loop()
    found = Lending(ctrlr._core, ctrlr._recovery, ctrlr._queues)
    found.check()
    return found
