"""Owns which features a controller has: read at every bring-up, with one command at most."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import attrs

from aionvme.errors import StatusError
from aionvme.spec.feature import FeatureCapabilities
from aionvme.spec.identify import IdentifyController, Lpa, Oacs, Oncs
from aionvme.spec.logs import FeaturesSupportedAndEffects
from aionvme.spec.opcodes import FeatureId, LogPageId
from aionvme.spec.registers import Cap

if TYPE_CHECKING:
    from aionvme.admin.core import Core

logger = logging.getLogger("aionvme")

Says = Callable[[IdentifyController], int | bool]


def _always(_data: IdentifyController) -> bool:
    return True


def _ctratt(bit: int) -> Says:
    return lambda data: data.ctratt >> bit & 1


def _behaves(data: IdentifyController) -> bool:
    """Whether there is something that the host has to know of: extended formats, retry delays, telemetry, Copy."""
    return bool(data.ctratt >> 15 & 1 or data.crdt1 or Lpa(data.lpa).telemetry_area_4 or data.ocfs & 0xC)


def _reservations(data: IdentifyController) -> int:
    return Oncs(data.oncs).reservations


# What Identify Controller says (Base 2.0, 5.17.2.1 and 5.27.1), for controllers without the page. It does not tell of
# features that are not here.
_SAYS: Mapping[int, Says] = {
    FeatureId.ARBITRATION: _always,
    FeatureId.POWER_MANAGEMENT: _always,
    FeatureId.TEMPERATURE_THRESHOLD: _always,
    FeatureId.ERROR_RECOVERY: _always,
    FeatureId.VOLATILE_WRITE_CACHE: lambda data: data.vwc & 1,
    FeatureId.NUMBER_OF_QUEUES: _always,
    FeatureId.INTERRUPT_COALESCING: _always,
    FeatureId.INTERRUPT_VECTOR_CONFIGURATION: _always,
    FeatureId.WRITE_ATOMICITY: _always,
    FeatureId.ASYNC_EVENT_CONFIGURATION: _always,
    FeatureId.AUTONOMOUS_POWER_STATE_TRANSITION: lambda data: data.apsta & 1,
    FeatureId.HOST_MEMORY_BUFFER: lambda data: data.hmpre > 0,
    FeatureId.TIMESTAMP: lambda data: Oncs(data.oncs).timestamp,
    FeatureId.KEEP_ALIVE_TIMER: lambda data: data.kas > 0,
    FeatureId.HOST_CONTROLLED_THERMAL_MANAGEMENT: lambda data: data.hctma & 1,
    FeatureId.NON_OPERATIONAL_POWER_STATE: _ctratt(1),
    FeatureId.READ_RECOVERY_LEVEL: _ctratt(3),
    FeatureId.PREDICTABLE_LATENCY_MODE_CONFIG: _ctratt(5),
    FeatureId.PREDICTABLE_LATENCY_MODE_WINDOW: _ctratt(5),
    FeatureId.LBA_STATUS_INFORMATION: lambda data: Oacs(data.oacs).lba_status,
    FeatureId.HOST_BEHAVIOR_SUPPORT: _behaves,
    FeatureId.SANITIZE_CONFIG: lambda data: data.sanicap & 7,
    FeatureId.ENDURANCE_GROUP_EVENT_CONFIGURATION: lambda data: data.oaes >> 14 & 1,
    FeatureId.FLEXIBLE_DATA_PLACEMENT: _ctratt(19),
    FeatureId.FDP_EVENTS: _ctratt(19),
    FeatureId.HOST_IDENTIFIER: lambda data: data.ctratt & 1 or _reservations(data),
    FeatureId.RESERVATION_NOTIFICATION_MASK: _reservations,
    FeatureId.RESERVATION_PERSISTENCE: _reservations,
    FeatureId.NAMESPACE_WRITE_PROTECTION: lambda data: data.nwpc & 1,
}


@attrs.define
class FeatureSupport:
    """Which features a controller has.

    Attributes:
        fids: Their identifiers.
        listed: Whether the controller's own list of them is where they come from.
        capabilities: What the controller told of a feature when it was asked, by identifier.
    """

    fids: frozenset[int] = frozenset()
    listed: bool = False
    capabilities: dict[int, FeatureCapabilities] = attrs.field(factory=dict)

    def has(self, fid: int) -> bool:
        """Whether the controller has a feature."""
        return fid in self.fids


def says(data: IdentifyController, cap: Cap) -> frozenset[int]:
    """The features that Identify Controller and CAP tell of."""
    fids = {fid for fid, says in _SAYS.items() if says(data)}
    if cap.css >> 6 & 1:
        fids.add(FeatureId.COMMAND_SET_PROFILE)
    return frozenset(int(fid) for fid in fids)


async def read(core: Core, data: IdentifyController) -> None:
    """Fills in what the controller has of features.

    Its page of feature identifiers has them all, the vendor's too. Without it Identify says, and the vendors' entries.
    """
    listed = await _listed(core)
    fids = listed if listed is not None else says(data, core.registers.cap) | core.extensions.features.keys()
    core.feature_support = FeatureSupport(frozenset(fids), listed is not None)


async def _listed(core: Core) -> frozenset[int] | None:
    if not core.log_support.has(LogPageId.FEATURE_EFFECTS):
        return None
    try:
        page: FeaturesSupportedAndEffects = await core.urgent.get_log_page(LogPageId.FEATURE_EFFECTS)
    except StatusError as error:
        logger.info("%s: does not list its features: %s", core, error)
        return None
    fids = frozenset(fid for fid in range(256) if page.supports(fid))
    # A controller that does not list what every controller has filled in nothing.
    return fids if FeatureId.NUMBER_OF_QUEUES in fids else None
