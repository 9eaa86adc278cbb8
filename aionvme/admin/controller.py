"""Owns `Controller`: what a user holds of one NVMe controller, from bring-up to shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import os
import warnings
import weakref
from typing import TYPE_CHECKING, Any

from aionvme.admin import bringup, host_memory, startup
from aionvme.admin.commands import AdminCommands
from aionvme.admin.core import Core, State, logger
from aionvme.admin.events import REQUESTS, Events
from aionvme.admin.options import ControllerOptions, QPrio
from aionvme.admin.queues import IoQueues
from aionvme.admin.recovery import Recovery
from aionvme.errors import ControllerFailedError, ControllerLostError, NvmeError, UsageError, WrongLoopError
from aionvme.pci.dma import DmaSpace
from aionvme.qpair.io import IoQueuePair
from aionvme.qpair.opening import Opening
from aionvme.qpair.poller import run_to_end, start_to_end, wait_to_end
from aionvme.qpair.raw import AdminQueuePair
from aionvme.spec.registers import cq_doorbell, sq_doorbell

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from aionvme.admin.event_stream import AsyncEvent, EventStream
    from aionvme.pci.device import PciDevice
    from aionvme.pci.dma import DmaBuffer, DmaRegistration
    from aionvme.pci.function import Function
    from aionvme.qpair.namespace import Namespace
    from aionvme.spec.identify import IdentifyController

# More vectors than this are seldom to be had, and seldom of use.
MAX_IRQS = 33
HEALTH_SECONDS = 1.0
# AQA counts entries with 12 bits (Base 2.0, 3.1.3.8).
MOST_ADMIN_ENTRIES = 4096

# Which functions this process has open: a second probe does not ask for them again.
_open: weakref.WeakValueDictionary[str, Controller] = weakref.WeakValueDictionary()


class Controller(AdminCommands):
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
                name=f"aionvme {function.pci_dev} admin",
            )
        except BaseException:
            dma.close()
            raise
        self._core = Core(function, registers, dma, opts, loop, admin, page_size)
        self._core.events = Events(self._core)
        self._recovery = Recovery(self._core)
        self._queues = IoQueues(self._core, self._recovery)
        self._recovery.attach(self._queues)
        admin.set_host(self._recovery)
        self._admin = admin
        self._dma = dma
        self._closing: asyncio.Future[None] | None = None
        self._pid = os.getpid()
        self._watch: asyncio.TimerHandle | None = None

    # -- bring-up ------------------------------------------------------------------------------------------------------

    @classmethod
    async def attach(cls, function: Function, opts: ControllerOptions) -> Controller:
        """Brings up the controller that a function is; closes the function if that fails or is cancelled.

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
        return ctrlr

    async def _start(self) -> None:
        core = self._core
        self._watch_health()
        await bringup.disable(core.registers)
        core.admin.reset_rings()
        self._set_irqs()
        await startup.start(core)
        core.state = State.LIVE
        _open[self.pci_dev.bdf] = self

    @staticmethod
    def is_open(pci_dev: PciDevice) -> bool:
        """Whether this process has the controller of that function."""
        ctrlr = _open.get(pci_dev.bdf)
        return ctrlr is not None and ctrlr._core.state is not State.CLOSED

    def _set_irqs(self) -> None:
        """An eventfd for each vector that a queue may use; on a machine that is short of vectors, for fewer."""
        core = self._core
        count = min(core.function.num_irqs, core.opts.num_io_queues + 1, MAX_IRQS)
        while count:
            core.irq_fds = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(count)]
            try:
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

    # -- what it is ----------------------------------------------------------------------------------------------------

    @property
    def data(self) -> IdentifyController:
        """Identify Controller, as of the last bring-up."""
        assert self._core.data is not None
        return self._core.data

    def _identified(self) -> IdentifyController | None:
        return self._core.data

    @property
    def namespaces(self) -> Mapping[int, Namespace]:
        """The active namespaces by identifier."""
        return self._core.namespaces

    @property
    def opts(self) -> ControllerOptions:
        """The options as finally used."""
        return self._core.opts

    @property
    def pci_dev(self) -> PciDevice:
        """Which function it is."""
        return self._core.function.pci_dev

    @property
    def version(self) -> tuple[int, int, int]:
        """Major, minor and tertiary version of the specification that it follows (VS)."""
        return self._core.registers.version()

    @property
    def max_transfer(self) -> int:
        """Most bytes of data in one command (MDTS); 0 for no limit. Longer reads and writes are split."""
        return self._core.max_transfer

    @property
    def closed(self) -> bool:
        """Whether `close` was called, or the controller was lost or failed."""
        return self._core.state in (State.CLOSING, State.CLOSED, State.ENDED)

    def __repr__(self) -> str:
        return f"<Controller {self._core} {self._core.state.value}>"

    # -- memory --------------------------------------------------------------------------------------------------------

    def dma_alloc(self, nbytes: int, *, align: int = 4096, zero: bool = True) -> DmaBuffer:
        """Memory for reads and writes, which this controller reaches. See `DmaSpace.alloc`."""
        self._check_open()
        return self._dma.alloc(nbytes, align=align, zero=zero)

    def dma_register(self, obj: Buffer | NDArray[Any], *, exact: bool = False) -> DmaRegistration:
        """Lets this controller reach memory that the caller owns, for zero copy. See `DmaSpace.register`."""
        self._check_open()
        return self._dma.register(obj, exact=exact)

    def _check_open(self) -> None:
        error = self._core.error
        if error is not None:
            raise type(error)(*error.args)
        if self._core.state in (State.CLOSING, State.CLOSED):
            raise UsageError(f"{self!r} is closed")

    # -- queue pairs ---------------------------------------------------------------------------------------------------

    def alloc_io_qpair(
        self, *, depth: int | None = None, qprio: QPrio = QPrio.MEDIUM, completion: str = "poll"
    ) -> Opening[IoQueuePair]:
        """Allocates an I/O queue pair, which belongs to the running loop: `await` it, or enter it by `async with`.

        Args:
            depth: Commands that may be outstanding at once; None for `opts.io_queue_depth`.
            qprio: Priority class under weighted round robin; ignored under round robin.
            completion: "poll" busily while commands are outstanding; "interrupt" by MSI-X; "adaptive" polls, and leaves
                it to the interrupt when nothing comes; "manual" by `process_completions`.

        Raises:
            UsageError: No queue is left, or there is no such depth, interrupt or mode.
            StatusError: The controller refused.
        """
        return Opening(lambda: self._alloc_io_qpair(depth, qprio, completion))

    async def _alloc_io_qpair(self, depth: int | None, qprio: QPrio, completion: str) -> IoQueuePair:
        self._check_open()
        self._check_loop()
        return await self._queues.alloc(depth, qprio, completion)

    def _check_loop(self) -> None:
        if asyncio.get_running_loop() is not self._core.loop:
            raise WrongLoopError(f"{self!r} belongs to another event loop: connect in each loop")

    # -- events --------------------------------------------------------------------------------------------------------

    def events(self, *, limit: int = 256) -> EventStream:
        """The asynchronous events from this call on (Base 2.0, 5.2): `async for event in ctrlr.events()`.

        Every call gives an iterator of its own. The log page that belongs to an event has been read, which clears it,
        and is `event.page`. Which events there are is `ControllerOptions.events`.

        Args:
            limit: How many events are kept that were not taken. Beyond that the oldest go, counted in `dropped`.

        Raises:
            UsageError: `limit` is less than 1.
            WrongLoopError: The controller belongs to another loop.
        """
        if limit < 1:
            raise UsageError(f"limit must be 1 or more, not {limit}")
        self._check_loop()
        return self._core.events.stream(limit)

    def on_event(self, cb_fn: Callable[[Any, AsyncEvent], object], cb_arg: Any = None) -> Callable[[], None]:
        """Has `cb_fn(cb_arg, event)` called for every asynchronous event from now on.

        Returns:
            A function that takes this back.
        """
        return self._core.events.add_callback(cb_fn, cb_arg)

    # -- reset and health ----------------------------------------------------------------------------------------------

    async def reset(self) -> None:
        """Resets the controller (CC.EN=0 and 1), and creates its queues again.

        Commands that it has end with `ControllerResetError`; those that wait for a slot are posted afterwards.

        Raises:
            ControllerFailedError: It did not come back; every later call raises this.
            ControllerLostError: It is gone.
        """
        self._check_open()
        self._check_loop()
        await host_memory.take_back(self._core)
        await self._recovery.reset()

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

        May be called twice. A cancellation is raised after the end.

        Raises:
            ControllerFailedError: It did not complete the shutdown; everything was given back all the same.
        """
        if self._core.state is State.CLOSED:
            return
        self._check_loop()
        if self._closing is None:
            self._closing = start_to_end(self._close(), self._core.loop)
        await wait_to_end(self._closing)

    async def _close(self) -> None:
        core = self._core
        await self._recovery.settled()
        failure: NvmeError | None = None
        if core.state is not State.ENDED:
            core.state = State.CLOSING
        try:
            for qp in list(core.queues.values()):
                await self._queues.close_io_qpair(qp)
            await core.events.stop()
            await host_memory.take_back(core)
            core.admin.refuse(UsageError(f"{self!r} is closed"))
            await core.admin.wait_idle()
            if core.state is State.CLOSING:
                await self._shut_down()
        except ControllerLostError as error:
            core.end(error)
        except NvmeError as error:
            failure = error
        await self._release()
        if failure is not None:
            raise failure

    async def _shut_down(self) -> None:
        core = self._core
        if not core.opts.no_shn_notification:
            await bringup.shutdown(core.registers, bringup.shutdown_timeout(core.data))
        await bringup.disable(core.registers)

    async def _release(self) -> None:
        """Cuts the device off and gives everything back. No command is outstanding."""
        core = self._core
        core.state = State.CLOSED if core.state is not State.ENDED else core.state
        if self._watch is not None:
            self._watch.cancel()
        core.cut_off()
        core.admin.end_outstanding(ControllerFailedError(f"{core} was closed"), True)
        core.events.end(core.error)
        self._dispose()
        await core.loop.run_in_executor(None, core.function.close)
        core.state = State.CLOSED

    def _dispose(self) -> None:
        core = self._core
        for qp in core.all_queues():
            qp.dispose()
        core.queues.clear()
        core.undeleted.clear()
        with contextlib.suppress(OSError, NvmeError):
            core.function.set_irqs([])
        self._close_irqs()

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
            core.state = State.CLOSED


async def _in_thread(call: Any) -> None:
    await asyncio.get_running_loop().run_in_executor(None, call)


def _look_at_health(ref: weakref.ref[Controller]) -> None:
    ctrlr = ref()
    if ctrlr is not None:
        ctrlr._look_at_health()
