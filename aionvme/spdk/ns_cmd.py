"""Owns reads, writes and compares. Each returns 0 or a negative errno, and later calls `cb_fn(cb_arg, cpl)`."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from aionvme.spdk.handles import CmdCb
from aionvme.spdk.segments import NextSgeCb, ResetSglCb
from aionvme.spdk.structures import spdk_nvme_ns_cmd_ext_io_opts
from aionvme.spdk.transfer import transfer, vector, with_iov

if TYPE_CHECKING:
    from aionvme import IoQueuePair, Namespace


def _opts(
    io_flags: int, metadata: Any = None, apptag_mask: int = 0, apptag: int = 0
) -> spdk_nvme_ns_cmd_ext_io_opts:
    return spdk_nvme_ns_cmd_ext_io_opts(
        io_flags=io_flags, metadata=metadata, apptag_mask=apptag_mask, apptag=apptag
    )


# -- read ------------------------------------------------------------------------------------------------------------


def spdk_nvme_ns_cmd_read(
    ns: Namespace,
    qpair: IoQueuePair,
    payload: Any,
    lba: int,
    lba_count: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    io_flags: int,
) -> int:
    """Reads `lba_count` blocks from `lba` on into `payload`.

    Args:
        ns, qpair: Where.
        payload: Memory of `spdk_zmalloc`, `spdk_mem_register`, `ctrlr.dma_alloc` or `ctrlr.dma_register`, or a view.
        lba, lba_count: Which blocks, counted from 1.
        cb_fn, cb_arg: `cb_fn(cb_arg, cpl)` is called when it has completed.
        io_flags: SPDK_NVME_IO_FLAGS_*.
    """
    return transfer("read", ns, qpair, payload, lba, lba_count, cb_fn, cb_arg, _opts(io_flags))


def spdk_nvme_ns_cmd_read_with_md(
    ns: Namespace,
    qpair: IoQueuePair,
    payload: Any,
    metadata: Any,
    lba: int,
    lba_count: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    io_flags: int,
    apptag_mask: int,
    apptag: int,
) -> int:
    """As `spdk_nvme_ns_cmd_read`, with separate metadata and an application tag."""
    opts = _opts(io_flags, metadata, apptag_mask, apptag)
    return transfer("read", ns, qpair, payload, lba, lba_count, cb_fn, cb_arg, opts)


def spdk_nvme_ns_cmd_read_ext(
    ns: Namespace,
    qpair: IoQueuePair,
    payload: Any,
    lba: int,
    lba_count: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    opts: spdk_nvme_ns_cmd_ext_io_opts | None,
) -> int:
    """As `spdk_nvme_ns_cmd_read_with_md`, with the further arguments in a structure."""
    return transfer("read", ns, qpair, payload, lba, lba_count, cb_fn, cb_arg, opts)


def spdk_nvme_ns_cmd_readv(
    ns: Namespace,
    qpair: IoQueuePair,
    lba: int,
    lba_count: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    io_flags: int,
    reset_sgl_fn: ResetSglCb,
    next_sge_fn: NextSgeCb,
) -> int:
    """As `spdk_nvme_ns_cmd_read`, with memory in several places, which callbacks name.

    Args:
        ns, qpair, lba, lba_count, cb_fn, io_flags: As there.
        cb_arg: Handed to all three callbacks.
        reset_sgl_fn: `reset_sgl_fn(cb_arg, offset)`: the next segment is to begin at this byte of the transfer.
        next_sge_fn: `next_sge_fn(cb_arg)` gives a buffer, or (address, length); None or UINT64_MAX as the address is a
            bit bucket. A number is a failure, and the command -EINVAL.
    """
    return vector(
        "readv", ns, qpair, lba, lba_count, cb_fn, cb_arg, reset_sgl_fn, next_sge_fn, _opts(io_flags)
    )


def spdk_nvme_ns_cmd_readv_with_md(
    ns: Namespace,
    qpair: IoQueuePair,
    lba: int,
    lba_count: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    io_flags: int,
    reset_sgl_fn: ResetSglCb,
    next_sge_fn: NextSgeCb,
    metadata: Any,
    apptag_mask: int,
    apptag: int,
) -> int:
    """As `spdk_nvme_ns_cmd_readv`, with separate metadata and an application tag."""
    opts = _opts(io_flags, metadata, apptag_mask, apptag)
    return vector("readv", ns, qpair, lba, lba_count, cb_fn, cb_arg, reset_sgl_fn, next_sge_fn, opts)


def spdk_nvme_ns_cmd_readv_ext(
    ns: Namespace,
    qpair: IoQueuePair,
    lba: int,
    lba_count: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    reset_sgl_fn: ResetSglCb,
    next_sge_fn: NextSgeCb,
    opts: spdk_nvme_ns_cmd_ext_io_opts | None,
) -> int:
    """As `spdk_nvme_ns_cmd_readv_with_md`, with the further arguments in a structure."""
    return vector("readv", ns, qpair, lba, lba_count, cb_fn, cb_arg, reset_sgl_fn, next_sge_fn, opts)


def spdk_nvme_ns_cmd_read_iov(
    ns: Namespace,
    qpair: IoQueuePair,
    lba: int,
    lba_count: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    iov: Sequence[Any],
    iov_count: int,
    opts: spdk_nvme_ns_cmd_ext_io_opts | None,
) -> int:
    """As `spdk_nvme_ns_cmd_readv_ext`, with the first `iov_count` buffers of a sequence."""
    if not 0 < iov_count <= len(iov):
        return -errno.EINVAL
    parts = list(iov[:iov_count])
    return with_iov("readv", ns, qpair, parts, parts, lba, lba_count, cb_fn, cb_arg, opts)


# -- write -----------------------------------------------------------------------------------------------------------


def spdk_nvme_ns_cmd_write(
    ns: Namespace,
    qpair: IoQueuePair,
    payload: Any,
    lba: int,
    lba_count: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    io_flags: int,
) -> int:
    """Writes `lba_count` blocks from `lba` on from `payload`.

    With SPDK_NVME_IO_FLAGS_FUSE_SECOND it is the write of a fused pair.
    """
    return transfer("write", ns, qpair, payload, lba, lba_count, cb_fn, cb_arg, _opts(io_flags))


def spdk_nvme_ns_cmd_write_with_md(
    ns: Namespace,
    qpair: IoQueuePair,
    payload: Any,
    metadata: Any,
    lba: int,
    lba_count: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    io_flags: int,
    apptag_mask: int,
    apptag: int,
) -> int:
    """As `spdk_nvme_ns_cmd_write`, with separate metadata and an application tag."""
    opts = _opts(io_flags, metadata, apptag_mask, apptag)
    return transfer("write", ns, qpair, payload, lba, lba_count, cb_fn, cb_arg, opts)


def spdk_nvme_ns_cmd_write_ext(
    ns: Namespace,
    qpair: IoQueuePair,
    payload: Any,
    lba: int,
    lba_count: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    opts: spdk_nvme_ns_cmd_ext_io_opts | None,
) -> int:
    """As `spdk_nvme_ns_cmd_write_with_md`, with the further arguments in a structure."""
    return transfer("write", ns, qpair, payload, lba, lba_count, cb_fn, cb_arg, opts)


def spdk_nvme_ns_cmd_writev(
    ns: Namespace,
    qpair: IoQueuePair,
    lba: int,
    lba_count: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    io_flags: int,
    reset_sgl_fn: ResetSglCb,
    next_sge_fn: NextSgeCb,
) -> int:
    """As `spdk_nvme_ns_cmd_write`, with memory in several places, which callbacks name."""
    return vector(
        "writev", ns, qpair, lba, lba_count, cb_fn, cb_arg, reset_sgl_fn, next_sge_fn, _opts(io_flags)
    )


def spdk_nvme_ns_cmd_writev_with_md(
    ns: Namespace,
    qpair: IoQueuePair,
    lba: int,
    lba_count: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    io_flags: int,
    reset_sgl_fn: ResetSglCb,
    next_sge_fn: NextSgeCb,
    metadata: Any,
    apptag_mask: int,
    apptag: int,
) -> int:
    """As `spdk_nvme_ns_cmd_writev`, with separate metadata and an application tag."""
    opts = _opts(io_flags, metadata, apptag_mask, apptag)
    return vector("writev", ns, qpair, lba, lba_count, cb_fn, cb_arg, reset_sgl_fn, next_sge_fn, opts)


def spdk_nvme_ns_cmd_writev_ext(
    ns: Namespace,
    qpair: IoQueuePair,
    lba: int,
    lba_count: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    reset_sgl_fn: ResetSglCb,
    next_sge_fn: NextSgeCb,
    opts: spdk_nvme_ns_cmd_ext_io_opts | None,
) -> int:
    """As `spdk_nvme_ns_cmd_writev_with_md`, with the further arguments in a structure."""
    return vector("writev", ns, qpair, lba, lba_count, cb_fn, cb_arg, reset_sgl_fn, next_sge_fn, opts)


def spdk_nvme_ns_cmd_write_iov(
    ns: Namespace,
    qpair: IoQueuePair,
    lba: int,
    lba_count: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    iov: Sequence[Any],
    iov_count: int,
    opts: spdk_nvme_ns_cmd_ext_io_opts | None,
) -> int:
    """As `spdk_nvme_ns_cmd_writev_ext`, with the first `iov_count` buffers of a sequence."""
    if not 0 < iov_count <= len(iov):
        return -errno.EINVAL
    parts = list(iov[:iov_count])
    return with_iov("writev", ns, qpair, parts, parts, lba, lba_count, cb_fn, cb_arg, opts)


# -- compare ---------------------------------------------------------------------------------------------------------


def spdk_nvme_ns_cmd_compare(
    ns: Namespace,
    qpair: IoQueuePair,
    payload: Any,
    lba: int,
    lba_count: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    io_flags: int,
) -> int:
    """Compares `lba_count` blocks from `lba` on with `payload`.

    With SPDK_NVME_IO_FLAGS_FUSE_FIRST it is the compare of a fused pair.
    """
    return transfer("compare", ns, qpair, payload, lba, lba_count, cb_fn, cb_arg, _opts(io_flags))


def spdk_nvme_ns_cmd_compare_with_md(
    ns: Namespace,
    qpair: IoQueuePair,
    payload: Any,
    metadata: Any,
    lba: int,
    lba_count: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    io_flags: int,
    apptag_mask: int,
    apptag: int,
) -> int:
    """As `spdk_nvme_ns_cmd_compare`, with separate metadata and an application tag."""
    opts = _opts(io_flags, metadata, apptag_mask, apptag)
    return transfer("compare", ns, qpair, payload, lba, lba_count, cb_fn, cb_arg, opts)


def spdk_nvme_ns_cmd_comparev(
    ns: Namespace,
    qpair: IoQueuePair,
    lba: int,
    lba_count: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    io_flags: int,
    reset_sgl_fn: ResetSglCb,
    next_sge_fn: NextSgeCb,
) -> int:
    """As `spdk_nvme_ns_cmd_compare`, with memory in several places, which callbacks name."""
    return vector(
        "comparev", ns, qpair, lba, lba_count, cb_fn, cb_arg, reset_sgl_fn, next_sge_fn, _opts(io_flags)
    )


def spdk_nvme_ns_cmd_comparev_with_md(
    ns: Namespace,
    qpair: IoQueuePair,
    lba: int,
    lba_count: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    io_flags: int,
    reset_sgl_fn: ResetSglCb,
    next_sge_fn: NextSgeCb,
    metadata: Any,
    apptag_mask: int,
    apptag: int,
) -> int:
    """As `spdk_nvme_ns_cmd_comparev`, with separate metadata and an application tag."""
    opts = _opts(io_flags, metadata, apptag_mask, apptag)
    return vector("comparev", ns, qpair, lba, lba_count, cb_fn, cb_arg, reset_sgl_fn, next_sge_fn, opts)
