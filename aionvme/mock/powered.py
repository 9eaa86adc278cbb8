"""Owns what a test does to a mock's power, and sees of the memory that it was lent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aionvme.mock.host_buffer import HostMemoryState

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
        self._subsystem.power_cycle()

    @property
    def host_memory(self) -> HostMemoryState:
        """What the host lent it, and whether it was left alone (host memory buffer)."""
        with self._machine:
            return self._admin.features.buffer.state
