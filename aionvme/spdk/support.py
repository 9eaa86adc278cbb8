"""Owns which log pages Identify Controller says that there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from aionvme.spec.opcodes import LogPageId

if TYPE_CHECKING:
    from aionvme import IdentifyController

Says = Callable[["IdentifyController"], int | bool]


def _always(_data: IdentifyController) -> bool:
    return True


# Base 2.0, 5.16.1 and 5.17.2.1. Those that are not here are of other command sets, or only of fabrics.
_LOG_PAGES: dict[int, Says] = {
    LogPageId.SUPPORTED_LOG_PAGES: lambda data: data.lpa >> 5 & 1,
    LogPageId.ERROR_INFORMATION: _always,
    LogPageId.SMART: _always,
    LogPageId.FIRMWARE_SLOT: _always,
    LogPageId.CHANGED_NAMESPACES: lambda data: data.oaes >> 8 & 1,
    LogPageId.COMMAND_EFFECTS: lambda data: data.lpa >> 1 & 1,
    LogPageId.DEVICE_SELF_TEST: lambda data: data.oacs >> 4 & 1,
    LogPageId.TELEMETRY_HOST: lambda data: data.lpa >> 3 & 1,
    LogPageId.TELEMETRY_CONTROLLER: lambda data: data.lpa >> 3 & 1,
    LogPageId.ENDURANCE_GROUP: lambda data: data.ctratt >> 4 & 1,
    LogPageId.ANA: lambda data: data.cmic >> 3 & 1,
    LogPageId.PERSISTENT_EVENTS: lambda data: data.lpa >> 4 & 1,
    LogPageId.FEATURE_EFFECTS: lambda data: data.lpa >> 5 & 1,
    LogPageId.RESERVATION_NOTIFICATION: lambda data: data.oncs >> 5 & 1,
    LogPageId.SANITIZE_STATUS: lambda data: data.sanicap & 7,
}


def has_log_page(data: IdentifyController, lid: int) -> bool:
    """Whether a controller says that it has a log page."""
    says = _LOG_PAGES.get(lid)
    return says is not None and bool(says(data))
