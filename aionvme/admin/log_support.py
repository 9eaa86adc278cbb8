"""Owns which log pages a controller has: read at every bring-up, with one command at most."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from aionvme.admin import vendors
from aionvme.errors import DecodeError, StatusError
from aionvme.spec.identify import IdentifyController, Lpa, Oacs
from aionvme.spec.logs import SupportedLogPages
from aionvme.spec.opcodes import LogPageId
from aionvme.spec.vendors import REGISTRY, Extensions, Vendor, VendorLogPage, decode_page, extensions

if TYPE_CHECKING:
    from aionvme.admin.core import Core

logger = logging.getLogger("aionvme")

Says = Callable[[IdentifyController], int | bool]


def _always(_data: IdentifyController) -> bool:
    return True


def _lpa(name: str) -> Says:
    return lambda data: getattr(Lpa(data.lpa), name)


# What Identify Controller says, for controllers without the page of supported pages (Base 2.0, 5.16.1 and 5.17.2.1).
# What is not here is of other command sets or of fabrics, or came after that page.
_SAYS: Mapping[int, Says] = {
    LogPageId.SUPPORTED_LOG_PAGES: _lpa("supported_pages"),
    LogPageId.ERROR_INFORMATION: _always,
    LogPageId.SMART: _always,
    LogPageId.FIRMWARE_SLOT: _always,
    LogPageId.CHANGED_NAMESPACES: lambda data: data.oaes >> 8 & 1,
    LogPageId.COMMAND_EFFECTS: _lpa("command_effects"),
    LogPageId.DEVICE_SELF_TEST: lambda data: Oacs(data.oacs).self_test,
    LogPageId.TELEMETRY_HOST: _lpa("telemetry"),
    LogPageId.TELEMETRY_CONTROLLER: _lpa("telemetry"),
    LogPageId.ENDURANCE_GROUP: lambda data: data.ctratt >> 4 & 1,
    LogPageId.PREDICTABLE_LATENCY_NVM_SET: lambda data: data.ctratt >> 5 & 1,
    LogPageId.PREDICTABLE_LATENCY_EVENTS: lambda data: data.ctratt >> 5 & 1,
    LogPageId.ANA: lambda data: data.cmic >> 3 & 1,
    LogPageId.PERSISTENT_EVENTS: _lpa("persistent_events"),
    LogPageId.LBA_STATUS: lambda data: Oacs(data.oacs).lba_status,
    LogPageId.ENDURANCE_GROUP_EVENTS: lambda data: data.ctratt >> 4 & 1,
    LogPageId.FEATURE_EFFECTS: _lpa("supported_pages"),
    LogPageId.FDP_CONFIGURATIONS: lambda data: data.ctratt >> 19 & 1,
    LogPageId.FDP_HANDLE_USAGE: lambda data: data.ctratt >> 19 & 1,
    LogPageId.FDP_STATISTICS: lambda data: data.ctratt >> 19 & 1,
    LogPageId.FDP_EVENTS: lambda data: data.ctratt >> 19 & 1,
    LogPageId.RESERVATION_NOTIFICATION: lambda data: data.oncs >> 5 & 1,
    LogPageId.SANITIZE_STATUS: lambda data: data.sanicap & 7,
}


@attrs.frozen
class LogSupport:
    """Which log pages a controller has.

    Attributes:
        lids: Their identifiers.
        listed: The page that lists them; None where the controller has no such page.
    """

    lids: frozenset[int] = frozenset()
    listed: SupportedLogPages | None = None

    def has(self, lid: int) -> bool:
        """Whether the controller has a page."""
        return lid in self.lids


def says(data: IdentifyController) -> frozenset[int]:
    """The pages that Identify Controller tells of."""
    return frozenset(lid for lid, says in _SAYS.items() if says(data))


async def read(core: Core, data: IdentifyController) -> None:
    """Fills in what the controller has of log pages, and of what vendors have besides.

    The page of supported pages has them all, the vendor's too. Without it Identify says, and the vendor's directory.
    """
    if not vendors.loaded():
        await asyncio.get_running_loop().run_in_executor(None, vendors.load_plugins)
    core.extensions = Extensions()  # what it had before a reset
    of_vendors = REGISTRY.of(data)
    listed = await _listed(core, data)
    directories = await _directories(core, of_vendors) if listed is None else {}
    core.extensions = extensions(
        of_vendors, data, directories, listed=listed.supports if listed is not None else None
    )
    if listed is not None:
        lids = frozenset(lid for lid in range(256) if listed.supports(lid))
    else:
        lids = says(data) | core.extensions.log_pages.keys()
    core.log_support = LogSupport(lids, listed)


async def _listed(core: Core, data: IdentifyController) -> SupportedLogPages | None:
    if not Lpa(data.lpa).supported_pages:
        return None
    try:
        listed: SupportedLogPages = await core.urgent.get_log_page(LogPageId.SUPPORTED_LOG_PAGES)
    except StatusError as error:
        logger.info("%s: does not list its log pages: %s", core, error)
        return None
    # A controller that does not list what every controller has filled in nothing.
    return listed if listed.supports(LogPageId.SMART) else None


async def _directories(core: Core, of_vendors: list[Vendor]) -> dict[str, Any]:
    directories = {}
    for vendor in of_vendors:
        if vendor.directory is None:
            continue
        page = vendor.directory_page
        try:
            directories[vendor.name] = decode_page(page, await _bytes(core, page))
        except (StatusError, DecodeError) as error:
            logger.info("%s: has no page %s of %s: %s", core, page.name, vendor.name, error)
    return directories


async def _bytes(core: Core, page: VendorLogPage) -> bytes:
    # None of the vendor's pages is known yet, and so this one comes as bytes.
    data: bytes = await core.urgent.get_log_page(page.lid, nbytes=page.size)
    return data
