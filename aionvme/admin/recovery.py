"""Owns what is done when a command does not end: Abort, then a controller reset, then the end of the controller."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

import attrs

from aionvme.admin import bringup, startup
from aionvme.admin.core import State, logger
from aionvme.admin.marshal import on_each
from aionvme.errors import ControllerFailedError, ControllerLostError, ControllerResetError, NvmeError
from aionvme.qpair.io import IoQueuePair
from aionvme.qpair.poller import start_to_end, wait_to_end
from aionvme.spec.opcodes import AdminOpcode

if TYPE_CHECKING:
    from aionvme.admin.core import Core
    from aionvme.admin.queues import IoQueues
    from aionvme.qpair.governed import GovernedQueuePair
    from aionvme.qpair.limits import Limits
    from aionvme.qpair.request import Completion


#: Kinds of reset, each of which does what the one before does, and more: CC.EN; the PCI function, which has every
#: register reset; every controller of the NVM subsystem (Base 2.0, 3.7).
RESETS = ("controller", "function", "subsystem")
#: So many resets that nobody asked for, within so many seconds and without a completion on an I/O queue between them,
#: are no help. Others do not count resets that help either: Linux gives up where a reset itself fails (nvme_reset_work,
#: drivers/nvme/host/pci.c), SPDK where none has succeeded for ctrlr_loss_timeout_sec (bdev_nvme_check_op_after_reset).
STORM_RESETS, STORM_SECONDS = 5, 60.0
#: So often a controller is brought up that others reset meanwhile.
BRING_UPS = 3
#: The part of the time that an aborted command has after which it is aborted again, if the first Abort did not find it.
AGAIN = 1 / 20


@attrs.frozen
class _Abort:
    """An Abort to be sent: for which command, and whether one was sent before that did not find it."""

    qid: int
    cid: int
    again: bool = False


class Recovery:
    """Aborts commands, resets the controller, gives it up: each bounded in time, each logged."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._queues: IoQueues | None = None
        self._aborts: deque[_Abort] = deque()
        self._sending = False
        self._aborting = 0
        self._reset: asyncio.Future[None] | None = None
        self._hurrying: asyncio.TimerHandle | None = None
        self._kind = "controller"
        self._stopping = False
        self._unasked: deque[float] = deque()

    def attach(self, queues: IoQueues) -> None:
        """What is to be re-created after a reset."""
        self._queues = queues

    # -- Abort ---------------------------------------------------------------------------------------------------------

    def abort(self, qid: int, cid: int, opcode: int) -> None:
        """Has the controller abort a command, by and by: it takes only so many Aborts at once (ACL)."""
        if qid == 0 and opcode == AdminOpcode.ABORT:
            return  # Its own time limit leads to the reset.
        self._to_send(_Abort(qid, cid))

    def _to_send(self, abort: _Abort) -> None:
        self._aborts.append(abort)
        if not self._sending and not self._core.loop.is_closed():
            # In a turn of its own: a loop that is torn down cancels its tasks while it does not run.
            self._sending = True
            self._core.loop.call_soon(self._send_aborts)

    def _send_aborts(self) -> None:
        core = self._core
        self._sending = False
        limit = core.data.acl + 1 if core.data is not None else 1
        while (
            self._aborts
            and self._aborting < limit
            and core.state in (State.LIVE, State.CLOSING, State.STARTING)
        ):
            abort = self._aborts.popleft()
            qp = core.admin if abort.qid == 0 else core.queues.get(abort.qid) or core.lent.get(abort.qid)
            if qp is None or not qp.has_outstanding(abort.cid):
                continue  # It has completed meanwhile, and its identifier may soon be another command's.
            self._aborting += 1
            try:
                core.urgent.submit_abort(
                    abort.qid, abort.cid, self._aborted, abort, timeout=core.opts.abort_timeout
                )
            except NvmeError as error:
                # The command's own time limit goes on, and leads to the reset.
                self._aborting -= 1
                logger.warning("%s: Abort could not be sent: %s", core, error)

    def _aborted(self, abort: _Abort, cpl: Completion) -> None:
        self._aborting -= 1
        core = self._core
        if cpl.status:
            logger.info("%s: Abort ended with %s", core, cpl.status)
        elif not cpl.value and not abort.again and not core.loop.is_closed():
            # Commands are fetched in no order (Base 2.0, 3.4.1): it may have overtaken the one that it was for.
            again = _Abort(abort.qid, abort.cid, again=True)
            core.loop.call_later(core.opts.abort_timeout * AGAIN, self._to_send, again)
        self._send_aborts()

    # -- escalation ----------------------------------------------------------------------------------------------------

    def escalate(self, why: str) -> None:
        """A reset, if the controller was in use; if it was being brought up or down, its end."""
        core = self._core
        if core.state is State.LIVE:
            self._reset_unasked(why)
        elif self._stopping:
            return  # The reset that is under way ends that command, too, and takes no longer than CAP.TO.
        elif core.state is not State.ENDED and core.state is not State.CLOSED:
            core.end(ControllerFailedError(f"{core}: {why}, while it was {core.state.value}"))

    def _reset_unasked(self, why: str) -> None:
        """A reset, unless so many were of no avail."""
        core = self._core
        now = core.loop.time()
        if any(qp.completes for qp in core.queues.values()):
            self.reset_helped()
        while self._unasked and now - self._unasked[0] > STORM_SECONDS:
            self._unasked.popleft()
        if len(self._unasked) == STORM_RESETS:
            core.end(
                ControllerFailedError(
                    f"{core}: {why}, after {STORM_RESETS} resets within {STORM_SECONDS:g} s that did not help"
                )
            )
            return
        self._unasked.append(now)
        logger.warning("%s: is reset: %s", core, why)
        self._start_reset("controller")

    def reset_helped(self) -> None:
        """The device has completed I/O since the last reset: whatever it is reset for next, it is not dead."""
        self._unasked.clear()

    def check(self) -> None:
        """Looks whether the device is there and well (Base 2.0, 3.1.3.6); what is wrong is acted on."""
        core = self._core
        if self._stopping and self._kind != "controller":
            return  # It may be away for a while, and who resets it looks.
        try:
            csts = core.registers.csts()
        except ControllerLostError as error:
            core.end(error)
            return
        # Until it is enabled anew it may show the fatal status that it is reset for.
        enabled = csts.rdy and core.registers.cc().en
        if csts.cfs and (enabled or core.state not in (State.STARTING, State.RESETTING)):
            self.escalate("it reported a fatal status (CSTS.CFS)")
        elif not enabled:
            self._was_disabled(
                "an NVM subsystem reset (CSTS.NSSRO)" if csts.nssro else "a reset that was not ours"
            )

    def _was_disabled(self, by: str) -> None:
        """It was reset behind our back: whoever brings it up is told, and begins anew."""
        core = self._core
        if core.state is State.LIVE:
            self.escalate(f"it is not ready any more, after {by}")
        elif core.enabled and core.state in (State.STARTING, State.RESETTING):
            core.enabled = False
            core.admin.suspend()
            core.admin.end_outstanding(
                ControllerResetError(f"{core}: {by} came while it was brought up"), False
            )

    # -- reset ---------------------------------------------------------------------------------------------------------

    async def settled(self) -> None:
        """Waits for the end of a reset that is under way, however it ends."""
        while self._reset is not None:
            with contextlib.suppress(NvmeError):
                await wait_to_end(self._reset)

    async def reset(self, kind: str = "controller") -> None:
        """Resets the controller, or joins a reset that is under way, if that does as much."""
        while self._reset is not None and RESETS.index(self._kind) < RESETS.index(kind):
            with contextlib.suppress(NvmeError):
                await wait_to_end(self._reset)
        self._core.admin.check_open()
        await wait_to_end(self._start_reset(kind))

    def _start_reset(self, kind: str) -> asyncio.Future[None]:
        if self._reset is None:
            self._kind = kind
            self._core.state = State.RESETTING
            self._stopping = True
            self._reset = start_to_end(self._run_reset(), self._core.loop)
            self._reset.add_done_callback(self._reset_ended)
        return self._reset

    def _reset_ended(self, future: asyncio.Future[None]) -> None:
        # Whoever asked for it is told; a reset that nobody asked for has been logged.
        future.exception()

    async def _run_reset(self) -> None:
        core = self._core
        core.keep_alive.stop()
        queues = list(core.all_queues())
        for qp in queues:
            qp.home.tell(qp.hold_poller)
        try:
            await again(self._stop_and_restart)
        except ControllerLostError as error:
            core.end(error)
            raise
        except Exception as error:
            why = str(error).removeprefix(f"{core}: ")
            core.end(ControllerFailedError(f"{core}: could not be reset: {why}"))
            raise ControllerFailedError(*core.error.args if core.error else ()) from error
        finally:
            self._stopping = False
            if self._hurrying is not None:
                self._hurrying.cancel()
                self._hurrying = None
            # Not in a callback of the future: who waits in `settled` would look before that runs, and look for ever.
            self._reset = None
            for qp in queues:
                qp.home.tell(qp.release_poller)

    async def _stop_and_restart(self) -> None:
        self._stopping = True
        self._core.epoch += 1
        await self._stop_device()
        # Should it have to be done again, the least of it will do.
        self._kind = "controller"
        await self._restart()

    async def _stop_device(self) -> None:
        """RDY=0 seen: the device has let go of every command and buffer, which then go back to their owners."""
        core = self._core
        core.enabled = False
        for qp in core.all_queues():
            qp.suspend()
        if self._kind == "subsystem":
            await bringup.reset_subsystem(core.registers)
        try:
            if self._kind == "function":
                await self._reset_function()
            await bringup.disable(core.registers)
        except ControllerFailedError as failure:
            logger.warning("%s; resets the function", failure)
            await self._reset_function()
            await bringup.disable(core.registers)
        if bringup.acknowledge_subsystem_reset(core.registers):
            # Its configuration space is as after power on: it has to be told of interrupts anew.
            core.function.set_irqs(core.irq_fds)
        self._aborts.clear()
        error = ControllerResetError(
            f"{core} was reset while it had this command; whether it was executed is not known"
        )
        core.admin.end_outstanding(error, True)
        core.tell_borrowers(error)
        deaf = await on_each(core.all_queues(), partial(_empty, error=error))
        # Only now: what another loop says of commands that it has not ended yet is answered by this reset.
        self._stopping = False
        assert self._queues is not None
        await self._queues.dispose_undeleted()
        for qp in deaf:
            assert isinstance(qp, IoQueuePair)
            self._queues.leave_out(qp)

    async def _reset_function(self) -> None:
        core = self._core
        try:
            await core.loop.run_in_executor(None, core.function.reset)
        except OSError:
            core.registers.csts()  # of a device that is gone, this is said
            raise

    def hurry(self) -> None:
        """For who closes: what a reset that is under way waits for has no longer than an aborted command has.

        A device that hung and hangs again is not waited for twice, by who wants nothing more of it. One that works is
        shut down in order afterwards.
        """
        core = self._core
        if self._reset is not None and self._hurrying is None and core.opts.abort_timeout:
            self._hurrying = core.loop.call_later(core.opts.abort_timeout, core.admin.finish_by, 0.0)

    async def _restart(self) -> None:
        core = self._core
        if core.loop_is_ending():
            # Nobody is there to use it, and what hung once could hang again.
            raise ControllerFailedError("the loop is ending")
        bringup.check_unchanged(core.registers, core.page_size)
        if core.closing or (core.qpairs_closing and all(qp.closed for qp in core.queues.values())):
            self.hurry()
        await startup.start(core)
        assert self._queues is not None
        await self._queues.recreate()
        if core.state is State.ENDED:
            assert core.error is not None
            raise core.error
        core.state = State.LIVE
        core.admin.resume()
        for io in list(core.queues.values()):
            io.home.tell(partial(_resume, io, core.limits, core.max_transfer))
        logger.info("%s: was reset, and is in use again", core)


async def again(bring_up: Callable[[], Awaitable[None]]) -> None:
    """Brings a controller up, and begins anew where somebody else reset it meanwhile; not for ever."""
    for left in reversed(range(BRING_UPS)):
        try:
            await bring_up()
        except ControllerResetError:
            if not left:
                raise
        else:
            return


def _empty(qp: GovernedQueuePair, error: ControllerResetError) -> None:
    qp.end_outstanding(error, False)
    qp.reset_rings()


def _resume(qp: IoQueuePair, limits: Limits, max_transfer: int) -> None:
    # The controller may have come back with others, after an update of its firmware for one.
    qp.renew(limits, max_transfer)
    qp.resume()
