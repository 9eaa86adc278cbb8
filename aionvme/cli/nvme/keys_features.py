"""Owns nvme-cli's keys of features: what is in dword 0, by a table of bits, and what is in the data beside it."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from aionvme.cli.nvme import words
from aionvme.spec.opcodes import FeatureId

__all__ = ["feature", "fields", "selected", "value_text"]

_ZERO_CELSIUS = 273

Show = Callable[[int], Any]


@attrs.frozen
class Field:
    """Some bits of dword 0.

    Attributes:
        name: nvme-cli's key.
        low, width: Which bits.
        show: Its value.
    """

    name: str
    low: int
    width: int
    show: Show = int

    def of(self, dw0: int) -> Any:
        """Its value in a dword 0."""
        return self.show(dw0 >> self.low & (1 << self.width) - 1)


def _one_more(value: int) -> int:
    return value + 1


def _choice(*texts: str, otherwise: str = "Reserved") -> Show:
    return lambda value: texts[value] if value < len(texts) else otherwise


def _unit(unit: str, factor: int = 1) -> Show:
    return lambda value: f"{value * factor} {unit}"


def _celsius(kelvin: int) -> str:
    return f"{kelvin - _ZERO_CELSIUS} Celsius"


def _burst(value: int) -> str:
    return "No limit" if value == 7 else str(1 << value)


_enabled = _choice("Disabled", "Enabled")
_true = _choice("False", "True")
_event = _choice("Do not send async event", "Send async event")


def _any_event(value: int) -> str:
    return str(_event(int(value != 0)))


# Bits of dword 0: Base 2.1, 5.1.25.1, and NVM Command Set 1.1, 4.1.3.
_FIELDS: dict[int, tuple[Field, ...]] = {
    FeatureId.ARBITRATION: (
        Field("High Priority Weight (HPW)", 24, 8, _one_more),
        Field("Medium Priority Weight (MPW)", 16, 8, _one_more),
        Field("Low Priority Weight (LPW)", 8, 8, _one_more),
        Field("Arbitration Burst (AB)", 0, 3, _burst),
    ),
    FeatureId.POWER_MANAGEMENT: (
        Field("Workload Hint (WH)", 5, 3),
        Field(
            "WH description",
            5,
            3,
            _choice(
                "No Workload",
                "Extended Idle Period with a Burst of Random Writes",
                "Heavy Sequential Writes",
            ),
        ),
        Field("Power State (PS)", 0, 5),
    ),
    FeatureId.LBA_RANGE_TYPE: (Field("Number of LBA Ranges (NUM)", 0, 6, _one_more),),
    FeatureId.TEMPERATURE_THRESHOLD: (
        Field("Temperature Threshold Hysteresis (TMPTHH)", 22, 3, _celsius),
        Field("TMPTHH kelvin", 22, 3, _unit("K")),
        Field("Threshold Type Select (THSEL)", 20, 2),
        Field(
            "THSEL description",
            20,
            2,
            _choice("Over Temperature Threshold", "Under Temperature Threshold"),
        ),
        Field("Threshold Temperature Select (TMPSEL)", 16, 4),
        Field(
            "TMPSEL description",
            16,
            4,
            _choice("Composite Temperature", *(f"Temperature Sensor {number}" for number in range(1, 9))),
        ),
        Field("Temperature Threshold (TMPTH)", 0, 16, _celsius),
        Field("TMPTH kelvin", 0, 16, _unit("K")),
    ),
    FeatureId.ERROR_RECOVERY: (
        Field("Deallocated or Unwritten Logical Block Error Enable (DULBE)", 16, 1, _enabled),
        Field("Time Limited Error Recovery (TLER)", 0, 16, _unit("ms", 100)),
    ),
    FeatureId.VOLATILE_WRITE_CACHE: (Field("Volatile Write Cache Enable (WCE)", 0, 1, _enabled),),
    FeatureId.NUMBER_OF_QUEUES: (
        Field("Number of IO Completion Queues Allocated (NCQA)", 16, 16, _one_more),
        Field("Number of IO Submission Queues Allocated (NSQA)", 0, 16, _one_more),
    ),
    FeatureId.INTERRUPT_COALESCING: (
        Field("Aggregation Time (TIME)", 8, 8, _unit("usec", 100)),
        Field("Aggregation Threshold (THR)", 0, 8, _one_more),
    ),
    FeatureId.INTERRUPT_VECTOR_CONFIGURATION: (
        Field("Coalescing Disable (CD)", 16, 1, _true),
        Field("Interrupt Vector (IV)", 0, 16),
    ),
    FeatureId.WRITE_ATOMICITY: (Field("Disable Normal (DN)", 0, 1, _true),),
    FeatureId.ASYNC_EVENT_CONFIGURATION: (
        Field("Discovery Log Page Change Notices", 31, 1, _event),
        Field("Host Discovery Log Page Change Notification", 30, 1, _event),
        Field("AVE Discovery Log Page Change Notification", 29, 1, _event),
        Field("Pull Model DDC Request Log Page Change Notification", 28, 1, _event),
        Field("Zone Descriptor Changed Notices", 27, 1, _event),
        Field("Reachability Group", 18, 1, _event),
        Field("Reachability Association", 17, 1, _event),
        Field("Normal NVM Subsystem Shutdown", 15, 1, _event),
        Field("Endurance Group Event Aggregate Log Change Notices", 14, 1, _event),
        Field("LBA Status Information Notices", 13, 1, _event),
        Field("Predictable Latency Event Aggregate Log Change Notices", 12, 1, _event),
        Field("Asymmetric Namespace Access Change Notices", 11, 1, _event),
        Field("Telemetry Log Notices", 10, 1, _event),
        Field("Firmware Activation Notices", 9, 1, _event),
        Field("Namespace Attribute Notices", 8, 1, _event),
        Field("SMART / Health Critical Warnings", 0, 8, _any_event),
    ),
    FeatureId.AUTONOMOUS_POWER_STATE_TRANSITION: (
        Field("Autonomous Power State Transition Enable (APSTE)", 0, 1, _enabled),
    ),
    FeatureId.HOST_MEMORY_BUFFER: (
        Field("Enable Host Memory (EHM)", 0, 1, _enabled),
        Field("Host Memory Non-operational Access Restriction Enable (HMNARE)", 2, 1, _true),
        Field("Host Memory Non-operational Access Restricted (HMNAR)", 3, 1, _true),
    ),
    FeatureId.KEEP_ALIVE_TIMER: (Field("Keep Alive Timeout (KATO) in milliseconds", 0, 32),),
    FeatureId.HOST_CONTROLLED_THERMAL_MANAGEMENT: (
        Field("Thermal Management Temperature 1 (TMT1)", 16, 16, _unit("K")),
        Field("TMT1 celsius", 16, 16, _celsius),
        Field("Thermal Management Temperature 2", 0, 16, _unit("K")),
        Field("TMT2 celsius", 0, 16, _celsius),
    ),
    FeatureId.NON_OPERATIONAL_POWER_STATE: (
        Field("Non-Operational Power State Permissive Mode Enable (NOPPME)", 0, 1, _true),
    ),
    FeatureId.READ_RECOVERY_LEVEL: (Field("Read Recovery Level (RRL)", 0, 4),),
    FeatureId.PREDICTABLE_LATENCY_MODE_CONFIG: (Field("Predictable Latency Window Enabled", 0, 1, _true),),
    FeatureId.PREDICTABLE_LATENCY_MODE_WINDOW: (
        Field(
            "Window Select",
            0,
            3,
            _choice("Reserved", "Deterministic Window (DTWIN)", "Non-deterministic Window (NDWIN)"),
        ),
    ),
    FeatureId.LBA_STATUS_INFORMATION: (
        Field("LBA Status Information Poll Interval (LSIPI)", 16, 16),
        Field("LBA Status Information Report Interval (LSIRI)", 0, 16),
    ),
    FeatureId.SANITIZE_CONFIG: (Field("No-Deallocate Response Mode (NODRM)", 0, 1),),
    FeatureId.ENDURANCE_GROUP_EVENT_CONFIGURATION: (
        Field("Endurance Group Identifier (ENDGID)", 0, 16),
        Field("Endurance Group Critical Warnings", 16, 8),
    ),
    FeatureId.COMMAND_SET_PROFILE: (Field("I/O Command Set Profile", 0, 1, _true),),
    FeatureId.SPINUP_CONTROL: (Field("Spinup control feature Enabled", 0, 1, _true),),
    FeatureId.SOFTWARE_PROGRESS_MARKER: (Field("Pre-boot Software Load Count (PBSLC)", 0, 8),),
    FeatureId.RESERVATION_NOTIFICATION_MASK: (
        Field("Mask Reservation Preempted Notification (RESPRE)", 3, 1, _true),
        Field("Mask Reservation Released Notification (RESREL)", 2, 1, _true),
        Field("Mask Registration Preempted Notification (REGPRE)", 1, 1, _true),
    ),
    FeatureId.RESERVATION_PERSISTENCE: (Field("Persist Through Power Loss (PTPL)", 0, 1, _true),),
    FeatureId.NAMESPACE_WRITE_PROTECTION: (
        Field(
            "Namespace Write Protect",
            0,
            3,
            _choice(
                "No Write Protect",
                "Write Protect",
                "Write Protect Until Power Cycle",
                "Permanent Write Protect",
            ),
        ),
    ),
    FeatureId.FLEXIBLE_DATA_PLACEMENT: (
        Field("Flexible Direct Placement Enable (FDPE)", 0, 1, _choice("No", "Yes")),
        Field("Flexible Direct Placement Configuration Index", 8, 4),
    ),
}


# -- data ----------------------------------------------------------------------------------------------------

_Pairs = Iterator[tuple[str, Any]]


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")


def _timestamp(data: bytes, _dw0: int) -> _Pairs:
    since = _number(data, 0, 6)
    local = datetime.datetime.fromtimestamp(since // 1000).astimezone()
    set_by_host, stopped = data[6] >> 1 & 1, data[6] & 1
    yield "timestamp", since
    yield "timestamp string", local.strftime("%c %Z")
    yield (
        "timestamp origin",
        "The Timestamp field was initialized with a Timestamp value using a Set Features command."
        if set_by_host
        else "The Timestamp field was initialized to 0h by a Controller Level Reset.",
    )
    yield (
        "synch",
        "The controller may have stopped counting during vendor specific intervals after the Timestamp value was "
        "initialized."
        if stopped
        else "The controller counted time in milliseconds continuously since the Timestamp value was initialized.",
    )


def _host_behavior(data: bytes, _dw0: int) -> _Pairs:
    yield "Host Behavior Support", _true(data[0] & 1)
    for at, name in enumerate(
        (
            "Advanced Command Retry Enable (ACRE)",
            "Extended Telemetry Data Area 4 Supported (ETDAS)",
            "LBA Format Extension Enable (LBAFEE)",
        )
    ):
        yield name, _true(int(data[at] != 0))
    yield "Host Dispersed Namespace Support (HDISNS)", _enabled(int(data[3] != 0))
    formats = _number(data, 4, 2)
    for number in (2, 3, 4):
        yield f"Copy Descriptor Format {number}h Enable (CDF{number}E)", _true(formats >> number & 1)


def _power_transitions(data: bytes, _dw0: int) -> _Pairs:
    entries = []
    for at in range(32):
        entry = _number(data, 8 * at, 8)
        entries.append(
            {
                "entry": f"{at:2}",
                "Idle Time Prior to Transition (ITPT)": f"{entry >> 8 & 0xFFFFFF} ms",
                "Idle Transition Power State (ITPS)": entry >> 3 & 0x1F,
            }
        )
    yield "Auto PST Entries", entries


def _host_memory(data: bytes, _dw0: int) -> _Pairs:
    yield "Host Memory Descriptor List Entry Count (HMDLEC)", _number(data, 12, 4)
    yield "Host Memory Descriptor List Address (HMDLAU)", f"{_number(data, 8, 4):#x}"
    yield "Host Memory Descriptor List Address (HMDLAL)", f"{_number(data, 4, 4):#x}"
    yield "Host Memory Buffer Size (HSIZE)", _number(data, 0, 4)


def _latency(data: bytes, _dw0: int) -> _Pairs:
    yield "Enable Event", f"{_number(data, 0, 2):04x}"
    for at, name in enumerate(("Reads", "Writes", "Time")):
        yield f"DTWIN {name} Threshold", _number(data, 32 + 8 * at, 8)


_RANGE_TYPES = ("Reserved", "Filesystem", "RAID", "Cache", "Page / Swap file")


def _ranges(data: bytes, dw0: int) -> _Pairs:
    found = []
    for number in range((dw0 & 0x3F) + 1):
        part = data[64 * number : 64 * number + 64]
        kind, attributes = part[0], part[1]
        found.append(
            {
                "LBA range": number,
                "type": f"{kind:#x}" if kind else "0",
                "type description": _choice(
                    *_RANGE_TYPES, otherwise="Reserved" if kind < 0x80 else "Vendor Specific"
                )(kind),
                "attributes": f"{attributes:#x}" if attributes else "0",
                "attribute[0]": f"LBA range {'may' if attributes & 1 else 'should not'} be overwritten",
                "attribute[1]": f"LBA range should be {'hidden from' if attributes & 2 else 'visible from'} the "
                "OS/EFI/BIOS",
                "slba": f"{_number(part, 16, 8):#x}",
                "nlb": f"{_number(part, 24, 8):#x}",
                "guid": part[32:48].hex(),
            }
        )
    yield "LBA Ranges", found


def _host_id(data: bytes, _dw0: int) -> _Pairs:
    # Of 128 bits, too, nvme-cli shows the first 64.
    yield "Host Identifier (HOSTID)", _number(data, 0, 8)


def _metadata(data: bytes, _dw0: int) -> _Pairs:
    elements: list[dict[str, Any]] = []
    at = 2
    for number in range(data[0]):
        length = _number(data, at + 2, 2)
        elements.append(
            {
                "Element": number,
                "Type": f"{data[at]:#04x}",
                "Revision": data[at + 1],
                "Length": length,
                "Value": data[at + 4 : at + 4 + length].decode("utf-8", "replace"),
            }
        )
        at += 4 + length
    yield "Num Metadata Element Descriptors", data[0]
    yield "Metadata Element Descriptors", elements


# FDP event types, TP4146.
_FDP_EVENTS = {
    0x00: "Reclaim Unit Not Fully Written",
    0x01: "Reclaim Unit Active Time Limit Exceeded",
    0x02: "Controller Level Reset Modified Reclaim Unit Handles",
    0x03: "Invalid Placement Identifier",
    0x80: "Media Reallocated",
    0x81: "Implicitly Modified Reclaim Unit Handle",
}


def _fdp_events(data: bytes, dw0: int) -> _Pairs:
    for at in range(0, 2 * min(dw0, len(data) // 2), 2):
        yield (
            _FDP_EVENTS.get(data[at], "Unknown"),
            _choice("Not enabled", "Enabled")(data[at + 1] & 1),
        )


_DATA: dict[int, Callable[[bytes, int], _Pairs]] = {
    FeatureId.LBA_RANGE_TYPE: _ranges,
    FeatureId.AUTONOMOUS_POWER_STATE_TRANSITION: _power_transitions,
    FeatureId.HOST_MEMORY_BUFFER: _host_memory,
    FeatureId.TIMESTAMP: _timestamp,
    FeatureId.PREDICTABLE_LATENCY_MODE_CONFIG: _latency,
    FeatureId.HOST_BEHAVIOR_SUPPORT: _host_behavior,
    FeatureId.FDP_EVENTS: _fdp_events,
    FeatureId.ENHANCED_CONTROLLER_METADATA: _metadata,
    FeatureId.CONTROLLER_METADATA: _metadata,
    FeatureId.NAMESPACE_METADATA: _metadata,
    FeatureId.HOST_IDENTIFIER: _host_id,
}


def fields(fid: int, dw0: int, data: bytes) -> dict[str, Any]:
    """What a feature's value means; empty where that is not known."""
    found = {field.name: field.of(dw0) for field in _FIELDS.get(fid, ())}
    if fid in _DATA and data:
        found.update(_DATA[fid](data, dw0))
    return found


def selected(dw0: int) -> list[str]:
    """What is said of a feature where its capabilities were asked for (SEL 3)."""
    names = ("saveable", "per-namespace", "changeable")
    return [name for bit, name in enumerate(names) if dw0 >> bit & 1]


def value_text(dw0: int) -> str:
    """Dword 0 as nvme-cli prints it."""
    return f"{dw0:#010x}" if dw0 else "00000000"


def feature(fid: int, select: int, dw0: int, data: bytes) -> dict[str, Any]:
    """A feature's value, with its name and what it means."""
    document: dict[str, Any] = {
        f"feature: {fid:#04x}": [{"name": words.feature_name(fid), words.SELECTIONS[select]: value_text(dw0)}]
    }
    if select == 3:
        document[f"Feature: {fid:#04x}: select"] = selected(dw0)
    else:
        document[f"Feature: {fid:#04x}"] = [fields(fid, dw0, data)]
    return document
