"""Owns the fused compare and write, which SPDK submits as two commands and we as one call.

The compare waits for the write, which has to be the next command on the queue pair; then both are posted under one
doorbell. Each has its callback: where the blocks differ, the compare's says Compare Failure, and the write's that it
was aborted because of the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aionvme.errors import UsageError
from aionvme.spdk.cpl import spdk_nvme_cpl_is_error
from aionvme.spdk.failing import FAILURES, errno_of
from aionvme.spdk.handles import Call, FirstOfPair, qpair_state
from aionvme.spdk.qpair import submit
from aionvme.spdk.structures import Spoken
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme import IoQueuePair, Namespace


def take_first(
    ns: Namespace, qpair: IoQueuePair, payload: Any, lba: int, lba_count: int, call: Call, flags: int
) -> int:
    """The compare."""
    try:
        state = qpair_state(qpair)
        state.miss_pair()
        if flags:
            raise UsageError("io_flags: the compare of a fused pair takes no further flags")
        state.first = FirstOfPair(ns, payload, lba, lba_count, call)
    except FAILURES as error:
        return errno_of(error)
    return 0


def take_second(
    ns: Namespace, qpair: IoQueuePair, payload: Any, lba: int, lba_count: int, call: Call, flags: int
) -> int:
    """The write: both go."""
    try:
        state = qpair_state(qpair)
        first = state.first
        if first is None or (first.ns, first.lba, first.lba_count) != (ns, lba, lba_count):
            raise UsageError("SPDK_NVME_IO_FLAGS_FUSE_SECOND: no compare of the same blocks came before")
    except FAILURES as error:
        return errno_of(error)

    def done(_arg: object, cpl: Any) -> None:
        answers = _both(cpl)
        for (cb_fn, cb_arg), answer in zip((first.call, call), answers, strict=True):
            if cb_fn is not None:
                cb_fn(cb_arg, answer)

    # The compare is this call's from here on: taken out, so that submitting does not end it as half of a pair.
    state.first = None
    code = submit(
        qpair,
        "compare_and_write",
        ns,
        first.payload,
        payload,
        lba,
        lba_count,
        call=(done, None),
        memory=(first.payload, payload),
        io_flags=flags,
    )
    if code:
        # Nothing was sent. The write may come again, as after -ENOMEM in SPDK.
        state.first = first
    return code


def _both(cpl: Any) -> tuple[Any, Any]:
    """The completions of both, made of that of the pair."""
    if spdk_nvme_cpl_is_error(cpl):
        return cpl, Spoken.of(StatusCode.ABORTED_FAILED_FUSED)
    return cpl, cpl
