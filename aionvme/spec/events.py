"""Asynchronous events: what the completion of an Asynchronous Event Request says, and which may be switched on."""

from __future__ import annotations

from enum import IntEnum, IntFlag, unique

from aionvme.spec.bits import Bits, bits


@unique
class EventType(IntEnum):
    """What kind of event it is (NVMe Base 2.1, 5.1.2, figure 147)."""

    ERROR = 0
    SMART = 1
    NOTICE = 2
    IMMEDIATE = 3
    ONE_SHOT = 4
    IO_COMMAND = 6
    VENDOR = 7


@unique
class ErrorEvent(IntEnum):
    """Error status (Base 2.1, figure 149)."""

    INVALID_DOORBELL_REGISTER = 0x00
    INVALID_DOORBELL_VALUE = 0x01
    DIAGNOSTIC_FAILURE = 0x02
    PERSISTENT_INTERNAL_ERROR = 0x03
    TRANSIENT_INTERNAL_ERROR = 0x04
    FIRMWARE_IMAGE_LOAD_ERROR = 0x05


@unique
class SmartEvent(IntEnum):
    """SMART / health status (Base 2.1, figure 150)."""

    RELIABILITY = 0x00
    TEMPERATURE_THRESHOLD = 0x01
    SPARE_BELOW_THRESHOLD = 0x02


@unique
class NoticeEvent(IntEnum):
    """Notice (Base 2.1, figure 151; Zoned Namespace Command Set 1.1)."""

    NAMESPACE_CHANGED = 0x00
    FIRMWARE_ACTIVATION_STARTING = 0x01
    TELEMETRY_CHANGED = 0x02
    ANA_CHANGED = 0x03
    PREDICTABLE_LATENCY_CHANGED = 0x04
    LBA_STATUS_ALERT = 0x05
    ENDURANCE_GROUP_CHANGED = 0x06
    REACHABILITY_GROUP_CHANGED = 0x07
    REACHABILITY_ASSOCIATION_CHANGED = 0x08
    ALLOCATED_NAMESPACE_CHANGED = 0x09
    ZONE_CHANGED = 0xEF
    DISCOVERY_CHANGED = 0xF0
    HOST_DISCOVERY_CHANGED = 0xF1
    AVE_DISCOVERY_CHANGED = 0xF2
    PULL_MODEL_DDC_REQUEST = 0xF3


@unique
class ImmediateEvent(IntEnum):
    """Immediate (Base 2.1, figure 153): not told later where no request was outstanding; there is no log page."""

    NORMAL_SUBSYSTEM_SHUTDOWN = 0x00
    TEMPERATURE_HYSTERESIS_RECOVERY = 0x01


@unique
class OneShotEvent(IntEnum):
    """One-shot (Base 2.1, figure 154): of a controller data queue."""

    CONTROLLER_DATA_QUEUE_TAIL = 0x00
    CONTROLLER_DATA_QUEUE_FULL = 0x01


@unique
class IoCommandEvent(IntEnum):
    """I/O command specific status (Base 2.1, figure 152)."""

    RESERVATION_LOG_AVAILABLE = 0x00
    SANITIZE_COMPLETED = 0x01
    SANITIZE_COMPLETED_WITH_DEALLOCATION = 0x02
    SANITIZE_ENTERED_MEDIA_VERIFICATION = 0x03


_INFORMATION: dict[int, type[IntEnum]] = {
    EventType.ERROR: ErrorEvent,
    EventType.SMART: SmartEvent,
    EventType.NOTICE: NoticeEvent,
    EventType.IMMEDIATE: ImmediateEvent,
    EventType.ONE_SHOT: OneShotEvent,
    EventType.IO_COMMAND: IoCommandEvent,
}


class EventDword(Bits, width=32):
    """Dword 0 of the completion of an Asynchronous Event Request (Base 2.1, figure 147)."""

    aet = bits(0, 3, "Asynchronous event type: `EventType`")
    aei = bits(8, 8, "Asynchronous event information, by the type")
    lid = bits(16, 8, "Log page that says more, and whose reading clears the event")

    @property
    def kind(self) -> EventType | int:
        """The type, as an `EventType` where there is one."""
        return EventType(self.aet) if self.aet in EventType._value2member_map_ else self.aet

    @property
    def information(self) -> IntEnum | int:
        """What happened, in the enumeration of its type where it is known there."""
        values = _INFORMATION.get(self.aet)
        return values(self.aei) if values is not None and self.aei in values._value2member_map_ else self.aei

    @property
    def log_page(self) -> int | None:
        """The log page that belongs to it; None for the types that have none, whatever the field says."""
        return None if self.aet in (EventType.IMMEDIATE, EventType.ONE_SHOT) else self.lid


class EventMask(IntFlag):
    """Asynchronous Event Configuration, feature 0Bh: which events are reported (Base 2.1, 5.1.25.1.5, figure 391).

    Errors are reported always; the first six are critical warnings of the SMART / health log.
    """

    SPARE = 1 << 0
    TEMPERATURE = 1 << 1
    RELIABILITY = 1 << 2
    READ_ONLY = 1 << 3
    VOLATILE_BACKUP = 1 << 4
    PERSISTENT_MEMORY = 1 << 5
    NAMESPACE = 1 << 8
    FIRMWARE_ACTIVATION = 1 << 9
    TELEMETRY = 1 << 10
    ANA = 1 << 11
    PREDICTABLE_LATENCY = 1 << 12
    LBA_STATUS = 1 << 13
    ENDURANCE_GROUP = 1 << 14
    NORMAL_SHUTDOWN = 1 << 15
    TEMPERATURE_RECOVERY = 1 << 16
    REACHABILITY_ASSOCIATION = 1 << 17
    REACHABILITY_GROUP = 1 << 18
    ALLOCATED_NAMESPACE = 1 << 19
    ZONE = 1 << 27
    DISCOVERY = 1 << 31

    SMART = SPARE | TEMPERATURE | RELIABILITY | READ_ONLY | VOLATILE_BACKUP | PERSISTENT_MEMORY


#: Events that Identify Controller lists in OAES at the same bit (Base 2.1, figure 312).
_BY_OAES = (
    EventMask.NAMESPACE
    | EventMask.FIRMWARE_ACTIVATION
    | EventMask.ANA
    | EventMask.PREDICTABLE_LATENCY
    | EventMask.LBA_STATUS
    | EventMask.ENDURANCE_GROUP
    | EventMask.NORMAL_SHUTDOWN
    | EventMask.TEMPERATURE_RECOVERY
    | EventMask.ALLOCATED_NAMESPACE
    | EventMask.ZONE
    | EventMask.DISCOVERY
)
_OAES_REACHABILITY = 1 << 17
_LPA_TELEMETRY = 1 << 3


def supported_events(*, oaes: int, lpa: int, pmr: bool = False) -> EventMask:
    """Which events a controller can be told to report: OAES, and LPA for telemetry, of Identify Controller.

    Args:
        oaes: Optional asynchronous events supported.
        lpa: Log page attributes.
        pmr: Whether there is a persistent memory region (CAP.PMRS), of which one of the critical warnings is.
    """
    mask = EventMask.SMART | _BY_OAES & EventMask(oaes & int(_BY_OAES))
    if not pmr:
        mask &= ~EventMask.PERSISTENT_MEMORY
    if oaes & _OAES_REACHABILITY:
        mask |= EventMask.REACHABILITY_ASSOCIATION | EventMask.REACHABILITY_GROUP
    if lpa & _LPA_TELEMETRY:
        mask |= EventMask.TELEMETRY
    return mask
