"""Owns what a test does to a mock's power."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aionvme.spec.firmware import ResetNeeded

if TYPE_CHECKING:
    from aionvme.mock.admin import Admin
    from aionvme.mock.machine import Machine
    from aionvme.mock.registers import Registers
    from aionvme.mock.subsystem import Subsystem

__all__ = ["Powered"]


class Powered:
    """A part of `MockController`."""

    _machine: Machine
    _admin: Admin
    _registers: Registers
    _subsystem: Subsystem

    def power_cycle(self) -> None:
        """Power goes and comes back: all is as after power on, but for what was saved."""
        with self._machine:
            self._registers.reset()
            self._admin.power_loss()
            self._admin.firmware.reset(ResetNeeded.CONVENTIONAL)
        self._subsystem.power_cycle()
