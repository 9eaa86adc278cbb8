"""Owns how a mock comes and goes: told to `aionvme.hotplug`, asked back by the system, in trouble on the bus."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from aionvme.pci.hotplug import HotplugEvent, announce

if TYPE_CHECKING:
    from aionvme.mock.function import MockFunction
    from aionvme.mock.registers import Registers
    from aionvme.pci.device import PciDevice


class Plugging:
    """What `MockController` has of this."""

    pci_dev: PciDevice
    _registers: Registers
    _function: weakref.ref[MockFunction] | None
    _plugged = False
    _removal_requested = False

    def plug_in(self) -> None:
        """Tells every `aionvme.hotplug()` of this process that the mock was added; its removal is told then, too."""
        self._plugged = True
        announce(HotplugEvent("added", self.pci_dev, self))

    def request_removal(self) -> None:
        """As the system does it: asks the driver for the function, and removes the mock once that is closed.

        A driver that does not ask for the request (`Function.set_removal_eventfd`) is not told, and not removed
        before it closes. Without a driver the mock is removed at once.
        """
        function = self._opened()
        self._removal_requested = True
        if function is None:
            self._remove()
        else:
            function.signal("removal")

    def bus_error(self) -> bool:
        """Has the bus report an uncorrectable error; whether the driver had asked to be told."""
        function = self._opened()
        return function is not None and function.signal("error")

    def _opened(self) -> MockFunction | None:
        return self._function() if self._function is not None else None

    def _remove(self) -> None:
        raise NotImplementedError

    def _tell_removed(self) -> None:
        if self._plugged:
            self._plugged = False
            announce(HotplugEvent("removed", self.pci_dev, self))
