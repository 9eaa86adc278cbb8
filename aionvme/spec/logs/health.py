"""Log pages of how it goes with the controller and its media: errors, SMART, endurance, self-test, sanitize."""

from __future__ import annotations

from enum import IntEnum, unique

import attrs

from aionvme.spec.bits import Bits, bits
from aionvme.spec.listing import Cursor, Listing, encode_all
from aionvme.spec.status import Status
from aionvme.spec.structure import (
    Buffer,
    Structure,
    array,
    raw_bytes,
    u8,
    u16,
    u32,
    u64,
    u128,
    uints,
)

ZERO_CELSIUS = 273  # kelvin, as the specification rounds it

# -- errors --------------------------------------------------------------------------------------------------


class ErrorLocation(Bits, width=16):
    """Where in the command the parameter is that an error is about (NVMe Base 2.0, 5.16.1.2)."""

    byte = bits(0, 8, "Byte of the command")
    bit = bits(8, 3, "Bit of that byte")


class ErrorInformation(Structure, size=64):
    """One entry of the error information log, page 01h (NVMe Base 2.0, 5.16.1.2).

    The opcode and the command set came after Base 2.0: they count where `lpver` is 1.
    """

    error_count: int = u64(0, "Number of the error over the controller's life, from 1; 0 for no entry")
    sqid: int = u16(8, "Submission queue of the command; FFFFh for an error of no command")
    cid: int = u16(10, "Command identifier; FFFFh for an error of no command")
    status_field: int = u16(12, "Bits 15:1 the status field, bit 0 the phase tag")
    parameter_error_location: int = u16(14, "FFFFh for none", bits=ErrorLocation)
    lba: int = u64(16, "First logical block with the error")
    nsid: int = u32(24, "Namespace of the error")
    vendor_log_page: int = u8(28, "Vendor's log page that says more, 0 for none")
    trtype: int = u8(29, "Transport type, 0 for an error that is of none")
    csi: int = u8(30, "I/O command set of the command")
    opcode: int = u8(31, "Opcode of the command")
    command_specific: int = u64(32, "As the command defines it")
    transport_specific: int = u16(40, "As the transport defines it")
    lpver: int = u8(63, "Version of the entry: 1 where it has an opcode")

    @property
    def status(self) -> Status:
        """The status that the command ended with."""
        return Status.from_field(self.status_field >> 1)


@attrs.frozen(kw_only=True)
class ErrorLog(Listing):
    """The error information log, page 01h (NVMe Base 2.0, 5.16.1.2): the latest first.

    Attributes:
        entries: As many as were read, the empty ones too.
    """

    entries: tuple[ErrorInformation, ...] = ()

    @property
    def errors(self) -> tuple[ErrorInformation, ...]:
        """The entries that there are: those that have a number."""
        return tuple(entry for entry in self.entries if entry.error_count)

    @classmethod
    def decode(cls, data: Buffer) -> ErrorLog:
        """From the entries that `data` has room for."""
        cursor = Cursor(data, "the error information log")
        return cls(entries=cursor.several(ErrorInformation, len(data) // ErrorInformation.SIZE))

    def encode(self) -> bytes:
        """The entries one after the other."""
        return encode_all(self.entries)


# -- SMART ---------------------------------------------------------------------------------------------------


class CriticalWarning(Bits, width=8):
    """Critical warnings of the SMART log (NVMe Base 2.0, 5.16.1.3)."""

    spare = bits(0, 1, "Available spare is below its threshold")
    temperature = bits(1, 1, "A temperature is outside of its thresholds")
    degraded = bits(2, 1, "The NVM subsystem's reliability is degraded")
    read_only = bits(3, 1, "All media are read only")
    backup_failed = bits(4, 1, "The backup of volatile memory failed")
    pmr_unreliable = bits(5, 1, "The persistent memory region is read only or unreliable")


class GroupWarning(Bits, width=8):
    """Critical warnings of endurance groups (NVMe Base 2.0, 5.16.1.3 and 5.16.1.10)."""

    spare = bits(0, 1, "Available spare is below its threshold")
    degraded = bits(2, 1, "The reliability is degraded")
    read_only = bits(3, 1, "The namespaces are read only")


class SmartLog(Structure, size=512):
    """SMART and health information, log page 02h (NVMe Base 2.0, 5.16.1.3).

    Data units are of 1000 times 512 bytes, rounded up.
    """

    critical_warning: int = u8(0, "Critical warnings", bits=CriticalWarning)
    temperature: int = u16(1, "Composite temperature, kelvin")
    available_spare: int = u8(3, "Remaining spare capacity, percent")
    available_spare_threshold: int = u8(4, "Where it becomes critical, percent")
    percentage_used: int = u8(5, "Of the endurance; may exceed 100, and is 255 at most")
    endurance_group_warning: int = u8(6, "Of any endurance group", bits=GroupWarning)
    data_units_read: int = u128(32, "Data units read")
    data_units_written: int = u128(48, "Data units written")
    host_read_commands: int = u128(64, "Read and Compare commands completed")
    host_write_commands: int = u128(80, "Write commands completed")
    controller_busy_time: int = u128(96, "Minutes that I/O commands were outstanding")
    power_cycles: int = u128(112, "Power cycles")
    power_on_hours: int = u128(128, "Hours with power")
    unsafe_shutdowns: int = u128(144, "Losses of power without a shutdown notification")
    media_errors: int = u128(160, "Unrecovered data integrity errors")
    error_log_entries: int = u128(176, "Entries of the error information log over the controller's life")
    warning_temperature_time: int = u32(192, "Minutes at WCTEMP or above, and below CCTEMP")
    critical_temperature_time: int = u32(196, "Minutes at CCTEMP or above")
    temperature_sensors: tuple[int, ...] = uints(200, 2, 8, "Kelvin, 0 for no such sensor")
    thermal_transitions_1: int = u32(216, "Transitions by thermal management temperature 1")
    thermal_transitions_2: int = u32(220, "Transitions by thermal management temperature 2")
    thermal_time_1: int = u32(224, "Seconds in thermal management temperature 1")
    thermal_time_2: int = u32(228, "Seconds in thermal management temperature 2")
    rest: bytes = raw_bytes(232, 280, "After Base 2.0, or reserved")

    @property
    def temperature_c(self) -> int:
        """Composite temperature, degrees Celsius."""
        return self.temperature - ZERO_CELSIUS

    @property
    def warnings(self) -> CriticalWarning:
        """The critical warnings by name."""
        return CriticalWarning(self.critical_warning)


# -- firmware ------------------------------------------------------------------------------------------------


class ActiveFirmware(Bits, width=8):
    """AFI (NVMe Base 2.0, 5.16.1.4)."""

    active = bits(0, 3, "Slot that runs")
    next = bits(4, 3, "Slot that is activated at the next controller reset, 0 for no such")


class FirmwareSlots(Structure, size=512):
    """Firmware slot information, log page 03h (NVMe Base 2.0, 5.16.1.4)."""

    afi: int = u8(0, "Active firmware info", bits=ActiveFirmware)
    frs: bytes = raw_bytes(8, 56, "Revisions of slots 1 to 7, 8 bytes each; zeros for an empty slot")

    @property
    def active_slot(self) -> int:
        """The slot whose firmware runs, from 1."""
        return ActiveFirmware(self.afi).active

    @property
    def next_slot(self) -> int:
        """The slot that is activated at the next controller reset; 0 where that does not change."""
        return ActiveFirmware(self.afi).next

    @property
    def revisions(self) -> dict[int, str]:
        """Firmware revisions by slot, without the empty slots."""
        raw = {slot: self.frs[8 * slot - 8 : 8 * slot] for slot in range(1, 8)}
        return {slot: text.decode("latin-1").rstrip("\0 ") for slot, text in raw.items() if any(text)}


# -- self-test -----------------------------------------------------------------------------------------------


@unique
class SelfTestResultCode(IntEnum):
    """How a self-test ended (NVMe Base 2.0, 5.16.1.7)."""

    NO_ERROR = 0x0
    ABORTED_BY_COMMAND = 0x1
    ABORTED_BY_RESET = 0x2
    ABORTED_BY_NAMESPACE_REMOVAL = 0x3
    ABORTED_BY_FORMAT = 0x4
    FATAL_ERROR = 0x5
    FAILED_IN_UNKNOWN_SEGMENT = 0x6
    FAILED_IN_SEGMENT = 0x7
    ABORTED_FOR_UNKNOWN_REASON = 0x8
    ABORTED_BY_SANITIZE = 0x9
    NOT_USED = 0xF


class SelfTestStatus(Bits, width=8):
    """Status byte of a self-test result (NVMe Base 2.0, 5.16.1.7)."""

    result = bits(0, 4, "`SelfTestResultCode`")
    code = bits(4, 4, "Which self-test: 1 short, 2 extended, Eh vendor specific")


class SelfTestValid(Bits, width=8):
    """Which fields of a self-test result count (NVMe Base 2.0, 5.16.1.7)."""

    nsid = bits(0, 1, "Namespace identifier")
    flba = bits(1, 1, "Failing LBA")
    sct = bits(2, 1, "Status code type")
    sc = bits(3, 1, "Status code")


class SelfTestResult(Structure, size=28):
    """One result of a self-test (NVMe Base 2.0, 5.16.1.7)."""

    status: int = u8(0, "Which self-test, and its result", bits=SelfTestStatus)
    segment: int = u8(1, "Where it failed first, for result 7")
    valid: int = u8(2, "Which of the following fields count", bits=SelfTestValid)
    poh: int = u64(4, "Power on hours when it ended")
    nsid: int = u32(12, "Namespace of the failing LBA")
    flba: int = u64(16, "Failing LBA")
    sct: int = u8(24, "Bits 2:0 status code type")
    sc: int = u8(25, "Status code")
    vendor: int = u16(26, "Vendor specific")

    @property
    def used(self) -> bool:
        """Whether the entry is a result at all: an unused one has the result Fh, or is all zeros."""
        return SelfTestStatus(self.status).result != SelfTestResultCode.NOT_USED and self.code != 0

    @property
    def code(self) -> int:
        """Which self-test it was: 1 short, 2 extended, Eh vendor specific."""
        return SelfTestStatus(self.status).code

    @property
    def result(self) -> int:
        """How it ended: `SelfTestResultCode`."""
        return SelfTestStatus(self.status).result


class SelfTestLog(Structure, size=564):
    """Device self-test, log page 06h (NVMe Base 2.0, 5.16.1.7): the last 20 results, the latest first."""

    operation: int = u8(0, "Bits 3:0: 0 none in progress, 1 short, 2 extended, Eh vendor specific")
    completion: int = u8(1, "Bits 6:0: percent that is complete of the one in progress")
    results: tuple[SelfTestResult, ...] = array(4, SelfTestResult, 20, "Results, the latest first")

    @property
    def running(self) -> int:
        """Which self-test is in progress, 0 for none."""
        return self.operation & 0xF

    @property
    def percent(self) -> int:
        """How much of it is complete."""
        return self.completion & 0x7F

    @property
    def used_results(self) -> tuple[SelfTestResult, ...]:
        """The entries that are results."""
        return tuple(result for result in self.results if result.used)


# -- sanitize ------------------------------------------------------------------------------------------------


@unique
class SanitizeState(IntEnum):
    """Of the latest sanitize operation (NVMe Base 2.0, 5.16.1.25)."""

    NEVER = 0
    SUCCEEDED = 1
    IN_PROGRESS = 2
    FAILED = 3
    SUCCEEDED_DEALLOCATED = 4
    """Although it was asked not to deallocate."""


class SanitizeStat(Bits, width=16):
    """SSTAT (NVMe Base 2.0, 5.16.1.25). Bit 9 came after Base 2.0."""

    status = bits(0, 3, "`SanitizeState`")
    passes = bits(3, 5, "Passes of an overwrite that are complete")
    global_data_erased = bits(8, 1, "Nothing was written since a successful sanitize operation, or ever")
    mvcncled = bits(9, 1, "Media verification was cancelled")


class SanitizeLog(Structure, size=512):
    """Sanitize status, log page 81h (NVMe Base 2.0, 5.16.1.25). Times are in seconds, FFFFFFFFh for not reported."""

    sprog: int = u16(0, "Progress in 65536ths, FFFFh where none is in progress")
    sstat: int = u16(2, "Status", bits=SanitizeStat)
    scdw10: int = u32(4, "Command dword 10 of the Sanitize command that began it")
    eto: int = u32(8, "Time of an overwrite of 16 passes")
    etbe: int = u32(12, "Time of a block erase")
    etce: int = u32(16, "Time of a crypto erase")
    etondmm: int = u32(20, "Time of an overwrite without deallocation, with media modification")
    etbenmm: int = u32(24, "Time of a block erase without deallocation, with media modification")
    etcenmm: int = u32(28, "Time of a crypto erase without deallocation, with media modification")
    rest: bytes = raw_bytes(32, 480, "After Base 2.0, or reserved")

    @property
    def state(self) -> int:
        """Of the latest sanitize operation: `SanitizeState`."""
        return SanitizeStat(self.sstat).status

    @property
    def progress(self) -> float:
        """From 0 to 1; 1 where no operation is in progress."""
        return 1.0 if self.state != SanitizeState.IN_PROGRESS else self.sprog / 65536


# -- media ---------------------------------------------------------------------------------------------------


class EnduranceGroupLog(Structure, size=512):
    """Endurance group information, log page 09h (NVMe Base 2.0, 5.16.1.10); the group is LSI.

    Estimate and units are thousands of millions of bytes.
    """

    critical_warning: int = u8(0, "Critical warnings", bits=GroupWarning)
    egfeat: int = u8(1, "Bit 0: the group is of rotational media")
    available_spare: int = u8(3, "Remaining spare capacity, percent")
    available_spare_threshold: int = u8(4, "Where it becomes critical, percent")
    percentage_used: int = u8(5, "Of the endurance; may exceed 100")
    domainid: int = u16(6, "Domain identifier, 0 for no domains")
    endurance_estimate: int = u128(32, "What may be written in its life; 0 for not reported")
    data_units_read: int = u128(48, "Read by hosts")
    data_units_written: int = u128(64, "Written by hosts")
    media_units_written: int = u128(80, "Written to the media, by hosts and the controller")
    host_read_commands: int = u128(96, "Read and Compare commands completed")
    host_write_commands: int = u128(112, "Write commands completed")
    media_errors: int = u128(128, "Unrecovered data integrity errors")
    error_log_entries: int = u128(144, "Entries of the error information log about the group")
    tegcap: int = u128(160, "Total capacity, bytes")
    uegcap: int = u128(176, "Unallocated capacity, bytes")


class RotationalMedia(Structure, size=512):
    """Rotational media information, log page 16h (NVMe Base 2.0, 5.16.1.22); the endurance group is LSI."""

    endgid: int = u16(0, "Endurance group identifier")
    numa: int = u16(2, "Number of actuators")
    nrs: int = u16(4, "Nominal rotational speed, revolutions per minute; 1 for not reported")
    spinc: int = u32(8, "Spin-up count")
    fspinc: int = u32(12, "Failed spin-up count")
    ldc: int = u32(16, "Load count")
    fldc: int = u32(20, "Failed load count")


class PredictableLatency(Structure, size=512):
    """Predictable latency of an NVM set, log page 0Ah (NVMe Base 2.0, 5.16.1.11); the set is LSI.

    Times are in milliseconds; reads in units of 4 KiB, writes in units of the optimal write size.
    """

    status: int = u8(0, "Bits 2:0: 0 mode not enabled, 1 deterministic window, 2 non-deterministic window")
    event_type: int = u16(2, "Bits 2:0 warnings of reads, writes, time; 14 and 15 windows left by itself")
    dtwin_reads_typical: int = u64(32, "Reads of a deterministic window")
    dtwin_writes_typical: int = u64(40, "Writes of a deterministic window")
    dtwin_time_maximum: int = u64(48, "Time of a deterministic window, at most")
    ndwin_time_minimum_high: int = u64(
        56, "Time of a non-deterministic window after a full deterministic one"
    )
    ndwin_time_minimum_low: int = u64(64, "Time of a non-deterministic window, at least")
    dtwin_reads_estimate: int = u64(128, "Reads that are left")
    dtwin_writes_estimate: int = u64(136, "Writes that are left")
    dtwin_time_estimate: int = u64(144, "Time that is left")
