"""Owns `Controller`: what a user holds of one NVMe controller, from bring-up to shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import warnings
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from aionvme.admin import bringup, host_memory, marshal, namespaces, recording, startup
from aionvme.admin.commands import AdminCommands
from aionvme.admin.core import Core, State, logger
from aionvme.admin.events import REQUESTS, Events
from aionvme.admin.facts import Facts
from aionvme.admin.keep_alive import KeepAlive
from aionvme.admin.listening import Listening
from aionvme.admin.options import ControllerOptions, QPrio
from aionvme.admin.queues import IoQueues, Wishes
from aionvme.admin.recording import Recorded
from aionvme.admin.recovery import RESETS, Recovery, again
from aionvme.admin.removal import Removal, shut_down
from aionvme.errors import (
    ControllerFailedError,
    ControllerLostError,
    ControllerResetError,
    NvmeError,
    UsageError,
    WrongLoopError,
)
from aionvme.pci.dma import DmaSpace
from aionvme.qpair.io import IoQueuePair
from aionvme.qpair.opening import Opening
from aionvme.qpair.poller import run_to_end, start_to_end, wait_to_end
from aionvme.qpair.raw import AdminQueuePair
from aionvme.spec.registers import cq_doorbell, sq_doorbell

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from aionvme.pci.function import Function

# More vectors than this are seldom to be had, and seldom of use.
MAX_IRQS = 33
HEALTH_SECONDS = 1.0
# AQA counts entries with 12 bits (Base 2.0, 3.1.3.8).
MOST_ADMIN_ENTRIES = 4096


class Controller(Facts, Listening, Recorded, AdminCommands):
    """An NVMe controller in use. Made by `aionvme.connect` and `aionvme.probe`.

    It belongs to the event loop that brought it up. `async with` closes it at the end; so does `await close()`.

    Attributes:
        data: `IdentifyController`, as of the last bring-up.
        namespaces: The active namespaces by identifier.
        opts: The `ControllerOptions` as finally used.
        pci_dev: The `PciDevice` that it is.
    """

    def __init__(self, function: Function, opts: ControllerOptions) -> None:
        loop = asyncio.get_running_loop()
        registers = bringup.Registers(function)
        dma = DmaSpace(function)
        try:
            page_size = bringup.choose_page_size(registers.cap)
            # Requests for events take slots of their own.
            depth = min(opts.admin_queue_depth + REQUESTS, MOST_ADMIN_ENTRIES - 1)
            admin = AdminQueuePair(
                function=function,
                dma=dma,
                qid=0,
                depth=depth,
                entries=depth + 1,
                page_size=page_size,
                max_transfer=0,
                sq_doorbell=sq_doorbell(0, registers.cap.dstrd),
                cq_doorbell=cq_doorbell(0, registers.cap.dstrd),
                completion="adaptive",
                loop=loop,
                default_timeout=opts.admin_timeout,
                abort_timeout=opts.abort_timeout,
                loop_timeout=opts.loop_timeout,
                name=f"aionvme {function.pci_dev} admin",
            )
        except BaseException:
            dma.close()
            raise
        self._core = Core(function, registers, dma, opts, loop, admin, page_size)
        recording.begin(self._core)
        self._core.events = Events(self._core)
        self._core.events.add_hook(partial(namespaces.follow, self._core))
        self._core.events.add_hook(self._core.nudges.hear)
        self._recovery = Recovery(self._core)
        self._core.keep_alive = KeepAlive(self._core, self._recovery.escalate)
        self._queues = IoQueues(self._core, self._recovery)
        self._recovery.attach(self._queues)
        admin.set_host(self._recovery)
        self._admin = admin
        self._dma = dma
        self._closing: asyncio.Future[None] | None = None
        self._pid = os.getpid()
        self._watch: asyncio.TimerHandle | None = None
        self._removal = Removal(self, self._core, self._recovery)
        self._on_closed: Callable[[], object] | None = None

    # -- bring-up ------------------------------------------------------------------------------------------------------

    @classmethod
    async def attach(
        cls,
        function: Function,
        opts: ControllerOptions,
        *,
        on_closed: Callable[[], object] | None = None,
        on_removed: Callable[[Controller], object] | None = None,
    ) -> Controller:
        """Brings up the controller that a function is; closes the function if that fails or is cancelled.

        Args:
            function: The function, opened.
            opts: As finally used afterwards.
            on_closed: Called when the controller that came up has been closed, by whomever.
            on_removed: Called with the controller when it was removed or lost, unless it was being closed.

        Raises:
            ControllerFailedError: It does not get ready, or says what cannot be.
            ControllerLostError: It is gone.
            StatusError: It refused a command that every controller must take.
        """
        try:
            ctrlr = cls(function, opts)
        except BaseException:
            await run_to_end(_in_thread(function.close))
            raise
        try:
            await ctrlr._start()
        except BaseException as error:
            await run_to_end(ctrlr._abandon(error))
            raise
        ctrlr._on_closed = on_closed
        ctrlr._removal.told = on_removed
        return ctrlr

    async def _start(self) -> None:
        core = self._core
        self._watch_health()
        self._removal.watch()
        self._set_irqs()
        await again(self._bring_up)
        core.state = State.LIVE
        self._removal.attached = True

    async def _bring_up(self) -> None:
        core = self._core
        core.enabled = False
        core.epoch += bool(core.admin.standing_requests)
        await bringup.disable(core.registers)
        core.admin.end_outstanding(ControllerResetError(f"{core} was reset"), True)
        core.admin.reset_rings()
        core.admin.resume()
        await startup.start(core)

    def _set_irqs(self) -> None:
        """An eventfd for each vector that a queue may use; on a machine that is short of vectors, for fewer."""
        core = self._core
        count = min(core.function.num_irqs, core.opts.num_io_queues + 1, MAX_IRQS)
        while count:
            try:
                for _ in range(count):
                    core.irq_fds.append(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
                core.function.set_irqs(core.irq_fds)
                core.admin.use_interrupt(core.irq_fds[0])
                return
            except OSError as error:
                logger.info("%s: %d interrupt vectors could not be had: %s", core, count, error)
                self._close_irqs()
            count //= 2

    def _close_irqs(self) -> None:
        while self._core.irq_fds:
            os.close(self._core.irq_fds.pop())

    async def _abandon(self, error: BaseException) -> None:
        """A bring-up that failed or was cancelled: nothing stays enabled, mapped or open."""
        core = self._core
        if core.state is not State.ENDED:
            core.state = State.CLOSING
            with contextlib.suppress(NvmeError):
                core.registers.clear_enable()
            core.end(ControllerFailedError(f"bring-up ended by {type(error).__name__}"))
        await self._release()

    # -- queue pairs ---------------------------------------------------------------------------------------------------

    def alloc_io_qpair(
        self,
        *,
        depth: int | None = None,
        qprio: QPrio = QPrio.MEDIUM,
        completion: str = "poll",
        batching: bool | None = None,
    ) -> Opening[IoQueuePair]:
        """Allocates an I/O queue pair, which belongs to the running loop: `await` it, or enter it by `async with`.

        That may be another loop than the controller's, in another thread. The controller's loop has to go on running
        until such a queue pair is closed: it makes and deletes the queues, sends Aborts and resets the controller.

        Args:
            depth: Commands that may be outstanding at once; None for `opts.io_queue_depth`.
            qprio: Priority class under weighted round robin; ignored under round robin.
            completion: "poll" busily while commands are outstanding; "interrupt" by MSI-X; "adaptive" polls while
                completions come sooner than an interrupt would cost, and else leaves it to that; "manual" by
                `process_completions` only: whoever awaits one of its commands waits until somebody calls that.
            batching: Whether the doorbell rings once for all that was posted in a turn of the loop (with "manual", once
                for each `process_completions`), or at once with each command; None for False with "manual", else True.

        Raises:
            UsageError: No queue is left, or there is no such depth, interrupt or mode.
            WrongLoopError: The controller belongs to another loop, which does not run, or does not answer.
            StatusError: The controller refused.
        """
        return Opening(
            lambda: self._alloc_io_qpair(Wishes(depth, qprio, completion, batching)), "alloc_io_qpair()"
        )

    async def _alloc_io_qpair(self, wishes: Wishes) -> IoQueuePair:
        self._check_open()
        core = self._core
        if asyncio.get_running_loop() is core.loop:
            return await self._queues.alloc(wishes, core.home)
        return await marshal.alloc(core, self._queues, wishes)

    def _check_loop(self) -> None:
        loop = self._core.loop
        if asyncio.get_running_loop() is loop:
            return
        instead = (
            "connect in each loop"
            if loop.is_closed()
            else "asyncio.run_coroutine_threadsafe has it done there"
        )
        raise WrongLoopError(f"{self!r} belongs to another event loop: {instead}")

    # -- reset and health ----------------------------------------------------------------------------------------------

    async def reset(self, kind: str = "controller") -> None:
        """Resets the controller, and creates its queues again (Base 2.0, 3.7).

        Commands that it has end with `ControllerResetError`; those that wait for a slot are posted afterwards.

        Args:
            kind: "controller", by CC.EN; "function", by the reset of the PCI function; or "subsystem", which resets
                every controller of the NVM subsystem, in whosever hands they are: see `subsystem_reset`.

        Raises:
            UsageError: There is no such kind, or the controller does not have it.
            OSError: The function has no reset of its own.
            ControllerFailedError: It did not come back; every later call raises this.
            ControllerLostError: It is gone.
        """
        if kind not in RESETS:
            raise UsageError(f"kind is one of {', '.join(RESETS)}, not {kind!r}")
        self._check_open()
        self._check_loop()
        if kind == "subsystem" and not self.has_subsystem_reset:
            raise UsageError(f"{self._core} has no NVM subsystem reset (CAP.NSSRS is 0)")
        if kind == "function" and not self._core.function.can_reset:
            raise OSError(errno.EOPNOTSUPP, f"{self._core} has no reset of the function")
        await host_memory.take_back(self._core)
        await self._recovery.reset(kind)

    @property
    def has_subsystem_reset(self) -> bool:
        """Whether the controller can reset its NVM subsystem (CAP.NSSRS)."""
        return bool(self._core.registers.cap.nssrs)

    async def subsystem_reset(self) -> None:
        """NVM subsystem reset (NSSR; Base 2.0, 3.7.1): as `reset`, of every controller of the subsystem.

        The others notice it within a second or so, and are reset in turn by those that drive them: their outstanding
        commands end with `ControllerResetError`.

        Raises:
            UsageError: The controller does not have it (CAP.NSSRS).
            ControllerFailedError: It did not come back; every later call raises this.
            ControllerLostError: It is gone.
        """
        await self.reset("subsystem")

    def _watch_health(self) -> None:
        ctrlr = weakref.ref(self)
        self._watch = self._core.loop.call_later(HEALTH_SECONDS, _look_at_health, ctrlr)

    def _look_at_health(self) -> None:
        if self._core.state not in (State.ENDED, State.CLOSED):
            self._recovery.check()
            self._core.admin.look()
            self._watch_health()

    # -- the end -------------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Waits for every command, deletes the queues, shuts the controller down and gives everything back.

        Commands that do not end within `ControllerOptions.shutdown_timeout` are aborted. May be called twice. A
        cancellation is raised after the end.

        Of a device that hangs only the first command is waited for: for its own time limit or `shutdown_timeout`, and
        `abort_timeout`, 65 seconds by default; then all ends, and it is disabled and cut off from memory. One that
        works has the longer of 10 seconds and RTD3E to shut down, and CAP.TO to be disabled.

        Raises:
            ControllerFailedError: It did not complete the shutdown, or a queue pair of another loop has commands, and
                that loop does not answer; everything was given back all the same.
        """
        if self._core.state is State.CLOSED:
            return
        self._check_loop()
        if self._closing is None:
            self._closing = start_to_end(self._close(), self._core.loop)
        await wait_to_end(self._closing)

    def _remove(self) -> None:
        """It was lost, or the system wants it back."""
        if self._closing is None:
            self._closing = start_to_end(self._removal.run(self, self._close), self._core.loop)
            self._closing.add_done_callback(lambda closing: closing.exception())

    async def _close(self) -> None:
        core = self._core
        core.closing = True
        self._recovery.hurry()
        # Commands without a time limit would be waited for as long as the controller keeps them.
        grace = (
            core.loop.call_later(core.opts.shutdown_timeout, self._hasten)
            if core.opts.shutdown_timeout
            else None
        )
        try:
            await self._drain()
        finally:
            if grace is not None:
                grace.cancel()

    def _hasten(self) -> None:
        core = self._core
        count = sum(qp.outstanding for qp in core.all_queues())
        logger.warning(
            "%s: %d commands did not end within %g s of its close, and are aborted",
            core, count, core.opts.shutdown_timeout,
        )  # fmt: skip
        for qp in core.all_queues():
            qp.home.tell(partial(qp.finish_by, 0.0))

    async def _drain(self) -> None:
        core = self._core
        await self._recovery.settled()
        failure: NvmeError | None = None
        if core.state is not State.ENDED:
            core.state = State.CLOSING
        try:
            for borrowers in list(core.borrowers):
                await borrowers.finish(ControllerLostError(f"{core}: its owner has closed it"))
            for qp in list(core.queues.values()):
                try:
                    await self._queues.close_io_qpair(qp)
                except ControllerFailedError as error:
                    failure = error
            await core.events.stop()
            await host_memory.take_back(core)
            core.admin.refuse(core.closed_error())
            await core.admin.wait_idle()
            if core.state is State.CLOSING:
                await shut_down(core)
        except ControllerLostError as error:
            core.end(error)
        except NvmeError as error:
            failure = error
        await self._release()
        if failure is not None:
            raise failure

    async def _release(self) -> None:
        """Cuts the device off and gives everything back. No command is outstanding."""
        core = self._core
        core.state = State.CLOSED if core.state is not State.ENDED else core.state
        if self._watch is not None:
            self._watch.cancel()
        core.cut_off()
        core.admin.end_outstanding(ControllerFailedError(f"{core} was closed"), True)
        core.events.end(core.error)
        core.keep_alive.stop()
        # Before the function is closed, and its registers are unmapped: no thread is about to touch them.
        core.left.update(core.all_queues())
        await marshal.on_each(core.all_queues(), core.dispose_here)
        self._dispose()
        await core.loop.run_in_executor(None, core.function.close)
        self._closed()

    def _closed(self) -> None:
        self._core.state = State.CLOSED
        if self._on_closed is not None:
            self._on_closed()

    def _dispose(self) -> None:
        core = self._core
        for qp in core.all_queues():
            core.dispose_of(qp)
        core.queues.clear()
        core.undeleted.clear()
        self._removal.unwatch()
        with contextlib.suppress(OSError, NvmeError):
            core.function.set_irqs([])
        core.close_irqs()

    async def __aenter__(self) -> Controller:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    def __del__(self, _warn: Any = warnings.warn) -> None:
        core = getattr(self, "_core", None)
        if core is None or core.state is State.CLOSED or os.getpid() != self._pid:
            return
        try:
            # May raise, where warnings are errors.
            _warn(
                f"{self!r} was not closed: use `async with`, or await close()", ResourceWarning, source=self
            )
        finally:
            with contextlib.suppress(NvmeError, OSError):
                core.registers.clear_enable()
            core.end(ControllerFailedError(f"{core} was dropped without close()"))
            self._dispose()
            core.function.close()
            self._closed()


async def _in_thread(call: Any) -> None:
    await asyncio.get_running_loop().run_in_executor(None, call)


def _look_at_health(ref: weakref.ref[Controller]) -> None:
    ctrlr = ref()
    if ctrlr is not None:
        ctrlr._look_at_health()
