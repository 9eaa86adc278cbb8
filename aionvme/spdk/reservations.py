"""Owns the four reservation commands. Each returns 0 or a negative errno, and calls `cb_fn(cb_arg, cpl)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aionvme.errors import UsageError
from aionvme.spdk.failing import FAILURES, errno_of
from aionvme.spdk.handles import CmdCb, qpair_state
from aionvme.spdk.qpair import submit
from aionvme.spdk.structures import payload_bytes
from aionvme.spec import reservation

if TYPE_CHECKING:
    from aionvme import IoQueuePair, Namespace


def _keys(payload: Any, count: int) -> list[int]:
    data = payload_bytes(payload)
    if len(data) < 8 * count:
        raise UsageError(f"payload has {len(data)} bytes, and the keys have {8 * count}")
    return [int.from_bytes(data[8 * index : 8 * index + 8], "little") for index in range(count)]


def spdk_nvme_ns_cmd_reservation_register(
    ns: Namespace,
    qpair: IoQueuePair,
    payload: Any,
    ignore_key: bool,
    action: int,
    cptpl: int,
    cb_fn: CmdCb,
    cb_arg: Any,
) -> int:
    """Registers, unregisters or replaces this host's key.

    Args:
        ns, qpair: Where.
        payload: An `spdk_nvme_reservation_register_data`, or its 16 bytes; copied.
        ignore_key: Whatever the current key is.
        action: SPDK_NVME_RESERVE_REGISTER_KEY, _UNREGISTER_KEY, _REPLACE_KEY.
        cptpl: SPDK_NVME_RESERVE_PTPL_*.
        cb_fn, cb_arg: Called when the command has completed.
    """
    try:
        crkey, nrkey = _keys(payload, 2)
    except FAILURES as error:
        return errno_of(error)
    return submit(
        qpair,
        "reservation_register",
        ns,
        action,
        call=(cb_fn, cb_arg),
        crkey=crkey,
        nrkey=nrkey,
        ignore_key=ignore_key,
        cptpl=cptpl,
    )


def spdk_nvme_ns_cmd_reservation_release(
    ns: Namespace,
    qpair: IoQueuePair,
    payload: Any,
    ignore_key: bool,
    action: int,
    type: int,
    cb_fn: CmdCb,
    cb_arg: Any,
) -> int:
    """Releases this host's reservation, or clears everything.

    Args:
        ns, qpair: Where.
        payload: An `spdk_nvme_reservation_key_data`, or its 8 bytes; copied.
        ignore_key: Whatever this host's key is.
        action: SPDK_NVME_RESERVE_RELEASE or _CLEAR.
        type: SPDK_NVME_RESERVE_WRITE_EXCLUSIVE and so on.
        cb_fn, cb_arg: Called when the command has completed.
    """
    try:
        (crkey,) = _keys(payload, 1)
    except FAILURES as error:
        return errno_of(error)
    return submit(
        qpair,
        "reservation_release",
        ns,
        action,
        type,
        call=(cb_fn, cb_arg),
        crkey=crkey,
        ignore_key=ignore_key,
    )


def spdk_nvme_ns_cmd_reservation_acquire(
    ns: Namespace,
    qpair: IoQueuePair,
    payload: Any,
    ignore_key: bool,
    action: int,
    type: int,
    cb_fn: CmdCb,
    cb_arg: Any,
) -> int:
    """Acquires a reservation, or preempts that of another host.

    Args:
        ns, qpair: Where.
        payload: An `spdk_nvme_reservation_acquire_data`, or its 16 bytes; copied.
        ignore_key: Whatever this host's key is.
        action: SPDK_NVME_RESERVE_ACQUIRE, _PREEMPT, _PREEMPT_ABORT.
        type: SPDK_NVME_RESERVE_WRITE_EXCLUSIVE and so on.
        cb_fn, cb_arg: Called when the command has completed.
    """
    try:
        crkey, prkey = _keys(payload, 2)
    except FAILURES as error:
        return errno_of(error)
    return submit(
        qpair,
        "reservation_acquire",
        ns,
        action,
        type,
        call=(cb_fn, cb_arg),
        crkey=crkey,
        prkey=prkey,
        ignore_key=ignore_key,
    )


def spdk_nvme_ns_cmd_reservation_report(
    ns: Namespace, qpair: IoQueuePair, payload: Any, len: int, cb_fn: CmdCb, cb_arg: Any
) -> int:
    """Fills the first `len` bytes of `payload`, any writable buffer, with who is registered and who holds what.

    It is the extended structure where the controller has host identifiers of 128 bits, which is the one that it takes.
    """
    try:
        ctrlr = qpair_state(qpair).ctrlr
        view = memoryview(payload).cast("B")
        if view.readonly or not 0 < len <= view.nbytes or len % 4:
            raise UsageError(f"payload must be {len} writable bytes, a multiple of 4")
        buffer = ctrlr.dma_alloc(len)
        extended = bool(ctrlr.data.ctratt & 1)
        sqe = reservation.reservation_report(ns.nsid, nbytes=len, extended=extended)
    except FAILURES as error:
        return errno_of(error)

    def done(arg: Any, cpl: Any) -> None:
        view[:len] = memoryview(buffer)
        if cb_fn is not None:
            cb_fn(arg, cpl)

    return submit(qpair, "io_raw", sqe, call=(done, cb_arg), data=buffer)
