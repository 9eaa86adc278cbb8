"""Owns how a read, write or compare is submitted, whichever of SPDK's functions asks for it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from aionvme.spdk import constants
from aionvme.spdk.fused import take_first, take_second
from aionvme.spdk.handles import CmdCb
from aionvme.spdk.qpair import submit
from aionvme.spdk.segments import NextSgeCb, ResetSglCb, Segments
from aionvme.spdk.structures import spdk_nvme_ns_cmd_ext_io_opts

if TYPE_CHECKING:
    from aionvme import IoQueuePair, Namespace

FUSE_MASK = constants.SPDK_NVME_IO_FLAGS_FUSE_MASK
DTYPE_MASK = 0xF << 20

_NO_OPTS = spdk_nvme_ns_cmd_ext_io_opts()


def _keywords(opts: spdk_nvme_ns_cmd_ext_io_opts) -> dict[str, Any]:
    """Our keywords for SPDK's options."""
    return {
        "io_flags": opts.io_flags & ~(FUSE_MASK | DTYPE_MASK),
        "metadata": opts.metadata,
        "app_mask": opts.apptag_mask,
        "app_tag": opts.apptag,
        "dtype": (opts.io_flags & DTYPE_MASK) >> 20,
        "dspec": opts.cdw13 >> 16,
    }


def _refused(opts: spdk_nvme_ns_cmd_ext_io_opts) -> int:
    """A negative errno for options that are not to be had, else 0."""
    if opts.memory_domain is not None or opts.accel_sequence is not None:
        return -errno.ENOTSUP
    if opts.cdw13 & 0xFFFF:
        return -errno.ENOTSUP
    return 0


def transfer(
    name: str,
    ns: Namespace,
    qpair: IoQueuePair,
    payload: Any,
    lba: int,
    lba_count: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    opts: spdk_nvme_ns_cmd_ext_io_opts | None,
) -> int:
    """Read, write or compare with one buffer."""
    opts = opts if opts is not None else _NO_OPTS
    if code := _refused(opts):
        return code
    if opts.io_flags & FUSE_MASK:
        return _fused(name, ns, qpair, payload, lba, lba_count, cb_fn, cb_arg, opts)
    return submit(
        qpair,
        name,
        ns,
        payload,
        lba,
        lba_count,
        call=(cb_fn, cb_arg),
        memory=(payload, opts.metadata),
        **_keywords(opts),
    )


def _fused(
    name: str,
    ns: Namespace,
    qpair: IoQueuePair,
    payload: Any,
    lba: int,
    lba_count: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    opts: spdk_nvme_ns_cmd_ext_io_opts,
) -> int:
    """Half of a fused pair: a compare, and then a write of the same blocks."""
    half = opts.io_flags & FUSE_MASK
    call = (cb_fn, cb_arg)
    if name == "compare" and half == constants.SPDK_NVME_IO_FLAGS_FUSE_FIRST:
        return take_first(ns, qpair, payload, lba, lba_count, call, opts.io_flags & ~FUSE_MASK)
    if name == "write" and half == constants.SPDK_NVME_IO_FLAGS_FUSE_SECOND:
        return take_second(ns, qpair, payload, lba, lba_count, call, opts.io_flags & ~FUSE_MASK)
    return -errno.EINVAL


def vector(
    name: str,
    ns: Namespace,
    qpair: IoQueuePair,
    lba: int,
    lba_count: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    reset_sgl_fn: ResetSglCb | None,
    next_sge_fn: NextSgeCb | None,
    opts: spdk_nvme_ns_cmd_ext_io_opts | None,
) -> int:
    """Read, write or compare with memory that callbacks name."""
    if reset_sgl_fn is None or next_sge_fn is None:
        return -errno.EINVAL
    segments = Segments(reset_sgl_fn, next_sge_fn, cb_arg)
    return with_iov(name, ns, qpair, segments.callbacks, segments.seen, lba, lba_count, cb_fn, cb_arg, opts)


def with_iov(
    name: str,
    ns: Namespace,
    qpair: IoQueuePair,
    iov: Any,
    memory: Sequence[Any],
    lba: int,
    lba_count: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    opts: spdk_nvme_ns_cmd_ext_io_opts | None,
) -> int:
    """Read, write or compare with memory in several places; `memory` is what of it has been named."""
    opts = opts if opts is not None else _NO_OPTS
    if code := _refused(opts):
        return code
    if opts.io_flags & FUSE_MASK:
        return -errno.EINVAL
    return submit(
        qpair,
        name,
        ns,
        iov,
        lba,
        lba_count,
        call=(cb_fn, cb_arg),
        memory=_Lazily(lambda: (*memory, opts.metadata)),
        **_keywords(opts),
    )


class _Lazily:
    """What callbacks have named by the time it is asked for."""

    def __init__(self, make: Callable[[], tuple[Any, ...]]) -> None:
        self._make = make

    def __iter__(self) -> Any:
        return iter(self._make())
