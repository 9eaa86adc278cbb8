"""Security Send and Receive, and Lockdown (NVMe Base 2.0, 5.26, 5.25 and 5.19)."""

from __future__ import annotations

from enum import IntEnum, unique

from aionvme.spec.bits import Bits, bits
from aionvme.spec.entries import Sqe, UuidCdw14
from aionvme.spec.opcodes import AdminOpcode

INFORMATION = 0x00
"""Security protocol 00h: which protocols there are (SPC-4)."""


class SecurityCdw10(Bits, width=32):
    """Security Send and Receive, command dword 10 (NVMe Base 2.0, 5.26 and 5.25)."""

    nssf = bits(0, 8, "NVMe security specific field")
    spsp = bits(8, 16, "SP specific")
    secp = bits(24, 8, "Security protocol")


@unique
class LockdownScope(IntEnum):
    """What a Lockdown command prohibits or allows (SCP)."""

    ADMIN_OPCODE = 0
    FEATURE = 2
    MI_OPCODE = 3
    PCIE_OPCODE = 4


@unique
class LockdownInterface(IntEnum):
    """By which way it is prohibited (IFC)."""

    ADMIN_QUEUE = 0
    ADMIN_QUEUE_AND_OUT_OF_BAND = 1
    OUT_OF_BAND = 2


class LockdownCdw10(Bits, width=32):
    """Lockdown, command dword 10 (NVMe Base 2.0, 5.19)."""

    scp = bits(0, 4, "Scope: `LockdownScope`")
    prhbt = bits(4, 1, "Prohibit; 0 allows")
    ifc = bits(5, 2, "Interface: `LockdownInterface`")
    ofi = bits(8, 8, "Opcode or feature identifier")


def security_send(*, protocol: int, specific: int, nssf: int, nsid: int, nbytes: int) -> bytes:
    """Security Send (NVMe Base 2.0, 5.26); dword 11 is the transfer length in bytes."""
    return _security(AdminOpcode.SECURITY_SEND, protocol, specific, nssf, nsid, nbytes)


def security_receive(*, protocol: int, specific: int, nssf: int, nsid: int, nbytes: int) -> bytes:
    """Security Receive (NVMe Base 2.0, 5.25); dword 11 is the allocation length in bytes."""
    return _security(AdminOpcode.SECURITY_RECEIVE, protocol, specific, nssf, nsid, nbytes)


def _security(opcode: int, protocol: int, specific: int, nssf: int, nsid: int, nbytes: int) -> bytes:
    dword = SecurityCdw10(secp=protocol, spsp=specific, nssf=nssf)
    return Sqe(opc=opcode, nsid=nsid, cdw10=dword.value, cdw11=nbytes).encode()


def lockdown(*, scope: int, prohibit: bool, interface: int, identifier: int, uuid_index: int = 0) -> bytes:
    """Lockdown (NVMe Base 2.0, 5.19)."""
    dword = LockdownCdw10(scp=scope, prhbt=int(prohibit), ifc=interface, ofi=identifier)
    return Sqe(opc=AdminOpcode.LOCKDOWN, cdw10=dword.value, cdw14=UuidCdw14(uidx=uuid_index).value).encode()
