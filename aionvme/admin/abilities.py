"""Owns what a controller says of its I/O commands: read at every bring-up, for the queue pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aionvme.admin.core import logger
from aionvme.errors import StatusError
from aionvme.qpair.limits import Limits
from aionvme.spec.identify import IdentifyController
from aionvme.spec.identify_sets import IdentifyNvmController
from aionvme.spec.logs import CommandsSupportedAndEffects
from aionvme.spec.opcodes import Cns, FeatureId, LogPageId

if TYPE_CHECKING:
    from aionvme.admin.core import Core

# OCFS: Copy formats 2 and 3.
_ACROSS_NAMESPACES = 0b1100
_BEHAVIOR_BYTES = 512


async def read_limits(core: Core, data: IdentifyController) -> Limits:
    """Which optional I/O commands there are, and the sizes that they take."""
    unit = 1 << (12 + core.registers.cap.mpsmin)
    nvm = await _nvm_controller(core)
    log = core.commands_log = await _commands_log(core, data)
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
