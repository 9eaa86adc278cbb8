"""Owns which features Identify Controller says that there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from aionvme.spec.opcodes import FeatureId

if TYPE_CHECKING:
    from aionvme import IdentifyController

Says = Callable[["IdentifyController"], int | bool]


def _always(_data: IdentifyController) -> bool:
    return True


# Base 2.0, 5.27.1 and figure 317.
_FEATURES: dict[int, Says] = {
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
    FeatureId.TIMESTAMP: lambda data: data.oncs >> 6 & 1,
    FeatureId.KEEP_ALIVE_TIMER: lambda data: data.kas > 0,
    FeatureId.HOST_CONTROLLED_THERMAL_MANAGEMENT: lambda data: data.hctma & 1,
    FeatureId.HOST_IDENTIFIER: lambda data: data.oncs >> 5 & 1 or data.ctratt & 1,
    FeatureId.RESERVATION_NOTIFICATION_MASK: lambda data: data.oncs >> 5 & 1,
    FeatureId.RESERVATION_PERSISTENCE: lambda data: data.oncs >> 5 & 1,
}


def has_feature(data: IdentifyController, fid: int) -> bool:
    """Whether a controller says that it has a feature."""
    says = _FEATURES.get(fid)
    return says is not None and bool(says(data))
