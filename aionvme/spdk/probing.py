"""Owns finding, attaching and detaching controllers."""

from __future__ import annotations

import errno
from collections.abc import Callable, Coroutine, Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any

import aionvme
from aionvme.spdk.constants import SPDK_NVME_TRANSPORT_PCIE, SPDK_NVME_TRANSPORT_VFIOUSER
from aionvme.spdk.driving import PRIVATE, blocking, in_loop
from aionvme.spdk.failing import FAILURES, errno_of, logger
from aionvme.spdk.handles import ALL, CtrlrState, adopt, attached, ctrlr_state, drop, tell_removal
from aionvme.spdk.memory import REGISTRY
from aionvme.spdk.structures import spdk_nvme_ctrlr_opts, spdk_nvme_transport_id

if TYPE_CHECKING:
    from aionvme.connecting import Address

    Answer = int | Coroutine[Any, Any, int]


class Absent(Enum):
    """What stands for an argument that was not given."""

    ABSENT = 0


ABSENT = Absent.ABSENT
FAILED = -1

Trid = spdk_nvme_transport_id | str | Any
ProbeCb = Callable[[Any, Any, spdk_nvme_ctrlr_opts], bool]
AttachCb = Callable[[Any, Any, aionvme.Controller, spdk_nvme_ctrlr_opts], object]
RemoveCb = Callable[[Any, aionvme.Controller], object]


def _addresses(trid: Trid) -> Iterable[Address] | None:
    """Where to look; None for all of the PCI bus."""
    if trid is None:
        return None
    if isinstance(trid, (list, tuple)):
        return [address for each in trid for address in _addresses(each) or ()]
    if isinstance(trid, spdk_nvme_transport_id):
        if not trid.traddr:
            return None if trid.trtype == SPDK_NVME_TRANSPORT_PCIE else []
        if trid.traddr.startswith("mock:"):
            return [trid.traddr]
        return [f"trtype:{trid.trstring} traddr:{trid.traddr}"]
    return [trid]


def _trid_of(pci_dev: aionvme.PciDevice) -> spdk_nvme_transport_id:
    scheme, _, path = pci_dev.bdf.partition(":")
    if scheme == "vfio-user":
        return spdk_nvme_transport_id(SPDK_NVME_TRANSPORT_VFIOUSER, path, pci_dev=pci_dev)
    return spdk_nvme_transport_id(traddr=pci_dev.bdf, pci_dev=pci_dev)


def spdk_nvme_probe(
    trid: Trid = None,
    cb_ctx: Any = None,
    probe_cb: ProbeCb | Any = ABSENT,
    attach_cb: AttachCb | Any = ABSENT,
    remove_cb: RemoveCb | None = None,
) -> Answer:
    """Finds controllers, asks for each whether it is wanted, and attaches the wanted ones. Blocks.

    Call it again to find new ones, and to be told of those that are gone.

    Args:
        trid: Where: an `spdk_nvme_transport_id`, or any address of `aionvme.connect`, or a list of them; None for every
            NVMe function that is bound to vfio-pci.
        cb_ctx: Handed to the callbacks.
        probe_cb: `probe_cb(cb_ctx, trid, opts) -> bool`.
        attach_cb: `attach_cb(cb_ctx, trid, ctrlr, opts)`.
        remove_cb: `remove_cb(cb_ctx, ctrlr)`, once for a controller that is gone. None for no notice.

    The announcement's `spdk_nvme_probe(cb_ctx, probe_cb, attach_cb)` is taken as well: its callbacks get the
    `PciDevice` in the place of `trid`.

    Returns:
        0, or -1 if one could not be attached; the others are.
    """
    if probe_cb is ABSENT:
        raise TypeError("spdk_nvme_probe(trid, cb_ctx, probe_cb, attach_cb, remove_cb)")
    if attach_cb is ABSENT:
        probe = Probe(None, trid, cb_ctx, probe_cb, None, announced=True)
    else:
        probe = Probe(trid, cb_ctx, probe_cb, attach_cb, remove_cb, announced=False)
    if in_loop():
        return probe.in_loop()
    return probe.without_loop()


class Probe:
    """One call of `spdk_nvme_probe`."""

    def __init__(
        self, trid: Trid, cb_ctx: Any, probe_cb: Any, attach_cb: Any, remove_cb: Any, *, announced: bool
    ) -> None:
        self._trid = trid
        self._cb_ctx = cb_ctx
        self._probe_cb = probe_cb
        self._attach_cb = attach_cb
        self._remove_cb = remove_cb
        self._announced = announced
        self._found: list[aionvme.Controller] = []

    def without_loop(self) -> int:
        self.tell_removals()
        code = PRIVATE.run(self.find())
        # Out of the loop, so that a callback may block as SPDK's may.
        self.tell()
        return code

    async def in_loop(self) -> int:
        self.tell_removals()
        code = await self.find()
        self.tell()
        return code

    def tell_removals(self) -> None:
        """Calls the remove callback of each attached controller that is gone."""
        for ctrlr, state in attached():
            tell_removal(ctrlr, state)

    async def find(self) -> int:
        """Attaches what is wanted; -1 if one of them could not be."""
        try:
            await aionvme.probe(None, self._wanted, self._attached, addresses=_addresses(self._trid))
        except ExceptionGroup as group:
            for error in group.exceptions:
                logger.warning("%s: %s", type(error).__name__, str(error))
            return FAILED
        except FAILURES as error:
            errno_of(error)
            return FAILED
        return 0

    def _name(self, pci_dev: aionvme.PciDevice) -> Any:
        return pci_dev if self._announced else _trid_of(pci_dev)

    def _wanted(self, _ctx: object, pci_dev: aionvme.PciDevice, opts: aionvme.ControllerOptions) -> bool:
        chosen = spdk_nvme_ctrlr_opts.of(opts)
        if not self._probe_cb(self._cb_ctx, self._name(pci_dev), chosen):
            return False
        chosen.write_to(opts)
        return True

    def _attached(
        self,
        _ctx: object,
        pci_dev: aionvme.PciDevice,
        ctrlr: aionvme.Controller,
        _opts: aionvme.ControllerOptions,
    ) -> None:
        adopt(ctrlr, _trid_of(pci_dev), self._remove_cb, self._cb_ctx)
        self._found.append(ctrlr)

    def tell(self) -> None:
        """Hands over every controller that has come up, also after a callback that raises."""
        error: BaseException | None = None
        found, self._found = self._found, []
        for ctrlr in found:
            opts = spdk_nvme_ctrlr_opts.of(ctrlr.opts)
            try:
                self._attach_cb(self._cb_ctx, self._name(ctrlr.pci_dev), ctrlr, opts)
            except Exception as raised:
                error = error or raised
        if error is not None:
            raise error


def spdk_nvme_connect(
    trid: Trid, opts: spdk_nvme_ctrlr_opts | None = None, opts_size: int = 0
) -> aionvme.Controller | Coroutine[Any, Any, aionvme.Controller | None] | None:
    """Attaches one controller. Blocks.

    Args:
        trid: Which: an `spdk_nvme_transport_id`, or any address of `aionvme.connect`.
        opts: How; None for the defaults.
        opts_size: As in C; not looked at.

    Returns:
        The controller, or None.
    """

    async def connect() -> aionvme.Controller | None:
        options = aionvme.ControllerOptions()
        try:
            if opts is not None:
                opts.write_to(options)
            addresses = list(_addresses(trid) or ())
            if len(addresses) != 1:
                raise aionvme.AddressError(f"{trid!r} does not name one controller")
            ctrlr = await aionvme.connect(addresses[0], options)
        except FAILURES as error:
            errno_of(error)
            return None
        adopt(ctrlr, _trid_of(ctrlr.pci_dev))
        return ctrlr

    return blocking(connect)


def spdk_nvme_detach(ctrlr: aionvme.Controller) -> Answer:
    """Frees the queue pairs of a controller, shuts it down and gives it back. Blocks.

    Commands that it has are waited for, and their callbacks called.

    Returns:
        0; -1 if it did not shut down, and was given back all the same; -EBUSY from within one of its callbacks, -EINVAL
        for one that is not attached.
    """
    try:
        state = ctrlr_state(ctrlr)
    except FAILURES as error:
        return errno_of(error)
    if in_loop():
        return _detach_in_loop(ctrlr, state)
    if state.calling_back:
        return -errno.EBUSY
    return forget(ctrlr, state, PRIVATE.run(close_attached(ctrlr, state)))


async def _detach_in_loop(ctrlr: aionvme.Controller, state: CtrlrState) -> int:
    return forget(ctrlr, state, await close_attached(ctrlr, state))


async def close_attached(ctrlr: aionvme.Controller, state: CtrlrState) -> int:
    """Closes a controller; 0, -1 if it did not shut down, or another negative errno if it was left as it was."""
    REGISTRY.forget(ctrlr)
    for qpair_state in state.qpairs:
        qpair_state.miss_pair()
    try:
        await ctrlr.close()
    except aionvme.WrongLoopError as error:
        return errno_of(error)
    except FAILURES as error:
        errno_of(error)
        return FAILED
    return 0


def forget(ctrlr: aionvme.Controller, state: CtrlrState, code: int) -> int:
    """Calls the callbacks that waited, and lets go of the controller; what `close_attached` gave, again."""
    if code not in (0, FAILED):
        # It belongs to another loop, and is as it was.
        return code
    # Out of the private loop: what is called may block.
    for qpair_state in list(state.qpairs):
        qpair_state.call_waiting(ALL)
    state.call_waiting()
    drop(ctrlr)
    return code


__all__ = ["spdk_nvme_connect", "spdk_nvme_detach", "spdk_nvme_probe"]
