"""Owns `MockController`: the controller in this process, as tests make it, open it and interfere with it."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import mmap
import os
import threading
import warnings
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, Unpack

import attrs

from aionvme.clock import is_virtual_now, watch
from aionvme.errors import AddressError, UsageError
from aionvme.mock.admin import Admin
from aionvme.mock.commands import CommandOptions
from aionvme.mock.config_space import DEVICE, ConfigSpace
from aionvme.mock.fault_plan import Fault, FaultPlan
from aionvme.mock.faulty import Faulty
from aionvme.mock.function import MockFunction
from aionvme.mock.identify import vendor_of
from aionvme.mock.inspection import Inspection
from aionvme.mock.log_scripts import LogScripts
from aionvme.mock.loop_drive import LoopDrive
from aionvme.mock.machine import Machine
from aionvme.mock.options import LPA, MiB, MockOptions, MoreOptions, NamespaceConfig, parse_options
from aionvme.mock.plugging import Plugging
from aionvme.mock.powered import Powered
from aionvme.mock.registers import Registers
from aionvme.mock.served import Served
from aionvme.mock.striking import Faults, plan_of
from aionvme.mock.subsystem import Subsystem
from aionvme.pci.address import MalformedAddressError
from aionvme.pci.device import PciDevice

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["MockController"]

_DOORBELLS = 0x1000
_PAGE = 4096

_open: weakref.WeakSet[MockController] = weakref.WeakSet()
_numbers = itertools.count()


class MockController(Faulty, Inspection, LogScripts, Plugging, Powered, Served):
    """An NVMe controller in software. `open` gives the function by which a driver reaches it.

    Every attribute and method may be used from any thread.

    Args:
        namespaces: How many, or one `NamespaceConfig` each.
        size: Bytes of each namespace, where a number of them is given.
        lba: Bytes of a block, a power of two from 512 to 65536, where a number of namespaces is given.
        noiob: Namespace optimal I/O boundary in blocks, 0 for none, where a number of namespaces is given.
        storage: Path of a file that holds all namespaces one after the other and survives; it is sparse.
            None: memory, touched when it is used.
        serial, model, firmware: ASCII of Identify Controller, at most 20, 40 and 8 characters.
        queue_entries: Entries that a queue may have (CAP.MQES + 1), 2 to 65536.
        num_io_queues: I/O queues of either kind, 1 to 65534.
        mdts: Most bytes of one command, a power of two of 4096 or more; or its power of 4096; 0 for no limit.
        wrr: Weighted round robin with urgent priority class is offered (CAP.AMS).
        timeout: CAP.TO in seconds; with a longer `ready_delay`, that, as a driver is to wait for it.
        ready_delay: Seconds until CSTS.RDY follows CC.EN, to 1 and to 0: connecting and closing take that long each.
            That it never does is a fault: `FaultKind.STUCK_READY`.
        shutdown_delay: Seconds until a shutdown is complete.
        dstrd: Doorbell stride, CAP.DSTRD.
        mpsmax: Largest memory page, CAP.MPSMAX.
        num_irqs: MSI-X vectors.
        abort_limit, event_limit: Abort commands and Asynchronous Event Requests that may be outstanding.
        drive: "thread", a thread of its own; "step", by `step`; "loop", by the event loop that runs when it
            is opened.
        metadata, extended, pi, pi_first, guard, sts: See `NamespaceConfig`, where a number of namespaces is
            given.
        cmb: Bytes of controller memory buffer, for submission queues; 0 for none.
        shadow_doorbells: Doorbell Buffer Config is supported.
        intel: It is a device of Intel's, with Intel's log pages.
        lpa: Log page attributes; a bit that is 0 switches off what it tells of, offsets among that (bit 2).
        telemetry: Bytes of data areas 1 to 3 of the telemetry logs, a multiple of 512; area 4 has half as much again.
        ana: Asymmetric namespace access is reported: all namespaces are in one optimized group.
        fdp: Reclaim unit handles of an endurance group with flexible data placement; 0 for no such group.
        subsystem: A mock of whose NVM subsystem this is one more controller: it has the same namespaces and
            reservations. `namespaces`, `size` and all of that kind are that one's.
        faults: What goes wrong in it, see `FaultPlan`.
        more: See `CommandOptions` and `MediaOptions`.

    Raises:
        UsageError: An argument that can't be.
        AddressError: The file of `storage` can't be had; the kernel's error is its cause.
    """

    def __init__(
        self,
        *,
        namespaces: int | Sequence[NamespaceConfig] = 1,
        size: int = 64 * MiB,
        lba: int = 512,
        noiob: int = 0,
        storage: str | os.PathLike[str] | None = None,
        serial: str = "AIONVME0",
        model: str = "aionvme mock",
        firmware: str = "1.0",
        queue_entries: int = 1024,
        num_io_queues: int = 64,
        mdts: int = 5,
        wrr: bool = False,
        timeout: float = 5.0,
        ready_delay: float = 0.0,
        shutdown_delay: float = 0.0,
        dstrd: int = 0,
        mpsmax: int = 4,
        num_irqs: int = 65,
        abort_limit: int = 4,
        event_limit: int = 4,
        drive: str = "thread",
        metadata: int = 0,
        extended: bool = False,
        pi: int = 0,
        pi_first: bool = False,
        guard: int = 16,
        sts: int = 0,
        cmb: int = 0,
        shadow_doorbells: bool = True,
        intel: bool = False,
        lpa: int = LPA,
        telemetry: int = 64 << 10,
        ana: bool = False,
        fdp: int = 0,
        subsystem: MockController | None = None,
        faults: FaultPlan | Iterable[Fault] | None = None,
        **more: Unpack[MoreOptions],
    ) -> None:
        self._closed = True
        _check_clock(drive)
        alike = {
            "size": size, "lba": lba, "noiob": noiob, "metadata": metadata, "extended": extended, "pi": pi,
            "pi_first": pi_first, "guard": guard, "sts": sts,
        }  # fmt: skip
        if subsystem is not None:
            namespaces, storage = subsystem.options.namespaces, subsystem.options.storage
        options = MockOptions.make(
            namespaces, alike, more, storage=storage, cmb=cmb, shadow_doorbells=shadow_doorbells,
            intel=intel, lpa=lpa, telemetry=telemetry, ana=ana, fdp=fdp,
            serial=serial, model=model, firmware=firmware,
            queue_entries=queue_entries, num_io_queues=num_io_queues, mdts=mdts, wrr=wrr, timeout=timeout,
            ready_delay=ready_delay, shutdown_delay=shutdown_delay, dstrd=dstrd, mpsmax=mpsmax,
            num_irqs=num_irqs, abort_limit=abort_limit, event_limit=event_limit, drive=drive,
        )  # fmt: skip
        if subsystem is not None:
            options = attrs.evolve(options, media=subsystem.options.media)
        self.options: MockOptions = options
        vendor = vendor_of(options)
        self.pci_dev = PciDevice(
            f"mock:{next(_numbers)}", vendor_id=vendor, device_id=DEVICE, subvendor_id=vendor
        )
        nqueues = num_io_queues + 1
        # What may be mapped of it by others is in one piece: doorbells, then the controller memory buffer.
        cmb_offset = -(-(_DOORBELLS + 2 * nqueues * options.doorbell_stride) // _PAGE) * _PAGE
        table = self._table_offset = cmb_offset + options.cmb
        bar_size = 1 << max(table + 16 * num_irqs + num_irqs // 8 + 8 - 1, 4 * _PAGE).bit_length()
        self._subsystem: Subsystem = Subsystem(options) if subsystem is None else subsystem._subsystem
        self._member = self._subsystem.admit()
        self._machine = Machine(
            nqueues,
            self._subsystem.shelf,
            self._member,
            options.max_transfer,
            options.doorbell_stride,
            num_irqs,
            bar_size,
        )
        self._admin = Admin(self._machine, options, self._subsystem, self._member)
        self._machine.handler = self._admin
        self._machine.set_latency(options.media.latency)
        self._registers = Registers(self._machine, options, self._admin, cmb_offset)
        self._config = ConfigSpace(self._machine, num_irqs, table, vendor)
        self._config.reset_registers = self._registers.reset
        self._faults = Faults(self._machine, self._registers, self._admin, self._config)
        self._held = []
        self._lock = threading.RLock()
        self._function: weakref.ref[MockFunction] | None = None
        self._loop_drive: LoopDrive | None = None
        self._subsystem.join(self._member, self._machine, self._admin, self._subsystem_was_reset)
        self.add_faults(plan_of(faults))
        if drive == "thread":
            self._machine.start_thread(f"aionvme {self.pci_dev}")
        self._closed = False
        _open.add(self)

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """As the options of an address say ("mock:?size=1GiB&lba=4096").

        Raises:
            MalformedAddressError: An option that there is not, or a bad value.
        """
        try:
            return cls(**parse_options(options))
        except MalformedAddressError:
            raise
        except UsageError as error:
            raise MalformedAddressError(f"mock: {error}") from error

    def second(self, **options: Any) -> MockController:
        """One more controller of the same NVM subsystem, with options of its own, as a host of its own has it."""
        return type(self)(
            subsystem=self, **{"drive": self.options.drive, "serial": self.options.serial} | options
        )

    # -- opening and closing ---------------------------------------------------------------------------------

    def open(self, *, owned: bool = False) -> MockFunction:
        """The function that a driver takes; one at a time. Its storage is as the one before left it.

        Args:
            owned: Closing the function closes the mock as well.

        Raises:
            AddressError: It is open already, or was removed.
            UsageError: The mock is closed; or it is driven by an event loop, and none runs.
        """
        with self._lock:
            if self._closed:
                raise UsageError(f"the mock controller {self.pci_dev} is closed")
            if self._registers.gone:
                raise AddressError(f"{self.pci_dev}: no such device: the mock was removed")
            if self._function is not None and self._function() is not None:
                raise AddressError(
                    f"{self.pci_dev} is in use: a mock controller is opened once at a time. Close it first"
                )
            _check_clock(self.options.drive)
            if is_virtual_now():
                watch(self._look, self._due_ns)
            elif self.options.drive == "loop":
                self._loop_drive = self._drive_by_loop()
            function = MockFunction(
                self.pci_dev, self, self._machine, self._registers, self._config,
                owned=owned, parks=self.options.drive != "step", shared=self._doorbell_pages(),
            )  # fmt: skip
            self._function = weakref.ref(function)
            return function

    def _doorbell_pages(self) -> tuple[int, int] | None:
        """Which pages of BAR 0 others may map; none where a doorbell has to wake the loop that drives."""
        if self.options.drive == "loop" or mmap.PAGESIZE != _PAGE:
            return None
        return _DOORBELLS, self._table_offset - self.options.cmb - _DOORBELLS

    def _look(self) -> bool:
        """Executes what there is to do; whether there was anything. A loop with a virtual clock asks."""
        due = self._due_ns()
        return bool(self._machine.step()) or due != self._due_ns()

    def _due_ns(self) -> int:
        with self._machine:
            return self._machine.due_ns()

    def _drive_by_loop(self) -> LoopDrive:
        try:
            return LoopDrive(self._machine)
        except RuntimeError:
            raise UsageError(f'{self!r} has drive="loop" and is opened where an event loop runs') from None

    def _function_closed(self, owned: bool) -> None:
        with self._lock:
            self._function = None
            drive, self._loop_drive = self._loop_drive, None
        if drive is not None:
            drive.close()
        if self._removal_requested:
            self._remove()
        if owned:
            self.close()

    def close(self) -> None:
        """Stops the mock and frees its memory. A function that is open sees it removed; a service ends."""
        self._stop_serving()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            drive, self._loop_drive = self._loop_drive, None
        _open.discard(self)
        self._remove()
        self._machine.stop_thread()
        if drive is not None:
            drive.close()
        with self._machine:
            self._machine.unmap_all()
        self._subsystem.leave(self._member)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed:
            warnings.warn(f"{self!r} was collected while open", ResourceWarning, stacklevel=2, source=self)
            self.close()

    def __repr__(self) -> str:
        return f"<MockController {self.pci_dev}{' closed' if self._closed else ''}>"

    # -- driving ---------------------------------------------------------------------------------------------

    def step(self, max_commands: int = 0) -> int:
        """With drive="step": executes what the doorbells announce, `max_commands` at most (0: all).

        Returns:
            How many commands were taken.
        """
        if self.options.drive != "step":
            raise UsageError(f'{self!r} has drive="{self.options.drive}": it is not stepped')
        self._registers.refresh()
        return self._machine.step(max_commands)

    def advance(self, seconds: float) -> None:
        """It is so much later for what takes time: formats, sanitize operations, self-tests of the subsystem.

        What ends by then has ended when this returns, but for the completions and events that `step` is to post.
        """
        self._subsystem.clock.advance(seconds)

    # -- what happens to it ----------------------------------------------------------------------------------

    def _subsystem_was_reset(self) -> None:
        with self._machine:
            self._config.reset()
            self._registers.subsystem_was_reset()

    def remove(self) -> None:
        """Surprise removal: registers and configuration space read as ones, nothing is executed any more."""
        self._remove()

    def _remove(self) -> None:
        with self._machine:
            self._registers.remove()
            self._config.removed = True
        self._tell_removed()

    def event(self, kind: int, information: int, page: int) -> None:
        """Reports an asynchronous event (Base 2.0, 5.2): type, information, log page identifier."""
        with self._machine:
            self._admin.events.report(kind, information, page)

    @property
    def critical_warning(self) -> int:
        """Critical warnings of the SMART / health log, 8 bits. One that comes to be true is an event."""
        return self._admin.critical_warning

    @critical_warning.setter
    def critical_warning(self, bits: int) -> None:
        with self._machine:
            self._admin.critical_warning = bits & 0xFF

    def change(self, *, mdts: int | None = None, **commands: Unpack[CommandOptions]) -> None:
        """Has other limits and commands from now on, as after an update of its firmware.

        Options that are not named stay as they are. A host learns of it when it brings the controller up again.
        """
        with self._machine:
            self._admin.change(mdts, commands)


def _check_clock(drive: str) -> None:
    if drive == "thread" and is_virtual_now():
        raise UsageError(
            'the clock is virtual, and a mock with drive="thread" keeps real time: make it with drive="step"'
        )


@atexit.register
def _stop_all() -> None:
    """No thread of ours may run into the end of the interpreter."""
    for mock in list(_open):
        mock._stop_serving()
        mock._machine.stop_thread()


def _after_fork() -> None:
    for mock in list(_open):
        mock._machine.after_fork()
        mock._subsystem.after_fork()
        if mock._serving is not None:
            mock._serving.after_fork()


with contextlib.suppress(AttributeError):
    os.register_at_fork(after_in_child=_after_fork)
