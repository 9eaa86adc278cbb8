"""Owns creating, deleting, attaching and detaching namespaces, by raw admin commands (NVMe Base 2.0, 5.19 and 5.20)."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from aionvme.errors import UsageError
from aionvme.spdk.constants import SPDK_NVME_OPC_NS_ATTACHMENT, SPDK_NVME_OPC_NS_MANAGEMENT
from aionvme.spdk.driving import blocking
from aionvme.spdk.failing import FAILURES, errno_of
from aionvme.spdk.handles import ctrlr_state
from aionvme.spdk.structures import payload_bytes, spdk_nvme_ctrlr_list
from aionvme.spec.entries import Sqe

if TYPE_CHECKING:
    from aionvme import Completion, Controller

    Answer = int | Coroutine[Any, Any, int]

_BYTES = 4096
_CREATE, _DELETE = 0, 1
_ATTACH, _DETACH = 0, 1


async def _send(ctrlr: Controller, sqe: Sqe, payload: bytes | None) -> Completion[Any]:
    ctrlr_state(ctrlr)
    data = None
    if payload is not None:
        if len(payload) > _BYTES:
            raise UsageError(f"payload has {len(payload)} bytes; it is a structure of {_BYTES}")
        data = ctrlr.dma_alloc(_BYTES)
        memoryview(data)[: len(payload)] = payload
    cpl: Completion[Any] = await ctrlr.admin_raw(sqe.encode(), data=data, write=True)
    return cpl


def _blocking_send(ctrlr: Controller, sqe: Sqe, payload: Any) -> Answer:
    async def send() -> int:
        try:
            await _send(ctrlr, sqe, None if payload is None else _encoded(payload))
        except FAILURES as error:
            return errno_of(error)
        return 0

    return blocking(send)


def _encoded(payload: Any) -> bytes:
    if isinstance(payload, Sequence) and not isinstance(payload, (bytes, bytearray, memoryview)):
        payload = spdk_nvme_ctrlr_list(payload)
    return payload_bytes(payload)


def spdk_nvme_ctrlr_create_ns(ctrlr: Controller, payload: Any) -> Answer:
    """Creates a namespace, which no controller has yet. Blocks.

    Args:
        ctrlr: The controller.
        payload: An `IdentifyNamespace`, or bytes of Identify Namespace, with the fields that the host sets.

    Returns:
        Its identifier, or 0 on failure.
    """
    sqe = Sqe(opc=SPDK_NVME_OPC_NS_MANAGEMENT, cdw10=_CREATE)

    async def create() -> int:
        try:
            return (await _send(ctrlr, sqe, payload_bytes(payload))).dw0
        except FAILURES as error:
            errno_of(error)
            return 0

    return blocking(create)


def spdk_nvme_ctrlr_delete_ns(ctrlr: Controller, nsid: int) -> Answer:
    """Deletes a namespace, or with SPDK_NVME_GLOBAL_NS_TAG all. Blocks. 0 or a negative errno."""
    return _blocking_send(ctrlr, Sqe(opc=SPDK_NVME_OPC_NS_MANAGEMENT, nsid=nsid, cdw10=_DELETE), None)


def spdk_nvme_ctrlr_attach_ns(ctrlr: Controller, nsid: int, payload: Any) -> Answer:
    """Attaches a namespace to controllers. Blocks.

    Args:
        ctrlr: The controller that is told.
        nsid: Of the namespace.
        payload: An `spdk_nvme_ctrlr_list`, its bytes, or a sequence of controller identifiers.

    Returns:
        0 or a negative errno: -ENXIO where the controller refused.
    """
    sqe = Sqe(opc=SPDK_NVME_OPC_NS_ATTACHMENT, nsid=nsid, cdw10=_ATTACH)
    return _blocking_send(ctrlr, sqe, payload)


def spdk_nvme_ctrlr_detach_ns(ctrlr: Controller, nsid: int, payload: Any) -> Answer:
    """Detaches a namespace from controllers. Blocks. As `spdk_nvme_ctrlr_attach_ns`."""
    sqe = Sqe(opc=SPDK_NVME_OPC_NS_ATTACHMENT, nsid=nsid, cdw10=_DETACH)
    return _blocking_send(ctrlr, sqe, payload)
