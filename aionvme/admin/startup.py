"""Owns what is asked and set between reset and readiness (NVMe Base 2.0, 3.5.1): again after every reset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aionvme.admin import (
    abilities,
    bringup,
    doorbells,
    feature_support,
    host_memory,
    log_support,
    namespaces,
)
from aionvme.admin.core import logger
from aionvme.admin.options import ArbMechanism, process_host_id
from aionvme.errors import ControllerFailedError, StatusError
from aionvme.spec.identify import IdentifyController
from aionvme.spec.opcodes import Cns, FeatureId

if TYPE_CHECKING:
    from aionvme.admin.core import Core

_EXHID = 1


async def start(core: Core) -> None:
    """From a disabled controller to one that takes I/O queues. Its admin rings are empty.

    Raises:
        ControllerFailedError: It does not become ready, or says what cannot be.
        ControllerLostError: It is gone.
        StatusError: It refused a command that every controller must take.
    """
    core.function.set_bus_master(True)
    await bringup.enable(
        core.registers,
        asq=core.admin.sq_iova,
        acq=core.admin.cq_iova,
        entries=core.admin.entries,
        page_size=core.page_size,
        css=_command_set(core),
        ams=_arbitration(core),
    )
    core.enabled = True
    doorbells.set_up_cmb(core)
    core.data = await core.urgent.identify(Cns.CONTROLLER)
    _limit_transfers(core, core.data)
    await log_support.read(core, core.data)
    await feature_support.read(core, core.data)
    await _set_host_id(core, core.data)
    await _set_arbitration(core)
    await _set_number_of_queues(core)
    await doorbells.set_up_shadows(core)
    await host_memory.set_up(core)
    core.limits = await abilities.read_limits(core, core.data)
    await core.events.configure()
    await namespaces.read(core)
    core.events.start()
    await core.keep_alive.start()


def _command_set(core: Core) -> int:
    core.opts.command_set = bringup.choose_command_set(core.registers.cap, core.opts.command_set)
    return core.opts.command_set


def _arbitration(core: Core) -> int:
    # CAP.AMS: bit 0 weighted round robin with urgent priority class, bit 1 vendor specific.
    has = core.registers.cap.ams
    wanted = core.opts.arb_mechanism
    if (wanted is ArbMechanism.WEIGHTED_ROUND_ROBIN and not has & 1) or (
        wanted is ArbMechanism.VENDOR and not has & 2
    ):
        logger.info("%s: has no arbitration mechanism %s; uses round robin", core, wanted.name)
        core.opts.arb_mechanism = ArbMechanism.ROUND_ROBIN
    return int(core.opts.arb_mechanism)


def _limit_transfers(core: Core, data: IdentifyController) -> None:
    # MDTS counts in units of the smallest memory page that the controller has (Base 2.0, 5.17.2.1); 0 is no limit.
    unit = 1 << (12 + core.registers.cap.mpsmin)
    core.max_transfer = unit << data.mdts if data.mdts else 0
    core.admin.limit_transfer(core.max_transfer)


async def _set_host_id(core: Core, data: IdentifyController) -> None:
    """The host identifier, in the longest form that the controller has (Base 2.0, 5.27.1.25).

    It is optional, so that a refusal counts only where the user chose one.
    """
    chosen = core.opts.host_id is not None
    host_id = core.opts.host_id or process_host_id()
    extended = data.ctratt & 1
    value = host_id if extended else host_id[:8]
    try:
        await core.urgent.set_feature(FeatureId.HOST_IDENTIFIER, cdw11=_EXHID if extended else 0, data=value)
    except StatusError as error:
        if chosen:
            raise
        logger.info("%s: takes no host identifier: %s", core, error)
    else:
        core.opts.host_id = host_id


async def _set_arbitration(core: Core) -> None:
    """Arbitration (Base 2.0, 5.27.1.1); weights are 0's based, and mean nothing under round robin."""
    opts = core.opts
    weighted = opts.arb_mechanism is ArbMechanism.WEIGHTED_ROUND_ROBIN
    if not weighted and not opts.arbitration_burst:
        return
    value = opts.arbitration_burst
    if weighted:
        value |= (opts.low_priority_weight - 1) << 8
        value |= (opts.medium_priority_weight - 1) << 16
        value |= (opts.high_priority_weight - 1) << 24
    try:
        await core.urgent.set_feature(FeatureId.ARBITRATION, cdw11=value)
    except StatusError as error:
        # They are recommendations, and a controller may have the feature without letting it be changed.
        logger.info("%s: keeps its own arbitration: %s", core, error)
        await _read_arbitration(core)


async def _read_arbitration(core: Core) -> None:
    value = (await core.urgent.get_feature(FeatureId.ARBITRATION)).dw0
    core.opts.arbitration_burst = value & 7
    core.opts.low_priority_weight = (value >> 8 & 0xFF) + 1
    core.opts.medium_priority_weight = (value >> 16 & 0xFF) + 1
    core.opts.high_priority_weight = (value >> 24 & 0xFF) + 1


async def _set_number_of_queues(core: Core) -> None:
    """Number of queues (Base 2.0, 5.27.1.5): the controller may grant fewer, or more, of either kind."""
    asked = min(core.opts.num_io_queues, _queues_in_bar(core))
    dw0 = await core.urgent.set_feature(FeatureId.NUMBER_OF_QUEUES, cdw11=(asked - 1) << 16 | (asked - 1))
    granted = min((dw0 & 0xFFFF) + 1, (dw0 >> 16) + 1)
    core.num_io_queues = min(asked, granted)
    core.opts.num_io_queues = core.num_io_queues


def _queues_in_bar(core: Core) -> int:
    pairs = core.doorbell_pairs
    if pairs < 2:
        raise ControllerFailedError(f"{core}: its BAR 0 has no room for the doorbells of an I/O queue")
    return pairs - 1
