"""Owns I/O queue pairs: allocating, polling and freeing them, and submitting what needs no more than 64 bytes."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Any

from aionvme.admin.options import QPrio
from aionvme.errors import UsageError
from aionvme.spdk.driving import PRIVATE, blocking, in_loop
from aionvme.spdk.failing import FAILURES, errno_of
from aionvme.spdk.handles import (
    ALL,
    Call,
    CmdCb,
    QpairState,
    adopt_qpair,
    ctrlr_state,
    drop_qpair,
    find_qpair,
    qpair_state,
)
from aionvme.spdk.memory import REGISTRY, place_of
from aionvme.spdk.segments import Segments
from aionvme.spdk.structures import Command, spdk_nvme_io_qpair_opts, sqe_of

if TYPE_CHECKING:
    from aionvme import Controller, IoQueuePair

TO_CONTROLLER = 1


def spdk_nvme_ctrlr_get_default_io_qpair_opts(
    ctrlr: Controller, opts: spdk_nvme_io_qpair_opts, opts_size: int = 0
) -> None:
    """Fills `opts` in with what `spdk_nvme_ctrlr_alloc_io_qpair` takes by default."""
    opts.qprio = int(QPrio.URGENT)
    opts.io_queue_size = ctrlr.opts.io_queue_depth + 1
    opts.io_queue_requests = 2 * opts.io_queue_size
    opts.delay_cmd_submit = opts.create_only = opts.async_mode = False


def spdk_nvme_ctrlr_alloc_io_qpair(
    ctrlr: Controller, opts: spdk_nvme_io_qpair_opts | int | None = None, opts_size: int = 0
) -> IoQueuePair | Coroutine[Any, Any, IoQueuePair | None] | None:
    """Allocates an I/O queue pair, which belongs to this thread, or to the running loop. Blocks.

    Args:
        ctrlr: The controller.
        opts: How, None for the defaults; or SPDK_NVME_QPRIO_*, as in the announcement.
        opts_size: As in C; not looked at.

    Returns:
        The queue pair, or None.
    """

    async def alloc() -> IoQueuePair | None:
        try:
            ctrlr_state(ctrlr)
            depth, qprio = _chosen(opts)
            qpair = await ctrlr.alloc_io_qpair(depth=depth, qprio=qprio, completion="manual")
        except FAILURES as error:
            errno_of(error)
            return None
        adopt_qpair(ctrlr, qpair)
        return qpair

    return blocking(alloc)


def _chosen(opts: spdk_nvme_io_qpair_opts | int | None) -> tuple[int | None, QPrio]:
    if opts is None:
        return None, QPrio.URGENT
    if isinstance(opts, int):
        if opts not in set(QPrio):
            raise UsageError(f"{opts} is no SPDK_NVME_QPRIO_*")
        return None, QPrio(opts)
    if opts.create_only or opts.async_mode:
        raise UsageError("create_only and async_mode are not supported: what is allocated is connected")
    if opts.qprio not in set(QPrio):
        raise UsageError(f"{opts.qprio} is no SPDK_NVME_QPRIO_*")
    return (opts.io_queue_size - 1 if opts.io_queue_size else None), QPrio(opts.qprio)


def spdk_nvme_ctrlr_free_io_qpair(qpair: IoQueuePair) -> int | Coroutine[Any, Any, int]:
    """Waits for the commands of a queue pair, has them called back, and frees it. Blocks. Always 0.

    From within one of its callbacks it returns at once, and the queue pair is freed when they have all been called.
    """
    state = find_qpair(qpair)
    if state is not None and state.polling and not in_loop():
        state.free_wanted = True
        return 0

    if in_loop():
        return _free_in_loop(qpair, state)
    if state is not None:
        PRIVATE.run(_close(qpair, state))
        _forget(qpair, state)
    return 0


async def _free_in_loop(qpair: IoQueuePair, state: QpairState | None) -> int:
    if state is not None:
        await _close(qpair, state)
        _forget(qpair, state)
    return 0


async def _close(qpair: IoQueuePair, state: QpairState) -> None:
    state.miss_pair()
    try:
        await qpair.close()
    except FAILURES as error:
        errno_of(error)


def _forget(qpair: IoQueuePair, state: QpairState) -> None:
    # Out of the private loop: what is called may block.
    state.call_waiting(ALL)
    drop_qpair(qpair)


def spdk_nvme_qpair_process_completions(qpair: IoQueuePair, max_completions: int = 0) -> int:
    """Calls back for what has completed. Does not block, in a loop or not.

    Args:
        qpair: The queue pair.
        max_completions: At most so many; 0 for all that are there.

    Returns:
        How many completions there were; 0 from within one of its callbacks. -ENXIO when the controller is gone or
        failed and everything has been called back.
    """
    try:
        state = qpair_state(qpair)
        if state.polling:
            return 0
        PRIVATE.turn()
        count = _poll(qpair, state, max_completions)
    except FAILURES as error:
        return errno_of(error)
    if not count and qpair.closed and find_qpair(qpair) is not None:
        return -errno.ENXIO
    return count


def _poll(qpair: IoQueuePair, state: QpairState, most: int) -> int:
    count = state.call_waiting(most or ALL)
    if not most or count < most:
        count += _reap(qpair, state, most and most - count)
    if state.free_wanted:
        state.free_wanted = False
        spdk_nvme_ctrlr_free_io_qpair(qpair)
    return count


def _reap(qpair: IoQueuePair, state: QpairState, most: int) -> int:
    before = state.called
    state.polling = True
    try:
        count = qpair.process_completions(most)
    finally:
        state.polling = False
    # What the driver ended by itself, as after a timeout, was called back and is no completion of the controller's.
    return count or state.called - before


def spdk_nvme_qpair_get_id(qpair: IoQueuePair) -> int:
    """Its queue identifier."""
    return qpair.qid


def spdk_nvme_qpair_get_num_outstanding_reqs(qpair: IoQueuePair) -> int:
    """Commands that it has, and callbacks to come."""
    state = find_qpair(qpair)
    return qpair.outstanding + (len(state.waiting) if state is not None else 0)


def spdk_nvme_qpair_get_queue_depth(qpair: IoQueuePair) -> int:
    """Commands that may be outstanding at once."""
    return qpair.depth


def spdk_nvme_qpair_is_connected(qpair: IoQueuePair) -> bool:
    """Whether it takes commands."""
    return find_qpair(qpair) is not None and not qpair.closed


# -- submitting ------------------------------------------------------------------------------------------------------


def submit(
    qpair: IoQueuePair, name: str, *args: Any, call: Call, memory: Iterable[Any] = (), **keywords: Any
) -> int:
    """Calls `qpair.submit_NAME`; 0, or a negative errno.

    `memory` are the buffers that the command names. Where it is refused, those of SPDK's memory are registered with the
    controller, and if one had not been, it is submitted again.
    """
    try:
        state = qpair_state(qpair)
        state.miss_pair()
        method = getattr(qpair, f"submit_{name}")
        try:
            method(*args, cb_fn=state.done, cb_arg=call, when_full="error", **keywords)
        except UsageError:
            if not REGISTRY.register(state.ctrlr, memory):
                raise
            method(*args, cb_fn=state.done, cb_arg=call, when_full="error", **keywords)
    except FAILURES as error:
        return errno_of(error)
    return 0


def _part(buf: Any, length: int) -> Any:
    """The first bytes of a buffer; None for none."""
    if buf is None or length == 0:
        return None
    view = memoryview(buf).cast("B")
    if view.nbytes < length:
        raise UsageError(f"buf has {view.nbytes} bytes, and len is {length}")
    return view[:length]


def _check_pair(ctrlr: Controller, qpair: IoQueuePair) -> None:
    if qpair_state(qpair).ctrlr is not ctrlr:
        raise UsageError("this queue pair is of another controller")


def spdk_nvme_ctrlr_cmd_io_raw(
    ctrlr: Controller, qpair: IoQueuePair, cmd: Command, buf: Any, len: int, cb_fn: CmdCb, cb_arg: Any
) -> int:
    """Submits an I/O command as its 64 bytes, with `len` bytes of data at `buf`; 0 or a negative errno."""
    return spdk_nvme_ctrlr_cmd_io_raw_with_md(ctrlr, qpair, cmd, buf, len, None, cb_fn, cb_arg)


def spdk_nvme_ctrlr_cmd_io_raw_with_md(
    ctrlr: Controller,
    qpair: IoQueuePair,
    cmd: Command,
    buf: Any,
    len: int,
    md_buf: Any,
    cb_fn: CmdCb,
    cb_arg: Any,
) -> int:
    """As `spdk_nvme_ctrlr_cmd_io_raw`, with separate metadata at `md_buf`."""
    try:
        _check_pair(ctrlr, qpair)
        sqe, data = sqe_of(cmd), _part(buf, len)
    except FAILURES as error:
        return errno_of(error)
    return submit(
        qpair,
        "io_raw",
        sqe,
        call=(cb_fn, cb_arg),
        memory=(data, md_buf),
        data=data,
        metadata=md_buf,
        write=sqe[0] & 3 == TO_CONTROLLER,
    )


def spdk_nvme_ctrlr_io_cmd_raw_no_payload_build(
    ctrlr: Controller, qpair: IoQueuePair, cmd: Command, cb_fn: CmdCb, cb_arg: Any
) -> int:
    """Submits an I/O command as its 64 bytes, the pointers to memory included: they are I/O virtual addresses."""
    return spdk_nvme_ctrlr_cmd_io_raw_with_md(ctrlr, qpair, cmd, None, 0, None, cb_fn, cb_arg)


def spdk_nvme_ctrlr_cmd_iov_raw_with_md(
    ctrlr: Controller,
    qpair: IoQueuePair,
    cmd: Command,
    len: int,
    md_buf: Any,
    cb_fn: CmdCb,
    cb_arg: Any,
    reset_sgl_fn: Any,
    next_sge_fn: Any,
) -> int:
    """As `spdk_nvme_ctrlr_cmd_io_raw_with_md`, with data in several places: it goes through memory of our own.

    See `spdk_nvme_ns_cmd_readv` for the last two.
    """
    try:
        _check_pair(ctrlr, qpair)
        sqe = sqe_of(cmd)
        parts = Segments(reset_sgl_fn, next_sge_fn, cb_arg).all(len)
        buffer = ctrlr.dma_alloc(len)
    except FAILURES as error:
        return errno_of(error)
    write = sqe[0] & 3 == TO_CONTROLLER
    if write:
        gather(parts, memoryview(buffer))

    def done(arg: Any, cpl: Any) -> None:
        if not write:
            scatter(memoryview(buffer), parts)
        if cb_fn is not None:
            cb_fn(arg, cpl)

    return submit(
        qpair,
        "io_raw",
        sqe,
        call=(done, cb_arg),
        memory=(md_buf,),
        data=buffer,
        metadata=md_buf,
        write=write,
    )


def _pieces(parts: list[Any], nbytes: int) -> Iterable[tuple[int, int, int | None]]:
    """Offset, length and address of each segment, as far as they are needed."""
    offset = 0
    for part in parts:
        place = place_of(part)
        length = place[1] if place is not None else part[1]
        length = min(length, nbytes - offset)
        yield offset, length, None if place is None else place[0]
        offset += length


def gather(parts: list[Any], into: memoryview) -> None:
    """Copies segments into one buffer."""
    for offset, length, address in _pieces(parts, into.nbytes):
        if address is not None:
            into[offset : offset + length] = ctypes.string_at(address, length)


def scatter(data: memoryview, parts: list[Any]) -> None:
    """Copies one buffer into segments; a bit bucket takes its part away."""
    for offset, length, address in _pieces(parts, data.nbytes):
        if address is not None:
            ctypes.memmove(address, bytes(data[offset : offset + length]), length)
