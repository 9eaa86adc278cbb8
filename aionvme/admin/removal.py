"""Owns the end of a controller that is not its user's wish: the system asks for the function, or the device is gone.

The kernel waits with unbinding and unplugging until the function is closed, so the end is bounded: no new command is
taken, those that are outstanding have `ControllerOptions.removal_timeout` to complete, then the device is cut off from
memory and the rest end with `ControllerLostError`. Everything is given back; the controller's user need do nothing.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from aionvme.admin import bringup
from aionvme.admin.core import State, logger
from aionvme.errors import ControllerLostError, NvmeError
from aionvme.qpair.home import NoAnswer

if TYPE_CHECKING:
    import asyncio

    from aionvme.admin.controller import Controller
    from aionvme.admin.core import Core
    from aionvme.admin.recovery import Recovery

Set = Callable[[int | None], None]


async def shut_down(core: Core) -> None:
    """Shutdown notification, unless the options forbid it, and CC.EN=0 (Base 2.0, 3.6.1)."""
    if not core.opts.no_shn_notification:
        await bringup.shutdown(core.registers, bringup.shutdown_timeout(core.data))
    await bringup.disable(core.registers)


class Removal:
    """Watches for the end of one controller, and brings it about.

    Attributes:
        attached: The controller was up: from then on somebody is to be told.
        told: Called with the controller, once, when it was removed or lost.
    """

    def __init__(self, ctrlr: Controller, core: Core, recovery: Recovery) -> None:
        self._core = core
        self._recovery = recovery
        # A controller that its user drops is to be collected at once.
        self._ctrlr = weakref.ref(ctrlr)
        self._watched: list[tuple[int, Set]] = []
        self._deadline: asyncio.TimerHandle | None = None
        self._error: ControllerLostError | None = None
        self.attached = False
        self.told: Callable[[Controller], object] | None = None

    # -- being told ----------------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Asks the function for its notices."""
        function = self._core.function
        self._watch(function.set_removal_eventfd, self.request, "no notice of its removal")
        self._watch(function.set_error_eventfd, self._bus_error, "no notice of errors of the bus")
        self._core.on_lost = partial(_call_weakly, weakref.WeakMethod(self._lost))

    def _watch(self, set_fd: Set, call: Callable[[], None], without: str) -> None:
        fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            set_fd(fd)
        except OSError as error:
            os.close(fd)
            logger.info("%s: %s: %s", self._core, without, error)
            return
        except BaseException:
            os.close(fd)
            raise
        self._watched.append((fd, set_fd))
        self._core.loop.add_reader(fd, _noticed, fd, weakref.WeakMethod(call))

    def unwatch(self) -> None:
        """Lets go of the notices and of the time limit."""
        if self._deadline is not None:
            self._deadline.cancel()
        loop = self._core.loop
        while self._watched:
            fd, set_fd = self._watched.pop()
            with contextlib.suppress(OSError, NvmeError):
                set_fd(None)
            if not loop.is_closed():
                loop.remove_reader(fd)
            os.close(fd)

    # -- what it leads to ----------------------------------------------------------------------------------------------

    def request(self) -> None:
        """The system wants the function back. It asks again every ten seconds."""
        core = self._core
        if core.state is State.ENDED:
            self._begin()  # Failed, and its user has not closed it: now it is closed.
        if self._error is not None or core.state in (State.ENDED, State.CLOSED):
            return
        error = self._error = ControllerLostError(f"{core}: the system asked for its removal")
        logger.warning("%s", error)
        if core.state is State.STARTING:
            core.end(error)
            return
        core.error = error
        for qp in core.all_queues():
            qp.refuse(error)
        self._deadline = core.loop.call_later(core.opts.removal_timeout, self._too_late)
        self._begin()

    def _too_late(self) -> None:
        core = self._core
        assert self._error is not None
        if core.state not in (State.ENDED, State.CLOSED):
            # So that it stops by itself, too, what it is about to be cut off from.
            with contextlib.suppress(NvmeError):
                core.registers.clear_enable()
            core.end(self._error)

    def _bus_error(self) -> None:
        core = self._core
        if core.state is not State.ENDED:
            self._recovery.check()
            self._recovery.escalate("the bus reported an uncorrectable error (AER)")

    def _lost(self) -> None:
        ctrlr = self._ctrlr()
        if self.attached and ctrlr is not None:
            self._tell(ctrlr)  # Its user may have begun to close it meanwhile, because it was lost.
            ctrlr._remove()

    def _begin(self) -> None:
        ctrlr = self._ctrlr()
        if ctrlr is not None:
            ctrlr._remove()

    def _tell(self, ctrlr: Controller) -> None:
        told, self.told = self.told, None
        if told is not None:
            # As a callback of the loop's: what it raises is reported as such, and stops nothing here.
            self._core.loop.call_soon(told, ctrlr)

    async def run(self, ctrlr: Controller, close: Callable[[], Any]) -> None:
        """Ends the controller, tells of it, and gives everything back."""
        core = self._core
        if core.state is not State.ENDED:
            assert self._error is not None
            await self._drain()
            core.end(self._error)
        self._tell(ctrlr)
        await close()

    async def _drain(self) -> None:
        """Waits for the commands that are outstanding, and shuts down; the time limit ends either.

        A reset that is under way gets no further than its next command, and ends the controller.
        """
        core = self._core
        if core.state is State.LIVE:
            core.state = State.CLOSING
        for qp in list(core.all_queues()):
            # What a loop that does not answer has outstanding ends with the time limit.
            with contextlib.suppress(NoAnswer):
                await qp.home.run(qp.wait_idle)
        if core.state is State.CLOSING:
            with contextlib.suppress(NvmeError):
                await shut_down(core)


def _noticed(fd: int, method: weakref.WeakMethod[Callable[[], None]]) -> None:
    with contextlib.suppress(BlockingIOError):
        os.eventfd_read(fd)
    _call_weakly(method)


def _call_weakly(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    call = method()
    if call is not None:
        call()
