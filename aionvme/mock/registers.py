"""Owns the control registers: what each write does, and how RDY follows (NVMe Base 2.0, 3.1.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from aionvme.clock import monotonic
from aionvme.mock.fault_plan import FaultStep

if TYPE_CHECKING:
    from aionvme.mock.admin import Admin
    from aionvme.mock.machine import Machine
    from aionvme.mock.options import MockOptions

CAP, VS, INTMS, INTMC, CC, CSTS, NSSR = 0x00, 0x08, 0x0C, 0x10, 0x14, 0x1C, 0x20
AQA, ASQ, ACQ, CRTO = 0x24, 0x28, 0x30, 0x68
CMBLOC, CMBSZ, CMBMSC, CMBSTS = 0x38, 0x3C, 0x50, 0x58
VERSION_2_0 = 0x00020000

RDY, CFS, SHST_SHIFT, NSSRO = 1, 2, 2, 1 << 4
_SHST = 3 << SHST_SHIFT
_SHUTDOWN_OCCURRING, _SHUTDOWN_COMPLETE = 1, 2
_NSSR_MAGIC = 0x4E564D65  # "NVMe"
# Bits of CC that can be written: EN, CSS, MPS, AMS, SHN, IOSQES, IOCQES.
_CC_BITS = 0x00FFFFF1
_AQA_BITS = 0x0FFF0FFF


def _nothing(_step: FaultStep) -> None:
    """Nobody is told."""


def capabilities(options: MockOptions) -> int:
    """CAP as these options make it (figure 36)."""
    return (
        (options.queue_entries - 1)
        | 1 << 16  # CQR: queues are contiguous
        | int(options.wrr) << 17
        | options.timeout_units << 24
        | options.dstrd << 32
        | 1 << 36  # NSSRS
        | 1 << 37  # CSS: the NVM command set
        | options.mpsmax << 52
        | bool(options.cmb) << 57  # CMBS
        | 1 << 59  # CRMS: ready only with media, as 2.0 requires
    )


class Registers:
    """The registers in BAR 0. Everything here has the machine stand still.

    Attributes:
        stuck: RDY never changes any more.
        stuck_here: It does not at the step that the controller is at.
        on_step: Told of each step before it is taken.
        fatal: CFS is set whenever the controller is enabled.
        gone: The device was removed: all registers read as ones.
    """

    def __init__(self, machine: Machine, options: MockOptions, admin: Admin, cmb_offset: int) -> None:
        self._machine = machine
        self._options = options
        self._admin = admin
        self._cmb_offset = cmb_offset
        self._ready_at: float | None = None  # when RDY follows EN
        self._shut_down_at: float | None = None
        self.stuck = self.stuck_here = False
        self.on_step: Callable[[FaultStep], None] = _nothing
        self.fatal = False
        self.gone = False
        admin.fail = self.fail
        self.reset()

    @property
    def cc(self) -> int:
        """Controller configuration."""
        return self._machine.get32(CC)

    def reset(self) -> None:
        """Every register as after power on. The machine's queues go."""
        if self.gone:
            return
        machine = self._machine
        self._drop()
        machine.set_cmb(0, 0, 0)
        machine.fill_bar(0)
        machine.set64(CAP, capabilities(self._options))
        machine.set32(VS, VERSION_2_0)
        machine.set32(CRTO, self._options.timeout_units)

    def _drop(self) -> None:
        self._ready_at = self._shut_down_at = None
        self._machine.drop_queues()
        self._machine.set_irq_mask(0)
        self._admin.reset()

    def subsystem_was_reset(self) -> None:
        """NVM subsystem reset (3.7.1): as after power on, and CSTS says why."""
        if not self.gone:
            self.reset()
            self._admin.power_loss()
            self._machine.set32(CSTS, NSSRO)

    def remove(self) -> None:
        """Surprise removal."""
        with self._machine:
            self._drop()
            self.gone = True
            self._machine.fill_bar(0xFF)

    def fail(self) -> None:
        """CSTS.CFS: nothing is executed any more."""
        with self._machine:
            if not self.gone:
                self._machine.halt()
                self._machine.set32(CSTS, self._machine.get32(CSTS) | CFS)

    # -- status ----------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """What has become due by now: RDY following EN, the end of a shutdown."""
        if self._admin.keep_alive.expired():
            self.fail()
        if self.gone or (self._ready_at is None and self._shut_down_at is None):
            return
        with self._machine:
            now = monotonic()
            if self._ready_at is not None and now >= self._ready_at and not (self.stuck or self.stuck_here):
                self._ready_at = None
                self._follow()
            if self._shut_down_at is not None and now >= self._shut_down_at:
                self._shut_down_at = None
                self._set_shst(_SHUTDOWN_COMPLETE)

    def _follow(self) -> None:
        csts = self._machine.get32(CSTS) & ~RDY
        if self.cc & 1:
            self._machine.set32(CSTS, csts | RDY)
            self._machine.run(12 + (self.cc >> 7 & 0xF), (self.cc >> 11 & 7) == 1)
            self.on_step(FaultStep.READY)
        else:
            self._machine.set32(CSTS, csts)

    def _set_shst(self, value: int) -> None:
        self._machine.set32(CSTS, self._machine.get32(CSTS) & ~_SHST | value << SHST_SHIFT)

    # -- writes ----------------------------------------------------------------------------------------------

    def write32(self, offset: int, value: int) -> None:
        """A write of one dword; to a read-only or reserved register it does nothing."""
        if offset == NSSR and value == _NSSR_MAGIC and not self.gone:
            self._admin.reset_subsystem()
            return
        with self._machine as machine:
            if self.gone:
                return
            if offset == CC:
                self._write_cc(value & _CC_BITS)
            elif offset in (INTMS, INTMC):
                self._mask(offset, value)
            elif offset == CSTS and value & NSSRO:
                machine.set32(CSTS, machine.get32(CSTS) & ~NSSRO)  # write 1 to clear
            elif offset == AQA:
                machine.set32(AQA, value & _AQA_BITS)
            elif offset in (ASQ, ACQ):
                machine.set32(offset, value & ~0xFFF)
            elif offset in (ASQ + 4, ACQ + 4):
                machine.set32(offset, value)
            elif offset in (CMBMSC, CMBMSC + 4) and self._options.cmb:
                machine.set32(offset, value & ~0xFFC if offset == CMBMSC else value)
                self._set_cmb()

    def _mask(self, offset: int, value: int) -> None:
        mask = self._machine.get32(INTMS)
        mask = mask | value if offset == INTMS else mask & ~value
        self._machine.set32(INTMS, mask)
        self._machine.set32(INTMC, mask)
        self._machine.set_irq_mask(mask)

    def _set_cmb(self) -> None:
        """Controller memory buffer (3.1.3.11 to 3.1.3.15): CRE shows where it is, CMSE puts it at CBA."""
        machine, msc = self._machine, self._machine.get64(CMBMSC)
        shown = bool(msc & 1)
        # In BAR 0, of units of 4 KiB; it takes submission queues.
        machine.set32(CMBLOC, self._cmb_offset // 4096 << 12 if shown else 0)
        machine.set32(CMBSZ, self._options.cmb // 4096 << 12 | 1 if shown else 0)
        enabled = msc & 3 == 3
        done = machine.set_cmb(self._cmb_offset, self._options.cmb if enabled else 0, msc & ~0xFFF)
        machine.set32(CMBSTS, 0 if done else 1)  # CBAI: it overlaps memory

    def _write_cc(self, value: int) -> None:
        before = self.cc
        self._machine.set32(CC, value)
        if value & 1 and not before & 1:
            self._enable(value)
        elif before & 1 and not value & 1:
            self._disable()
        shn = value >> 14 & 3
        if shn in (1, 2) and shn != before >> 14 & 3:
            self._shut_down()

    def _enable(self, cc: int) -> None:
        machine = self._machine
        machine.set32(CSTS, machine.get32(CSTS) & NSSRO)
        if self.fatal or not self._may_enable(cc):
            machine.set32(CSTS, machine.get32(CSTS) | CFS)
            return
        aqa = machine.get32(AQA)
        machine.create_cq(0, machine.get64(ACQ), (aqa >> 16) + 1, 0, True)
        machine.create_sq(0, 0, machine.get64(ASQ), (aqa & 0xFFF) + 1, 0)
        self._ready_at = monotonic() + self._options.ready_delay
        self._take_step(FaultStep.ENABLE)

    def _may_enable(self, cc: int) -> bool:
        aqa = self._machine.get32(AQA)
        mps, css, ams = cc >> 7 & 0xF, cc >> 4 & 7, cc >> 11 & 7
        page = 1 << (12 + mps)
        return (
            aqa & 0xFFF > 0  # a queue has two entries at least
            and aqa >> 16 > 0
            and mps <= self._options.mpsmax
            and css == 0
            and (ams == 0 or (ams == 1 and self._options.wrr))
            and self._machine.get64(ASQ) % page == 0
            and self._machine.get64(ACQ) % page == 0
        )

    def _disable(self) -> None:
        """Controller reset: AQA, ASQ and ACQ stay (3.7.2)."""
        rdy = self._machine.get32(CSTS) & RDY
        self._drop()
        self._machine.set32(CSTS, self._machine.get32(CSTS) & NSSRO | rdy)
        self._ready_at = monotonic() + (self._options.ready_delay if rdy else 0.0)
        self._take_step(FaultStep.DISABLE)

    def _shut_down(self) -> None:
        self._set_shst(_SHUTDOWN_OCCURRING)
        self._machine.halt()
        self._shut_down_at = monotonic() + self._options.shutdown_delay
        self._take_step(FaultStep.SHUTDOWN)

    def _take_step(self, step: FaultStep) -> None:
        self.on_step(step)
        if self._machine.get32(CSTS) & CFS and step is not FaultStep.DISABLE:
            self._ready_at = self._shut_down_at = None  # it comes no further
        self.refresh()
