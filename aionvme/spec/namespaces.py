"""Creating, deleting, attaching and detaching namespaces; controllers that depend on another (NVMe Base 2.0, 5)."""

from __future__ import annotations

from enum import IntEnum, unique
from typing import Any

from aionvme.spec.bits import Bits, bits
from aionvme.spec.entries import Sqe
from aionvme.spec.errors import DecodeError
from aionvme.spec.identify import IDENTIFY_BYTES, Dps, Flbas, Nmic
from aionvme.spec.opcodes import AdminOpcode
from aionvme.spec.structure import Buffer, Structure, array, u8, u16, u32, u64, uints

#: The namespace identifier that means all of them.
ALL_NAMESPACES = 0xFFFFFFFF

#: Most identifiers of a controller list (NVMe Base 2.0, 4.4.1).
MOST_CONTROLLERS = 2047


@unique
class NamespaceAction(IntEnum):
    """SEL of Namespace Management (NVMe Base 2.0, 5.23)."""

    CREATE = 0
    DELETE = 1


@unique
class AttachmentAction(IntEnum):
    """SEL of Namespace Attachment (NVMe Base 2.0, 5.22)."""

    ATTACH = 0
    DETACH = 1


class SelectCdw10(Bits, width=32):
    """Namespace Management and Namespace Attachment, command dword 10 (NVMe Base 2.0, 5.22 and 5.23)."""

    sel = bits(0, 4, "Select: `NamespaceAction`, or `AttachmentAction`")


class NamespaceManagementCdw11(Bits, width=32):
    """Namespace Management, command dword 11 (NVMe Base 2.0, 5.23)."""

    csi = bits(24, 8, "I/O command set of the namespace")


class NamespaceSpec(Structure, size=IDENTIFY_BYTES):
    """What the host says of a namespace that it has made (NVMe Base 2.0, 5.23; NVM Command Set 1.0, 4.1.6).

    Sizes are in blocks of the format that `flbas` chooses. Fields of zoned namespaces and of flexible data placement
    are of the Zoned Namespace command set 1.1 and of TP4146.
    """

    nsze: int = u64(0, "Namespace size, logical blocks")
    ncap: int = u64(8, "Namespace capacity, logical blocks; less than the size only with thin provisioning")
    flbas: int = u8(26, "Formatted LBA size", bits=Flbas)
    dps: int = u8(29, "End-to-end data protection settings", bits=Dps)
    nmic: int = u8(30, "Multi-path I/O and sharing capabilities", bits=Nmic)
    anagrpid: int = u32(92, "ANA group identifier; 0 for the controller's choice")
    nvmsetid: int = u16(100, "NVM set identifier; 0 for the controller's choice")
    endgid: int = u16(102, "Endurance group identifier; 0 for the controller's choice")
    lbstm: int = u64(384, "Logical block storage tag mask")
    nphndls: int = u16(392, "Number of placement handles (TP4146)")
    znsco: int = u8(499, "Zoned namespaces: create options")
    rar: int = u32(500, "Zoned namespaces: requested active resources")
    ror: int = u32(504, "Zoned namespaces: requested open resources")
    rnumzrwa: int = u32(508, "Zoned namespaces: requested number of random write areas")
    phndl: tuple[int, ...] = uints(512, 2, 128, "Reclaim unit handles of the placement handles (TP4146)")


def create_namespace(*, csi: int = 0) -> bytes:
    """Namespace Management, create (NVMe Base 2.0, 5.23); its data is a `NamespaceSpec`."""
    return Sqe(
        opc=AdminOpcode.NAMESPACE_MANAGEMENT,
        cdw10=SelectCdw10(sel=NamespaceAction.CREATE).value,
        cdw11=NamespaceManagementCdw11(csi=csi).value,
    ).encode()


def delete_namespace(nsid: int) -> bytes:
    """Namespace Management, delete (NVMe Base 2.0, 5.23)."""
    return Sqe(
        opc=AdminOpcode.NAMESPACE_MANAGEMENT,
        nsid=nsid,
        cdw10=SelectCdw10(sel=NamespaceAction.DELETE).value,
    ).encode()


def namespace_attachment(nsid: int, action: int) -> bytes:
    """Namespace Attachment (NVMe Base 2.0, 5.22); its data is a controller list."""
    return Sqe(
        opc=AdminOpcode.NAMESPACE_ATTACHMENT, nsid=nsid, cdw10=SelectCdw10(sel=action).value
    ).encode()


# -- primary and secondary controllers -----------------------------------------------------------------------


class Crt(Bits, width=8):
    """Controller resource types."""

    vq = bits(0, 1, "Virtual queue resources")
    vi = bits(1, 1, "Virtual interrupt resources")


class PrimaryControllerCapabilities(Structure, size=IDENTIFY_BYTES):
    """Primary controller capabilities, CNS 14h (NVMe Base 2.0, 5.17.2.14)."""

    cntlid: int = u16(0, "Controller identifier")
    portid: int = u16(2, "Port identifier")
    crt: int = u8(4, "Controller resource types", bits=Crt)
    vqfrt: int = u32(32, "Virtual queue flexible resources in total")
    vqrfa: int = u32(36, "Of these, assigned to secondary controllers")
    vqrfap: int = u16(40, "Of these, allocated to the primary controller")
    vqprt: int = u16(42, "Virtual queue private resources")
    vqfrsm: int = u16(44, "Most virtual queue flexible resources of a secondary controller")
    vqgran: int = u16(46, "Granularity of their assignment")
    vifrt: int = u32(64, "Virtual interrupt flexible resources in total")
    virfa: int = u32(68, "Of these, assigned to secondary controllers")
    virfap: int = u16(72, "Of these, allocated to the primary controller")
    viprt: int = u16(74, "Virtual interrupt private resources")
    vifrsm: int = u16(76, "Most virtual interrupt flexible resources of a secondary controller")
    vigran: int = u16(78, "Granularity of their assignment")


class SecondaryController(Structure, size=32):
    """An entry of the secondary controller list (NVMe Base 2.0, 5.17.2.15)."""

    scid: int = u16(0, "Its controller identifier")
    pcid: int = u16(2, "Identifier of its primary controller")
    scs: int = u8(4, "Bit 0: online")
    vfn: int = u16(8, "Virtual function number, 0 for none")
    nvq: int = u16(10, "Virtual queue flexible resources assigned")
    nvi: int = u16(12, "Virtual interrupt flexible resources assigned")

    @property
    def online(self) -> bool:
        """Whether it is online."""
        return bool(self.scs & 1)


_MOST_SECONDARY = 127


class SecondaryControllerList(Structure, size=IDENTIFY_BYTES):
    """Secondary controller list, CNS 15h (NVMe Base 2.0, 5.17.2.15)."""

    count: int = u8(0, "Number of entries")
    entries: tuple[SecondaryController, ...] = array(
        32, SecondaryController, _MOST_SECONDARY, "Secondary controllers"
    )


def decode_secondary_controllers(data: Buffer) -> tuple[SecondaryController, ...]:
    """The entries of a secondary controller list."""
    whole: Any = SecondaryControllerList.decode(data)
    if whole.count > _MOST_SECONDARY:
        raise DecodeError(f"a secondary controller list has {_MOST_SECONDARY} entries at most, not {whole.count}")
    return tuple(whole.entries[: whole.count])
