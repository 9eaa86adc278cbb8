"""Owns what the parts of the controller share: its function, memory, queues, state; and the last resort."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import os
import weakref
from functools import partial
from typing import TYPE_CHECKING

import attrs

from aionvme.admin.active import ActiveNamespaces
from aionvme.admin.commands import AdminCommands
from aionvme.admin.feature_support import FeatureSupport
from aionvme.admin.host_memory import HostMemory
from aionvme.admin.log_support import LogSupport
from aionvme.admin.nudges import Nudges
from aionvme.errors import ControllerLostError, NvmeError, UsageError
from aionvme.qpair.limits import Limits
from aionvme.qpair.tap import Tap
from aionvme.spec.registers import Reg
from aionvme.spec.vendors import Extensions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aionvme.admin.bringup import Registers
    from aionvme.admin.doorbells import Cmb, Shadows
    from aionvme.admin.events import Events
    from aionvme.admin.keep_alive import KeepAlive
    from aionvme.admin.lending import Borrowers, LentQueue
    from aionvme.admin.options import ControllerOptions
    from aionvme.pci.dma import DmaBuffer, DmaRegistration, DmaSpace
    from aionvme.pci.function import Function
    from aionvme.qpair.governed import GovernedQueuePair
    from aionvme.qpair.home import Home
    from aionvme.qpair.io import IoQueuePair
    from aionvme.qpair.namespace import Namespace
    from aionvme.qpair.raw import AdminQueuePair
    from aionvme.spec.identify import IdentifyController
    from aionvme.spec.logs import CommandsSupportedAndEffects

logger = logging.getLogger("aionvme")


class State(enum.Enum):
    """Where a controller is in its life."""

    STARTING = "starting"
    LIVE = "live"
    RESETTING = "being reset"
    CLOSING = "closing"
    CLOSED = "closed"
    ENDED = "ended"
    """Lost or failed: `Core.error` says which. The device reaches no memory any more."""


class Commands(AdminCommands):
    """Admin commands of the controller's own. Urgent ones are posted while the user's wait for the end of a reset."""

    def __init__(self, core: Core, urgent: bool) -> None:
        self._core = core
        self._admin = core.admin
        self._dma = core.dma
        self._urgent = urgent


@attrs.define(eq=False)
class Core:
    """What the parts of one controller share.

    Attributes:
        extensions: What vendors say that it has besides: log pages and features.
        log_support: Which log pages it has.
        feature_support: Which features it has.
        host_memory: What it was lent of the host's memory.
        nudges: Who looks at a log page from time to time, and is told of events that belong to it.
        scanning: Held while the namespaces are read anew; `rescan` does that in the background.
        commands_log: What it says of its commands, None where it does not.
        queues: I/O queue pairs that the controller has been told of.
        epoch: Counts resets: what the controller was told before, it does not know any more.
        lent: Queue pairs of other processes that the controller has been told of; `borrowers` are those processes.
        undeleted: I/O queue pairs that the controller may still have: their memory stays until RDY=0.
        num_io_queues: How many the controller granted.
        irq_fds: An eventfd for each interrupt vector in use.
        left: Queue pairs that their loops have yet to dispose of, as nobody waits for that. Till then their interrupts'
            eventfds stay open.
        events: Its asynchronous events; `keep_alive`: its keep alive timer.
        enabled: It was enabled, and got ready, by the last bring-up.
        closing: `Controller.close` has begun: a reset is not waited for as long as otherwise.
        qpairs_closing: I/O queue pairs whose `close` is under way.
        error: Why it ended, or is about to.
        given: Memory that users were given; what they dropped is not in it.
        tap: Who listens to its commands.
        on_lost: Called in a turn of its own once the controller was lost, unless it was being closed.
    """

    function: Function
    registers: Registers
    dma: DmaSpace
    opts: ControllerOptions
    loop: asyncio.AbstractEventLoop
    admin: AdminQueuePair
    page_size: int
    max_transfer: int = 0
    limits: Limits = attrs.field(factory=Limits)
    extensions: Extensions = attrs.field(factory=Extensions)
    log_support: LogSupport = attrs.field(factory=LogSupport)
    feature_support: FeatureSupport = attrs.field(factory=FeatureSupport)
    host_memory: HostMemory = attrs.field(factory=HostMemory)
    shadows: Shadows | None = None
    cmb: Cmb | None = None
    epoch: int = 0
    state: State = State.STARTING
    error: NvmeError | None = None
    data: IdentifyController | None = None
    namespaces: dict[int, Namespace] = attrs.field(factory=ActiveNamespaces)
    nudges: Nudges = attrs.field(factory=Nudges)
    scanning: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    rescan: asyncio.Task[None] | None = None
    commands_log: CommandsSupportedAndEffects | None = None
    queues: dict[int, IoQueuePair] = attrs.field(factory=dict)
    undeleted: list[IoQueuePair] = attrs.field(factory=list)
    lent: dict[int, LentQueue] = attrs.field(factory=dict)
    borrowers: set[Borrowers] = attrs.field(factory=set)
    num_io_queues: int = 0
    irq_fds: list[int] = attrs.field(factory=list)
    left: set[GovernedQueuePair] = attrs.field(factory=set)
    enabled: bool = False
    closing: bool = False
    qpairs_closing: int = 0
    events: Events = attrs.field(init=False)
    keep_alive: KeepAlive = attrs.field(init=False)
    given: weakref.WeakSet[DmaBuffer | DmaRegistration] = attrs.field(factory=weakref.WeakSet)
    tap: Tap = attrs.field(factory=Tap)
    on_lost: Callable[[], object] | None = None
    _irqs_due: bool = False

    @property
    def home(self) -> Home:
        """The loop and thread of the controller."""
        return self.admin.home

    @property
    def listening(self) -> Tap | None:
        """What queue pairs show their commands to; None where nobody listens."""
        return self.tap if self.tap.listeners else None

    @property
    def doorbell_pairs(self) -> int:
        """How many queue pairs BAR 0 has doorbells for, the admin queue pair's included."""
        return (self.function.bar_bytes - Reg.DOORBELLS) // (8 << self.registers.cap.dstrd)

    @property
    def commands(self) -> Commands:
        """Admin commands that wait for the end of a reset, as the user's do."""
        return Commands(self, False)

    @property
    def urgent(self) -> Commands:
        """Admin commands of bring-up and recovery."""
        return Commands(self, True)

    def all_queues(self) -> Iterator[GovernedQueuePair]:
        """The admin queue pair, and every I/O queue pair whose memory the device may reach."""
        yield self.admin
        yield from list(self.queues.values())
        yield from list(self.undeleted)

    def dispose_of(self, qp: GovernedQueuePair) -> None:
        """Gives back what a queue pair has: in its own loop, now or when that turns."""
        self.left.add(qp)
        qp.home.tell(partial(self.dispose_here, qp))

    def dispose_here(self, qp: GovernedQueuePair) -> None:
        """Gives back what a queue pair of this loop has."""
        qp.dispose()
        self.left.discard(qp)
        if self._irqs_due:
            self.close_irqs()

    def close_irqs(self) -> None:
        """Closes the eventfds, once no loop looks at them any more."""
        self._irqs_due = True
        # In whatever loop; two that come here at once must not close one twice.
        with contextlib.suppress(IndexError):
            while not self.left:
                os.close(self.irq_fds.pop())

    def closed_error(self) -> UsageError:
        """What a call is told after `Controller.close`."""
        return UsageError(f"the controller {self} is closed: connect to it again with aionvme.connect()")

    def closed_qpair_error(self, qid: int) -> UsageError:
        """What a call on an I/O queue pair is told after its `close`, or after that of the controller."""
        if self.closing:
            return self.closed_error()
        return UsageError(
            f"queue pair {qid} of {self} is closed: allocate another one with ctrlr.alloc_io_qpair()"
        )

    def loop_is_ending(self) -> bool:
        """Whether the controller's loop is being torn down: its tasks, the pollers among them, were cancelled."""
        return any(qp.finishing_for_loop for qp in self.all_queues() if qp.get_loop() is self.loop)

    def cut_off(self) -> None:
        """The device reaches no memory any more: bus mastering off, and every I/O address unmapped."""
        with contextlib.suppress(OSError, NvmeError):
            # A function that is gone cannot be told, and need not be.
            self.function.set_bus_master(False)
            if self.cmb is not None:
                self.cmb.switch_off(self.function)
        try:
            self.dma.close()
        except (OSError, NvmeError) as error:
            self.dma.quarantine()
            logger.error("%s: DMA memory could not be unmapped and is never used again: %s", self, error)

    def end(self, error: NvmeError) -> None:
        """Lost or failed: cuts the device off, then ends every command with `error`, which later calls raise too."""
        if self.state in (State.ENDED, State.CLOSED):
            return
        closing, self.state = self.state is State.CLOSING, State.ENDED
        if self.error is None:
            logger.error("%s", self.about(error))
        error = self.error = self.error or error
        # First, so that a call in another thread is told this rather than that its memory is not mapped.
        for qp in self.all_queues():
            qp.refuse(error)
            qp.suspend()
        self.cut_off()
        self.tell_borrowers(error)
        for qp in self.all_queues():
            qp.home.tell(partial(qp.end_outstanding, error, True))
        self.home.tell(partial(self.events.end, error))
        self.home.tell(self.keep_alive.stop)
        if isinstance(error, ControllerLostError):
            # Whoever waits for a register waits no longer.
            self.registers.lost = error
            if self.on_lost is not None and not closing and not self.loop.is_closed():
                self.loop.call_soon(self.on_lost)

    def tell_borrowers(self, error: NvmeError) -> None:
        """The device has let go of the memory of every other process, and knows none of its queues any more."""
        self.lent.clear()
        for borrowers in list(self.borrowers):
            borrowers.stopped(error)

    def about(self, what: object) -> str:
        """A sentence that begins with the controller's name, whether `what` did or not."""
        text = str(what)
        return text if text.startswith(str(self)) else f"{self}: {text}"

    def __str__(self) -> str:
        return str(self.function.pci_dev)
