"""Owns the lists of namespaces and controllers that Identify gives in parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aionvme.admin.identify import IdentifyCommands
from aionvme.errors import DecodeError
from aionvme.spec.opcodes import Cns

if TYPE_CHECKING:
    from aionvme.admin.operation import Operation
    from aionvme.spec.namespaces import PrimaryControllerCapabilities, SecondaryController

# Most entries of a namespace list (Base 2.0, 4.4.2) and of a controller list (4.4.1).
_NSIDS = 1024
_CNTLIDS = 2047


class ListCommands(IdentifyCommands):
    """Whole lists, however many Identify commands they take. `submit_identify` is one such command with a callback."""

    def active_nsids(self) -> Operation[tuple[int, ...]]:
        """Identifiers of the namespaces that are attached to this controller (CNS 02h), in ascending order."""
        return self._operation("active namespaces", self.list_nsids(Cns.ACTIVE_NAMESPACES), None, None)

    def allocated_nsids(self) -> Operation[tuple[int, ...]]:
        """Identifiers of all namespaces of the NVM subsystem, attached or not (CNS 10h), in ascending order.

        Raises:
            StatusError: The controller has no namespace management.
        """
        return self._operation("allocated namespaces", self.list_nsids(Cns.ALLOCATED_NAMESPACES), None, None)

    def attached_controllers(self, nsid: int) -> Operation[tuple[int, ...]]:
        """Identifiers of the controllers that a namespace is attached to (CNS 12h), in ascending order."""
        return self._operation(
            "attached controllers", self.list_cntlids(Cns.ATTACHED_CONTROLLERS, nsid), None, None
        )

    def subsystem_controllers(self) -> Operation[tuple[int, ...]]:
        """Identifiers of all controllers of the NVM subsystem (CNS 13h), in ascending order."""
        return self._operation("controllers", self.list_cntlids(Cns.CONTROLLERS, 0), None, None)

    def primary_capabilities(self, cntlid: int = 0) -> Operation[PrimaryControllerCapabilities]:
        """What a primary controller can give its secondary controllers (CNS 14h): the first from `cntlid` on."""

        async def ask() -> PrimaryControllerCapabilities:
            found: PrimaryControllerCapabilities = await self.identify(Cns.PRIMARY_CONTROLLER, cntid=cntlid)
            return found

        return self._operation("primary controller", ask(), None, None)

    def secondary_controllers(self) -> Operation[tuple[SecondaryController, ...]]:
        """The secondary controllers of this primary controller (CNS 15h), in ascending order."""

        async def ask() -> tuple[SecondaryController, ...]:
            found: list[SecondaryController] = []
            while True:
                start = found[-1].scid + 1 if found else 0
                part = await self.identify(Cns.SECONDARY_CONTROLLERS, cntid=start)
                _check_order([each.scid for each in part], start, "secondary controllers")
                found += part
                if len(part) < 127 or found[-1].scid == 0xFFFF:
                    return tuple(found)

        return self._operation("secondary controllers", ask(), None, None)

    async def list_nsids(self, cns: int) -> tuple[int, ...]:
        """The whole list of a CNS that gives namespaces from an identifier on."""
        nsids: list[int] = []
        while True:
            start = nsids[-1] if nsids else 0
            part = await self.identify(cns, nsid=start)
            _check_order(part, start + 1, "namespaces")
            nsids += part
            # FFFFFFFDh is the last that another command could ask from.
            if len(part) < _NSIDS or nsids[-1] >= 0xFFFFFFFE:
                return tuple(nsids)

    async def list_cntlids(self, cns: int, nsid: int) -> tuple[int, ...]:
        """The whole list of a CNS that gives controllers from an identifier on."""
        cntlids: list[int] = []
        while True:
            start = cntlids[-1] + 1 if cntlids else 0
            part = await self.identify(cns, nsid=nsid, cntid=start)
            _check_order(part, start, "controllers")
            cntlids += part
            if len(part) < _CNTLIDS or cntlids[-1] == 0xFFFF:
                return tuple(cntlids)


def _check_order(part: tuple[int, ...] | list[int], start: int, what: str) -> None:
    """A list that goes back would never end."""
    low = start
    for number in part:
        if number < low:
            raise DecodeError(f"the controller's list of {what} is not in order: {number} after {low - 1}")
        low = number + 1
