"""Owns what is said of a controller in messages: its facts, its namespaces, and errors, packed and unpacked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from aionvme.errors import (
    AddressError,
    ControllerFailedError,
    ControllerLostError,
    ControllerResetError,
    StatusError,
    UsageError,
    status_error,
)
from aionvme.pci.device import PciDevice
from aionvme.qpair.limits import Limits
from aionvme.qpair.namespace import Namespace
from aionvme.spec.identify import IdentifyController, IdentifyNamespace
from aionvme.spec.identify_sets import IdentifyNvmNamespace
from aionvme.spec.status import Status

if TYPE_CHECKING:
    from aionvme.admin.core import Core
    from aionvme.pci.dma import DmaSpace

__all__ = [
    "Facts",
    "facts_of",
    "pack_error",
    "pack_namespace",
    "unpack_error",
    "unpack_facts",
    "unpack_namespace",
]

# Of a namespace, what is a number.
_NUMBERS = (
    "nsid", "block_size", "nblocks", "metadata_size", "extended", "boundary", "pi_type", "pi_size", "tag_bits",
    "storage_tag_bits",
)  # fmt: skip
_KINDS = (
    AddressError,
    ControllerFailedError,
    ControllerLostError,
    ControllerResetError,
    MemoryError,
    UsageError,
)
_BY_NAME = {kind.__name__: kind for kind in _KINDS}


@attrs.frozen
class Facts:
    """What a borrower is told at first.

    Attributes:
        name: Of the controller, for messages.
        pci_dev: Its function.
        data: Identify Controller.
        version: Of the specification.
        page_size, max_transfer, dstrd: As the controller has them (CC.MPS in bytes, MDTS in bytes, CAP.DSTRD).
        limits: Of its I/O commands.
        bar_bytes, arena_size, iova, iova_nbytes: Of the function, and what of its I/O addresses is the borrower's.
        io_timeout, abort_timeout, admin_timeout, loop_timeout: As `ControllerOptions` has them.
    """

    name: str
    pci_dev: PciDevice
    data: IdentifyController
    version: tuple[int, int, int]
    page_size: int
    max_transfer: int
    dstrd: int
    limits: Limits
    bar_bytes: int
    arena_size: int
    iova: int
    iova_nbytes: int
    io_timeout: float
    abort_timeout: float
    admin_timeout: float
    loop_timeout: float


def facts_of(core: Core, iova: int, iova_nbytes: int) -> dict[str, Any]:
    """A controller's facts, packed."""
    assert core.data is not None
    limits = core.limits
    packed_limits = attrs.asdict(limits)
    if limits.in_log is not None:
        packed_limits["in_log"] = [opcode for opcode in range(256) if limits.in_log(opcode)]
    device = attrs.asdict(core.function.pci_dev)
    device["path"] = None
    opts = core.opts
    return {
        "name": str(core), "pci_dev": device, "data": core.data.encode().hex(), "version": core.registers.version(),
        "page_size": core.page_size, "max_transfer": core.max_transfer, "dstrd": core.registers.cap.dstrd,
        "limits": packed_limits, "bar_bytes": core.function.bar_bytes, "arena_size": core.dma.arena_size,
        "iova": iova, "iova_nbytes": iova_nbytes, "io_timeout": opts.io_timeout,
        "abort_timeout": opts.abort_timeout, "admin_timeout": opts.admin_timeout, "loop_timeout": opts.loop_timeout,
    }  # fmt: skip


def unpack_facts(packed: dict[str, Any]) -> Facts:
    """What `facts_of` packed."""
    limits = dict(packed["limits"])
    if limits["in_log"] is not None:
        limits["in_log"] = frozenset(limits["in_log"]).__contains__
    unpacked = {
        "pci_dev": PciDevice(**packed["pci_dev"]),
        "data": IdentifyController.decode(bytes.fromhex(packed["data"])),
        "version": tuple(packed["version"]),
        "limits": Limits(**limits),
    }
    return Facts(**packed | unpacked)


def pack_namespace(namespace: Namespace) -> dict[str, Any]:
    """A namespace."""
    packed: dict[str, Any] = {name: getattr(namespace, name) for name in _NUMBERS}
    nvm = namespace.nvm
    return packed | {
        "data": namespace.data.encode().hex(),
        "nvm": None if nvm is None else nvm.encode().hex(),
    }


def unpack_namespace(packed: dict[str, Any], dma: DmaSpace) -> Namespace:
    """What `pack_namespace` packed, for commands with memory of this space."""
    data = IdentifyNamespace.decode(bytes.fromhex(packed["data"]))
    nvm = None if packed["nvm"] is None else IdentifyNvmNamespace.decode(bytes.fromhex(packed["nvm"]))
    return Namespace(controller=dma, **packed | {"data": data, "nvm": nvm})


def pack_error(error: BaseException) -> dict[str, Any]:
    """An error: one of ours that a borrower is to see as it is, of the kernel's, or a failure of another kind."""
    if isinstance(error, StatusError):
        place = {"opcode": error.opcode, "qid": error.qid, "cid": error.cid}
        return {"kind": "StatusError", "status": error.status.to_field(), **place}
    kind = next((kind for kind in _KINDS if isinstance(error, kind)), None)
    if kind is None and isinstance(error, OSError):
        return {"kind": "OSError", "errno": error.errno, "text": error.strerror or str(error)}
    return {"kind": (kind or ControllerFailedError).__name__, "text": str(error)}


def unpack_error(packed: dict[str, Any]) -> Exception:
    """What `pack_error` packed."""
    kind = packed["kind"]
    if kind == "StatusError":
        place = {name: packed[name] for name in ("opcode", "qid", "cid")}
        return status_error(Status.from_field(packed["status"]), **place)
    if kind == "OSError":
        return OSError(packed["errno"], packed["text"])
    return _BY_NAME[kind](packed["text"])
