"""Owns what a controller is asked, its reset, and its admin commands."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from aionvme.errors import UsageError
from aionvme.spdk.driving import PRIVATE, blocking, in_own_loop
from aionvme.spdk.failing import FAILURES, errno_of
from aionvme.spdk.handles import CmdCb, ctrlr_state, qpair_state, tell_removal
from aionvme.spdk.memory import REGISTRY
from aionvme.spdk.probing import ABSENT, FAILED
from aionvme.spdk.structures import (
    Command,
    payload_bytes,
    spdk_nvme_ctrlr_opts,
    spdk_nvme_transport_id,
    sqe_of,
)
from aionvme.spec import entries

if TYPE_CHECKING:
    from aionvme import Controller, IdentifyController, IoQueuePair, Namespace

TO_CONTROLLER = 1
_DWORDS = struct.Struct("<16I")

# -- what it is ------------------------------------------------------------------------------------------------------


def spdk_nvme_ctrlr_get_data(ctrlr: Controller) -> IdentifyController:
    """Identify Controller."""
    return ctrlr.data


def spdk_nvme_ctrlr_get_default_ctrlr_opts(opts: spdk_nvme_ctrlr_opts, opts_size: int = 0) -> None:
    """Fills `opts` in with the defaults."""
    fresh = spdk_nvme_ctrlr_opts()
    for name in spdk_nvme_ctrlr_opts.__slots__:
        if not name.startswith("_"):
            setattr(opts, name, getattr(fresh, name))


def spdk_nvme_ctrlr_get_opts(ctrlr: Controller) -> spdk_nvme_ctrlr_opts:
    """The options as finally used; a copy."""
    return spdk_nvme_ctrlr_opts.of(ctrlr.opts)


def spdk_nvme_ctrlr_get_transport_id(ctrlr: Controller) -> spdk_nvme_transport_id:
    """What it was attached by."""
    return ctrlr_state(ctrlr).trid


def spdk_nvme_ctrlr_get_max_xfer_size(ctrlr: Controller) -> int:
    """Most bytes of one command, 0 for no limit; longer transfers are split."""
    return ctrlr.max_transfer


def spdk_nvme_ctrlr_is_failed(ctrlr: Controller) -> bool:
    """Whether it is gone, failed or detached."""
    return ctrlr.closed


def spdk_nvme_ctrlr_set_remove_cb(ctrlr: Controller, remove_cb: Any, remove_ctx: Any) -> None:
    """Has `remove_cb(remove_ctx, ctrlr)` called once when it is gone; None for not."""
    state = ctrlr_state(ctrlr)
    state.remove_cb, state.cb_ctx = remove_cb, remove_ctx


def spdk_nvme_ctrlr_get_num_ns(ctrlr: Controller) -> int:
    """The highest identifier that a namespace may have (NN); which there are is asked by the next functions."""
    return ctrlr.data.nn


def spdk_nvme_ctrlr_get_ns(ctrlr: Controller, ns_id: int) -> Namespace | None:
    """A namespace, or None."""
    return ctrlr.namespaces.get(ns_id)


def spdk_nvme_ctrlr_is_active_ns(ctrlr: Controller, nsid: int) -> bool:
    """Whether it has that namespace."""
    return nsid in ctrlr.namespaces


def spdk_nvme_ctrlr_get_first_active_ns(ctrlr: Controller) -> int:
    """The lowest identifier of a namespace, 0 for none."""
    return min(ctrlr.namespaces, default=0)


def spdk_nvme_ctrlr_get_next_active_ns(ctrlr: Controller, prev_nsid: int) -> int:
    """The identifier of the namespace after `prev_nsid`, 0 for none."""
    return min((nsid for nsid in ctrlr.namespaces if nsid > prev_nsid), default=0)


def spdk_nvme_ctrlr_is_log_page_supported(ctrlr: Controller, log_page: int) -> bool:
    """Whether it has a log page: by its list of them, Identify Controller, or what is known of its vendor."""
    return ctrlr.is_log_page_supported(log_page)


def spdk_nvme_ctrlr_is_feature_supported(ctrlr: Controller, feature_code: int) -> bool:
    """Whether the controller has a feature."""
    return 0 <= feature_code <= 0xFF and ctrlr.is_feature_supported(feature_code)


# -- reset, and polling ----------------------------------------------------------------------------------------------


def spdk_nvme_ctrlr_reset(ctrlr: Controller) -> int | Coroutine[Any, Any, int]:
    """Resets the controller; its queue pairs go on. Blocks. 0, or -1 on failure."""

    async def reset() -> int:
        try:
            ctrlr_state(ctrlr)
            await ctrlr.reset()
        except FAILURES as error:
            errno_of(error)
            return FAILED
        return 0

    return blocking(reset)


def spdk_nvme_ctrlr_reset_subsystem(ctrlr: Controller) -> int | Coroutine[Any, Any, int]:
    """Resets every controller of the NVM subsystem. Blocks. 0, -1 on failure, -ENOTSUP where there is no such reset."""

    async def reset() -> int:
        try:
            ctrlr_state(ctrlr)
            if not ctrlr.closed and not ctrlr.has_subsystem_reset:
                return -errno.ENOTSUP
            await ctrlr.subsystem_reset()
        except FAILURES as error:
            errno_of(error)
            return FAILED
        return 0

    return blocking(reset)


def spdk_nvme_ctrlr_register_aer_callback(ctrlr: Controller, aer_cb_fn: CmdCb, aer_cb_arg: Any) -> None:
    """Has `aer_cb_fn(aer_cb_arg, cpl)` called for asynchronous events, in place of the one before; None for none.

    `cpl.dw0` says what happened. Unlike in SPDK the log page of the event was read before, which clears the event.
    """
    state = ctrlr_state(ctrlr)
    state.take_back_aer()
    state.take_back_aer = lambda: None
    if aer_cb_fn is not None:
        state.take_back_aer = ctrlr.on_event(
            lambda _arg, event: state.done((aer_cb_fn, aer_cb_arg), event.cpl), None
        )


def spdk_nvme_ctrlr_process_admin_completions(ctrlr: Controller) -> int:
    """Calls back for the admin commands that have completed. Does not block, in a loop or not.

    Returns:
        How many; 0 from within one of its callbacks. -ENXIO when the controller is gone or failed and everything has
        been called back.
    """
    try:
        state = ctrlr_state(ctrlr)
        if state.polling:
            return 0
        # Admin completions come by the loop alone: it has its turn each time.
        PRIVATE.turn(at_once=True)
        count = state.call_waiting()
        tell_removal(ctrlr, state)
    except FAILURES as error:
        return errno_of(error)
    if not count and ctrlr.closed:
        return -errno.ENXIO
    return count


# -- submitting ------------------------------------------------------------------------------------------------------


def submit_admin(
    ctrlr: Controller,
    make: Callable[[], bytes],
    payload: Any,
    payload_size: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    *,
    write: bool,
) -> int:
    """Submits an admin command whose data is copied to or from `payload`, any buffer; 0 or a negative errno."""
    try:
        state = ctrlr_state(ctrlr)
        sqe = make()
        buffer = None
        if payload is not None and payload_size:
            buffer = ctrlr.dma_alloc(payload_size)
            view = _view(payload, payload_size, write)
            if write:
                memoryview(buffer)[:] = view

        def done(_arg: object, cpl: Any) -> None:
            state.done((copy_and_call, cb_arg), cpl)

        def copy_and_call(arg: Any, cpl: Any) -> None:
            if buffer is not None and not write:
                view[:] = memoryview(buffer)
            if cb_fn is not None:
                cb_fn(arg, cpl)

        in_own_loop(lambda: ctrlr.submit_admin_raw(sqe, done, None, data=buffer, write=write))
    except FAILURES as error:
        return errno_of(error)
    return 0


def _view(payload: Any, nbytes: int, write: bool) -> memoryview:
    if write and not isinstance(payload, (bytes, bytearray, memoryview)):
        try:
            payload = memoryview(payload)
        except TypeError:
            payload = payload_bytes(payload)
    view = memoryview(payload).cast("B")
    if view.nbytes < nbytes:
        raise UsageError(f"payload has {view.nbytes} bytes, and payload_size is {nbytes}")
    if not write and view.readonly:
        raise UsageError("payload is read-only, and the controller is to fill it in")
    return view[:nbytes]


def spdk_nvme_ctrlr_cmd_admin_raw(
    ctrlr: Controller, cmd: Command, buf: Any, len: int, cb_fn: CmdCb, cb_arg: Any
) -> int:
    """Submits an admin command as its 64 bytes, with `len` bytes of DMA memory at `buf`; 0 or a negative errno."""
    try:
        state = ctrlr_state(ctrlr)
        sqe = sqe_of(cmd)
        write = sqe[0] & 3 == TO_CONTROLLER
        data = _view(buf, len, write) if buf is not None and len else None

        def send() -> object:
            return ctrlr.submit_admin_raw(sqe, state.done, (cb_fn, cb_arg), data=data, write=write)

        try:
            in_own_loop(send)
        except UsageError:
            if not REGISTRY.register(ctrlr, (data,)):
                raise
            in_own_loop(send)
    except FAILURES as error:
        return errno_of(error)
    return 0


# -- log pages and features ------------------------------------------------------------------------------------------


def spdk_nvme_ctrlr_cmd_get_log_page(
    ctrlr: Controller,
    log_page: int,
    nsid: int,
    payload: Any,
    payload_size: int,
    offset: int | CmdCb,
    cb_fn: CmdCb | Any,
    cb_arg: Any = ABSENT,
) -> int:
    """Reads a log page into `payload`, any writable buffer; 0 or a negative errno.

    The announcement's form, without `offset`, is taken as well. What is longer than one command transfers is read by
    several.
    """
    if cb_arg is ABSENT:
        offset, cb_fn, cb_arg = 0, offset, cb_fn
    at = _offset(offset)
    try:
        state = ctrlr_state(ctrlr)
        if payload is None or payload_size <= 0:
            raise UsageError(f"payload_size must be a multiple of 4 and more than 0, not {payload_size}")
        view = _view(payload, payload_size, False)
        held = bytearray(payload_size)

        def done(_arg: object, cpl: Any) -> None:
            state.done((copy_and_call, cb_arg), cpl)

        def copy_and_call(arg: Any, cpl: Any) -> None:
            # Only now: until it is called back, the payload is the caller's to look at.
            view[:] = held
            if cb_fn is not None:
                cb_fn(arg, cpl)

        in_own_loop(
            lambda: ctrlr.submit_get_log_page(log_page, done, None, nsid=nsid, offset=at, payload=held)
        )
    except FAILURES as error:
        return errno_of(error)
    return 0


def _offset(offset: Any) -> int:
    if not isinstance(offset, int):
        raise TypeError(f"offset is a number of bytes, not {type(offset).__name__}")
    return offset


def spdk_nvme_ctrlr_cmd_get_log_page_ext(
    ctrlr: Controller,
    log_page: int,
    nsid: int,
    payload: Any,
    payload_size: int,
    offset: int,
    cdw10: int,
    cdw11: int,
    cdw14: int,
    cb_fn: CmdCb,
    cb_arg: Any,
) -> int:
    """As `spdk_nvme_ctrlr_cmd_get_log_page`, with further bits of its command dwords."""

    def make() -> bytes:
        if payload is None or payload_size <= 0 or payload_size % 4:
            raise UsageError(f"payload_size must be a multiple of 4 and more than 0, not {payload_size}")
        if offset < 0 or offset % 4:
            raise UsageError(f"offset must be a multiple of 4, not {offset}")
        if offset and not ctrlr.data.lpa >> 2 & 1:
            raise UsageError(f"{ctrlr!r} has no offsets into log pages (LPA bit 2 is 0)")
        sqe = entries.get_log_page(log_page, nbytes=payload_size, nsid=nsid, offset=offset)
        words = list(_DWORDS.unpack(sqe))
        for index, more in ((10, cdw10), (11, cdw11), (14, cdw14)):
            words[index] |= more
        return _DWORDS.pack(*words)

    return submit_admin(ctrlr, make, payload, payload_size, cb_fn, cb_arg, write=False)


def spdk_nvme_ctrlr_cmd_get_feature(
    ctrlr: Controller,
    feature: int,
    cdw11: int,
    payload: Any,
    payload_size: int,
    cb_fn: CmdCb,
    cb_arg: Any,
) -> int:
    """Reads a feature: its value is `cpl.dw0`, its data goes to `payload`; 0 or a negative errno."""
    return spdk_nvme_ctrlr_cmd_get_feature_ns(ctrlr, feature, cdw11, payload, payload_size, cb_fn, cb_arg, 0)


def spdk_nvme_ctrlr_cmd_get_feature_ns(
    ctrlr: Controller,
    feature: int,
    cdw11: int,
    payload: Any,
    payload_size: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    ns_id: int,
) -> int:
    """As `spdk_nvme_ctrlr_cmd_get_feature`, of a namespace."""

    def make() -> bytes:
        return entries.get_features(feature, cdw11=cdw11, nsid=ns_id)

    return submit_admin(ctrlr, make, payload, payload_size, cb_fn, cb_arg, write=False)


def spdk_nvme_ctrlr_cmd_set_feature(
    ctrlr: Controller,
    feature: int,
    cdw11: int,
    cdw12: int,
    payload: Any,
    payload_size: int,
    cb_fn: CmdCb,
    cb_arg: Any,
) -> int:
    """Sets a feature; 0 or a negative errno."""
    return spdk_nvme_ctrlr_cmd_set_feature_ns(
        ctrlr, feature, cdw11, cdw12, payload, payload_size, cb_fn, cb_arg, 0
    )


def spdk_nvme_ctrlr_cmd_set_feature_ns(
    ctrlr: Controller,
    feature: int,
    cdw11: int,
    cdw12: int,
    payload: Any,
    payload_size: int,
    cb_fn: CmdCb,
    cb_arg: Any,
    ns_id: int,
) -> int:
    """As `spdk_nvme_ctrlr_cmd_set_feature`, of a namespace."""

    def make() -> bytes:
        return entries.set_features(feature, cdw11=cdw11, cdw12=cdw12, nsid=ns_id)

    return submit_admin(ctrlr, make, payload, payload_size, cb_fn, cb_arg, write=True)


def spdk_nvme_ctrlr_cmd_abort(
    ctrlr: Controller, qpair: IoQueuePair | None, cid: int, cb_fn: CmdCb, cb_arg: Any
) -> int:
    """Asks for the end of a command, of the admin queue with None; bit 0 of `cpl.dw0` is 0 if it was aborted."""

    def make() -> bytes:
        if qpair is not None and qpair_state(qpair).ctrlr is not ctrlr:
            raise UsageError("this queue pair is of another controller")
        return entries.abort(sqid=0 if qpair is None else qpair.qid, cid=cid)

    return submit_admin(ctrlr, make, None, 0, cb_fn, cb_arg, write=False)
