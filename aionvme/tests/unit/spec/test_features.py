"""Typed features: against nvme-cli's captures, the masks of other headers, and bytes written by hand."""

from __future__ import annotations

import re
import struct
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aionvme.spec.errors import DecodeError, NvmeError
from aionvme.spec.feature import Feature, FeatureCapabilities, Scope, argument, cdw11
from aionvme.spec.features import FEATURES, WriteProtection
from aionvme.spec.features_data import (
    AutonomousPowerStateTransition,
    ControllerMetadata,
    FdpEvents,
    FdpEventType,
    HostBehaviorSupport,
    HostIdentifier,
    HostMemoryBuffer,
    HostMemoryDescriptor,
    LbaRange,
    LbaRangeType,
    MetadataAction,
    MetadataElement,
    NamespaceMetadata,
    PredictableLatencyModeConfig,
    Timestamp,
)
from aionvme.spec.intel_features import INTEL_FEATURES
from aionvme.spec.opcodes import FeatureId
from aionvme.tests.unit.spec.golden import ROOT

CAPTURES = sorted(ROOT.glob("*/feature-*.txt"))
ALL = {**FEATURES, **INTEL_FEATURES}

# Shift and mask as libnvme's types.h has them (illumos' nvme.h for the hysteresis and the later events), in dword 11
# for Set Features; a 12 in front for dword 12.
MASKS: dict[int, dict[str, tuple[int, ...]]] = {
    0x01: {"ab": (0, 0x7), "lpw": (8, 0xFF), "mpw": (16, 0xFF), "hpw": (24, 0xFF)},
    0x02: {"ps": (0, 0x1F), "wh": (5, 0x7)},
    0x03: {"num": (0, 0x3F)},
    0x04: {"tmpth": (0, 0xFFFF), "tmpsel": (16, 0xF), "thsel": (20, 0x3), "tmpthh": (22, 0x7)},
    0x05: {"tler": (0, 0xFFFF), "dulbe": (16, 1)},
    0x06: {"wce": (0, 1)},
    0x07: {"nsq": (0, 0xFFFF), "ncq": (16, 0xFFFF)},
    0x08: {"thr": (0, 0xFF), "time": (8, 0xFF)},
    0x09: {"iv": (0, 0xFFFF), "cd": (16, 1)},
    0x0A: {"dn": (0, 1)},
    0x0B: {
        name: (at, 1)
        for name, at in {
            "spare": 0, "temperature": 1, "reliability": 2, "read_only": 3, "backup_failed": 4, "pmr": 5,
            "nsan": 8, "fan": 9, "tln": 10, "anacn": 11, "plealcn": 12, "lsin": 13, "egealcn": 14, "nnsshdn": 15,
            "tthr": 16, "rassn": 17, "rgrp0": 18, "ansan": 19, "zdcn": 27, "pmdrlpcn": 28, "adlpcn": 29,
            "hdlpcn": 30, "dlpcn": 31,
        }.items()
    },
    0x0C: {"apste": (0, 1)},
    0x0D: {"ehm": (0, 1), "mr": (1, 1)},
    0x0E: {},
    0x0F: {"kato": (0, 0xFFFFFFFF)},
    0x10: {"tmt2": (0, 0xFFFF), "tmt1": (16, 0xFFFF)},
    0x11: {"noppme": (0, 1)},
    0x12: {"nvmsetid": (0, 0xFFFF), "rrl": (12, 0, 0xF)},
    0x13: {"nvmsetid": (0, 0xFFFF), "lpe": (12, 0, 1)},
    0x14: {"nvmsetid": (0, 0xFFFF), "wsel": (12, 0, 7)},
    0x15: {"lsiri": (0, 0xFFFF), "lsipi": (16, 0xFFFF)},
    0x16: {},
    0x17: {"nodrm": (0, 1)},
    0x18: {"endgid": (0, 0xFFFF), "egcw": (16, 0xFF)},
    0x19: {"iocsci": (0, 0x1FF)},
    0x1A: {"sce": (0, 1)},
    0x1D: {"endgid": (0, 0xFFFF), "fdpe": (12, 0, 1), "fdpcidx": (12, 8, 0xFF)},
    0x1E: {"phndl": (0, 0xFFFF), "noet": (16, 0xFF), "fdpee": (12, 0, 1)},
    0x7D: {"gdhm": (0, 1), "ea": (13, 3)},
    0x7E: {"gdhm": (0, 1), "ea": (13, 3)},
    0x7F: {"gdhm": (0, 1), "ea": (13, 3)},
    0x80: {"pbslc": (0, 0xFF)},
    0x81: {"exhid": (0, 1)},
    0x82: {"regpre": (1, 1), "resrel": (2, 1), "respre": (3, 1)},
    0x83: {"ptpl": (0, 1)},
    0x84: {"wps": (0, 7)},
    # SPDK's nvme_intel.h.
    0xC6: {"setting": (0, 0xFF)},
    0xC8: {"address": (1, 0xFF)},
    0xC9: {"options": (0, 0xFFFFFF), "value": (24, 0xFF)},
    0xD5: {"reset": (0, 1)},
    0xE2: {"enable": (0, 0xFFFFFFFF)},
}  # fmt: skip
# Sums of the member sizes of libnvme's structures.
DATA: dict[Any, tuple[int, str]] = {
    LbaRange: (64, "type 0 attributes 1 slba 16 nlb 24 guid 32"),
    LbaRangeType: (4096, "ranges 0"),
    AutonomousPowerStateTransition: (256, "entries 0"),
    HostMemoryBuffer: (4096, "hsize 0 hmdlal 4 hmdlau 8 hmdlec 12"),
    HostMemoryDescriptor: (16, "badd 0 bsize 8"),
    Timestamp: (8, "timestamp 0 attributes 6"),
    PredictableLatencyModeConfig: (512, "ee 0 dtwinrt 32 dtwinwt 40 dtwintt 48"),
    HostBehaviorSupport: (512, "acre 0 etdas 1 lbafee 2 hdisns 3 cdfe 4 rest 6"),
    ControllerMetadata: (4096, "ndesc 0 descriptors 2"),
    NamespaceMetadata: (4096, "ndesc 0 descriptors 2"),
}


def _capture(text: str) -> tuple[int, int, bytes]:
    """Identifier, dword 0 and data of nvme-cli's plain output."""
    head, *dump = text.splitlines()
    match = re.match(r"get-feature:0x(\w+) \(.*\), Current value:(\w+)", head)
    assert match
    rows = (re.match(r"[0-9a-f]{4}: ((?:[0-9a-f]{2} ?)+)", line) for line in dump)
    return int(match[1], 16), int(match[2], 16), b"".join(bytes.fromhex(row[1]) for row in rows if row)


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_captures_of_other_controllers(path: Any) -> None:
    """What nvme-cli got has the size that the table says, decodes, and comes back with the same dword and data."""
    fid, dw0, data = _capture(path.read_text())
    kind = FEATURES[fid]
    asked = 0xFF << 16 if kind is FdpEvents else 0
    assert len(data) == kind.get_bytes(asked)
    value = kind.from_get(dw0, data, cdw11=asked)
    # QEMU tells of the vector of its admin queue; it has no bit that the tables do not know.
    assert value.dw0 == dw0
    if kind.SIZE and kind is not Timestamp:
        assert value.encode() == data


def test_what_the_captures_say() -> None:
    """Some of the values, as nvme-cli's reader would read them."""

    def read(name: str) -> Any:
        fid, dw0, data = _capture((ROOT / name).read_text())
        return FEATURES[fid].from_get(dw0, data, cdw11=0xFF0000 if fid == FeatureId.FDP_EVENTS else 0)

    assert read("qemu-10.0.2/feature-01.txt").to_dict() == {"ab": 7, "lpw": 0, "mpw": 0, "hpw": 0}
    assert read("qemu-10.0.2/feature-04.txt").tmpth == 343
    assert read("qemu-10.0.2/feature-07.txt").queue_pairs == 64
    assert read("spdk-26.05/feature-07.txt").queue_pairs == 127
    assert read("qemu-10.0.2/feature-0b.txt").nsan == 1
    assert read("qemu-10.0.2/feature-09.txt").cd == 1
    time = read("qemu-10.0.2/feature-0e.txt")
    assert (time.timestamp, time.from_host) == (0x01A209712E77, True)
    assert time.time == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=0x01A209712E77)
    behavior = read("qemu-10.0.2/feature-16.txt")
    assert (behavior.acre, behavior.lbafee, behavior.cdfe) == (0, 1, 0)
    events = read("qemu-10.0.2/feature-1e.txt")
    assert [event.type for event in events.used] == [0, 1, 2, 3, 0x80, 0x81]
    assert not any(event.attributes for event in events.used)


def test_every_feature_is_in_the_table() -> None:
    """Each identifier that has a name has a typed value."""
    assert FEATURES.keys() == {int(fid) for fid in FeatureId}
    assert all(fid == kind.FID for fid, kind in ALL.items())
    assert {kind.__name__ for kind in FEATURES.values() if kind.SCOPE is Scope.NAMESPACE} == {
        "LbaRangeType", "ErrorRecovery", "FdpEvents", "NamespaceMetadata", "ReservationNotificationMask",
        "ReservationPersistence", "NamespaceWriteProtection",
    }  # fmt: skip


@pytest.mark.parametrize("fid", MASKS, ids=hex)
def test_fields_of_dwords_are_where_libnvme_has_them(fid: int) -> None:
    """Names, bits and dword of every field, and each by itself in the dword that is sent."""
    kind = ALL[fid]
    assert kind.WORDS.keys() == MASKS[fid].keys()
    for name, place in MASKS[fid].items():
        number, low, mask = (11, *place) if len(place) == 2 else place
        value = kind(**{name: mask})
        assert value.words()[number] == mask << low, name
        assert sum(value.words().values()) == mask << low, name
        # Get Features gives it in dword 0 at the same bits; of FDP events that is the number of them instead.
        if kind is not FdpEvents and (kind.WORDS[name].out or kind.WORDS[name].told):
            got = kind.from_get(mask << low, bytes(kind.GET_BYTES), cdw11=mask << low)
            assert getattr(got, name) == mask, name
        for wrong in (mask + 1, -1):
            with pytest.raises(ValueError, match=rf"{kind.__name__}\.{name}"):
                kind(**{name: wrong}).words()


@pytest.mark.parametrize("kind", DATA)
def test_data_is_where_libnvme_has_it(kind: Any) -> None:
    """Size, names and offsets."""
    size, text = DATA[kind]
    words = text.split()
    assert size == kind.SIZE
    assert {name: row.offset for name, row in kind.ROWS.items()} == dict(
        zip(words[::2], map(int, words[1::2]), strict=True)
    )


def test_lba_ranges_by_hand() -> None:
    """Each range has 64 bytes; the number of them is 0's based."""
    one = struct.pack("<BB14xQQ16s16x", 1, 3, 0x1122334455667788, 4096, bytes(range(16)))
    two = struct.pack("<BB14xQQ16s16x", 0x80, 0, 7, 1, bytes(16))
    data = (one + two).ljust(4096, b"\0")
    value = LbaRangeType.from_get(1, data)
    assert value.used == (
        LbaRange(type=1, attributes=3, slba=0x1122334455667788, nlb=4096, guid=bytes(range(16))),
        LbaRange(type=0x80, slba=7, nlb=1),
    )
    assert value == LbaRangeType.of(value.used)
    assert (value.payload(), value.cdw11) == (data, 1)
    for count in (0, 65):
        with pytest.raises(ValueError, match="ranges"):
            LbaRangeType.of([LbaRange()] * count)


def test_power_transitions_by_hand() -> None:
    """ITPS in bits 7:3 and ITPT in bits 31:8 of eight bytes for each state."""
    data = bytearray(256)
    data[0:8] = struct.pack("<Q", 100 << 8 | 3 << 3)
    data[31 * 8 : 32 * 8] = struct.pack("<Q", 0xFFFFFF << 8 | 31 << 3)
    value = AutonomousPowerStateTransition.from_get(1, data)
    assert value.transitions == {0: (3, 100), 31: (31, 0xFFFFFF)}
    assert value == AutonomousPowerStateTransition.of(value.transitions)
    assert value.payload() == bytes(data)
    assert AutonomousPowerStateTransition.of({}).apste == 0
    for wrong in ({32: (0, 1)}, {0: (32, 1)}, {0: (1, 1 << 24)}):
        with pytest.raises(ValueError, match=r"power states|fit"):
            AutonomousPowerStateTransition.of(wrong)


def test_host_memory_buffer_by_hand() -> None:
    """Set Features has in dwords 12 to 15 what Get Features has in its data."""
    data = struct.pack("<IIII", 64, 0x55667780, 0x11223344, 3).ljust(4096, b"\0")
    value = HostMemoryBuffer.from_get(1, data)
    assert (value.ehm, value.hmdla, value.hmdlec) == (1, 0x1122334455667780, 3)
    assert value.words() == {11: 1, 12: 64, 13: 0x55667780, 14: 0x11223344, 15: 3}
    assert value.payload() is None
    assert value.encode() == data
    assert value.replace(mr=1).cdw11 == 3
    with pytest.raises(ValueError, match="hsize"):
        value.replace(hsize=1 << 32).words()


def test_timestamps() -> None:
    """Milliseconds since 1970 in six bytes; the attributes are not sent back."""
    raw = (1_700_000_000_123).to_bytes(6, "little") + bytes([0b11, 0])
    value = Timestamp.from_get(0, raw)
    assert value.from_host
    assert value.time == datetime(2023, 11, 14, 22, 13, 20, 123000, tzinfo=UTC)
    assert value.payload() == raw[:6] + bytes(2)
    there = value.time.astimezone(timezone(timedelta(hours=5)))
    assert Timestamp.of(there) == value.replace(attributes=0)
    assert value.replace(attributes=0).time is None
    assert value.replace(timestamp=(1 << 48) - 1).time is None
    for wrong in (datetime(2023, 1, 1), datetime(1969, 1, 1, tzinfo=UTC)):
        with pytest.raises(ValueError, match=r"time zone|1970"):
            Timestamp.of(wrong)


def test_host_identifiers() -> None:
    """8 bytes or 16, by EXHID; longer than that is refused."""
    assert [HostIdentifier.get_bytes(cdw11) for cdw11 in (0, 1, 2, 3)] == [8, 16, 8, 16]
    long = HostIdentifier.from_get(0, bytes(range(16)), cdw11=1)
    assert (long.exhid, long.hostid, long.payload(), long.argument) == (
        1,
        bytes(range(16)),
        bytes(range(16)),
        1,
    )
    short = HostIdentifier.from_get(0, bytes(range(8)))
    assert (short.exhid, short.payload()) == (0, bytes(range(8)))
    with pytest.raises(ValueError, match="exhid"):
        HostIdentifier(hostid=bytes(range(16))).payload()
    with pytest.raises(DecodeError):
        HostIdentifier.from_get(0, bytes(7))


def test_fdp_events_by_hand() -> None:
    """Get Features has two bytes for each type of event, Set Features one."""
    value = FdpEvents.from_get(2, b"\x00\x01\x80\x00", cdw11=4 << 16 | 9)
    assert (value.phndl, value.noet) == (9, 2)
    assert value.used == (FdpEventType(type=0, attributes=1), FdpEventType(type=0x80))
    assert value.payload() == b"\x00\x80"
    assert value.replace(fdpee=1).words() == {11: 2 << 16 | 9, 12: 1}
    assert FdpEvents.from_get(0xFFFFFFFF, b"\x01\x01").noet == 1


def test_metadata_by_hand() -> None:
    """A head of four bytes with type, revision and length stands before each value."""
    data = b"\x02\x00" + b"\x01\x00\x04\x00host" + b"\x02\x03\x03\x00v10"
    value = ControllerMetadata.from_get(0, data.ljust(4096, b"\0"))
    assert value.elements == (MetadataElement(1, b"host"), MetadataElement(2, b"v10", 3))
    made = ControllerMetadata.of(*value.elements, action=MetadataAction.ADD)
    assert (made.payload(), made.cdw11) == (data.ljust(4096, b"\0"), 2 << 13)
    assert NamespaceMetadata.of(MetadataElement(1), action=MetadataAction.DELETE).cdw11 == 1 << 13
    with pytest.raises(ValueError, match="4094"):
        ControllerMetadata.of(MetadataElement(1, bytes(4094)))
    with pytest.raises(DecodeError):
        ControllerMetadata.from_get(0, b"\xff" * 4096).elements  # noqa: B018


def test_arguments_say_which_value() -> None:
    """They are in dword 11 of both commands, and their value comes from there, not from dword 0."""
    kind: Any = FEATURES[FeatureId.TEMPERATURE_THRESHOLD]
    assert kind(tmpth=9, tmpsel=3, thsel=1).argument == 1 << 20 | 3 << 16
    assert kind.from_get(300, cdw11=1 << 20 | 3 << 16) == kind(tmpth=300, tmpsel=3, thsel=1)
    kind = FEATURES[FeatureId.READ_RECOVERY_LEVEL]
    assert kind.from_get(15, cdw11=7) == kind(nvmsetid=7, rrl=15)
    assert kind(nvmsetid=7, rrl=15).words() == {11: 7, 12: 15}
    assert kind(rrl=4).cdw12 == 4
    assert (
        WriteProtection(FEATURES[FeatureId.NAMESPACE_WRITE_PROTECTION].from_get(3).to_dict()["wps"]).name
        == "PERMANENT"
    )


def test_values_are_values() -> None:
    """They compare, show what is not zero, and give every field to attrs and to JSON."""
    import attrs

    kind: Any = FEATURES[FeatureId.AUTONOMOUS_POWER_STATE_TRANSITION]
    value = kind.of({0: (3, 100)})
    assert repr(value) == "AutonomousPowerStateTransition(apste=1, entries=(25624,))"
    assert eval(repr(value), {kind.__name__: kind}) == value
    assert hash(value) == hash(kind.of({0: (3, 100)}))
    assert attrs.asdict(value) == {"apste": 1, "entries": value.entries}
    assert value.to_dict() == {"apste": 1, "entries": list(value.entries)}
    with pytest.raises(AttributeError):
        value.apste = 0
    with pytest.raises(TypeError, match="wps"):
        kind(wps=1)
    assert FeatureCapabilities(5).to_dict() == {"saveable": 1, "namespace_specific": 0, "changeable": 1}


def test_rows_that_overlap_fail() -> None:
    """Two fields at the same bits of a dword, and one beyond it, can't be declared."""
    with pytest.raises(TypeError, match="overlaps"):

        class _Twice(Feature, fid=0):
            one: int = cdw11(0, 4)
            two: int = argument(3, 1)

    with pytest.raises(TypeError, match="leaves"):

        class _Beyond(Feature, fid=0):
            one: int = cdw11(30, 3)


@pytest.mark.parametrize("kind", ALL.values(), ids=lambda kind: kind.__name__)
@settings(max_examples=10)
@given(
    dw0=st.integers(0, 2**32 - 1),
    asked=st.integers(0, 2**32 - 1),
    data=st.binary(max_size=64),
    fill=st.integers(0, 255),
)
def test_hostile_values(kind: type[Feature], dw0: int, asked: int, data: bytes, fill: int) -> None:
    """Whatever a controller gives decodes and encodes again, or is a DecodeError where it is too short."""
    whole = data.ljust(kind.get_bytes(asked), bytes([fill]))
    value = kind.from_get(dw0, whole, cdw11=asked)
    again = kind.from_get(value.dw0, whole, cdw11=asked)
    assert again == value
    value.words()
    value.to_dict()
    repr(value)
    if not (isinstance(value, HostIdentifier) and not value.exhid):
        value.payload()
    for name in ("elements", "transitions", "used", "time", "from_host"):
        try:
            getattr(value, name, None)
        except NvmeError:
            assert name == "elements"
    if kind.SIZE and kind is not FdpEvents:
        with pytest.raises(DecodeError):
            kind.from_get(dw0, data[: min(len(data), 7)], cdw11=asked)
