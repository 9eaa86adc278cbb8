"""Owns Namespace Management and Namespace Attachment as a mock executes them (NVMe Base 2.0, 5.22, 5.23 and 8.12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aionvme.errors import DecodeError
from aionvme.mock.options import NamespaceConfig
from aionvme.mock.refusal import Refused
from aionvme.spec.identify import Dps, Flbas, decode_controller_list
from aionvme.spec.namespaces import ALL_NAMESPACES, AttachmentAction, NamespaceAction, NamespaceSpec
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.mock.inventory import Form
    from aionvme.mock.machine import Machine
    from aionvme.mock.subsystem import Subsystem
    from aionvme.spec.entries import Sqe

__all__ = ["NamespaceManagement", "configured"]

_NBYTES = 4096


def configured(form: Form, nblocks: int, pi: int, *, first: bool, extended: bool) -> NamespaceConfig:
    """A namespace of this format; `Refused` where format and protection do not go together."""
    if pi > 3 or (pi and form.metadata < form.pi_bytes):
        raise Refused(StatusCode.INVALID_FORMAT)
    return NamespaceConfig(
        size=nblocks * form.lba,
        lba=form.lba,
        metadata=form.metadata,
        extended=extended and form.metadata > 0,
        pi=pi,
        pi_first=first and pi > 0,
        guard=form.guard,
        sts=form.sts if pi else 0,
    )


class NamespaceManagement:
    """The two commands, of one controller."""

    def __init__(self, machine: Machine, subsystem: Subsystem, member: int) -> None:
        self._machine = machine
        self._subsystem = subsystem
        self._member = member

    def manage(self, sqe: Sqe) -> int:
        """Namespace Management: the identifier of the namespace that was created, or 0."""
        action = sqe.cdw10 & 0xF
        with self._subsystem.lock:
            if action == NamespaceAction.CREATE:
                return self._create(sqe)
            if action == NamespaceAction.DELETE:
                return self._delete(sqe)
        raise Refused(StatusCode.INVALID_FIELD)

    def _create(self, sqe: Sqe) -> int:
        if sqe.cdw11 >> 24:
            raise Refused(StatusCode.COMMAND_SET_NOT_SUPPORTED)
        spec = NamespaceSpec.decode(self._take(sqe))
        if sqe.nsid or spec.nsze == 0 or spec.ncap > spec.nsze or spec.nmic & ~1:
            raise Refused(StatusCode.INVALID_FIELD)
        if spec.anagrpid:
            raise Refused(StatusCode.ANA_GROUP_ID_INVALID)
        if spec.nvmsetid or spec.endgid or spec.nphndls:
            raise Refused(StatusCode.INVALID_FIELD)
        if spec.ncap < spec.nsze:
            raise Refused(StatusCode.THIN_PROVISIONING_NOT_SUPPORTED)
        inventory, flbas, dps = self._subsystem.inventory, Flbas(spec.flbas), Dps(spec.dps)
        # Bits 6:5 count where there are more than 16 formats.
        index = flbas.low | (flbas.high << 4 if len(inventory.forms) > 16 else 0)
        if index >= len(inventory.forms):
            raise Refused(StatusCode.INVALID_FORMAT)
        form = inventory.forms[index]
        if spec.nsze * form.lba > inventory.capacity:
            raise Refused(StatusCode.NAMESPACE_INSUFFICIENT_CAPACITY)
        config = configured(form, spec.nsze, dps.pit, first=bool(dps.first), extended=bool(flbas.extended))
        return inventory.create(config, shared=bool(spec.nmic))

    def _delete(self, sqe: Sqe) -> int:
        inventory = self._subsystem.inventory
        if sqe.nsid == ALL_NAMESPACES:
            nsids = [nsid for nsid, _each in inventory]
        else:
            inventory.allocated(sqe.nsid)
            nsids = [sqe.nsid]
        self._subsystem.check_write(nsids, self._member)
        for nsid in nsids:
            members = inventory.delete(nsid)
            self._subsystem.self_test.namespace_removed(nsid)
            self._subsystem.namespaces_changed(members, nsid, self._member)
        return 0

    def attach(self, sqe: Sqe) -> int:
        """Namespace Attachment: all controllers of the list, or none."""
        action = sqe.cdw10 & 0xF
        if action not in (AttachmentAction.ATTACH, AttachmentAction.DETACH):
            raise Refused(StatusCode.INVALID_FIELD)
        with self._subsystem.lock:
            inventory = self._subsystem.inventory
            allocated = inventory.allocated(sqe.nsid)
            members = self._members(sqe)
            self._subsystem.reservations.check_write([sqe.nsid], self._member)
            if action == AttachmentAction.ATTACH:
                if members & allocated.attached:
                    raise Refused(StatusCode.NAMESPACE_ALREADY_ATTACHED)
                if len(members | allocated.attached) > 1 and not inventory.is_shared(allocated):
                    raise Refused(StatusCode.NAMESPACE_IS_PRIVATE)
                inventory.attach(sqe.nsid, allocated.attached | members)
            else:
                if members - allocated.attached:
                    raise Refused(StatusCode.NAMESPACE_NOT_ATTACHED)
                inventory.attach(sqe.nsid, allocated.attached - members)
            self._subsystem.namespaces_changed(members, sqe.nsid, self._member)
        return 0

    def _members(self, sqe: Sqe) -> set[int]:
        """Of the controller list: identifiers in ascending order, each of a controller that there is (4.4.1)."""
        try:
            cntlids = decode_controller_list(self._take(sqe))
        except DecodeError:
            raise Refused(StatusCode.CONTROLLER_LIST_INVALID) from None
        if (
            not cntlids
            or list(cntlids) != sorted(set(cntlids))
            or set(cntlids) - set(self._subsystem.cntlids)
        ):
            raise Refused(StatusCode.CONTROLLER_LIST_INVALID)
        return {cntlid - 1 for cntlid in cntlids}

    def _take(self, sqe: Sqe) -> bytes:
        status, data = self._machine.data_out(sqe.prp1, sqe.prp2, _NBYTES)
        if status:
            raise Refused.by_field(status)
        return data
