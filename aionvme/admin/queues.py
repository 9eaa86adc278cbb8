"""Owns the I/O queue pairs of a controller: their identifiers, and telling the controller of them and of their end."""

from __future__ import annotations

from functools import partial
from operator import index
from typing import TYPE_CHECKING

import attrs

from aionvme.admin.core import State, logger
from aionvme.admin.marshal import Emissary
from aionvme.admin.options import QPrio
from aionvme.errors import (
    CommandTimeoutError,
    ControllerFailedError,
    ControllerResetError,
    NvmeError,
    StatusError,
    UsageError,
)
from aionvme.qpair.home import NoAnswer
from aionvme.qpair.io import IoQueuePair
from aionvme.qpair.poller import run_to_end
from aionvme.spec import entries
from aionvme.spec.registers import cq_doorbell, sq_doorbell
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.admin.core import Core
    from aionvme.admin.doorbells import CmbPart
    from aionvme.admin.lending import LentQueue
    from aionvme.admin.recovery import Recovery
    from aionvme.qpair.home import Home

COMPLETIONS = ("poll", "interrupt", "adaptive", "manual")


@attrs.frozen
class Wishes:
    """How a queue pair is to be: the arguments of `Controller.alloc_io_qpair`."""

    depth: int | None
    qprio: QPrio
    completion: str
    batching: bool | None


class IoQueues:
    """Allocates, deletes and re-creates the I/O queue pairs of one controller."""

    def __init__(self, core: Core, recovery: Recovery) -> None:
        self._core = core
        self._recovery = recovery
        # Of every queue pair that was handed out or is being made: what Create I/O Submission Queue says of it.
        self._taken: dict[int, QPrio] = {}
        self._in_cmb: dict[int, CmbPart] = {}

    # -- allocating ----------------------------------------------------------------------------------------------------

    async def alloc(self, wishes: Wishes, home: Home) -> IoQueuePair:
        """Makes a queue pair and has the controller create both its queues.

        Args:
            wishes: How it is to be.
            home: The loop and thread that it is to belong to.

        Raises:
            UsageError: No queue is left, or the controller has no such depth or interrupt.
            StatusError: The controller refused.
        """
        qid, depth, irq_fd = self.reserve(wishes)
        epoch = self._core.epoch
        try:
            self._place(qid, depth)
            make = partial(self._make, qid, depth, wishes, irq_fd, home)
            qp = await home.run(make, orphan=IoQueuePair.dispose)
        except BaseException:
            self.forget(qid)
            raise
        try:
            await run_to_end(self._create(qp, epoch))
        except BaseException:
            await run_to_end(self._undo(qp))
            raise
        return qp

    def reserve(self, wishes: Wishes) -> tuple[int, int, int]:
        """Takes a queue identifier, until `forget`.

        Returns:
            It, the depth that the queue pair is to have, and the eventfd of its interrupt, or -1.

        Raises:
            UsageError: No queue is left, or the controller has no such depth or interrupt.
        """
        if wishes.qprio not in list(QPrio):
            raise UsageError(f"qprio is one of QPrio.URGENT, HIGH, MEDIUM and LOW, not {wishes.qprio!r}")
        if wishes.batching not in (True, False, None):
            raise UsageError(f"batching is True, False or None, not {wishes.batching!r}")
        completion = wishes.completion
        if completion not in COMPLETIONS:
            raise UsageError(f"completion is one of {', '.join(COMPLETIONS)}, not {completion!r}")
        depth = self._depth(wishes.depth)
        qid = self._free_qid()
        irq_fd = self._irq_fd(qid, completion)
        self._taken[qid] = QPrio(wishes.qprio)
        return qid, depth, irq_fd

    def _depth(self, depth: int | None) -> int:
        most = self._core.registers.cap.mqes  # MQES + 1 entries, of which one stays empty
        if depth is None:
            return min(self._core.opts.io_queue_depth, most)
        depth = index(depth)
        if not 1 <= depth <= most:
            raise UsageError(f"depth must be from 1 to {most} on this controller (CAP.MQES), not {depth}")
        return depth

    def _free_qid(self) -> int:
        for qid in range(1, self._core.num_io_queues + 1):
            if qid not in self._taken:
                return qid
        raise UsageError(
            f"{self._core} granted {self._core.num_io_queues} I/O queue pairs, and all are in use: close one, "
            "or ask for more by ControllerOptions.num_io_queues"
        )

    def _irq_fd(self, qid: int, completion: str) -> int:
        if completion in ("poll", "manual"):
            return -1
        fds = self._core.irq_fds
        if qid < len(fds):
            return fds[qid]
        raise UsageError(
            f"there is no interrupt vector for queue {qid} of {self._core} (it has {len(fds)}): "
            'use completion="poll"'
        )

    def _place(self, qid: int, depth: int) -> None:
        cmb = self._core.cmb
        part = cmb.alloc((depth + 1) * entries.SQE_BYTES) if cmb is not None else None
        if part is not None:
            self._in_cmb[qid] = part

    async def _make(self, qid: int, depth: int, wishes: Wishes, irq_fd: int, home: Home) -> IoQueuePair:
        """In the thread that it is to belong to."""
        core = self._core
        dstrd = core.registers.cap.dstrd
        shadows = core.shadows
        emissary = Emissary(core, self) if home is not core.home else None
        qp = IoQueuePair(
            function=core.function,
            dma=core.dma,
            qid=qid,
            depth=depth,
            entries=depth + 1,
            page_size=core.page_size,
            max_transfer=core.max_transfer,
            limits=core.limits,
            sq_doorbell=sq_doorbell(qid, dstrd),
            cq_doorbell=cq_doorbell(qid, dstrd),
            completion=wishes.completion,
            batching=wishes.batching,
            irq_fd=irq_fd,
            loop=home.loop,
            host=emissary or self,
            default_timeout=core.opts.io_timeout,
            abort_timeout=core.opts.abort_timeout,
            loop_timeout=core.opts.loop_timeout,
            name=f"aionvme {core} qp {qid}",
            sq_memory=self._in_cmb.get(qid),
            shadows=(shadows.doorbells, shadows.events, sq_doorbell(0, dstrd))
            if shadows is not None
            else None,
        )
        if emissary is not None:
            emissary.serve(qp)
        return qp

    async def _create(self, qp: IoQueuePair, epoch: int) -> None:
        """Completion queue first, as the submission queue names it (Base 2.0, 5.4 and 5.5)."""
        core = self._core
        try:
            await core.commands.admin_raw(self.cq_sqe(qp))
        except CommandTimeoutError:
            # It may have been executed all the same, after its time.
            await self._delete(qp, entries.delete_io_cq(qp.qid))
            raise
        try:
            await core.commands.admin_raw(self.sq_sqe(qp))
        except ControllerResetError:
            raise  # The reset took the completion queue away.
        except CommandTimeoutError:
            await self._delete(qp, entries.delete_io_sq(qp.qid), entries.delete_io_cq(qp.qid))
            raise
        except NvmeError:
            await self._delete(qp, entries.delete_io_cq(qp.qid))
            raise
        if core.epoch != epoch:
            # Made before that reset, the controller knows them no more; made after it, it does.
            await self._delete(qp, entries.delete_io_sq(qp.qid), entries.delete_io_cq(qp.qid))
            raise ControllerResetError(
                f"{core} was reset while a queue pair was being made: allocate it again"
            )
        core.queues[qp.qid] = qp
        qp.set_tap(core.listening)

    async def _undo(self, qp: IoQueuePair) -> None:
        if self._core.queues.get(qp.qid) is qp:
            # Cancelled when it was there already.
            await self.close_io_qpair(qp)
        elif qp not in self._core.undeleted:
            await self._release(qp)

    async def _delete(self, qp: IoQueuePair, *sqes: bytes) -> bool:
        """Sends commands after which the controller knows no such queue; otherwise its memory stays until it does."""
        try:
            for sqe in sqes:
                await self.delete_one(sqe)
        except ControllerResetError:
            return True  # It has no queues any more.
        except NvmeError as error:
            if self._core.state is State.ENDED:
                return True  # It reaches no memory any more.
            logger.warning("%s: queue pair %d could not be deleted, and stays until a reset: %s",
                           self._core, qp.qid, error)  # fmt: skip
            qp.suspend()
            self._core.undeleted.append(qp)
            return False
        return True

    async def delete_one(self, sqe: bytes) -> None:
        """Sends one of these commands; that there is no such queue is no error."""
        try:
            await self._core.commands.admin_raw(sqe)
        except StatusError as error:
            # There is no such queue: it was never created.
            if error.status != StatusCode.INVALID_QUEUE_IDENTIFIER:
                raise

    async def _release(self, qp: IoQueuePair, error: NvmeError | None = None) -> None:
        """Gives back what it has, of which the device knows nothing any more; what it was to do ends with `error`."""
        self._core.left.add(qp)
        try:
            await qp.home.call(partial(self._put_away, qp, error))
        except NoAnswer:
            logger.error(
                "%r: its event loop does not answer: its memory is given back when it runs again", qp
            )

    def _put_away(self, qp: IoQueuePair, error: NvmeError | None) -> None:
        """In its own thread."""
        if error is not None:
            qp.end_outstanding(error, True)
        self._core.dispose_here(qp)
        self._core.home.tell(partial(self.forget, qp.qid))

    def forget(self, qid: int) -> None:
        """The controller knows no such queue pair, and nobody rings its doorbells: the identifier is free."""
        part = self._in_cmb.pop(qid, None)
        if part is not None and self._core.cmb is not None:
            self._core.cmb.give(part)
        self._taken.pop(qid, None)

    def cq_sqe(self, qp: IoQueuePair | LentQueue) -> bytes:
        """Create I/O Completion Queue (Base 2.0, 5.4)."""
        vector = None if qp.completion in ("poll", "manual") else qp.qid
        return entries.create_io_cq(qid=qp.qid, entries=qp.entries, iova=qp.cq_iova, vector=vector)

    def sq_sqe(self, qp: IoQueuePair | LentQueue) -> bytes:
        """Create I/O Submission Queue (Base 2.0, 5.5)."""
        return entries.create_io_sq(
            qid=qp.qid, cqid=qp.qid, entries=qp.entries, iova=qp.sq_iova, qprio=self._taken[qp.qid]
        )

    # -- after a reset -------------------------------------------------------------------------------------------------

    async def recreate(self) -> None:
        """Tells the controller, which has just been started, of every queue pair that is in use."""
        core = self._core
        for qp in list(core.queues.values()):
            if qp.broken_by_device:
                # Its commands that were posted have ended; those that waited for a slot never get one.
                del core.queues[qp.qid]
                await self._release(qp, ControllerFailedError(f"{qp!r} broke the protocol: allocate another"))
                continue
            if qp.qid > core.num_io_queues:
                raise ControllerFailedError(
                    f"{core} granted only {core.num_io_queues} I/O queues after its reset"
                )
            await core.urgent.admin_raw(self.cq_sqe(qp))
            await core.urgent.admin_raw(self.sq_sqe(qp))

    async def dispose_undeleted(self) -> None:
        """The controller has no queues any more: what was kept for its sake goes."""
        kept, self._core.undeleted = self._core.undeleted, []
        for qp in kept:
            await self._release(qp)

    def leave_out(self, qp: IoQueuePair) -> None:
        """During a reset its loop did not answer: the controller is not told of it again, and it ends when it can."""
        error = ControllerFailedError(
            f"{qp!r} was left out of a reset, as its event loop did not answer within "
            f"{qp.home.patience:g} s: allocate another, and do not block the loop"
        )
        logger.error("%s: %s", self._core, error)
        qp.refuse(error)
        qp.suspend()
        self._core.left.add(qp)
        if self._core.queues.get(qp.qid) is qp:
            del self._core.queues[qp.qid]
        qp.home.tell(partial(self._put_away, qp, error))

    # -- the end of one ------------------------------------------------------------------------------------------------

    def abort(self, qid: int, cid: int, opcode: int) -> None:
        """For the queue pair: one of its commands is to be aborted."""
        self._recovery.abort(qid, cid, opcode)

    def escalate(self, why: str) -> None:
        """For the queue pair: nothing but a reset helps."""
        self._recovery.escalate(why)

    async def close_io_qpair(self, qp: IoQueuePair) -> None:
        """Waits for its commands, deletes both its queues, and gives everything back.

        Raises:
            ControllerFailedError: It has commands, and its loop does not answer. Its queues were deleted all the same.
        """
        qp.refuse(self._core.closed_qpair_error(qp.qid))
        await run_to_end(self._close_counted(qp))

    async def _close_counted(self, qp: IoQueuePair) -> None:
        self._core.qpairs_closing += 1
        try:
            await self._close(qp)
        finally:
            self._core.qpairs_closing -= 1

    async def _close(self, qp: IoQueuePair) -> None:
        core = self._core
        failure: ControllerFailedError | None = None
        try:
            await qp.home.run(qp.wait_idle)
        except NoAnswer:
            failure = self._not_waited_for(qp)
        await self._recovery.settled()
        if core.queues.get(qp.qid) is not qp:
            return
        if qp.completes:
            self._recovery.reset_helped()
        del core.queues[qp.qid]
        if core.state is State.ENDED or await self._delete(
            qp, entries.delete_io_sq(qp.qid), entries.delete_io_cq(qp.qid)
        ):
            await self._release(qp, failure)
        if failure is not None and not qp.home.gone:
            raise failure

    def _not_waited_for(self, qp: IoQueuePair) -> ControllerFailedError:
        """Its loop does not turn: it posts no more, and what it has ends as its queues do."""
        qp.suspend()
        why = "is gone" if qp.home.gone else f"did not answer within {qp.home.patience:g} s"
        error = ControllerFailedError(
            f"{qp!r} was closed with {qp.outstanding} commands outstanding, as its event loop {why}"
        )
        if qp.outstanding or not qp.home.gone:
            logger.error("%s: %s", self._core, error)
        return error
