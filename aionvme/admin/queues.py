"""Owns the I/O queue pairs of a controller: their identifiers, and telling the controller of them and of their end."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING

from aionvme.admin.core import State, logger
from aionvme.admin.options import QPrio
from aionvme.errors import ControllerFailedError, ControllerResetError, NvmeError, UsageError
from aionvme.qpair.io import IoQueuePair
from aionvme.qpair.poller import run_to_end
from aionvme.spec import entries
from aionvme.spec.registers import cq_doorbell, sq_doorbell

if TYPE_CHECKING:
    from aionvme.admin.core import Core
    from aionvme.admin.doorbells import CmbPart
    from aionvme.admin.recovery import Recovery

COMPLETIONS = ("poll", "interrupt", "adaptive", "manual")


class IoQueues:
    """Allocates, deletes and re-creates the I/O queue pairs of one controller."""

    def __init__(self, core: Core, recovery: Recovery) -> None:
        self._core = core
        self._recovery = recovery
        # Of every queue pair that was handed out or is being made: what Create I/O Submission Queue says of it.
        self._taken: dict[int, QPrio] = {}
        self._in_cmb: dict[int, CmbPart] = {}

    # -- allocating ----------------------------------------------------------------------------------------------------

    async def alloc(self, depth: int | None, qprio: QPrio, completion: str) -> IoQueuePair:
        """Makes a queue pair and has the controller create both its queues.

        Raises:
            UsageError: No queue is left, or the controller has no such depth or interrupt.
            StatusError: The controller refused.
        """
        if qprio not in list(QPrio):
            raise UsageError(f"qprio is one of QPrio.URGENT, HIGH, MEDIUM and LOW, not {qprio!r}")
        qprio = QPrio(qprio)
        if completion not in COMPLETIONS:
            raise UsageError(f"completion is one of {', '.join(COMPLETIONS)}, not {completion!r}")
        depth = self._depth(depth)
        qid = self._free_qid()
        irq_fd = self._irq_fd(qid, completion)
        self._taken[qid] = qprio
        try:
            qp = self._make(qid, depth, completion, irq_fd)
        except BaseException:
            del self._taken[qid]
            raise
        try:
            await run_to_end(self._create(qp))
        except BaseException:
            await run_to_end(self._undo(qp))
            raise
        return qp

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

    def _make(self, qid: int, depth: int, completion: str, irq_fd: int) -> IoQueuePair:
        core = self._core
        dstrd = core.registers.cap.dstrd
        part = core.cmb.alloc((depth + 1) * entries.SQE_BYTES) if core.cmb is not None else None
        if part is not None:
            self._in_cmb[qid] = part
        shadows = core.shadows
        return IoQueuePair(
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
            completion=completion,
            irq_fd=irq_fd,
            loop=core.loop,
            host=self,
            default_timeout=core.opts.io_timeout,
            abort_timeout=core.opts.abort_timeout,
            name=f"aionvme {core} qp {qid}",
            sq_memory=part,
            shadows=(shadows.doorbells, shadows.events, sq_doorbell(0, dstrd))
            if shadows is not None
            else None,
        )

    async def _create(self, qp: IoQueuePair) -> None:
        """Completion queue first, as the submission queue names it (Base 2.0, 5.4 and 5.5)."""
        core = self._core
        epoch = core.epoch
        await core.commands.admin_raw(self._cq_sqe(qp))
        try:
            await core.commands.admin_raw(self._sq_sqe(qp))
        except ControllerResetError:
            raise  # The reset took the completion queue away.
        except NvmeError:
            await self._delete(qp, entries.delete_io_cq(qp.qid))
            raise
        if core.epoch != epoch:
            raise ControllerResetError(
                f"{core} was reset while a queue pair was being made: allocate it again"
            )
        core.queues[qp.qid] = qp

    async def _undo(self, qp: IoQueuePair) -> None:
        if self._core.queues.get(qp.qid) is qp:
            # Cancelled when it was there already.
            await self.close_io_qpair(qp)
        elif qp not in self._core.undeleted:
            self._release(qp)

    async def _delete(self, qp: IoQueuePair, *sqes: bytes) -> bool:
        """Sends commands after which the controller knows no such queue; otherwise its memory stays until it does."""
        try:
            for sqe in sqes:
                await self._core.commands.admin_raw(sqe)
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

    def _release(self, qp: IoQueuePair) -> None:
        part = self._in_cmb.pop(qp.qid, None)
        if part is not None and self._core.cmb is not None:
            self._core.cmb.give(part)
        self._taken.pop(qp.qid, None)
        qp.dispose()

    def _cq_sqe(self, qp: IoQueuePair) -> bytes:
        vector = None if qp.completion in ("poll", "manual") else qp.qid
        return entries.create_io_cq(qid=qp.qid, entries=qp.entries, iova=qp.cq_iova, vector=vector)

    def _sq_sqe(self, qp: IoQueuePair) -> bytes:
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
                qp.end_outstanding(
                    ControllerFailedError(f"{qp!r} broke the protocol: allocate another"), True
                )
                del core.queues[qp.qid]
                self._release(qp)
                continue
            if qp.qid > core.num_io_queues:
                raise ControllerFailedError(
                    f"{core} granted only {core.num_io_queues} I/O queues after its reset"
                )
            await core.urgent.admin_raw(self._cq_sqe(qp))
            await core.urgent.admin_raw(self._sq_sqe(qp))

    def dispose_undeleted(self) -> None:
        """The controller has no queues any more: what was kept for its sake goes."""
        for qp in self._core.undeleted:
            self._release(qp)
        self._core.undeleted.clear()

    # -- the end of one ------------------------------------------------------------------------------------------------

    def abort(self, qid: int, cid: int, opcode: int) -> None:
        """For the queue pair: one of its commands is to be aborted."""
        self._recovery.abort(qid, cid, opcode)

    def escalate(self, why: str) -> None:
        """For the queue pair: nothing but a reset helps."""
        self._recovery.escalate(why)

    async def close_io_qpair(self, qp: IoQueuePair) -> None:
        """Waits for its commands, deletes both its queues, and gives everything back."""
        qp.refuse(UsageError(f"queue pair {qp.qid} of {self._core} is closed"))
        await run_to_end(self._close(qp))

    async def _close(self, qp: IoQueuePair) -> None:
        core = self._core
        await qp.wait_idle()
        await self._recovery.settled()
        if core.queues.get(qp.qid) is not qp:
            return
        del core.queues[qp.qid]
        if core.state is State.ENDED or await self._delete(
            qp, entries.delete_io_sq(qp.qid), entries.delete_io_cq(qp.qid)
        ):
            self._release(qp)
