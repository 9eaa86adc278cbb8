"""Which log pages Identify Controller tells of, for controllers that do not list them."""

from __future__ import annotations

from typing import Any

import pytest

from aionvme.admin.log_support import says
from aionvme.spec.identify import IdentifyController
from aionvme.spec.opcodes import LogPageId

LOG_PAGES: list[tuple[int, dict[str, Any]]] = [
    (LogPageId.SUPPORTED_LOG_PAGES, {"lpa": 1 << 5}),
    (LogPageId.CHANGED_NAMESPACES, {"oaes": 1 << 8}),
    (LogPageId.COMMAND_EFFECTS, {"lpa": 1 << 1}),
    (LogPageId.DEVICE_SELF_TEST, {"oacs": 1 << 4}),
    (LogPageId.TELEMETRY_HOST, {"lpa": 1 << 3}),
    (LogPageId.TELEMETRY_CONTROLLER, {"lpa": 1 << 3}),
    (LogPageId.ENDURANCE_GROUP, {"ctratt": 1 << 4}),
    (LogPageId.PREDICTABLE_LATENCY_NVM_SET, {"ctratt": 1 << 5}),
    (LogPageId.PREDICTABLE_LATENCY_EVENTS, {"ctratt": 1 << 5}),
    (LogPageId.LBA_STATUS, {"oacs": 1 << 9}),
    (LogPageId.ENDURANCE_GROUP_EVENTS, {"ctratt": 1 << 4}),
    (LogPageId.FDP_CONFIGURATIONS, {"ctratt": 1 << 19}),
    (LogPageId.FDP_EVENTS, {"ctratt": 1 << 19}),
    (LogPageId.ANA, {"cmic": 1 << 3}),
    (LogPageId.PERSISTENT_EVENTS, {"lpa": 1 << 4}),
    (LogPageId.FEATURE_EFFECTS, {"lpa": 1 << 5}),
    (LogPageId.RESERVATION_NOTIFICATION, {"oncs": 1 << 5}),
    (LogPageId.SANITIZE_STATUS, {"sanicap": 2}),
]


@pytest.mark.parametrize(("lid", "fields"), LOG_PAGES)
def test_optional_pages(lid: int, fields: dict[str, Any]) -> None:
    """An optional page is there with its bit of Identify Controller alone."""
    assert lid in says(IdentifyController(**fields))
    assert lid not in says(IdentifyController())


def test_what_is_always_there() -> None:
    """The mandatory pages are there with no bit set."""
    assert says(IdentifyController()) == {1, 2, 3}
