"""Owns probing, connecting and detaching in steps: begun by one call, driven on by polling.

Without a running loop polling lets the private loop turn once. Inside one they go on by themselves, and polling only
looks: give the loop its turns in between.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from aionvme.spdk.driving import PRIVATE, in_loop
from aionvme.spdk.failing import FAILURES, errno_of
from aionvme.spdk.handles import attached, ctrlr_state, tell_removal
from aionvme.spdk.probing import Probe, close_attached, forget

if TYPE_CHECKING:
    import aionvme
    from aionvme.spdk.handles import CtrlrState
    from aionvme.spdk.probing import AttachCb, ProbeCb, RemoveCb, Trid
    from aionvme.spdk.structures import spdk_nvme_ctrlr_opts


class spdk_nvme_probe_ctx:
    """A probe that was begun."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._task = PRIVATE.begin(probe.find())

    def poll(self) -> int:
        """A step; 0 when it has ended. What a callback raises is raised."""
        PRIVATE.turn(at_once=True)
        self._probe.tell()
        if not self._task.done():
            return -errno.EAGAIN
        PRIVATE.close_if_unused()
        self._task.result()
        return 0


def spdk_nvme_probe_async(
    trid: Trid, cb_ctx: Any, probe_cb: ProbeCb, attach_cb: AttachCb, remove_cb: RemoveCb | None = None
) -> spdk_nvme_probe_ctx:
    """Begins what `spdk_nvme_probe` does. Poll it by `spdk_nvme_probe_poll_async` until that returns 0.

    `probe_cb` is called before this returns; inside a running loop, in one of its next turns.
    """
    probe = Probe(trid, cb_ctx, probe_cb, attach_cb, remove_cb, announced=False)
    probe.tell_removals()
    begun = spdk_nvme_probe_ctx(probe)
    PRIVATE.turn(at_once=True)
    return begun


def spdk_nvme_probe_poll_async(probe_ctx: spdk_nvme_probe_ctx) -> int:
    """Goes on with a probe or a connect, and calls `attach_cb` for what has come up.

    Returns:
        0 when all have come up or failed, of which nothing tells; -EAGAIN: poll again.
    """
    return probe_ctx.poll()


def spdk_nvme_connect_async(
    trid: Trid, opts: spdk_nvme_ctrlr_opts | None, attach_cb: AttachCb
) -> spdk_nvme_probe_ctx | None:
    """Begins what `spdk_nvme_connect` does; poll it by `spdk_nvme_probe_poll_async`.

    `attach_cb(opts, trid, ctrlr, opts as used)` is called when it is up, and not if it fails. None without `trid`.
    """
    if trid is None:
        return None

    def wanted(_ctx: object, _trid: object, chosen: spdk_nvme_ctrlr_opts) -> bool:
        if opts is not None:
            chosen.copy_from(opts)
        return True

    begun = spdk_nvme_probe_ctx(Probe(trid, opts, wanted, attach_cb, None, announced=False))
    PRIVATE.turn(at_once=True)
    return begun


class spdk_nvme_detach_ctx:
    """Detachments that were begun."""

    def __init__(self) -> None:
        self._under_way: list[tuple[aionvme.Controller, CtrlrState, asyncio.Task[int]]] = []
        self.polled = False

    def begin(self, ctrlr: aionvme.Controller, state: CtrlrState) -> None:
        """One more."""
        self._under_way.append((ctrlr, state, PRIVATE.begin(close_attached(ctrlr, state))))

    def poll(self) -> int:
        """A step; 0 when all have ended."""
        self.polled = True
        PRIVATE.turn(at_once=True)
        for entry in list(self._under_way):
            ctrlr, state, task = entry
            if task.done():
                self._under_way.remove(entry)
                forget(ctrlr, state, task.result())
        return -errno.EAGAIN if self._under_way else 0

    def wait(self) -> Coroutine[Any, Any, None]:
        """Waits for all tasks."""
        return _ended([task for _, _, task in self._under_way])


async def _ended(tasks: list[asyncio.Task[int]]) -> None:
    if tasks:
        await asyncio.wait(tasks)


def spdk_nvme_detach_async(ctrlr: aionvme.Controller, detach_ctx: list[spdk_nvme_detach_ctx | None]) -> int:
    """Begins what `spdk_nvme_detach` does. Poll it by `spdk_nvme_detach_poll_async` until that returns 0.

    Args:
        ctrlr: The controller.
        detach_ctx: A list of one, in the place of C's pointer to a pointer: `[None]` for a new context, which is put
            there, or that of detachments that were begun before.

    Returns:
        0; -EINVAL for a controller that is not attached, -EBUSY for a context that is being polled.
    """
    try:
        state = ctrlr_state(ctrlr)
    except FAILURES as error:
        return errno_of(error)
    context = detach_ctx[0] or spdk_nvme_detach_ctx()
    if context.polled:
        return -errno.EBUSY
    context.begin(ctrlr, state)
    detach_ctx[0] = context
    return 0


def spdk_nvme_detach_poll_async(detach_ctx: spdk_nvme_detach_ctx | None) -> int:
    """Goes on with detachments: 0 when all have ended; -EAGAIN: poll again; -EINVAL without a context."""
    return detach_ctx.poll() if detach_ctx is not None else -errno.EINVAL


def spdk_nvme_detach_poll(detach_ctx: spdk_nvme_detach_ctx | None) -> Coroutine[Any, Any, None] | None:
    """Waits for the end of detachments. Blocks."""
    if in_loop():
        return _detach_poll_in_loop(detach_ctx)
    if detach_ctx is not None:
        PRIVATE.run(detach_ctx.wait())
        detach_ctx.poll()
    return None


async def _detach_poll_in_loop(detach_ctx: spdk_nvme_detach_ctx | None) -> None:
    if detach_ctx is not None:
        await detach_ctx.wait()
        detach_ctx.poll()


def spdk_nvme_scan_attached(trid: Trid) -> int:
    """Looks whether an attached controller is gone, and calls its remove callback, once. Of every transport.

    Returns:
        0.
    """
    PRIVATE.turn(at_once=True)
    for ctrlr, state in attached():
        tell_removal(ctrlr, state)
    return 0


__all__ = [
    "spdk_nvme_connect_async",
    "spdk_nvme_detach_async",
    "spdk_nvme_detach_ctx",
    "spdk_nvme_detach_poll",
    "spdk_nvme_detach_poll_async",
    "spdk_nvme_probe_async",
    "spdk_nvme_probe_ctx",
    "spdk_nvme_probe_poll_async",
    "spdk_nvme_scan_attached",
]
