"""Owns creating, deleting, attaching, detaching and formatting namespaces (NVMe Base 2.0, 5.22, 5.23 and 5.14)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from aionvme.errors import UsageError
from aionvme.spdk.constants import SPDK_NVME_GLOBAL_NS_TAG
from aionvme.spdk.driving import blocking
from aionvme.spdk.failing import FAILURES, errno_of
from aionvme.spdk.handles import ctrlr_state
from aionvme.spdk.structures import payload_bytes, spdk_nvme_ctrlr_list, spdk_nvme_format
from aionvme.spec.identify import decode_controller_list
from aionvme.spec.namespaces import NamespaceSpec

if TYPE_CHECKING:
    from aionvme import Controller

    Answer = int | Coroutine[Any, Any, int]

_BYTES = 4096


def _padded(payload: Any) -> bytes:
    data = payload_bytes(payload)
    if len(data) > _BYTES:
        raise UsageError(f"payload has {len(data)} bytes; it is a structure of {_BYTES}")
    return data.ljust(_BYTES, b"\0")


def _cntlids(payload: Any) -> tuple[int, ...]:
    if isinstance(payload, spdk_nvme_ctrlr_list):
        return tuple(payload.ctrlr_list)
    if isinstance(payload, Sequence) and not isinstance(payload, (bytes, bytearray, memoryview)):
        return tuple(payload)
    return decode_controller_list(_padded(payload))


def _blocking(ctrlr: Controller, make: Callable[[], Awaitable[Any]]) -> Answer:
    """0 once what `make` makes has ended, or a negative errno."""

    async def run() -> int:
        try:
            ctrlr_state(ctrlr)
            await make()
        except FAILURES as error:
            return errno_of(error)
        return 0

    return blocking(run)


def spdk_nvme_ctrlr_create_ns(ctrlr: Controller, payload: Any) -> Answer:
    """Creates a namespace, which no controller has yet. Blocks.

    Args:
        ctrlr: The controller.
        payload: A `NamespaceSpec`, an `IdentifyNamespace`, or bytes of it, with the fields that the host sets.

    Returns:
        Its identifier, or 0 on failure.
    """

    async def create() -> int:
        try:
            ctrlr_state(ctrlr)
            return await ctrlr.create_ns(NamespaceSpec.decode(_padded(payload)))
        except FAILURES as error:
            errno_of(error)
            return 0

    return blocking(create)


def spdk_nvme_ctrlr_delete_ns(ctrlr: Controller, nsid: int) -> Answer:
    """Deletes a namespace, or with SPDK_NVME_GLOBAL_NS_TAG all. Blocks. 0 or a negative errno."""
    every = nsid == SPDK_NVME_GLOBAL_NS_TAG
    return _blocking(ctrlr, lambda: ctrlr.delete_ns(nsid, all_namespaces=every))


def spdk_nvme_ctrlr_attach_ns(ctrlr: Controller, nsid: int, payload: Any) -> Answer:
    """Attaches a namespace to controllers; `spdk_nvme_ctrlr_get_ns` has it then. Blocks.

    Args:
        ctrlr: The controller that is told.
        nsid: Of the namespace.
        payload: An `spdk_nvme_ctrlr_list`, its bytes, or a sequence of controller identifiers.

    Returns:
        0 or a negative errno: -ENXIO where the controller refused.
    """
    return _blocking(ctrlr, lambda: ctrlr.attach_ns(nsid, _cntlids(payload)))


def spdk_nvme_ctrlr_detach_ns(ctrlr: Controller, nsid: int, payload: Any) -> Answer:
    """Detaches a namespace from controllers. Blocks. As `spdk_nvme_ctrlr_attach_ns`."""
    return _blocking(ctrlr, lambda: ctrlr.detach_ns(nsid, _cntlids(payload)))


def spdk_nvme_ctrlr_format(ctrlr: Controller, nsid: int, format: spdk_nvme_format) -> Answer:
    """Formats a namespace, or with SPDK_NVME_GLOBAL_NS_TAG all. Blocks.

    Handles of a namespace whose format changed are of no use any more: ask `spdk_nvme_ctrlr_get_ns` for another.

    Returns:
        0 or a negative errno: -ENXIO where the controller refused, -EINVAL where the format is none of the namespace's.
    """
    return _blocking(
        ctrlr,
        lambda: ctrlr.format_nvm(
            nsid,
            lbaf=format.lbaf,
            ses=format.ses,
            pi=format.pi,
            pil=bool(format.pil),
            mset=bool(format.ms),
            all_namespaces=nsid == SPDK_NVME_GLOBAL_NS_TAG or _formats_all(ctrlr, format),
        ),
    )


def _formats_all(ctrlr: Controller, format: spdk_nvme_format) -> bool:
    """Whether the controller formats every namespace whichever is named: SPDK does not ask twice."""
    fna = ctrlr.data.fna
    return len(ctrlr.namespaces) > 1 and bool(fna & 1 or (format.ses and fna & 2))
