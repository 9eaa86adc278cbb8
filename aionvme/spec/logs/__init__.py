"""Log pages, as Get Log Page gives them: their structures, and the table of which page is what, and how long.

`support` has what is supported, `health` errors, SMART, self-test, sanitize and media, `namespaces` what is of
namespaces, `events` the persistent event log, `captures` telemetry and boot partitions, `fdp` data placement.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from aionvme.spec.identify import IdentifyController
from aionvme.spec.logs.captures import (
    BootPartition,
    BootPartitionHeader,
    TelemetryHeader,
    boot_partition_bytes,
)
from aionvme.spec.logs.events import PersistentEventLog, PersistentEventsHeader, persistent_bytes
from aionvme.spec.logs.fdp import (
    FdpConfigurations,
    FdpConfigurationsHeader,
    FdpEvents,
    FdpEventsHeader,
    FdpHandleUsage,
    FdpHandleUsageHeader,
    FdpStatistics,
    configurations_bytes,
    events_bytes,
    usage_bytes,
)
from aionvme.spec.logs.health import (
    EnduranceGroupLog,
    ErrorInformation,
    ErrorLog,
    FirmwareSlots,
    PredictableLatency,
    RotationalMedia,
    SanitizeLog,
    SelfTestLog,
    SmartLog,
)
from aionvme.spec.logs.namespaces import (
    CHANGED_BYTES,
    AnaHeader,
    AnaLog,
    ChangedNamespaces,
    EventAggregate,
    LbaStatusHeader,
    LbaStatusLog,
    ReservationNotification,
    aggregate_bytes,
    ana_bytes,
    lba_status_bytes,
)
from aionvme.spec.logs.support import (
    CommandEffects,
    CommandsSupportedAndEffects,
    FeatureEffects,
    FeaturesSupportedAndEffects,
    LidSupport,
    SupportedLogPages,
)
from aionvme.spec.opcodes import LogPageId

__all__ = [
    "LOG_PAGES",
    "AnaLog",
    "BootPartition",
    "ChangedNamespaces",
    "CommandEffects",
    "CommandsSupportedAndEffects",
    "EnduranceGroupLog",
    "ErrorInformation",
    "ErrorLog",
    "EventAggregate",
    "FdpConfigurations",
    "FdpEvents",
    "FdpHandleUsage",
    "FdpStatistics",
    "FeatureEffects",
    "FeaturesSupportedAndEffects",
    "FirmwareSlots",
    "LbaStatusLog",
    "LidSupport",
    "LogPage",
    "PersistentEventLog",
    "PredictableLatency",
    "ReservationNotification",
    "RotationalMedia",
    "SanitizeLog",
    "SelfTestLog",
    "SmartLog",
    "SupportedLogPages",
    "TelemetryHeader",
]


@attrs.frozen(kw_only=True)
class LogPage:
    """How a log page is read and decoded.

    Attributes:
        decode: From its bytes.
        size: Bytes of a page that has always as many; of one that tells its length, those that it has at least.
        length: Bytes of the page, by its first `size` bytes or more of them; None for a page of `size` bytes. It may
            be less than the whole where more of the page has to be read to know.
        generation: Offset and size of a number in the header that changes with the page: a page that took several
            commands is whole only where it stayed the same. None for a page without one.
        size_by: Bytes of the page, by Identify Controller, where that says it.
        event: Reading the page clears an asynchronous event; of pages that tell their length.
    """

    decode: Callable[[bytes], Any]
    size: int
    length: Callable[[bytes], int] | None = None
    generation: tuple[int, int] | None = None
    size_by: Callable[[IdentifyController], int] | None = None
    event: bool = False

    def whole(self, data: bytes) -> bool:
        """Whether `data`, from the page's start, is all of it."""
        if len(data) < self.size:
            return False
        return self.length is None or self.length(data) <= len(data)

    def changed(self, data: bytes, head: bytes) -> bool:
        """Whether the page is another one than `data` was of, by its header as read later."""
        if self.generation is None:
            return False
        at, size = self.generation
        return data[at : at + size] != head[at : at + size]


#: The pages that are known, by identifier.
LOG_PAGES: dict[int, LogPage] = {
    LogPageId.SUPPORTED_LOG_PAGES: LogPage(decode=SupportedLogPages.decode, size=SupportedLogPages.SIZE),
    LogPageId.ERROR_INFORMATION: LogPage(
        decode=ErrorLog.decode,
        size=ErrorInformation.SIZE,
        size_by=lambda data: ErrorInformation.SIZE * (data.elpe + 1),
    ),
    LogPageId.SMART: LogPage(decode=SmartLog.decode, size=SmartLog.SIZE),
    LogPageId.FIRMWARE_SLOT: LogPage(decode=FirmwareSlots.decode, size=FirmwareSlots.SIZE),
    LogPageId.CHANGED_NAMESPACES: LogPage(decode=ChangedNamespaces.decode, size=CHANGED_BYTES),
    LogPageId.COMMAND_EFFECTS: LogPage(
        decode=CommandsSupportedAndEffects.decode, size=CommandsSupportedAndEffects.SIZE
    ),
    LogPageId.DEVICE_SELF_TEST: LogPage(decode=SelfTestLog.decode, size=SelfTestLog.SIZE),
    LogPageId.TELEMETRY_HOST: LogPage(decode=TelemetryHeader.decode, size=TelemetryHeader.SIZE),
    LogPageId.TELEMETRY_CONTROLLER: LogPage(decode=TelemetryHeader.decode, size=TelemetryHeader.SIZE),
    LogPageId.ENDURANCE_GROUP: LogPage(decode=EnduranceGroupLog.decode, size=EnduranceGroupLog.SIZE),
    LogPageId.PREDICTABLE_LATENCY_NVM_SET: LogPage(
        decode=PredictableLatency.decode, size=PredictableLatency.SIZE
    ),
    LogPageId.PREDICTABLE_LATENCY_EVENTS: LogPage(
        decode=EventAggregate.decode, size=8, length=aggregate_bytes, event=True
    ),
    LogPageId.ANA: LogPage(
        decode=AnaLog.decode, size=AnaHeader.SIZE, length=ana_bytes, generation=(0, 8), event=True
    ),
    LogPageId.PERSISTENT_EVENTS: LogPage(
        decode=PersistentEventLog.decode,
        size=PersistentEventsHeader.SIZE,
        length=persistent_bytes,
        generation=(372, 2),
    ),
    LogPageId.LBA_STATUS: LogPage(
        decode=LbaStatusLog.decode,
        size=LbaStatusHeader.SIZE,
        length=lba_status_bytes,
        generation=(14, 2),
        event=True,
    ),
    LogPageId.ENDURANCE_GROUP_EVENTS: LogPage(
        decode=EventAggregate.decode, size=8, length=aggregate_bytes, event=True
    ),
    LogPageId.FEATURE_EFFECTS: LogPage(
        decode=FeaturesSupportedAndEffects.decode, size=FeaturesSupportedAndEffects.SIZE
    ),
    LogPageId.BOOT_PARTITION: LogPage(
        decode=BootPartition.decode, size=BootPartitionHeader.SIZE, length=boot_partition_bytes
    ),
    LogPageId.ROTATIONAL_MEDIA: LogPage(decode=RotationalMedia.decode, size=RotationalMedia.SIZE),
    LogPageId.FDP_CONFIGURATIONS: LogPage(
        decode=FdpConfigurations.decode, size=FdpConfigurationsHeader.SIZE, length=configurations_bytes
    ),
    LogPageId.FDP_HANDLE_USAGE: LogPage(
        decode=FdpHandleUsage.decode, size=FdpHandleUsageHeader.SIZE, length=usage_bytes
    ),
    LogPageId.FDP_STATISTICS: LogPage(decode=FdpStatistics.decode, size=FdpStatistics.SIZE),
    LogPageId.FDP_EVENTS: LogPage(decode=FdpEvents.decode, size=FdpEventsHeader.SIZE, length=events_bytes),
    LogPageId.RESERVATION_NOTIFICATION: LogPage(
        decode=ReservationNotification.decode, size=ReservationNotification.SIZE
    ),
    LogPageId.SANITIZE_STATUS: LogPage(decode=SanitizeLog.decode, size=SanitizeLog.SIZE),
}
