"""Enables, disables and shuts down a controller by its registers (NVMe Base 2.0, 3.5.1 and 3.6); never blocks."""

from __future__ import annotations

import asyncio
import contextlib

from aionvme.clock import monotonic
from aionvme.errors import ControllerFailedError, ControllerLostError, UsageError
from aionvme.pci.function import Function
from aionvme.spec.identify import IdentifyController
from aionvme.spec.registers import NSSR_RESET, Cap, Cc, Csts, Reg

ALL_ONES = 0xFFFFFFFF
# CC.CSS values (Base 2.0, 3.1.3.5).
CSS_NVM, CSS_ALL, CSS_ADMIN_ONLY = 0b000, 0b110, 0b111
SHST_COMPLETE = 2
_POLL_SECONDS, _POLL_SECONDS_MOST = 0.0005, 0.25
_POLL_FRACTION = 0.02  # of the time that it took so far


class Registers:
    """The registers of one controller, by name.

    Attributes:
        lost: Why the status is not to be read any more.
    """

    def __init__(self, function: Function) -> None:
        self.function = function
        self.lost: ControllerLostError | None = None
        self.cap = Cap.from_int(self._alive64(Reg.CAP))

    def _alive64(self, offset: int) -> int:
        value = self.function.read64(offset)
        if value == (1 << 64) - 1:
            raise self._gone()
        return value

    def _gone(self) -> ControllerLostError:
        pci_dev = self.function.pci_dev
        return ControllerLostError(
            self.function.loss or f"{pci_dev}: registers read as all ones: the device is gone"
        )

    @property
    def timeout(self) -> float:
        """Most seconds that RDY may take to follow EN: CAP.TO, or CRTO.CRWMT where that is more (3.1.3.18)."""
        units = max(self.cap.to, 1)
        if self.cap.crwms:
            units = max(units, self.function.read32(Reg.CRTO) & 0xFFFF)
        return units * 0.5

    def version(self) -> tuple[int, int, int]:
        """Major, minor and tertiary version of the specification that the controller follows."""
        value = self.function.read32(Reg.VS)
        return value >> 16, value >> 8 & 0xFF, value & 0xFF

    def csts(self) -> Csts:
        """Controller status; `ControllerLostError` when the device is gone."""
        if self.lost is not None:
            raise ControllerLostError(*self.lost.args)
        value = self.function.read32(Reg.CSTS)
        if value == ALL_ONES:
            raise self._gone()
        return Csts.from_int(value)

    def cc(self) -> Cc:
        """Controller configuration."""
        return Cc.from_int(self.function.read32(Reg.CC))

    def write_cc(self, cc: Cc) -> None:
        """Writes the controller configuration as one store."""
        self.function.write32(Reg.CC, cc.to_int())

    def clear_enable(self) -> None:
        """CC.EN=0, without waiting for RDY=0: for a controller that is cut off from memory next."""
        cc = self.cc()
        cc.en = cc.shn = 0
        self.write_cc(cc)

    async def wait_ready(self, ready: bool) -> None:
        """Waits for CSTS.RDY to follow CC.EN, for CAP.TO at most."""
        begun = monotonic()
        deadline = begun + self.timeout
        while True:
            # Time is read before the register: a loop that was busy elsewhere does not make the device late.
            late = monotonic() >= deadline
            csts = self.csts()
            if bool(csts.rdy) == ready:
                return
            if csts.cfs and ready:
                raise ControllerFailedError(
                    f"{self.function.pci_dev}: fatal status (CSTS.CFS) while it was enabled"
                )
            if late:
                raise ControllerFailedError(
                    f"{self.function.pci_dev}: CSTS.RDY did not become {int(ready)} within the {self.timeout:g} s "
                    "that the controller asks for (CAP.TO, CRTO.CRWMT): it hangs; reset or power-cycle it"
                )
            await _pause(begun)


async def _pause(begun: float) -> None:
    """Until the register is read again: ever longer, but never by much of what was waited already."""
    passed = monotonic() - begun
    await asyncio.sleep(min(max(passed * _POLL_FRACTION, _POLL_SECONDS), _POLL_SECONDS_MOST))


def choose_page_size(cap: Cap) -> int:
    """Bytes of a memory page for CC.MPS: the smallest that the controller has, 4 KiB if it can."""
    return 1 << (12 + cap.mpsmin)


async def reset_subsystem(registers: Registers) -> None:
    """NVM subsystem reset (Base 2.0, 3.7.1), of every controller of the subsystem: waits until this one is there again.

    Raises:
        ControllerLostError: It is not, within CAP.TO: its link or its configuration space did not come back.
    """
    function = registers.function
    cap = function.read64(Reg.CAP)
    function.write32(Reg.NSSR, NSSR_RESET)
    begun = monotonic()
    deadline = begun + registers.timeout
    while True:
        late = monotonic() >= deadline
        # On its way it may answer nothing, which reads as all ones; then CC has its reset value, and NSSRO tells.
        there = function.read64(Reg.CAP) == cap and not registers.cc().en
        csts = Csts.from_int(function.read32(Reg.CSTS))
        if there and not csts.rdy:
            return
        if late:
            raise ControllerLostError(
                f"{function.pci_dev}: did not come back from an NVM subsystem reset within {registers.timeout:g} s"
            )
        await _pause(begun)


def acknowledge_subsystem_reset(registers: Registers) -> bool:
    """Whether there was an NVM subsystem reset since this was last asked (CSTS.NSSRO, written to be cleared)."""
    if not registers.csts().nssro:
        return False
    registers.function.write32(Reg.CSTS, Csts(nssro=1).to_int())
    return True


def check_unchanged(registers: Registers, page_size: int) -> None:
    """After a reset, which may have been to new firmware: what the rings were laid out by still holds.

    Raises:
        ControllerFailedError: It does not; the controller has to be connected to anew.
    """
    before, now = registers.cap, Cap.from_int(registers._alive64(Reg.CAP))
    pages = range(now.mpsmin, now.mpsmax + 1)
    if now.dstrd != before.dstrd or page_size.bit_length() - 13 not in pages:
        raise ControllerFailedError(
            f"{registers.function.pci_dev}: came back with other doorbells or pages (CAP was {before.to_int():#x}, "
            f"and is {now.to_int():#x}): connect to it anew"
        )
    registers.cap = now


def choose_command_set(cap: Cap, wanted: int | None) -> int:
    """CC.CSS: as asked, else the NVM command set, else all that the controller has (Base 2.0, 3.1.3.1, CAP.CSS)."""
    if wanted is not None:
        if wanted not in (CSS_NVM, CSS_ALL, CSS_ADMIN_ONLY):
            raise UsageError(f"command_set must be 0 (NVM), 6 (all) or 7 (admin only), not {wanted}")
        return wanted
    if cap.css & 1:
        return CSS_NVM
    return CSS_ALL if cap.css & 1 << 6 else CSS_ADMIN_ONLY


async def disable(registers: Registers) -> None:
    """CC.EN=0, and waits for RDY=0: the controller then has let go of every queue and buffer (Base 2.0, 3.7.2)."""
    cc = registers.cc()
    csts = registers.csts()
    if cc.en and not csts.rdy and not csts.cfs:
        # EN must not be cleared while it is still becoming ready (3.1.3.5).
        # Should it never be ready, clearing EN is all that is left.
        with contextlib.suppress(ControllerFailedError):
            await registers.wait_ready(True)
    if cc.en:
        cc.en = 0
        cc.shn = 0
        registers.write_cc(cc)
    await registers.wait_ready(False)


async def enable(
    registers: Registers, *, asq: int, acq: int, entries: int, page_size: int, css: int, ams: int
) -> None:
    """Admin queue attributes and addresses, CC, EN=1, RDY=1 (Base 2.0, 3.5.1 steps 3 to 6)."""
    function = registers.function
    function.write32(Reg.AQA, (entries - 1) << 16 | (entries - 1))
    function.write64(Reg.ASQ, asq)
    function.write64(Reg.ACQ, acq)
    cc = Cc.from_int(0)
    cc.css, cc.ams, cc.mps = css, ams, page_size.bit_length() - 13
    # Entry sizes of the NVM command set: 2**6 and 2**4 bytes.
    cc.iosqes, cc.iocqes = 6, 4
    registers.write_cc(cc)
    cc.en = 1
    registers.write_cc(cc)
    await registers.wait_ready(True)


async def shutdown(registers: Registers, timeout: float) -> None:
    """Normal shutdown notification, and waits for SHST to say complete (Base 2.0, 3.6.1)."""
    cc = registers.cc()
    cc.shn = 1
    registers.write_cc(cc)
    begun = monotonic()
    deadline = begun + timeout
    while True:
        late = monotonic() >= deadline
        csts = registers.csts()
        if csts.shst == SHST_COMPLETE:
            return
        if csts.cfs:
            raise ControllerFailedError(
                f"{registers.function.pci_dev}: fatal status (CSTS.CFS) while it was shut down"
            )
        if late:
            raise ControllerFailedError(
                f"{registers.function.pci_dev}: shutdown was not complete within {timeout:g} s"
            )
        await _pause(begun)


def shutdown_timeout(data: IdentifyController | None) -> float:
    """How long a shutdown may take: RTD3E, in microseconds (Base 2.0, 5.17.2.1); at least ten seconds."""
    return max(10.0, data.rtd3e / 1e6 if data is not None else 0.0)
