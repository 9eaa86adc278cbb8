"""Owns which namespaces a controller has: read at every bring-up, and again whenever they change.

A `Namespace` object is of one namespace in one format and size. While that stays, the object stays, whatever else is
read anew. When the namespace goes, or comes back in another format or size, the object is retired: it takes no more
commands, what was not yet posted of the commands for it ends with `UsageError`, and `Core.namespaces` has another
object or none. What the controller has already is the controller's to end. So no transfer that is split, and no command
that waits for a slot, reaches blocks of another size than it was checked for.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from aionvme.admin import bringup
from aionvme.errors import ControllerResetError, NvmeError, StatusError, UsageError
from aionvme.qpair.namespace import Namespace
from aionvme.spec.identify import IdentifyNamespace
from aionvme.spec.identify_sets import ExtendedFormatBits, IdentifyNvmNamespace
from aionvme.spec.opcodes import Cns, LogPageId

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aionvme.admin.core import Commands, Core
    from aionvme.admin.event_stream import AsyncEvent

logger = logging.getLogger("aionvme")

# Bits of storage and reference tag, by the guard (NVM Command Set 1.0, 5.2.1): of 16, 32 and 64 bits.
_TAG_BITS = {0: 32, 1: 80, 2: 48}
_QUALIFIED = 3
# A reset in the middle has it begin again.
_ATTEMPTS = 4


async def read(core: Core) -> None:
    """At bring-up, where `Core.data` was just read."""
    _apply(core, await _find(core, core.urgent))


async def refresh(core: Core, *, controller: bool = False) -> None:
    """Has `Core.namespaces` follow a change: a command of ours, or what an event told.

    Args:
        controller: Identify Controller is read anew as well: it has the unallocated capacity.

    Raises:
        NvmeError: It could not be read; the namespaces that went away by our own command are gone all the same.
    """
    async with core.scanning:
        for left in reversed(range(_ATTEMPTS)):
            epoch = core.epoch
            try:
                if controller:
                    core.data = await core.commands.identify(Cns.CONTROLLER)
                found = await _find(core, core.commands)
            except ControllerResetError:
                if not left:
                    raise
                continue
            if core.epoch == epoch:
                _apply(core, found)
                return


def refresh_soon(core: Core) -> None:
    """`refresh` in the background, for who cannot wait; what goes wrong is logged."""
    if core.rescan is None and not core.admin.closed:
        core.rescan = core.loop.create_task(_refresh_quietly(core), name=f"aionvme {core} namespaces")


async def _refresh_quietly(core: Core) -> None:
    # A change that comes from here on has another refresh follow.
    core.rescan = None
    try:
        await refresh(core)
    except NvmeError as error:
        logger.info("%s: its namespaces could not be read anew: %s", core, error)


async def follow(core: Core, event: AsyncEvent) -> None:
    """For `Events.add_hook`: somebody changed namespaces of this controller. Which, does not matter: all are read."""
    if event.log_page == LogPageId.CHANGED_NAMESPACES:
        await refresh(core, controller=True)


def forget(core: Core, nsids: Iterable[int], what: str) -> None:
    """These namespaces were deleted, detached or formatted (`what` says it) by us: nothing is sent to them any more."""
    for nsid in list(nsids):
        namespace = core.namespaces.pop(nsid, None)
        if namespace is not None:
            _retire(core, namespace, f"namespace {nsid} {what}")
    _tell_borrowers(core)


def _retire(core: Core, namespace: Namespace, why: str) -> None:
    namespace.retire(why)
    for qp in list(core.queues.values()):
        qp.home.tell(partial(qp.drop_unposted, namespace.nsid, UsageError(f"ns: {why}")))


def _apply(core: Core, found: dict[int, Namespace]) -> None:
    before = dict(core.namespaces)
    # Other threads look at it: one that goes on is there all the time.
    core.namespaces.update(found)
    for nsid, namespace in before.items():
        if nsid not in found:
            del core.namespaces[nsid]
            _retire(core, namespace, f"namespace {nsid} is not attached to the controller any more")
        elif found[nsid] is not namespace:
            _retire(core, namespace, f"namespace {nsid} has another format or size now: see ctrlr.namespaces")
    if before != core.namespaces:
        _tell_borrowers(core)


def _tell_borrowers(core: Core) -> None:
    for borrowers in core.borrowers:
        borrowers.namespaces_changed()


# -- what there is -----------------------------------------------------------------------------------------------------


async def _find(core: Core, commands: Commands) -> dict[int, Namespace]:
    """The active namespaces. One that did not change is the same object."""
    found: dict[int, Namespace] = {}
    if core.opts.command_set == bringup.CSS_ADMIN_ONLY:
        return found
    for nsid in await _active_nsids(core, commands):
        identified = await commands.identify(Cns.NAMESPACE, nsid=nsid)
        namespace = await _namespace(core, commands, nsid, identified)
        if namespace is not None:
            found[nsid] = namespace
    return found


async def _active_nsids(core: Core, commands: Commands) -> tuple[int, ...]:
    if core.registers.version() < (1, 1, 0):
        # The list came with 1.1; before, every identifier up to NN was a namespace.
        assert core.data is not None
        return tuple(range(1, core.data.nn + 1))
    return await commands.list_nsids(Cns.ACTIVE_NAMESPACES)


async def _namespace(core: Core, commands: Commands, nsid: int, data: IdentifyNamespace) -> Namespace | None:
    if data.nsze == 0 or data.block_size < 512:
        # Inactive, or of a command set that has no such blocks.
        return None
    nvm = await _nvm_namespace(commands, nsid)
    before = core.namespaces.get(nsid)
    if before is not None and shape(before.data, before.nvm) == shape(data, nvm):
        return before
    form = _extended_format(data, nvm)
    # PIF 3 says that QPIF has it (NVM Command Set 1.1).
    guard = form.qpif if form.pif == _QUALIFIED else form.pif
    return Namespace(
        nsid=nsid,
        block_size=data.block_size,
        nblocks=data.nsze,
        metadata_size=data.metadata_size,
        extended=data.extended,
        boundary=data.noiob,
        pi_type=data.protection_type,
        pi_size=(16 if guard else 8) if data.protection_type else 0,
        tag_bits=_TAG_BITS.get(guard, 32),
        storage_tag_bits=form.sts if data.protection_type else 0,
        data=data,
        nvm=nvm,
        controller=core.dma,
    )


async def _nvm_namespace(commands: Commands, nsid: int) -> IdentifyNvmNamespace | None:
    """Identify Namespace of the NVM command set (CNS 05h), which controllers before 2.0 do not have."""
    try:
        nvm: IdentifyNvmNamespace = await commands.identify(Cns.CSI_NAMESPACE, nsid=nsid)
    except StatusError:
        return None
    return nvm


def _extended_format(data: IdentifyNamespace, nvm: IdentifyNvmNamespace | None) -> ExtendedFormatBits:
    return ExtendedFormatBits(nvm.elbaf[data.lba_format_index].value if nvm is not None else 0)


def shape(data: IdentifyNamespace, nvm: IdentifyNvmNamespace | None) -> tuple[object, ...]:
    """What makes a namespace another one to its users. How much of it is in use (NUSE) does not."""
    form = _extended_format(data, nvm).value
    return (data.nsze, data.flbas, data.lba_format, form, data.dps, data.noiob, data.nguid, data.eui64)
