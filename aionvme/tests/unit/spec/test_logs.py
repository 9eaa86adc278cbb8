"""Log pages: against another decoder's reading of other controllers, and against bytes packed by hand."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from aionvme.spec.errors import DecodeError
from aionvme.spec.identify import IdentifyController
from aionvme.spec.logs import LOG_PAGES, captures, events, fdp, health, namespaces
from aionvme.spec.opcodes import LogPageId
from aionvme.spec.status import StatusCode
from aionvme.tests.unit.spec.golden import CONTROLLERS, read_bytes, read_json

QEMU = CONTROLLERS[0]


# -- other controllers ---------------------------------------------------------------------------------------

SMART_WORDS = {
    "critical_warning": "critical_warning", "temperature": "temperature", "avail_spare": "available_spare",
    "spare_thresh": "available_spare_threshold", "percent_used": "percentage_used",
    "endurance_grp_critical_warning_summary": "endurance_group_warning",
    "data_units_read": "data_units_read", "data_units_written": "data_units_written",
    "host_read_commands": "host_read_commands", "host_write_commands": "host_write_commands",
    "controller_busy_time": "controller_busy_time", "power_cycles": "power_cycles",
    "power_on_hours": "power_on_hours", "unsafe_shutdowns": "unsafe_shutdowns", "media_errors": "media_errors",
    "num_err_log_entries": "error_log_entries", "warning_temp_time": "warning_temperature_time",
    "critical_comp_time": "critical_temperature_time", "thm_temp1_trans_count": "thermal_transitions_1",
    "thm_temp2_trans_count": "thermal_transitions_2", "thm_temp1_total_time": "thermal_time_1",
    "thm_temp2_total_time": "thermal_time_2",
}  # fmt: skip
ENDURANCE_WORDS = {
    "critical_warning": "critical_warning", "endurance_group_features": "egfeat",
    "avl_spare": "available_spare", "avl_spare_threshold": "available_spare_threshold",
    "percent_used": "percentage_used", "domain_identifier": "domainid",
    "endurance_estimate": "endurance_estimate", "data_units_read": "data_units_read",
    "data_units_written": "data_units_written", "media_units_written": "media_units_written",
    "host_read_cmds": "host_read_commands", "host_write_cmds": "host_write_commands",
    "media_data_integrity_err": "media_errors", "num_err_info_log_entries": "error_log_entries",
    "total_end_grp_cap": "tegcap", "unalloc_end_grp_cap": "uegcap",
}  # fmt: skip
ERROR_WORDS = {
    "error_count": "error_count", "sqid": "sqid", "cmdid": "cid",
    "parm_error_location": "parameter_error_location", "lba": "lba", "nsid": "nsid", "vs": "vendor_log_page",
    "trtype": "trtype", "cs": "command_specific", "trtype_spec_info": "transport_specific",
}  # fmt: skip


def agrees(decoded: Any, read: dict[str, Any], words: dict[str, str]) -> None:
    """Each field that the other decoder has is the same here."""
    assert {word: getattr(decoded, words[word]) for word in words} == {word: read[word] for word in words}


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_smart_of_others(controller: str) -> None:
    """SMART as nvme-cli reads it, and back to the same bytes."""
    raw = read_bytes(controller, "smart-log")
    log = health.SmartLog.decode(raw)
    agrees(log, read_json(controller, "smart-log"), SMART_WORDS)
    assert log.encode() == raw
    assert log.temperature_c == log.temperature - 273


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_errors_of_others(controller: str) -> None:
    """The error log as nvme-cli reads it: entries that say nothing."""
    raw = read_bytes(controller, "error-log")
    log = health.ErrorLog.decode(raw)
    read = read_json(controller, "error-log")["errors"]
    assert len(log.entries) == len(read)
    for entry, other in zip(log.entries, read, strict=True):
        agrees(entry, other, ERROR_WORDS)
    assert log.errors == ()
    assert log.encode() == raw


@pytest.mark.parametrize(("controller", "revision"), [(CONTROLLERS[0], "1.0"), (CONTROLLERS[1], "26.05")])
def test_firmware_of_others(controller: str, revision: str) -> None:
    """Slot 1 is active; nvme-cli gives its revision as a number and as text."""
    raw = read_bytes(controller, "fw-log")
    log = health.FirmwareSlots.decode(raw)
    (read,) = read_json(controller, "fw-log").values()
    assert (log.afi, log.active_slot, log.next_slot) == (read["Active Firmware Slot (afi)"], 1, 0)
    assert log.revisions == {1: revision}
    assert str(int.from_bytes(log.frs[:8], "little")) == read["Firmware Rev Slot 1"].split()[0]
    assert log.encode() == raw


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_changed_namespaces_of_others(controller: str) -> None:
    """Nothing changed."""
    raw = read_bytes(controller, "changed-ns-list-log")
    log = namespaces.ChangedNamespaces.decode(raw)
    assert log == namespaces.ChangedNamespaces()
    assert log.encode() == raw


def test_endurance_of_qemu() -> None:
    """The endurance group as nvme-cli reads it."""
    raw = read_bytes(QEMU, "endurance-log")
    log = health.EnduranceGroupLog.decode(raw)
    agrees(log, read_json(QEMU, "endurance-log"), ENDURANCE_WORDS)
    assert log.host_read_commands == 6
    assert log.encode() == raw


def test_fdp_configurations_of_qemu() -> None:
    """One valid configuration of four handles that are initially isolated."""
    raw = read_bytes(QEMU, "fdp-configs")
    log = fdp.FdpConfigurations.decode(raw)
    read = read_json(QEMU, "fdp-configs")
    (configuration,) = log.configurations
    (other,) = read["configs"]
    head = configuration.head
    assert (head.fdpa, head.vss, head.nrg, head.nruh, head.nns, head.runs, head.erutl) == tuple(
        other[name] for name in ("fdpa", "vss", "nrg", "nruh", "nnss", "runs", "erutl")
    )
    assert fdp.FdpAttributes(head.fdpa).valid
    assert [handle.ruht for handle in configuration.handles] == [1, 1, 1, 1]
    assert log.encode() == raw
    assert fdp.configurations_bytes(raw[:16]) == len(raw)


def test_fdp_usage_and_statistics_of_qemu() -> None:
    """Four handles, of which three are the host's; nothing was written."""
    raw = read_bytes(QEMU, "fdp-usage")
    log = fdp.FdpHandleUsage.decode(raw)
    assert [handle.ruha for handle in log.handles] == [
        item["ruha"] for item in read_json(QEMU, "fdp-usage")["ruhus"]
    ]
    assert log.encode() == raw
    assert fdp.usage_bytes(raw[:8]) == len(raw)
    raw = read_bytes(QEMU, "fdp-stats")
    statistics = fdp.FdpStatistics.decode(raw)
    assert statistics.to_dict() == read_json(QEMU, "fdp-stats")
    assert (statistics.encode(), statistics.write_amplification) == (raw, 0.0)


# -- by hand -------------------------------------------------------------------------------------------------


def test_smart_by_hand() -> None:
    """Every field has a value of its own."""
    numbers = range(1000, 1010)
    raw = struct.pack("<BHBBBB25x", 0x21, 310, 99, 10, 3, 0x05)
    raw += b"".join(number.to_bytes(16, "little") for number in numbers)
    raw += struct.pack("<II8HIIII", 1, 2, *range(300, 308), 3, 4, 5, 6) + bytes(range(1, 141)) * 2
    log = health.SmartLog.decode(raw)
    assert (log.temperature, log.temperature_c, log.available_spare, log.percentage_used) == (310, 37, 99, 3)
    assert (log.warnings.spare, log.warnings.temperature, log.warnings.pmr_unreliable) == (1, 0, 1)
    assert health.GroupWarning(log.endurance_group_warning) == health.GroupWarning(spare=1, degraded=1)
    assert (log.data_units_read, log.power_on_hours, log.error_log_entries) == (1000, 1006, 1009)
    assert log.temperature_sensors == tuple(range(300, 308))
    assert (log.warning_temperature_time, log.thermal_transitions_1, log.thermal_time_2) == (1, 3, 6)
    assert log.encode() == raw


def test_an_error_by_hand() -> None:
    """The status comes without the phase tag, the location by byte and bit."""
    entry = struct.pack(
        "<QHHHHQIBBBBQH21xB", 7, 3, 0x1234, 0x4281 << 1 | 1, 5 << 8 | 40, 99, 2, 0xC0, 1, 0, 2, 8, 9, 1
    )
    log = health.ErrorLog.decode(entry + bytes(64) + entry)
    assert len(log.entries) == 3
    first, _second = log.errors
    assert (first.error_count, first.sqid, first.cid, first.lba, first.nsid) == (7, 3, 0x1234, 99, 2)
    assert first.status == StatusCode.UNRECOVERED_READ_ERROR and first.status.dnr
    assert health.ErrorLocation(first.parameter_error_location) == health.ErrorLocation(byte=40, bit=5)
    assert (first.opcode, first.command_specific, first.transport_specific, first.lpver) == (2, 8, 9, 1)
    assert log.encode() == entry + bytes(64) + entry


def test_firmware_slots_by_hand() -> None:
    """An empty slot is left out; the next slot is bits 6:4."""
    raw = bytes([0x23]) + bytes(7) + b"OLD     " + bytes(8) + b"NEWER\0\0\0" + bytes(32 + 448)
    log = health.FirmwareSlots.decode(raw)
    assert (log.active_slot, log.next_slot, log.revisions) == (3, 2, {1: "OLD", 3: "NEWER"})


def test_self_test_by_hand() -> None:
    """One in progress, one result, and entries that are none, in either way of saying so."""
    result = struct.pack("<BBBxQIQBBH", 0x27, 4, 0xF, 11, 1, 77, 2, 0x81, 5)
    raw = bytes([0x12, 0x80 | 35, 0, 0]) + result + bytes([0x0F]) + bytes(27) + bytes(28 * 18)
    log = health.SelfTestLog.decode(raw)
    assert (log.running, log.percent, len(log.results)) == (2, 35, 20)
    (only,) = log.used_results
    assert (only.code, only.result, only.segment, only.poh) == (
        2,
        health.SelfTestResultCode.FAILED_IN_SEGMENT,
        4,
        11,
    )
    assert (only.nsid, only.flba, only.sct, only.sc, only.vendor) == (1, 77, 2, 0x81, 5)
    assert log.encode() == raw


def test_sanitize_by_hand() -> None:
    """Progress is in 65536ths while an operation runs."""
    raw = struct.pack("<HHIIIIIII", 0x4000, 2 | 3 << 3 | 1 << 8, 0x12, 1, 2, 3, 4, 5, 6) + bytes(480)
    log = health.SanitizeLog.decode(raw)
    assert (log.state, log.progress, log.scdw10) == (health.SanitizeState.IN_PROGRESS, 0.25, 0x12)
    assert health.SanitizeStat(log.sstat) == health.SanitizeStat(status=2, passes=3, global_data_erased=1)
    assert (log.eto, log.etbe, log.etce, log.etondmm, log.etbenmm, log.etcenmm) == (1, 2, 3, 4, 5, 6)
    assert log.encode() == raw
    assert health.SanitizeLog(sprog=0xFFFF, sstat=1).progress == 1.0


def test_changed_namespaces_by_hand() -> None:
    """Up to the first zero; FFFFFFFFh for more than there is room for."""
    raw = struct.pack("<III", 1, 7, 0x1234) + bytes(4096 - 12)
    log = namespaces.ChangedNamespaces.decode(raw)
    assert (log.nsids, log.too_many, log.encode()) == ((1, 7, 0x1234), False, raw)
    raw = b"\xff" * 4 + bytes(4092)
    log = namespaces.ChangedNamespaces.decode(raw)
    assert (log.nsids, log.too_many, log.encode()) == ((), True, raw)
    full = struct.pack("<1024I", *range(1, 1025))
    assert namespaces.ChangedNamespaces.decode(full).encode() == full
    with pytest.raises(ValueError, match="nsids"):
        namespaces.ChangedNamespaces(nsids=tuple(range(1, 1026))).encode()


def test_aggregates_by_hand() -> None:
    """A number of identifiers, and not one more than there are bytes for."""
    raw = struct.pack("<QHHH", 3, 5, 1, 9)
    log = namespaces.EventAggregate.decode(raw + bytes(2))
    assert (log.identifiers, log.encode(), namespaces.aggregate_bytes(raw[:8])) == ((5, 1, 9), raw, 14)
    with pytest.raises(DecodeError, match="3 parts of 2 bytes"):
        namespaces.EventAggregate.decode(raw[:-2])


def ana() -> bytes:
    """Two groups, of three namespaces and none."""
    first = struct.pack("<IIQB15xIII", 1, 3, 4, 1, 1, 2, 9)
    return struct.pack("<QH6x", 12, 2) + first + struct.pack("<IIQB15x", 2, 0, 5, 0xF)


def test_ana_by_hand() -> None:
    """Groups with their namespaces; how long the page is comes out step by step."""
    log = namespaces.AnaLog.decode(ana())
    assert (log.chgcnt, [group.agid for group in log.groups]) == (12, [1, 2])
    assert (log.groups[0].nsids, log.groups[0].state) == ((1, 2, 9), namespaces.AnaState.OPTIMIZED)
    assert (log.groups[1].nsids, log.groups[1].state) == ((), namespaces.AnaState.CHANGE)
    assert log.encode() == ana()
    assert [namespaces.ana_bytes(ana()[:size]) for size in (16, 48, 92)] == [80, 92, 92]
    with pytest.raises(DecodeError, match="ANA log"):
        namespaces.AnaLog.decode(ana()[:-4])


def lba_status() -> bytes:
    """Two namespaces: two ranges, and all of it."""
    first = struct.pack("<IIB7x", 3, 2, 0x10) + struct.pack("<QI4xQI4x", 8, 4, 100, 1)
    return struct.pack("<IIIHH", 80, 2, 5, 0, 9) + first + struct.pack("<IIB7x", 4, 0xFFFFFFFF, 0x11)


def test_lba_status_by_hand() -> None:
    """Ranges by namespace; FFFFFFFFh ranges are the whole namespace, FFFFFFFFh elements are all namespaces."""
    log = namespaces.LbaStatusLog.decode(lba_status())
    assert (log.estulb, log.lsgc, log.whole) == (5, 9, False)
    first, second = log.namespaces
    assert [(item.rslba, item.rnlb) for item in first.ranges] == [(8, 4), (100, 1)]
    assert (first.nsid, first.ratype, second.nsid, second.whole, second.ranges) == (3, 0x10, 4, True, ())
    assert log.encode() == lba_status()
    everything = struct.pack("<IIIHH", 16, 0xFFFFFFFF, 0, 0, 1)
    assert namespaces.LbaStatusLog.decode(everything).whole
    assert namespaces.LbaStatusLog.decode(everything).encode() == everything


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, 15), (0, 81), (0, 76), (4, 3), (4, 0xFFFFFFFE), (20, 3), (20, 0xFFFFFFFE)],
)
def test_lba_status_that_cannot_be(at: int, value: int) -> None:
    """A length, a number of elements or of ranges that is too large for the bytes."""
    raw = bytearray(lba_status())
    struct.pack_into("<I", raw, at, value)
    with pytest.raises(DecodeError):
        namespaces.LbaStatusLog.decode(raw)


def test_reservation_notification_by_hand() -> None:
    """Count, type, how many more, namespace."""
    raw = struct.pack("<QBBHI48x", 3, 2, 1, 0, 7)
    log = namespaces.ReservationNotification.decode(raw)
    assert (log.lpc, log.rnlpt, log.nalp, log.nsid, log.encode()) == (3, 2, 1, 7, raw)


def test_telemetry_by_hand() -> None:
    """Areas hold one another; one that is empty ends where the one before ends."""
    raw = struct.pack("<B4x3sHHH2xI360xBBBB", 7, b"\x01\x02\x03", 2, 5, 0, 9, 1, 6, 1, 4) + b"why".ljust(
        128, b"\0"
    )
    log = captures.TelemetryHeader.decode(raw)
    assert [log.last_block(area) for area in (1, 2, 3, 4)] == [2, 5, 5, 9]
    assert (log.lpi, log.ieee, log.hostdgn, log.ctrlavail, log.ctrldgn) == (7, 0x030201, 6, 1, 4)
    assert (log.rsnident[:4], log.encode()) == (b"why\0", raw)
    with pytest.raises(ValueError, match="area"):
        log.last_block(5)


def test_boot_partition_by_hand() -> None:
    """Size in units of 128 KiB, and which one is active."""
    raw = struct.pack("<B3xI8x", 0x15, 1 | 1 << 31) + b"boot".ljust(128 << 10, b"\0")
    log = captures.BootPartition.decode(raw)
    assert (log.active, log.data[:4], len(log.data), log.encode()) == (1, b"boot", 128 << 10, raw)
    assert captures.boot_partition_bytes(raw[:16]) == len(raw)
    with pytest.raises(DecodeError, match="boot partition"):
        captures.BootPartition.decode(raw[:-1])
    with pytest.raises(ValueError, match="data"):
        captures.BootPartition(head=log.head, data=b"").encode()


def test_fdp_events_by_hand() -> None:
    """Events, with what is specific to their type."""
    specific = struct.pack("<BBHQ4x", 1, 0, 8, 100)
    event = struct.pack("<BBHQI16sHB5x24s", 0x80, 7, 3, 99, 1, specific, 4, 5, b"vendor")
    raw = struct.pack("<I60x", 1) + event
    log = fdp.FdpEvents.decode(raw + bytes(64))
    (only,) = log.events
    assert (only.type, only.pid, only.timestamp, only.nsid, only.rgid, only.ruhid) == (0x80, 3, 99, 1, 4, 5)
    moved = fdp.MediaReallocated.decode(only.specific)
    assert (moved.flags, moved.nlbam, moved.lba) == (1, 8, 100)
    assert (log.encode(), fdp.events_bytes(raw[:64])) == (raw, 128)
    with pytest.raises(DecodeError, match="64, of 63"):
        fdp.FdpEvents.decode(struct.pack("<I60x", 64) + bytes(64 * 64))


def test_fdp_configurations_by_hand() -> None:
    """Two configurations with vendor specific bytes and padding; sizes that cannot be."""
    first = struct.pack("<HBBIHHIQI36x", 64 + 8 + 3 + 5, 0x84, 3, 1, 2, 9, 4, 1 << 20, 60)
    first += b"\x01\0\0\0\x02\0\0\0" + b"abc" + bytes(5)
    second = struct.pack("<HBBIHHIQI36x", 68, 0, 0, 1, 1, 0, 0, 5, 0) + b"\x02\0\0\0"
    raw = struct.pack("<HBBI8x", 1, 0, 0, 16 + len(first) + len(second)) + first + second
    log = fdp.FdpConfigurations.decode(raw)
    assert [len(item.handles) for item in log.configurations] == [2, 1]
    assert (log.configurations[0].vendor, log.configurations[0].padding) == (b"abc", bytes(5))
    assert fdp.FdpAttributes(log.configurations[0].head.fdpa).rgif == 4
    assert log.encode() == raw
    for at, form, value in (
        (0, "<H", 2),
        (4, "<I", 15),
        (4, "<I", 500),
        (16, "<H", 63),
        (16, "<H", 900),
        (24, "<H", 90),
    ):
        wrong = bytearray(raw)
        struct.pack_into(form, wrong, at, value)
        with pytest.raises(DecodeError):
            fdp.FdpConfigurations.decode(wrong)


# -- persistent events ---------------------------------------------------------------------------------------


def event(etype: int, data: bytes, *, vendor: bytes = b"", more: bytes = b"") -> bytes:
    """One event by hand."""
    el = len(vendor) + len(data)
    head = struct.pack("<BBBBHQH4xHH", etype, 1, 21 + len(more), 2, 7, 123456, 1, len(vendor), el)
    return head + more + vendor + data


EVENTS = (
    event(0x01, bytes([0, 0x36, 0x01]) + bytes(509)),
    event(0x02, b"1.0     2.0     " + struct.pack("<BBBBH", 3, 2, 1, 0x0B, 9)),
    event(0x03, struct.pack("<QQ", 5, 6)),
    event(0x04, b"1.0     " + struct.pack("<HBB12xIQQ", 1, 1, 2, 3, 4, 5)),
    event(0x05, struct.pack("<HH", 8, 0) + b"more"),
    event(0x06, struct.pack("<IIQ8xQBBBxIHHI", 0, 0, 100, 90, 1, 2, 3, 4, 5, 0, 6)),
    event(0x07, struct.pack("<IB3xI", 1, 4, 0x200)),
    event(0x08, struct.pack("<IBBHI", 1, 2, 3, 4, 5)),
    event(0x09, struct.pack("<III", 1, 2, 3)),
    event(0x0A, struct.pack("<HHH2x", 0xFFFF, 1, 2)),
    event(0x0B, struct.pack("<IIII", 2 | 1 << 3 | 4 << 16, 0x0E, 7, 0x11223344) + struct.pack("<I", 99)),
    event(0x0C, b"\x07" + bytes(511)),
    event(0x0D, bytes([4, 2])),
    event(0xDE, b"data", vendor=b"vs", more=b"extended"),
)


def persistent() -> bytes:
    """A log with one event of every type."""
    body = b"".join(EVENTS)
    head = struct.pack(
        "<B3xIQBxHQ16sQHH20s40s256sHI102x32s",
        0x0D, len(EVENTS), 512 + len(body), 3, 492, 999, (77).to_bytes(16, "little"), 12, 0x1B36, 0x1AF4,
        b"SERIAL".ljust(20), b"MODEL".ljust(40), b"nqn.test", 21, 1 << 18, (0x3FFE).to_bytes(32, "little"),
    )  # fmt: skip
    return head + body


def test_persistent_events_by_hand() -> None:
    """The header, and every type of event with its data."""
    log = events.PersistentEventLog.decode(persistent() + bytes(3))
    head = log.head
    assert (head.tnev, head.tll, head.lrev, head.timestamp, head.poh, head.pcc) == (
        14,
        len(persistent()),
        3,
        999,
        77,
        12,
    )
    assert (head.sn, head.mn, head.subnqn, head.generation) == ("SERIAL", "MODEL", "nqn.test", 21)
    assert head.supported == frozenset(range(1, 14))
    assert events.ReportingContext(head.rci).rce == 1
    assert [item.head.etype for item in log.events] == [*range(1, 14), 0xDE]
    assert {item.head.cntlid for item in log.events} == {7}
    values: list[Any] = [item.value for item in log.events]
    assert values[0].temperature == 310
    assert (values[1].old, values[1].new, values[1].action, values[1].slot, values[1].sc) == (
        "1.0",
        "2.0",
        3,
        2,
        0x0B,
    )
    assert (values[2].previous, values[2].since_reset) == (5, 6)
    assert (values[3].firmware, values[3].controllers[0].power_on_milliseconds) == ("1.0", 4)
    assert (values[4].code, values[4].information) == (8, b"more")
    assert (values[5].nsze, values[5].ncap, values[5].anagrpid, values[5].nvmsetid, values[5].nsid) == (
        100,
        90,
        4,
        5,
        6,
    )
    assert (values[6].nsid, values[6].fna, values[6].cdw10) == (1, 4, 0x200)
    assert (values[7].fpi, values[7].status, values[7].status_field) == (2, 3, 5)
    assert (values[8].sanicap, values[8].cdw11, values[9].sprog, values[9].information) == (1, 3, 0xFFFF, 2)
    assert (values[10].fid, values[10].cdws, values[10].dw0) == (0x0E, (0x0E, 7), 99)
    assert values[10].data == bytes.fromhex("44332211")
    assert (values[11].lpi, values[12].over, values[12].threshold) == (7, 4, 2)
    last = log.events[-1]
    assert (last.vendor, last.more, last.data, last.value) == (b"vs", b"extended", b"data", b"data")
    assert log.encode() == persistent()
    for item in log.events:
        decoded = item.value
        assert item.data == (decoded if isinstance(decoded, bytes) else decoded.encode())


@pytest.mark.parametrize(
    ("at", "form", "value"),
    [(4, "<I", 15), (4, "<I", 0xFFFFFFFF), (8, "<Q", 511), (8, "<Q", 1 << 40), (514, "<B", 20), (532, "<H", 600),
     (534, "<H", 9000)],
)  # fmt: skip
def test_persistent_events_that_cannot_be(at: int, form: str, value: int) -> None:
    """Numbers and lengths in the header and in an event that the bytes do not bear out."""
    raw = bytearray(persistent())
    struct.pack_into(form, raw, at, value)
    with pytest.raises(DecodeError):
        events.PersistentEventLog.decode(raw)


# -- the table -----------------------------------------------------------------------------------------------


def test_the_table_knows_how_long_a_page_is() -> None:
    """A part is not the whole; a list of errors may be of any length."""
    assert not LOG_PAGES[LogPageId.SMART].whole(bytes(511))
    assert LOG_PAGES[LogPageId.SMART].whole(bytes(512))
    assert not LOG_PAGES[LogPageId.ANA].whole(ana()[:-1])
    assert LOG_PAGES[LogPageId.ANA].whole(ana() + bytes(4))
    assert LOG_PAGES[LogPageId.ERROR_INFORMATION].whole(bytes(64))
    size_by = LOG_PAGES[LogPageId.ERROR_INFORMATION].size_by
    assert size_by is not None and size_by(IdentifyController(elpe=3)) == 256
