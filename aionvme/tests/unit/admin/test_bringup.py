"""The registers that bring a controller back: an NVM subsystem reset, as it looks from one of its controllers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aionvme.admin import bringup
from aionvme.errors import ControllerLostError
from aionvme.spec.registers import NSSR_RESET, Reg

CAP = 0x0030_0010_0101_00FF  # TO is 1: half a second
ONES32, ONES64 = (1 << 32) - 1, (1 << 64) - 1


class Device:
    """Registers that read as all ones for a number of reads after the reset; None: for ever."""

    pci_dev = "0000:00:00.0"

    def __init__(self, away: int | None) -> None:
        self.away = away
        self.was_reset = False
        self.written: list[tuple[int, int]] = []

    def _gone(self) -> bool:
        if not self.was_reset or self.away == 0:
            return False
        self.away = None if self.away is None else self.away - 1
        return True

    def read64(self, _offset: int) -> int:
        return ONES64 if self._gone() else CAP

    def read32(self, offset: int) -> int:
        if self._gone():
            return ONES32
        before = {Reg.CC: 1, Reg.CSTS: 1}
        after = {Reg.CC: 0, Reg.CSTS: 1 << 4}
        return (after if self.was_reset else before).get(Reg(offset), 0)

    def write32(self, offset: int, value: int) -> None:
        self.written.append((offset, value))
        self.was_reset = self.was_reset or (offset, value) == (Reg.NSSR, NSSR_RESET)


def registers(device: Any) -> bringup.Registers:
    return bringup.Registers(device)


@pytest.mark.parametrize("away", [0, 1, 2, 7])
def test_it_is_waited_for(away: int) -> None:
    """While it is away all of its registers read as ones; then it is there, and NSSRO is acknowledged once."""
    device = Device(away)
    found = registers(device)
    asyncio.run(bringup.reset_subsystem(found))
    assert device.written == [(Reg.NSSR, 0x4E564D65)]
    assert bringup.acknowledge_subsystem_reset(found)
    assert device.written[1:] == [(Reg.CSTS, 1 << 4)]


def test_device_that_does_not_come_back() -> None:
    """After CAP.TO it is lost, and the message says since when."""
    with pytest.raises(ControllerLostError, match=r"did not come back .* within 0.5 s"):
        asyncio.run(bringup.reset_subsystem(registers(Device(None))))
