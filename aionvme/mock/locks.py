"""Owns what is prohibited by Lockdown, and a mailbox behind the security commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aionvme.mock.refusal import Refused
from aionvme.spec.opcodes import AdminOpcode
from aionvme.spec.security import (
    INFORMATION,
    LockdownCdw10,
    LockdownInterface,
    LockdownScope,
    SecurityCdw10,
)
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.mock.machine import Machine
    from aionvme.spec.entries import Sqe

#: A vendor specific security protocol: what is sent to an SP specific value is received from it.
MAILBOX = 0xF0
_FEATURE_COMMANDS = (AdminOpcode.SET_FEATURES,)


class Lockdown:
    """What no controller of a subsystem executes until it is allowed again, or power was lost (Base 2.0, 8.4)."""

    def __init__(self) -> None:
        self._opcodes: set[int] = set()
        self._features: set[int] = set()

    def power_cycle(self) -> None:
        """Everything is allowed again."""
        self._opcodes.clear()
        self._features.clear()

    def check(self, sqe: Sqe) -> None:
        """Refuses what is prohibited on the admin queue."""
        feature = sqe.opc in _FEATURE_COMMANDS and sqe.cdw10 & 0xFF in self._features
        if feature or sqe.opc in self._opcodes:
            raise Refused(StatusCode.PROHIBITED_BY_LOCKDOWN)

    def execute(self, sqe: Sqe) -> int:
        """Lockdown (5.19). There is no management endpoint, so nothing can be prohibited by that way."""
        dword = LockdownCdw10(sqe.cdw10)
        # Commands of PCIe come by the endpoint only.
        if dword.ifc != LockdownInterface.ADMIN_QUEUE or dword.scp == LockdownScope.PCIE_OPCODE:
            raise Refused(StatusCode.INVALID_FIELD)
        if dword.scp == LockdownScope.ADMIN_OPCODE:
            held = self._opcodes
        elif dword.scp == LockdownScope.FEATURE:
            held = self._features
        else:
            raise Refused(StatusCode.PROHIBITION_NOT_SUPPORTED)
        # Nobody could take it back.
        if held is self._opcodes and dword.ofi == AdminOpcode.LOCKDOWN:
            raise Refused(StatusCode.PROHIBITION_NOT_SUPPORTED)
        if dword.prhbt:
            held.add(dword.ofi)
        else:
            held.discard(dword.ofi)
        return 0


class Security:
    """Security Send and Receive (5.26 and 5.25): protocol 00h, and a mailbox."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._mail: dict[int, bytes] = {}

    def send(self, sqe: Sqe) -> int:
        """Keeps what was sent."""
        dword = SecurityCdw10(sqe.cdw10)
        if dword.secp != MAILBOX or not sqe.cdw11 or sqe.cdw11 > self._machine.max_transfer:
            raise Refused(StatusCode.INVALID_FIELD)
        status, data = self._machine.data_out(sqe.prp1, sqe.prp2, sqe.cdw11)
        if status:
            raise Refused.by_field(status)
        self._mail[dword.spsp] = data
        return 0

    def receive(self, sqe: Sqe) -> bytes:
        """The protocols that there are, or what was sent."""
        dword = SecurityCdw10(sqe.cdw10)
        if not sqe.cdw11 or sqe.cdw11 > self._machine.max_transfer:
            raise Refused(StatusCode.INVALID_FIELD)
        if dword.secp == INFORMATION and dword.spsp == 0:
            protocols = bytes((INFORMATION, MAILBOX))
            # SPC-4: six reserved bytes, the length, the list.
            answer = bytes(6) + len(protocols).to_bytes(2, "big") + protocols
        elif dword.secp == MAILBOX:
            answer = self._mail.get(dword.spsp, b"")
        else:
            raise Refused(StatusCode.INVALID_FIELD)
        return answer[: sqe.cdw11].ljust(sqe.cdw11, b"\0")
