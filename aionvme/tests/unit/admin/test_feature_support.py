"""Which features Identify Controller and CAP tell of."""

from __future__ import annotations

from typing import Any

import pytest

import aionvme
from aionvme.admin.feature_support import says
from aionvme.spec.opcodes import FeatureId
from aionvme.spec.registers import Cap

ALWAYS = {1, 2, 4, 5, 7, 8, 9, 10, 11}
TOLD: list[tuple[int, dict[str, Any]]] = [
    (FeatureId.VOLATILE_WRITE_CACHE, {"vwc": 1}),
    (FeatureId.AUTONOMOUS_POWER_STATE_TRANSITION, {"apsta": 1}),
    (FeatureId.HOST_MEMORY_BUFFER, {"hmpre": 5}),
    (FeatureId.TIMESTAMP, {"oncs": 1 << 6}),
    (FeatureId.KEEP_ALIVE_TIMER, {"kas": 1}),
    (FeatureId.HOST_CONTROLLED_THERMAL_MANAGEMENT, {"hctma": 1}),
    (FeatureId.NON_OPERATIONAL_POWER_STATE, {"ctratt": 1 << 1}),
    (FeatureId.READ_RECOVERY_LEVEL, {"ctratt": 1 << 3}),
    (FeatureId.PREDICTABLE_LATENCY_MODE_CONFIG, {"ctratt": 1 << 5}),
    (FeatureId.PREDICTABLE_LATENCY_MODE_WINDOW, {"ctratt": 1 << 5}),
    (FeatureId.LBA_STATUS_INFORMATION, {"oacs": 1 << 9}),
    (FeatureId.HOST_BEHAVIOR_SUPPORT, {"ctratt": 1 << 15}),
    (FeatureId.HOST_BEHAVIOR_SUPPORT, {"crdt1": 1}),
    (FeatureId.HOST_BEHAVIOR_SUPPORT, {"lpa": 1 << 6}),
    (FeatureId.HOST_BEHAVIOR_SUPPORT, {"ocfs": 1 << 2}),
    (FeatureId.SANITIZE_CONFIG, {"sanicap": 2}),
    (FeatureId.ENDURANCE_GROUP_EVENT_CONFIGURATION, {"oaes": 1 << 14}),
    (FeatureId.FLEXIBLE_DATA_PLACEMENT, {"ctratt": 1 << 19}),
    (FeatureId.FDP_EVENTS, {"ctratt": 1 << 19}),
    (FeatureId.HOST_IDENTIFIER, {"ctratt": 1}),
    (FeatureId.HOST_IDENTIFIER, {"oncs": 1 << 5}),
    (FeatureId.RESERVATION_NOTIFICATION_MASK, {"oncs": 1 << 5}),
    (FeatureId.RESERVATION_PERSISTENCE, {"oncs": 1 << 5}),
    (FeatureId.NAMESPACE_WRITE_PROTECTION, {"nwpc": 1}),
]


@pytest.mark.parametrize(("fid", "fields"), TOLD)
def test_optional_features(fid: int, fields: dict[str, Any]) -> None:
    """One is there with its bit of Identify Controller alone."""
    assert fid in says(aionvme.IdentifyController(**fields), Cap())
    assert fid not in says(aionvme.IdentifyController(), Cap())


def test_what_is_always_there() -> None:
    """The mandatory features need no bit; command set profiles are there with CAP.CSS bit 6."""
    assert says(aionvme.IdentifyController(), Cap()) == ALWAYS
    assert says(aionvme.IdentifyController(), Cap(css=1 << 6)) == ALWAYS | {FeatureId.COMMAND_SET_PROFILE}
