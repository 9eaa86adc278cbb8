"""Log pages that say what is supported: of log pages, commands and features."""

from __future__ import annotations

from aionvme.spec.bits import Bits, bits
from aionvme.spec.structure import Structure, uints


class LidSupport(Bits, width=32):
    """What is supported of one log page (NVMe Base 2.0, 5.16.1.1)."""

    lsupp = bits(0, 1, "Log page supported")
    ios = bits(1, 1, "Offset may be an index")
    lidsp = bits(16, 16, "Specific to the log page")


class SupportedLogPages(Structure, size=1024):
    """Supported log pages, log page 00h (NVMe Base 2.0, 5.16.1.1)."""

    lids: tuple[int, ...] = uints(0, 4, 256, "What is supported, by log page identifier: `LidSupport`")

    def of(self, lid: int) -> LidSupport:
        """What is supported of a log page."""
        return LidSupport(self.lids[_index(lid, "log page")])

    def supports(self, lid: int) -> bool:
        """Whether the controller has a log page."""
        return bool(self.of(lid).lsupp)


class CommandEffects(Bits, width=32):
    """What a command may change, and what it wants to be alone with (NVMe Base 2.0, 5.16.1.6)."""

    csupp = bits(0, 1, "Command supported")
    lbcc = bits(1, 1, "Logical block content change")
    ncc = bits(2, 1, "Namespace capability change")
    nic = bits(3, 1, "Namespace inventory change")
    ccc = bits(4, 1, "Controller capability change")
    cser = bits(14, 2, "Relaxes CSE: 1 no other admin command to any namespace (after Base 2.0)")
    cse = bits(16, 3, "Outside of it: 0 anything, 1 no other command to the namespace, 2 to any namespace")
    uss = bits(19, 1, "Selection of a UUID supported")
    csp = bits(20, 12, "Command scope")


class CommandsSupportedAndEffects(Structure, size=4096):
    """Commands supported and effects, log page 05h (NVMe Base 2.0, 5.16.1.6).

    The I/O commands are those of the I/O command set that Get Log Page asked for.
    """

    acs: tuple[int, ...] = uints(0, 4, 256, "Admin commands by opcode: `CommandEffects`")
    iocs: tuple[int, ...] = uints(1024, 4, 256, "I/O commands by opcode: `CommandEffects`")

    def admin(self, opcode: int) -> CommandEffects:
        """What an admin command does."""
        return CommandEffects(self.acs[_index(opcode, "opcode")])

    def io(self, opcode: int) -> CommandEffects:
        """What an I/O command does."""
        return CommandEffects(self.iocs[_index(opcode, "opcode")])

    def supports_admin(self, opcode: int) -> bool:
        """Whether the controller has an admin command."""
        return bool(self.admin(opcode).csupp)

    def supports_io(self, opcode: int) -> bool:
        """Whether the controller has an I/O command."""
        return bool(self.io(opcode).csupp)


class FeatureEffects(Bits, width=32):
    """What is supported of one feature, and what setting it changes (NVMe Base 2.0, 5.16.1.18)."""

    fsupp = bits(0, 1, "Feature supported")
    udcc = bits(1, 1, "User data content change")
    ncc = bits(2, 1, "Namespace capability change")
    nic = bits(3, 1, "Namespace inventory change")
    ccc = bits(4, 1, "Controller capability change")
    uss = bits(19, 1, "Selection of a UUID supported")
    fsp = bits(
        20, 12, "Scope: bits for namespace, controller, NVM set, endurance group, domain, NVM subsystem"
    )


class FeaturesSupportedAndEffects(Structure, size=1024):
    """Feature identifiers supported and effects, log page 12h (NVMe Base 2.0, 5.16.1.18)."""

    fids: tuple[int, ...] = uints(0, 4, 256, "Features by identifier: `FeatureEffects`")

    def of(self, fid: int) -> FeatureEffects:
        """What is supported of a feature."""
        return FeatureEffects(self.fids[_index(fid, "feature")])

    def supports(self, fid: int) -> bool:
        """Whether the controller has a feature."""
        return bool(self.of(fid).fsupp)


def _index(number: int, what: str) -> int:
    # A negative one would silently be counted from the end.
    if not 0 <= number < 256:
        raise ValueError(f"{what} {number}: does not fit in 8 bits")
    return number
