"""Owns what nvme-cli calls things in its JSON, where that is not what we call them: commands, features, events, states.

Names of commands and features are the specification's, but for those that are listed here (nvme-print.c of nvme-cli).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aionvme.spec.opcodes import AdminOpcode, FeatureId, NvmOpcode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import IntEnum

__all__ = [
    "SANITIZE_STATES",
    "SANITIZE_STATUS",
    "SELECTIONS",
    "admin_command",
    "event_name",
    "feature_name",
    "firmware_text",
    "io_command",
]

# A table for each kind: members of two with the same number would be one key.
_ADMIN: dict[IntEnum, str] = {
    AdminOpcode.DELETE_IO_SQ: "Delete I/O Submission Queue",
    AdminOpcode.CREATE_IO_SQ: "Create I/O Submission Queue",
    AdminOpcode.DELETE_IO_CQ: "Delete I/O Completion Queue",
    AdminOpcode.CREATE_IO_CQ: "Create I/O Completion Queue",
    AdminOpcode.ASYNC_EVENT_REQUEST: "Asynchronous Event Request",
    AdminOpcode.FIRMWARE_DOWNLOAD: "Firmware Image Download",
    AdminOpcode.DEVICE_SELF_TEST: "Device Self-test",
    AdminOpcode.NVME_MI_SEND: "NVMe-MI Send",
    AdminOpcode.NVME_MI_RECEIVE: "NVMe-MI Receive",
    AdminOpcode.FABRICS: "Fabrics Commands",
    AdminOpcode.FORMAT_NVM: "Format NVM",
    AdminOpcode.GET_LBA_STATUS: "Get LBA Status",
}
# Those that nvme-cli does not name.
_IO: dict[IntEnum, str] = {
    NvmOpcode.IO_MANAGEMENT_RECEIVE: "Unknown",
    NvmOpcode.IO_MANAGEMENT_SEND: "Unknown",
}

_FEATURES: dict[IntEnum, str] = {
    FeatureId.LBA_RANGE_TYPE: "LBA Range Type",
    FeatureId.NUMBER_OF_QUEUES: "Number of Queues",
    FeatureId.WRITE_ATOMICITY: "Write Atomicity Normal",
    FeatureId.NON_OPERATIONAL_POWER_STATE: "Non-Operational Power State Config",
    FeatureId.LBA_STATUS_INFORMATION: "LBA Status Interval",
    FeatureId.HOST_BEHAVIOR_SUPPORT: "Host Behavior",
    FeatureId.SANITIZE_CONFIG: "Sanitize",
    FeatureId.ENDURANCE_GROUP_EVENT_CONFIGURATION: "Endurance Event Group Configuration",
    FeatureId.COMMAND_SET_PROFILE: "I/O Command Set Profile",
    FeatureId.FLEXIBLE_DATA_PLACEMENT: "Flexible Direct Placement",
    FeatureId.FDP_EVENTS: "Flexible Direct Placement Events",
    FeatureId.SOFTWARE_PROGRESS_MARKER: "Software Progress",
    FeatureId.NAMESPACE_WRITE_PROTECTION: "Namespace Write Protect",
}

#: What Get Features is asked for, by SEL.
SELECTIONS = ("Current", "Default", "Saved", "Supported capabilities")

SANITIZE_STATUS = (
    "NVM Subsystem has never been sanitized.",
    "Most Recent Sanitize Command Completed Successfully.",
    "Sanitize in Progress.",
    "Most Recent Sanitize Command Failed.",
    "Most Recent Sanitize Command (No-Deallocate After Sanitize) Completed Successfully.",
)
SANITIZE_STATES = (
    "Idle state",
    "Restricted Processing State",
    "Restricted Failure State",
    "Unrestricted Processing State",
    "Unrestricted Failure State",
    "Media Verification State",
    "Post-Verification Deallocation State",
)

_EVENTS = {
    0x01: "SMART/Health Log Snapshot",
    0x02: "Firmware Commit",
    0x03: "Timestamp Change",
    0x04: "Power-on or Reset",
    0x05: "NVM Subsystem Hardware Error",
    0x06: "Change Namespace",
    0x07: "Format NVM Start",
    0x08: "Format NVM Completion",
    0x09: "Sanitize Start",
    0x0A: "Sanitize Completion",
    0x0B: "Set Feature",
    0x0C: "Set Telemetry CRT",
    0x0D: "Thermal Excursion",
    0x0E: "Sanitize Media Verification",
    0xDE: "Vendor Specific",
    0xDF: "TCG Defined",
}


def _named(kind: type[IntEnum], number: int, others: Mapping[IntEnum, str]) -> str:
    if number not in kind._value2member_map_:
        return "Unknown"
    member = kind(number)
    return others.get(member, member.name.replace("_", " ").title())


def admin_command(opcode: int) -> str:
    """The name of an admin command."""
    return _named(AdminOpcode, opcode, _ADMIN)


def io_command(opcode: int) -> str:
    """The name of an I/O command."""
    return _named(NvmOpcode, opcode, _IO)


def feature_name(fid: int) -> str:
    """The name of a feature."""
    return _named(FeatureId, fid, _FEATURES)


def event_name(etype: int) -> str:
    """The name of a persistent event, with its type."""
    return f"{_EVENTS.get(etype, 'Reserved')} Event({etype:#x})"


def firmware_text(revision: bytes) -> str:
    """A firmware revision as nvme-cli shows it: its bytes as a number, and as text with points."""
    shown = "".join(chr(byte) if 0x21 <= byte <= 0x7E else "." for byte in revision)
    return f"{int.from_bytes(revision, 'little')} ({shown})"
