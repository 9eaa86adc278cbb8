"""Owns creating, deleting, attaching and detaching namespaces, in two spellings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from aionvme.admin import namespaces
from aionvme.admin.lists import ListCommands
from aionvme.admin.operation import Operation
from aionvme.admin.sending import Callback
from aionvme.errors import StatusError, UsageError
from aionvme.spec import namespaces as spec_namespaces
from aionvme.spec.identify import encode_controller_list
from aionvme.spec.namespaces import ALL_NAMESPACES, MOST_CONTROLLERS, AttachmentAction, NamespaceSpec
from aionvme.spec.opcodes import AdminOpcode
from aionvme.spec.status import StatusCode

_LARGEST_NSID = 0xFFFFFFFE
# FFF0h to FFFFh are reserved (Base 2.0, 5.17.2.1).
_LARGEST_CNTLID = 0xFFEF


class NamespaceCommands(ListCommands):
    """Namespace Management and Namespace Attachment (Base 2.0, 5.23 and 5.22; 8.12).

    `Controller.namespaces` follows before the await returns. What is said of `Namespace` objects there holds: one whose
    namespace stays is the same object, one whose namespace went takes no more commands. Commands for a namespace that
    is detached or deleted while the controller has them are the controller's to end, with Invalid Namespace as a rule.
    """

    def create_ns(
        self, spec: NamespaceSpec, *, csi: int = 0, timeout: float | None = None
    ) -> Operation[int]:
        """Creates a namespace and gives its identifier. It is attached to no controller: see `attach_ns`.

        Args:
            spec: At least `nsze` and `ncap`, in blocks of the format that `flbas` chooses.
            csi: I/O command set: 0 for NVM, 2 for zoned namespaces.

        Raises:
            UsageError: A field that cannot be, or the controller has no such command.
            StatusError: NAMESPACE_INSUFFICIENT_CAPACITY, NAMESPACE_ID_UNAVAILABLE, THIN_PROVISIONING_NOT_SUPPORTED,
                INVALID_FORMAT and others.
        """
        return self.submit_create_ns(spec, csi=csi, timeout=timeout)

    def submit_create_ns(
        self,
        spec: NamespaceSpec,
        cb_fn: Callback | None = None,
        cb_arg: object = None,
        *,
        csi: int = 0,
        timeout: float | None = None,
    ) -> Operation[int]:
        """`create_ns` with a callback: the identifier is `cpl.value`."""
        self._require("namespace_management", "Namespace Management", AdminOpcode.NAMESPACE_MANAGEMENT)
        payload = _checked_spec(spec)
        if not 0 <= csi <= 255:
            raise UsageError(f"csi must be from 0 to 255, not {csi}")
        coro = self._create_ns(spec_namespaces.create_namespace(csi=csi), payload, timeout)
        return self._operation("create namespace", coro, cb_fn, cb_arg)

    async def _create_ns(self, sqe: bytes, payload: bytes, timeout: float | None) -> int:
        with _explained("Namespace Management"):
            nsid: int = await self._send(
                sqe, None, None, timeout=timeout, payload=payload, decode=lambda cpl, _data: cpl.dw0
            )
        await namespaces.refresh(self._core, controller=True)
        return nsid

    def delete_ns(
        self, nsid: int, *, all_namespaces: bool = False, timeout: float | None = None
    ) -> Operation[None]:
        """Deletes a namespace, with all that is stored in it; controllers that it is attached to lose it.

        Args:
            nsid: Its identifier; FFFFFFFFh for every namespace of the subsystem, with `all_namespaces=True`.
            all_namespaces: That is meant.

        Raises:
            UsageError: No such identifier, or the controller has no such command.
            StatusError: INVALID_NAMESPACE_OR_FORMAT where there is none, and others.
        """
        return self.submit_delete_ns(nsid, all_namespaces=all_namespaces, timeout=timeout)

    def submit_delete_ns(
        self,
        nsid: int,
        cb_fn: Callback | None = None,
        cb_arg: object = None,
        *,
        all_namespaces: bool = False,
        timeout: float | None = None,
    ) -> Operation[None]:
        """`delete_ns` with a callback."""
        self._require("namespace_management", "Namespace Management", AdminOpcode.NAMESPACE_MANAGEMENT)
        check_nsid(nsid, all_namespaces)
        return self._operation("delete namespace", self._delete_ns(nsid, timeout), cb_fn, cb_arg)

    async def _delete_ns(self, nsid: int, timeout: float | None) -> None:
        with _explained("Namespace Management"):
            await self._send(spec_namespaces.delete_namespace(nsid), None, None, timeout=timeout)
        core = self._core
        namespaces.forget(core, core.namespaces if nsid == ALL_NAMESPACES else (nsid,), "was deleted")
        await namespaces.refresh(core, controller=True)

    def attach_ns(
        self, nsid: int, controllers: int | Sequence[int] | None = None, *, timeout: float | None = None
    ) -> Operation[None]:
        """Attaches a namespace to controllers of the subsystem.

        Args:
            nsid: Of the namespace.
            controllers: Controller identifiers (CNTLID), in any order; None for this controller.

        Raises:
            UsageError: Identifiers that cannot be, or the controller has no such command.
            StatusError: NAMESPACE_ALREADY_ATTACHED, NAMESPACE_IS_PRIVATE, CONTROLLER_LIST_INVALID and others; then it
                is attached to none of them but where it was before.
        """
        return self.submit_attach_ns(nsid, controllers, timeout=timeout)

    def submit_attach_ns(
        self,
        nsid: int,
        controllers: int | Sequence[int] | None = None,
        cb_fn: Callback | None = None,
        cb_arg: object = None,
        *,
        timeout: float | None = None,
    ) -> Operation[None]:
        """`attach_ns` with a callback."""
        cntlids = self._check_attachment(nsid, controllers)
        return self._operation("attach namespace", self._attach_ns(nsid, cntlids, timeout), cb_fn, cb_arg)

    async def _attach_ns(self, nsid: int, cntlids: tuple[int, ...], timeout: float | None) -> None:
        await self._send_attachment(nsid, AttachmentAction.ATTACH, cntlids, timeout)
        await namespaces.refresh(self._core)

    def detach_ns(
        self, nsid: int, controllers: int | Sequence[int] | None = None, *, timeout: float | None = None
    ) -> Operation[None]:
        """Detaches a namespace from controllers; it and its data stay.

        Args:
            nsid: Of the namespace.
            controllers: Controller identifiers (CNTLID), in any order; None for this controller.

        Raises:
            UsageError: Identifiers that cannot be, or the controller has no such command.
            StatusError: NAMESPACE_NOT_ATTACHED, CONTROLLER_LIST_INVALID and others.
        """
        return self.submit_detach_ns(nsid, controllers, timeout=timeout)

    def submit_detach_ns(
        self,
        nsid: int,
        controllers: int | Sequence[int] | None = None,
        cb_fn: Callback | None = None,
        cb_arg: object = None,
        *,
        timeout: float | None = None,
    ) -> Operation[None]:
        """`detach_ns` with a callback."""
        cntlids = self._check_attachment(nsid, controllers)
        return self._operation("detach namespace", self._detach_ns(nsid, cntlids, timeout), cb_fn, cb_arg)

    async def _detach_ns(self, nsid: int, cntlids: tuple[int, ...], timeout: float | None) -> None:
        await self._send_attachment(nsid, AttachmentAction.DETACH, cntlids, timeout)
        core = self._core
        if core.data is not None and core.data.cntlid in cntlids:
            namespaces.forget(core, (nsid,), "was detached from the controller")
        await namespaces.refresh(core)

    async def _send_attachment(
        self, nsid: int, action: int, cntlids: tuple[int, ...], timeout: float | None
    ) -> None:
        sqe = spec_namespaces.namespace_attachment(nsid, action)
        with _explained("Namespace Attachment"):
            await self._send(sqe, None, None, timeout=timeout, payload=encode_controller_list(cntlids))

    def _check_attachment(self, nsid: int, controllers: int | Sequence[int] | None) -> tuple[int, ...]:
        self._require("namespace_management", "Namespace Attachment", AdminOpcode.NAMESPACE_ATTACHMENT)
        check_nsid(nsid, False)
        if controllers is None:
            assert self._core.data is not None
            return (self._core.data.cntlid,)
        cntlids = sorted((controllers,) if isinstance(controllers, int) else controllers)
        if not 1 <= len(cntlids) <= MOST_CONTROLLERS:
            raise UsageError(f"controllers must be from 1 to {MOST_CONTROLLERS} identifiers, not {len(cntlids)}")
        if len(set(cntlids)) != len(cntlids):
            raise UsageError(f"controllers: an identifier is there twice: {cntlids}")
        if not 0 <= cntlids[0] <= cntlids[-1] <= _LARGEST_CNTLID:
            raise UsageError(f"controllers must be identifiers from 0 to {_LARGEST_CNTLID:#x}, not {cntlids}")
        return tuple(cntlids)


def check_nsid(nsid: int, all_namespaces: bool) -> None:
    """`UsageError` for what is no namespace identifier, and for all of them where that is not said."""
    if nsid == ALL_NAMESPACES:
        if not all_namespaces:
            raise UsageError("nsid 0xffffffff is every namespace: give all_namespaces=True if that is meant")
    elif all_namespaces:
        raise UsageError(f"all_namespaces=True goes with nsid 0xffffffff, not {nsid}")
    elif not 1 <= nsid <= _LARGEST_NSID:
        raise UsageError(f"nsid must be from 1 to {_LARGEST_NSID:#x}, not {nsid}")


def _checked_spec(spec: NamespaceSpec) -> bytes:
    if not isinstance(spec, NamespaceSpec):
        raise TypeError(f"spec must be a NamespaceSpec, not {spec!r}")
    try:
        payload = spec.encode()
    except ValueError as error:
        raise UsageError(f"spec: {error}") from error
    if spec.nsze == 0:
        raise UsageError("spec: nsze must be at least 1 block, not 0")
    if spec.ncap > spec.nsze:
        raise UsageError(f"spec: ncap must be at most nsze, {spec.nsze} blocks, not {spec.ncap}")
    return payload


@contextmanager
def _explained(command: str) -> Iterator[None]:
    """Some controllers have the capability bit and not the command."""
    try:
        yield
    except StatusError as error:
        if error.status == StatusCode.INVALID_OPCODE:
            error.add_note(
                f"the controller says in Identify Controller (OACS) that it has {command}, and does not execute it"
            )
        raise
