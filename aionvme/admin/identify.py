"""Owns Identify, in its two spellings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aionvme.admin.sending import Callback, Sender
from aionvme.spec import entries
from aionvme.spec.identify import (
    IdentifyController,
    IdentifyNamespace,
    decode_controller_list,
    decode_namespace_descriptors,
    decode_nsid_list,
)
from aionvme.spec.identify_sets import IdentifyIndependentNamespace, IdentifyNvmController, IdentifyNvmNamespace
from aionvme.spec.namespaces import PrimaryControllerCapabilities, decode_secondary_controllers
from aionvme.spec.opcodes import Cns, CommandSet

if TYPE_CHECKING:
    from aionvme.qpair.request import Request

IDENTIFY_BYTES = 4096

_IDENTIFY_DECODERS: dict[int, Callable[[bytes], Any]] = {
    Cns.NAMESPACE: IdentifyNamespace.decode,
    Cns.CONTROLLER: IdentifyController.decode,
    Cns.ACTIVE_NAMESPACES: decode_nsid_list,
    Cns.NAMESPACE_DESCRIPTORS: decode_namespace_descriptors,
    Cns.ALLOCATED_NAMESPACES: decode_nsid_list,
    Cns.ALLOCATED_NAMESPACE: IdentifyNamespace.decode,
    Cns.ATTACHED_CONTROLLERS: decode_controller_list,
    Cns.CONTROLLERS: decode_controller_list,
    Cns.INDEPENDENT_NAMESPACE: IdentifyIndependentNamespace.decode,
    Cns.PRIMARY_CONTROLLER: PrimaryControllerCapabilities.decode,
    Cns.SECONDARY_CONTROLLERS: decode_secondary_controllers,
}

# By command set as well.
_CSI_DECODERS: dict[tuple[int, int], Callable[[bytes], Any]] = {
    (Cns.CSI_NAMESPACE, CommandSet.NVM): IdentifyNvmNamespace.decode,
    (Cns.CSI_CONTROLLER, CommandSet.NVM): IdentifyNvmController.decode,
}


class IdentifyCommands(Sender):
    """Identify (Base 2.0, 5.17)."""

    def identify(
        self,
        cns: int,
        *,
        nsid: int = 0,
        cntid: int = 0,
        csi: int = 0,
        cns_specific: int = 0,
        timeout: float | None = None,
    ) -> Request:
        """Identify (Base 2.0, 5.17): the decoded structure or list where `cns` is known, else 4096 bytes."""
        return self.submit_identify(
            cns, nsid=nsid, cntid=cntid, csi=csi, cns_specific=cns_specific, timeout=timeout
        )

    def submit_identify(
        self,
        cns: int,
        cb_fn: Callback | None = None,
        cb_arg: Any = None,
        *,
        nsid: int = 0,
        cntid: int = 0,
        csi: int = 0,
        cns_specific: int = 0,
        timeout: float | None = None,
    ) -> Request:
        """`identify` with a callback."""
        sqe = entries.identify(cns, nsid=nsid, cntid=cntid, csi=csi, cns_specific=cns_specific)
        decoder = _IDENTIFY_DECODERS.get(cns) or _CSI_DECODERS.get((cns, csi), bytes)
        return self._send(
            sqe,
            cb_fn,
            cb_arg,
            timeout=timeout,
            nbytes=IDENTIFY_BYTES,
            decode=lambda _cpl, data: decoder(data),
        )
