"""Owns the commands that name blocks and move none to or from the host. Each returns 0 or a negative errno.

Each calls `cb_fn(cb_arg, cpl)` when it has completed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aionvme.errors import UsageError
from aionvme.spdk import constants
from aionvme.spdk.failing import FAILURES, errno_of
from aionvme.spdk.handles import CmdCb, qpair_state
from aionvme.spdk.qpair import submit
from aionvme.spdk.structures import spdk_nvme_dsm_range, spdk_nvme_scc_source_range
from aionvme.spec import nvm

if TYPE_CHECKING:
    from aionvme import IoQueuePair, Namespace

DEALLOCATE = 1 << 25  # DEAC of Write Zeroes

# -- ranges without data ---------------------------------------------------------------------------------------------


def spdk_nvme_ns_cmd_write_zeroes(
    ns: Namespace,
    qpair: IoQueuePair,
    lba: int,
    lba_count: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    io_flags: int,
) -> int:
    """Has `lba_count` blocks from `lba` on read as zeroes; with bit 25 of `io_flags` it may deallocate them."""
    return submit(
        qpair,
        "write_zeroes",
        ns,
        lba,
        lba_count,
        call=(cb_fn, cb_arg),
        io_flags=io_flags & ~DEALLOCATE,
        deallocate=bool(io_flags & DEALLOCATE),
    )


def spdk_nvme_ns_cmd_write_uncorrectable(
    ns: Namespace, qpair: IoQueuePair, lba: int, lba_count: int, cb_fn: CmdCb, cb_arg: Any
) -> int:
    """Has reads of these blocks fail until they are written again."""
    return submit(qpair, "write_uncorrectable", ns, lba, lba_count, call=(cb_fn, cb_arg))


def spdk_nvme_ns_cmd_verify(
    ns: Namespace,
    qpair: IoQueuePair,
    lba: int,
    lba_count: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    io_flags: int,
) -> int:
    """Has the controller read and check these blocks without a transfer."""
    return submit(qpair, "verify", ns, lba, lba_count, call=(cb_fn, cb_arg), io_flags=io_flags)


def spdk_nvme_ns_cmd_flush(ns: Namespace, qpair: IoQueuePair, cb_fn: CmdCb, cb_arg: Any) -> int:
    """Has the volatile write cache written to the medium."""
    return submit(qpair, "flush", ns, call=(cb_fn, cb_arg))


# -- lists of ranges -------------------------------------------------------------------------------------------------


def spdk_nvme_ns_cmd_dataset_management(
    ns: Namespace,
    qpair: IoQueuePair,
    type: int,
    ranges: Sequence[spdk_nvme_dsm_range | tuple[int, int]],
    num_ranges: int,
    cb_fn: CmdCb,
    cb_arg: Any,
) -> int:
    """Says how ranges of blocks will be used, or that they are not.

    Args:
        ns, qpair: Where.
        type: SPDK_NVME_DSM_ATTR_*.
        ranges: `spdk_nvme_dsm_range`, or (lba, nblocks) pairs.
        num_ranges: How many of them.
        cb_fn, cb_arg: Called when the command has completed.
    """
    try:
        chosen = _first(ranges, num_ranges)
        pairs = [
            (each.starting_lba, each.length) if isinstance(each, spdk_nvme_dsm_range) else each
            for each in chosen
        ]
        if any(isinstance(each, spdk_nvme_dsm_range) and each.attributes for each in chosen):
            return _dsm_with_attributes(ns, qpair, type, chosen, (cb_fn, cb_arg))
    except FAILURES as error:
        return errno_of(error)
    return submit(
        qpair,
        "dataset_management",
        ns,
        pairs,
        call=(cb_fn, cb_arg),
        deallocate=bool(type & constants.SPDK_NVME_DSM_ATTR_DEALLOCATE),
        integral_read=bool(type & constants.SPDK_NVME_DSM_ATTR_INTEGRAL_READ),
        integral_write=bool(type & constants.SPDK_NVME_DSM_ATTR_INTEGRAL_WRITE),
    )


def _dsm_with_attributes(
    ns: Namespace, qpair: IoQueuePair, type: int, ranges: Sequence[Any], call: tuple[CmdCb, Any]
) -> int:
    """Context attributes are hints that our own call does not have: the command is made here."""
    data = bytearray()
    for each in ranges:
        if not isinstance(each, spdk_nvme_dsm_range):
            each = spdk_nvme_dsm_range(0, each[1], each[0])
        data += nvm.DsmRange(cattr=each.attributes, nlb=each.length, slba=each.starting_lba).encode()
    sqe = nvm.dataset_management(
        ns.nsid,
        len(ranges),
        deallocate=bool(type & constants.SPDK_NVME_DSM_ATTR_DEALLOCATE),
        integral_read=bool(type & constants.SPDK_NVME_DSM_ATTR_INTEGRAL_READ),
        integral_write=bool(type & constants.SPDK_NVME_DSM_ATTR_INTEGRAL_WRITE),
    )
    return submit_copied(qpair, sqe, bytes(data), call)


def submit_copied(qpair: IoQueuePair, sqe: bytes, data: bytes, call: tuple[CmdCb, Any]) -> int:
    """A raw command whose data goes to the controller, from a copy."""
    try:
        buffer = qpair_state(qpair).ctrlr.dma_alloc(len(data))
    except FAILURES as error:
        return errno_of(error)
    memoryview(buffer)[:] = data
    return submit(qpair, "io_raw", sqe, call=call, data=buffer, write=True)


def _first(ranges: Sequence[Any], count: int) -> Sequence[Any]:
    if not 0 < count <= len(ranges):
        raise UsageError(f"num_ranges is {count}, and there are {len(ranges)} ranges")
    return ranges[:count]


def spdk_nvme_ns_cmd_copy(
    ns: Namespace,
    qpair: IoQueuePair,
    ranges: Sequence[spdk_nvme_scc_source_range | tuple[int, int]],
    num_ranges: int,
    dest_lba: int,
    cb_fn: CmdCb,
    cb_arg: Any,
) -> int:
    """Copies ranges of blocks, one after another, to `dest_lba` and on.

    Args:
        ns, qpair: Where.
        ranges: `spdk_nvme_scc_source_range`, whose `nlb` is 0's based, or (lba, nblocks) pairs, that count from 1.
        num_ranges: How many of them.
        dest_lba: Where the first block goes.
        cb_fn, cb_arg: Called when the command has completed.
    """
    try:
        pairs = [
            (each.slba, each.nlb + 1) if isinstance(each, spdk_nvme_scc_source_range) else each
            for each in _first(ranges, num_ranges)
        ]
    except FAILURES as error:
        return errno_of(error)
    return submit(qpair, "copy", ns, pairs, dest_lba, call=(cb_fn, cb_arg))
