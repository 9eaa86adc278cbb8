"""Owns what a controller says of its I/O commands and namespaces: read at every bring-up, for the queue pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aionvme.admin import bringup
from aionvme.admin.core import logger
from aionvme.errors import ControllerFailedError, StatusError
from aionvme.qpair.limits import Limits
from aionvme.qpair.namespace import Namespace
from aionvme.spec.identify import IdentifyController, IdentifyNamespace
from aionvme.spec.identify_sets import ExtendedFormatBits, IdentifyNvmController, IdentifyNvmNamespace
from aionvme.spec.logs import CommandsSupportedAndEffects
from aionvme.spec.opcodes import Cns, FeatureId, LogPageId

if TYPE_CHECKING:
    from aionvme.admin.core import Core

# Most entries of an active namespace list (Base 2.0, 5.17.2.2).
_LIST_ENTRIES = 1024
# Bits of storage and reference tag, by the guard (NVM Command Set 1.0, 5.2.1): of 16, 32 and 64 bits.
_TAG_BITS = {0: 32, 1: 80, 2: 48}
_QUALIFIED = 3
# OCFS: Copy formats 2 and 3.
_ACROSS_NAMESPACES = 0b1100
_BEHAVIOR_BYTES = 512


async def read_limits(core: Core, data: IdentifyController) -> Limits:
    """Which optional I/O commands there are, and the sizes that they take."""
    unit = 1 << (12 + core.registers.cap.mpsmin)
    nvm = await _nvm_controller(core)
    log = await _commands_log(core, data)
    return Limits(
        name=str(core),
        oncs=data.oncs,
        fuses=data.fuses,
        sgls=data.sgls,
        ocfs=await _copy_formats(core, data),
        host_id_extended=bool(data.ctratt & 1),
        verify_bytes=unit << nvm.vsl if nvm.vsl else 0,
        write_zeroes_bytes=unit << nvm.wzsl if nvm.wzsl else 0,
        write_uncorrectable_bytes=unit << nvm.wusl if nvm.wusl else 0,
        dsm_ranges=nvm.dmrl,
        dsm_range_blocks=nvm.dmrsl,
        dsm_blocks=nvm.dmsl,
        **({"in_log": log.supports_io} if log is not None else {}),
    )


async def _copy_formats(core: Core, data: IdentifyController) -> int:
    """The formats of Copy that can be used. Those that name a namespace are off until the host says that it knows them.

    That is CDFE in bytes 5:4 of Host Behavior Support (Base 2.1, 5.1.25.1.14).
    """
    formats: int = data.ocfs or 1
    across = formats & _ACROSS_NAMESPACES
    if not data.oncs >> 8 & 1 or not across:
        return formats
    try:
        held = await core.urgent.get_feature(FeatureId.HOST_BEHAVIOR_SUPPORT, nbytes=_BEHAVIOR_BYTES)
        behavior = bytearray(held.data)
        enabled = int.from_bytes(behavior[4:6], "little") | across
        behavior[4:6] = enabled.to_bytes(2, "little")
        await core.urgent.set_feature(FeatureId.HOST_BEHAVIOR_SUPPORT, data=bytes(behavior))
    except StatusError as error:
        logger.info("%s: copies within a namespace only: %s", core, error)
        return formats & ~_ACROSS_NAMESPACES
    return formats


async def _nvm_controller(core: Core) -> IdentifyNvmController:
    """Identify Controller of the NVM command set (CNS 06h); all zeros, no limits, where it came too late for it."""
    try:
        nvm: IdentifyNvmController = await core.urgent.identify(Cns.CSI_CONTROLLER)
    except StatusError:
        return IdentifyNvmController()
    return nvm


async def _commands_log(core: Core, data: IdentifyController) -> CommandsSupportedAndEffects | None:
    """The commands supported and effects log (LPA bit 1), None where there is none or it is empty."""
    if not data.lpa >> 1 & 1:
        return None
    try:
        log: CommandsSupportedAndEffects = await core.urgent.get_log_page(LogPageId.COMMAND_EFFECTS)
    except StatusError:
        return None
    # A controller without a Read command in its log filled in none of it.
    return log if log.supports_io(2) else None


async def read_namespaces(core: Core, data: IdentifyController) -> None:
    """The active namespaces. One that did not change stays the same object."""
    if core.opts.command_set == bringup.CSS_ADMIN_ONLY:
        core.namespaces.clear()
        return
    nsids = await _active_nsids(core, data)
    found: dict[int, Namespace] = {}
    for nsid in nsids:
        identified = await core.urgent.identify(Cns.NAMESPACE, nsid=nsid)
        namespace = await _namespace(core, nsid, identified)
        if namespace is not None:
            found[nsid] = namespace
    core.namespaces.clear()
    core.namespaces.update(found)


async def _active_nsids(core: Core, data: IdentifyController) -> list[int]:
    if core.registers.version() < (1, 1, 0):
        # The list came with 1.1; before, every identifier up to NN was a namespace.
        return list(range(1, data.nn + 1))
    nsids: list[int] = []
    while True:
        part = await core.urgent.identify(Cns.ACTIVE_NAMESPACES, nsid=nsids[-1] if nsids else 0)
        if part and nsids and part[0] <= nsids[-1]:
            raise ControllerFailedError(f"{core}: its list of active namespaces is not in order")
        nsids += part
        if len(part) < _LIST_ENTRIES:
            return nsids


async def _namespace(core: Core, nsid: int, data: IdentifyNamespace) -> Namespace | None:
    if data.nsze == 0 or data.block_size < 512:
        # Inactive, or of a command set that has no such blocks.
        return None
    before = core.namespaces.get(nsid)
    if before is not None and _shape(before.data) == _shape(data):
        return before
    nvm = await _nvm_namespace(core, nsid)
    form = ExtendedFormatBits(nvm.elbaf[data.lba_format_index].value if nvm is not None else 0)
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


async def _nvm_namespace(core: Core, nsid: int) -> IdentifyNvmNamespace | None:
    """Identify Namespace of the NVM command set (CNS 05h), which controllers before 2.0 do not have."""
    try:
        nvm: IdentifyNvmNamespace = await core.urgent.identify(Cns.CSI_NAMESPACE, nsid=nsid)
    except StatusError:
        return None
    return nvm


def _shape(data: IdentifyNamespace) -> tuple[object, ...]:
    """What makes a namespace another one to its users. How much of it is in use (NUSE) does not."""
    return (data.nsze, data.flbas, data.lba_format, data.dps, data.noiob, data.nguid, data.eui64)
