"""Owns Security Send and Receive, and Lockdown, in their two spellings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aionvme.admin.sending import Callback, Sender, check_choice, check_range
from aionvme.errors import UsageError
from aionvme.spec import security
from aionvme.spec.security import LockdownInterface, LockdownScope

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from aionvme.qpair.request import Request


class SecurityCommands(Sender):
    """Security Send and Receive (Base 2.0, 5.26 and 5.25), and Lockdown (5.19)."""

    def security_send(
        self,
        protocol: int,
        data: Buffer,
        *,
        specific: int = 0,
        nssf: int = 0,
        nsid: int = 0,
        timeout: float | None = None,
    ) -> Request[None]:
        """Security Send: data to a security protocol of the controller.

        Args:
            protocol: Security protocol (SECP), such as 01h for TCG.
            data: Some bytes; copied at the call.
            specific: SP specific (SPSP), 16 bits.
            nssf: NVMe security specific field, of protocol EAh.
            nsid: Namespace, where the protocol has one.
        """
        return self.submit_security_send(
            protocol, data, specific=specific, nssf=nssf, nsid=nsid, timeout=timeout
        )

    def submit_security_send(
        self,
        protocol: int,
        data: Buffer,
        cb_fn: Callback | None = None,
        cb_arg: Any = None,
        *,
        specific: int = 0,
        nssf: int = 0,
        nsid: int = 0,
        timeout: float | None = None,
    ) -> Request[None]:
        """`security_send` with a callback."""
        self._require("security", "Security Send")
        payload = bytes(data)
        self._check_security(protocol, specific, nssf, "data", len(payload))
        sqe = security.security_send(
            protocol=protocol, specific=specific, nssf=nssf, nsid=nsid, nbytes=len(payload)
        )
        return self._send(sqe, cb_fn, cb_arg, timeout=timeout, payload=payload)

    def security_receive(
        self,
        protocol: int,
        nbytes: int,
        *,
        specific: int = 0,
        nssf: int = 0,
        nsid: int = 0,
        timeout: float | None = None,
    ) -> Request[bytes]:
        """Security Receive: `nbytes` of a security protocol's answer; what it has no more of is zeros.

        Args are those of `security_send`. Protocol 00h lists the protocols that there are.
        """
        return self.submit_security_receive(
            protocol, nbytes, specific=specific, nssf=nssf, nsid=nsid, timeout=timeout
        )

    def submit_security_receive(
        self,
        protocol: int,
        nbytes: int,
        cb_fn: Callback | None = None,
        cb_arg: Any = None,
        *,
        specific: int = 0,
        nssf: int = 0,
        nsid: int = 0,
        timeout: float | None = None,
    ) -> Request[bytes]:
        """`security_receive` with a callback."""
        self._require("security", "Security Receive")
        self._check_security(protocol, specific, nssf, "nbytes", nbytes)
        sqe = security.security_receive(
            protocol=protocol, specific=specific, nssf=nssf, nsid=nsid, nbytes=nbytes
        )
        return self._send(sqe, cb_fn, cb_arg, timeout=timeout, nbytes=nbytes, decode=lambda _cpl, data: data)

    def _check_security(self, protocol: int, specific: int, nssf: int, what: str, nbytes: int) -> None:
        check_range("protocol", protocol, 0, 0xFF)
        check_range("specific", specific, 0, 0xFFFF)
        check_range("nssf", nssf, 0, 0xFF)
        most = self._admin.max_transfer_bytes
        if not 1 <= nbytes <= most:
            raise UsageError(f"{what}: one command takes from 1 to {most} bytes (MDTS), not {nbytes}")

    def lockdown(
        self,
        scope: LockdownScope,
        identifier: int,
        *,
        prohibit: bool,
        interface: LockdownInterface = LockdownInterface.ADMIN_QUEUE,
        timeout: float | None = None,
    ) -> Request[None]:
        """Lockdown: prohibits a command, or the setting of a feature, until it is allowed again or power is lost.

        Args:
            scope: Whether `identifier` is an opcode, and of which command set, or a feature.
            identifier: Opcode or feature identifier.
            prohibit: True prohibits, False allows again.
            interface: By which way.
        """
        return self.submit_lockdown(
            scope, identifier, prohibit=prohibit, interface=interface, timeout=timeout
        )

    def submit_lockdown(
        self,
        scope: LockdownScope,
        identifier: int,
        cb_fn: Callback | None = None,
        cb_arg: Any = None,
        *,
        prohibit: bool,
        interface: LockdownInterface = LockdownInterface.ADMIN_QUEUE,
        timeout: float | None = None,
    ) -> Request[None]:
        """`lockdown` with a callback."""
        self._require("lockdown", "Lockdown")
        check_choice("scope", scope, LockdownScope)
        check_choice("interface", interface, LockdownInterface)
        check_range("identifier", identifier, 0, 0xFF)
        sqe = security.lockdown(scope=scope, identifier=identifier, prohibit=prohibit, interface=interface)
        return self._send(sqe, cb_fn, cb_arg, timeout=timeout)
