"""Owns what is kept for each controller and queue pair besides ours: callbacks to come, and halves of fused pairs.

The handles of SPDK's functions are our own `Controller`, `IoQueuePair` and `Namespace`. A callback is called by
`spdk_nvme_qpair_process_completions` and `spdk_nvme_ctrlr_process_admin_completions`, as in SPDK, and not by what the
private loop does while a blocking call runs it: a completion that comes then waits here.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from aionvme.errors import ControllerLostError, NvmeError, UsageError
from aionvme.spdk.driving import PRIVATE
from aionvme.spdk.failing import logger
from aionvme.spdk.structures import Spoken, spdk_nvme_transport_id
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme import Controller, IoQueuePair, Namespace

# More callbacks than can wait.
ALL = 1 << 62

CmdCb = Callable[[Any, Any], object] | None
Call = tuple[CmdCb, Any]


def call_all(waiting: deque[tuple[CmdCb, Any, Any]], most: int) -> int:
    """Calls what waits, `most` at the most. One that raises is logged, and takes no other with it."""
    count = 0
    while waiting and count < most:
        cb_fn, cb_arg, cpl = waiting.popleft()
        count += 1
        if cb_fn is None:
            continue
        try:
            cb_fn(cb_arg, cpl)
        except Exception:
            logger.exception("exception in the callback of a command")
    return count


@attrs.frozen
class FirstOfPair:
    """A compare with SPDK_NVME_IO_FLAGS_FUSE_FIRST: it is sent with the write that follows."""

    ns: Namespace
    payload: Any
    lba: int
    lba_count: int
    call: Call


class QpairState:
    """What is kept for a queue pair.

    Attributes:
        waiting: Callbacks to come, with their argument and completion.
        polling: Its callbacks are being called.
        called: How many callbacks there were.
        free_wanted: One of them freed it.
        first: The first half of a fused pair.
    """

    def __init__(self, ctrlr: Controller) -> None:
        self._ctrlr = weakref.ref(ctrlr)
        self.waiting: deque[tuple[CmdCb, Any, Any]] = deque()
        self.polling = False
        self.called = 0
        self.free_wanted = False
        self.first: FirstOfPair | None = None

    @property
    def ctrlr(self) -> Controller:
        """The controller that has it."""
        ctrlr = self._ctrlr()
        if ctrlr is None:
            raise UsageError("the controller of this queue pair was dropped without spdk_nvme_detach")
        return ctrlr

    def done(self, call: Call, cpl: Any) -> None:
        """The callback of every command of the queue pair."""
        cb_fn, cb_arg = call
        if PRIVATE.turning:
            self.waiting.append((cb_fn, cb_arg, cpl))
            return
        self.called += 1
        if cb_fn is not None:
            cb_fn(cb_arg, cpl)

    def call_waiting(self, most: int) -> int:
        """Calls what waits, `most` at the most."""
        self.polling = True
        try:
            return call_all(self.waiting, most)
        finally:
            self.polling = False

    def miss_pair(self) -> None:
        """No write came after the compare of a fused pair: it ends as the controller would have ended it."""
        first, self.first = self.first, None
        if first is not None:
            self.waiting.append((*first.call, Spoken.of(StatusCode.ABORTED_MISSING_FUSED)))


class CtrlrState:
    """What is kept for a controller.

    Attributes:
        trid: What it was attached by.
        waiting: Callbacks of admin commands to come.
        polling: They are being called.
        remove_cb, cb_ctx: To be called once when the controller is gone.
        qpairs: Its queue pairs.
        take_back_aer: Takes the callback for asynchronous events back.
    """

    def __init__(self, trid: spdk_nvme_transport_id, remove_cb: Any, cb_ctx: Any) -> None:
        self.trid = trid
        self.waiting: deque[tuple[CmdCb, Any, Any]] = deque()
        self.polling = False
        self.remove_cb = remove_cb
        self.cb_ctx = cb_ctx
        self.qpairs: list[QpairState] = []
        self.take_back_aer: Callable[[], None] = lambda: None

    def done(self, call: Call, cpl: Any) -> None:
        """The callback of every admin command: SPDK calls it when it is asked to look, so it waits."""
        self.waiting.append((*call, cpl))

    def call_waiting(self) -> int:
        """Calls what waits."""
        self.polling = True
        try:
            return call_all(self.waiting, ALL)
        finally:
            self.polling = False

    @property
    def calling_back(self) -> bool:
        """Whether a callback of the controller's or of one of its queue pairs' is under way."""
        return self.polling or any(state.polling for state in self.qpairs)


_ctrlrs: weakref.WeakKeyDictionary[Controller, CtrlrState] = weakref.WeakKeyDictionary()
_qpairs: weakref.WeakKeyDictionary[IoQueuePair, QpairState] = weakref.WeakKeyDictionary()


def adopt(ctrlr: Controller, trid: spdk_nvme_transport_id, remove_cb: Any = None, cb_ctx: Any = None) -> None:
    """A controller was attached."""
    _ctrlrs[ctrlr] = CtrlrState(trid, remove_cb, cb_ctx)
    PRIVATE.keep(ctrlr)


def adopt_qpair(ctrlr: Controller, qpair: IoQueuePair) -> None:
    """A queue pair was allocated."""
    state = QpairState(ctrlr)
    _qpairs[qpair] = state
    ctrlr_state(ctrlr).qpairs.append(state)


def drop(ctrlr: Controller) -> None:
    """A controller was detached."""
    state = _ctrlrs.pop(ctrlr, None)
    PRIVATE.release(ctrlr)
    for qpair, qpair_state in list(_qpairs.items()):
        if state is not None and qpair_state in state.qpairs:
            del _qpairs[qpair]


def drop_qpair(qpair: IoQueuePair) -> None:
    """A queue pair was freed."""
    state = _qpairs.pop(qpair, None)
    if state is not None:
        ctrlr_state(state.ctrlr).qpairs.remove(state)


def ctrlr_state(ctrlr: Controller) -> CtrlrState:
    """What is kept for a controller; `UsageError` for one that was not attached by these functions, or detached."""
    state = _ctrlrs.get(ctrlr)
    if state is None:
        raise UsageError(
            f"{ctrlr!r} was not attached by spdk_nvme_probe or spdk_nvme_connect, or was detached"
        )
    return state


def qpair_state(qpair: IoQueuePair) -> QpairState:
    """What is kept for a queue pair; `UsageError` for one of another kind, or freed."""
    state = _qpairs.get(qpair)
    if state is None:
        raise UsageError(f"{qpair!r} was not allocated by spdk_nvme_ctrlr_alloc_io_qpair, or was freed")
    return state


def find_qpair(qpair: IoQueuePair) -> QpairState | None:
    """What is kept for a queue pair, None for one that was freed."""
    return _qpairs.get(qpair)


def attached() -> list[tuple[Controller, CtrlrState]]:
    """Every controller that is attached."""
    return list(_ctrlrs.items())


def ctrlr_of(ns: Namespace) -> Controller | None:
    """The controller that has a namespace, None if it was detached."""
    for ctrlr in list(_ctrlrs):
        if ctrlr.namespaces.get(ns.nsid) is ns:
            return ctrlr
    return None


def is_lost(ctrlr: Controller) -> bool:
    """Whether a controller is gone, rather than closed or failed."""
    if not ctrlr.closed:
        return False
    try:
        ctrlr.dma_alloc(1)
    except ControllerLostError:
        return True
    except NvmeError:
        return False
    return False


def tell_removal(ctrlr: Controller, state: CtrlrState) -> None:
    """Calls the remove callback of a controller that is gone, once."""
    remove_cb = state.remove_cb
    if remove_cb is not None and is_lost(ctrlr):
        state.remove_cb = None
        remove_cb(state.cb_ctx, ctrlr)
