"""Virtualization Management (NVMe Base 2.0, 5.28)."""

from __future__ import annotations

from enum import IntEnum, unique

from aionvme.spec.bits import Bits, bits
from aionvme.spec.entries import Sqe
from aionvme.spec.opcodes import AdminOpcode


@unique
class VirtualizationAction(IntEnum):
    """What is done (ACT)."""

    PRIMARY_FLEXIBLE = 1
    """Flexible resources that the primary controller has after the next controller level reset."""
    SECONDARY_OFFLINE = 7
    SECONDARY_ASSIGN = 8
    SECONDARY_ONLINE = 9


@unique
class VirtualResource(IntEnum):
    """Kinds of resource (RT)."""

    QUEUES = 0
    INTERRUPTS = 1


class VirtualizationCdw10(Bits, width=32):
    """Virtualization Management, command dword 10."""

    act = bits(0, 4, "Action: `VirtualizationAction`")
    rt = bits(8, 3, "Resource type: `VirtualResource`")
    cntlid = bits(16, 16, "Controller identifier")


def virtualization_management(*, action: int, cntlid: int, resource: int = 0, count: int = 0) -> bytes:
    """Virtualization Management (NVMe Base 2.0, 5.28); dword 11 is the number of resources."""
    dword = VirtualizationCdw10(act=action, rt=resource, cntlid=cntlid)
    return Sqe(opc=AdminOpcode.VIRTUALIZATION_MANAGEMENT, cdw10=dword.value, cdw11=_sixteen(count)).encode()


def _sixteen(count: int) -> int:
    if not 0 <= count < 1 << 16:
        raise ValueError(f"count {count}: does not fit in 16 bits")
    return count
