"""The features that have data besides their dwords (NVMe Base 2.0, 5.27.1; NVM Command Set 1.0, 4.1.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import IntEnum, unique
from typing import Any, Self

import attrs

from aionvme.spec.bits import Bits, bits
from aionvme.spec.errors import DecodeError
from aionvme.spec.feature import Feature, Scope, argument, cdw11, cdw12
from aionvme.spec.opcodes import FeatureId
from aionvme.spec.structure import Buffer, Structure, array, raw_bytes, u8, u16, u32, u64, uint, uints

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


# -- LBA range type ------------------------------------------------------------------------------------------


class LbaRange(Structure, size=64):
    """One range of `LbaRangeType` (NVM Command Set 1.0, 4.1.3)."""

    type: int = u8(0, "0 general, 1 filesystem, 2 RAID, 3 cache, 4 swap; 80h to FFh of the vendor")
    attributes: int = u8(1, "Bit 0 may be overwritten, bit 1 is hidden from operating system and firmware")
    slba: int = u64(16, "First logical block")
    nlb: int = u64(24, "Logical blocks, counted from 1")
    guid: bytes = raw_bytes(32, 16, "Unique identifier")


class LbaRangeType(Feature, fid=FeatureId.LBA_RANGE_TYPE, size=4096, scope=Scope.NAMESPACE):
    """LBA range type (NVM Command Set 1.0, 4.1.3)."""

    num: int = cdw11(0, 6, "Ranges that count, 0's based")
    ranges: tuple[LbaRange, ...] = array(0, LbaRange, 64, "The ranges")

    @classmethod
    def of(cls, ranges: Iterable[LbaRange]) -> Self:
        """The value with these ranges.

        Raises:
            ValueError: They are fewer than 1 or more than 64.
        """
        given = tuple(ranges)
        if not 1 <= len(given) <= 64:
            raise ValueError(f"ranges must be from 1 to 64, not {len(given)}")
        return cls(num=len(given) - 1, ranges=given)

    @property
    def used(self) -> tuple[LbaRange, ...]:
        """The ranges that count."""
        return self.ranges[: self.num + 1]


# -- power ---------------------------------------------------------------------------------------------------


class ApstEntry(Bits, width=64):
    """Where one power state goes by itself (NVMe Base 2.0, 5.27.1.9)."""

    itps = bits(3, 5, "Power state that it goes to")
    itpt = bits(8, 24, "Idle milliseconds before; 0: it stays")


class AutonomousPowerStateTransition(Feature, fid=FeatureId.AUTONOMOUS_POWER_STATE_TRANSITION, size=256):
    """Autonomous power state transition (Base 2.0, 5.27.1.9)."""

    apste: int = cdw11(0, 1, "Enabled")
    entries: tuple[int, ...] = uints(0, 8, 32, "By power state: `ApstEntry`")

    @classmethod
    def of(cls, transitions: Mapping[int, tuple[int, int]]) -> Self:
        """Enabled, with these transitions; enabled is not what no transition makes.

        Args:
            transitions: By power state: the state to go to, and the idle milliseconds before.

        Raises:
            ValueError: There is no such power state, or a value does not fit.
        """
        entries = [0] * 32
        for state, (to, idle_ms) in transitions.items():
            if not 0 <= state < 32:
                raise ValueError(f"power states are from 0 to 31, not {state}")
            entries[state] = ApstEntry(itps=to, itpt=idle_ms).value
        return cls(apste=int(bool(transitions)), entries=tuple(entries))

    @property
    def transitions(self) -> dict[int, tuple[int, int]]:
        """By power state: the state that it goes to, and the idle milliseconds before."""
        found = {state: ApstEntry(entry) for state, entry in enumerate(self.entries)}
        return {state: (entry.itps, entry.itpt) for state, entry in found.items() if entry.itpt}


# -- host memory buffer --------------------------------------------------------------------------------------


class HostMemoryDescriptor(Structure, size=16):
    """One piece of a host memory buffer (NVMe Base 2.0, 5.27.1.10)."""

    badd: int = u64(0, "Address, at a memory page")
    bsize: int = u32(8, "Memory pages (CC.MPS)")


class HostMemoryBuffer(Feature, fid=FeatureId.HOST_MEMORY_BUFFER, size=4096):
    """Host memory buffer (Base 2.0, 5.27.1.10). Set Features has in dwords 12 to 15 what Get Features has as data."""

    ehm: int = cdw11(0, 1, "Enabled")
    mr: int = cdw11(1, 1, "Memory return: it has the contents that it had before the reset")
    hsize: int = u32(0, "Size in memory pages (CC.MPS)")
    hmdlal: int = u32(4, "Address of the descriptor list, lower half; 16-byte aligned")
    hmdlau: int = u32(8, "Address of the descriptor list, upper half")
    hmdlec: int = u32(12, "Entries of the descriptor list")

    @property
    def hmdla(self) -> int:
        """Address of the descriptor list."""
        return self.hmdlau << 32 | self.hmdlal

    def words(self) -> dict[int, int]:
        """The dwords of Set Features, by number."""
        self.encode()  # refuses what does not fit
        rest = {12: self.hsize, 13: self.hmdlal, 14: self.hmdlau, 15: self.hmdlec}
        return super().words() | rest

    def payload(self) -> bytes | None:
        """None: Set Features has no data."""
        return None


# -- time ----------------------------------------------------------------------------------------------------


class TimestampAttributes(Bits, width=8):
    """Byte 6 of a timestamp (NVMe Base 2.0, 5.27.1.11)."""

    synch = bits(0, 1, "It may have stood still while the controller was off or in a low power state")
    origin = bits(1, 3, "0 cleared by a reset, 1 set by the host")


class Timestamp(Feature, fid=FeatureId.TIMESTAMP, size=8):
    """Timestamp (Base 2.0, 5.27.1.11)."""

    timestamp: int = uint(0, 6, "Milliseconds since 1970, UTC, or since the reset")
    attributes: int = u8(6, "How it came about; reserved in Set Features", bits=TimestampAttributes)

    @classmethod
    def of(cls, time: datetime) -> Self:
        """The timestamp of a time.

        Raises:
            ValueError: It has no time zone, or is before 1970.
        """
        if time.tzinfo is None:
            raise ValueError(f"{time!r} has no time zone")
        milliseconds = (time - _EPOCH) // _MILLISECOND
        if milliseconds < 0:
            raise ValueError(f"a timestamp counts from 1970, and {time!r} is before")
        return cls(timestamp=milliseconds)

    @property
    def from_host(self) -> bool:
        """Whether the host set it since the reset; else it counts from there."""
        return TimestampAttributes(self.attributes).origin == 1

    @property
    def time(self) -> datetime | None:
        """What it says in UTC; None where the host did not set it, or for a time that `datetime` does not reach."""
        if not self.from_host:
            return None
        try:
            return _EPOCH + self.timestamp * _MILLISECOND
        except OverflowError:
            return None

    def payload(self) -> bytes:
        """The data of Set Features, which has no attributes."""
        return self.replace(attributes=0).encode()


# -- predictable latency -------------------------------------------------------------------------------------


class PredictableLatencyModeConfig(
    Feature, fid=FeatureId.PREDICTABLE_LATENCY_MODE_CONFIG, size=512, scope=Scope.NVM_SET
):
    """Predictable latency mode config (Base 2.0, 5.27.1.16)."""

    nvmsetid: int = argument(0, 16, "NVM set")
    lpe: int = cdw12(0, 1, "Enabled")
    ee: int = u16(0, "Events that are reported, a bit each")
    dtwinrt: int = u64(32, "Reads in the deterministic window that make an event, in units of 4 KiB")
    dtwinwt: int = u64(40, "Writes in the deterministic window that make an event, in optimal write sizes")
    dtwintt: int = u64(48, "Time in the deterministic window that makes an event, milliseconds")


# -- the host ------------------------------------------------------------------------------------------------


class HostBehaviorSupport(Feature, fid=FeatureId.HOST_BEHAVIOR_SUPPORT, size=512):
    """Host behavior support (Base 2.0, 5.27.1.18; Base 2.1, 5.1.25.1.14): what the host knows of."""

    acre: int = u8(0, "1: advanced command retry, CRD in a completion")
    etdas: int = u8(1, "1: telemetry data area 4")
    lbafee: int = u8(2, "1: extended LBA formats")
    hdisns: int = u8(3, "1: dispersed namespaces (2.1)")
    cdfe: int = u16(4, "Copy descriptor formats 2h and up, a bit each (2.1)")
    rest: bytes = raw_bytes(6, 506, "Reserved")


class HostIdentifier(Feature, fid=FeatureId.HOST_IDENTIFIER, size=16):
    """Host identifier (Base 2.0, 5.27.1.25)."""

    exhid: int = argument(0, 1, "It has 16 bytes, else 8")
    hostid: bytes = raw_bytes(0, 16, "The identifier; the first 8 bytes of it where EXHID is 0")

    @classmethod
    def get_bytes(cls, cdw11: int) -> int:
        """8 or 16, by EXHID."""
        return 16 if cdw11 & 1 else 8

    @classmethod
    def _fields_of(cls, data: Buffer) -> dict[str, Any]:
        if len(data) < 8:
            raise DecodeError(f"a host identifier has 8 bytes or more, and here are {len(data)}")
        return {"hostid": bytes(data[:16])}

    def payload(self) -> bytes:
        """The data of Set Features: 8 or 16 bytes.

        Raises:
            ValueError: It is longer than EXHID says.
        """
        whole = self.encode()
        if not self.exhid and any(whole[8:]):
            raise ValueError("HostIdentifier.hostid: more than 8 bytes take exhid=1")
        return whole if self.exhid else whole[:8]


# -- flexible data placement ---------------------------------------------------------------------------------


class FdpEventType(Structure, size=2):
    """One type of event (NVMe Base 2.1, 5.1.25.1.21)."""

    type: int = u8(0, "Type of event")
    attributes: int = u8(1, "Bit 0: enabled; for Get Features only")


class FdpEvents(Feature, fid=FeatureId.FDP_EVENTS, size=510, scope=Scope.NAMESPACE):
    """FDP events (Base 2.1, 5.1.25.1.21; TP4146): which types of events a reclaim unit handle has reported."""

    phndl: int = argument(0, 16, "Placement handle")
    noet: int = argument(16, 8, "Number of event types: that there is room for, and that there are")
    fdpee: int = cdw12(0, 1, "Enables these types of events, else disables them", out=False)
    events: tuple[FdpEventType, ...] = array(0, FdpEventType, 255, "The types")

    @classmethod
    def get_bytes(cls, cdw11: int) -> int:
        """Two bytes for each type that there is room for."""
        return 2 * (cdw11 >> 16 & 0xFF)

    @classmethod
    def from_get(cls, dw0: int, data: Buffer = b"", *, cdw11: int = 0) -> Self:
        """The value that Get Features gave: dword 0 says how many types there are."""
        count = min(dw0 & 0xFF, len(data) // 2)
        events = tuple(FdpEventType.decode(data[at : at + 2]) for at in range(0, 2 * count, 2))
        return cls(phndl=cdw11 & 0xFFFF, noet=count, events=events)

    @property
    def dw0(self) -> int:
        """Dword 0 with which a controller gives this value."""
        return self.noet

    @property
    def used(self) -> tuple[FdpEventType, ...]:
        """The types that count."""
        return self.events[: self.noet]

    def payload(self) -> bytes | None:
        """The data of Set Features: a byte for each type."""
        return bytes(event.type for event in self.used) or None


# -- host metadata -------------------------------------------------------------------------------------------


@unique
class MetadataAction(IntEnum):
    """What Set Features does with an element of host metadata (NVMe Base 2.0, 5.27.1.23)."""

    ADD_OR_UPDATE = 0
    DELETE = 1
    ADD = 2


class MetadataHead(Bits, width=32):
    """What an element of host metadata begins with (NVMe Base 2.0, 5.27.1.23)."""

    et = bits(0, 6, "Type")
    er = bits(8, 4, "Revision")
    elen = bits(16, 16, "Bytes of the value")


@attrs.frozen
class MetadataElement:
    """One element of host metadata (Base 2.0, 5.27.1.23).

    Attributes:
        type: What it is: of a controller 1 its name for the operating system, 2 and 3 name and version of the driver,
            and so on; of a namespace 1 its name for the operating system, 2 that before the boot.
        value: In UTF-8.
        revision: Of its type.
    """

    type: int
    value: bytes = b""
    revision: int = 0


def _elements(data: bytes, count: int) -> tuple[MetadataElement, ...]:
    found, at = [], 0
    for _ in range(count):
        head = MetadataHead(int.from_bytes(data[at : at + 4], "little"))
        end = at + 4 + head.elen
        if end > len(data):
            raise DecodeError(f"{count} elements of host metadata do not fit in {len(data)} bytes")
        found.append(MetadataElement(head.et, data[at + 4 : end], head.er))
        at = end
    return tuple(found)


def _descriptors(elements: tuple[MetadataElement, ...]) -> dict[str, Any]:
    packed = b"".join(
        MetadataHead(et=each.type, er=each.revision, elen=len(each.value)).value.to_bytes(4, "little")
        + each.value
        for each in elements
    )
    if len(packed) > 4094 or len(elements) > 255:
        raise ValueError(
            f"elements: {len(elements)} of them with {len(packed)} bytes; there is room for 4094"
        )
    return {"ndesc": len(elements), "descriptors": packed}


class _Elements:
    """What the three kinds of host metadata have in common."""

    ndesc: int
    descriptors: bytes

    @classmethod
    def of(cls, *elements: MetadataElement, action: int = MetadataAction.ADD_OR_UPDATE) -> Self:
        """These elements, and what Set Features does with them; `ValueError` where they do not fit."""
        make: Any = cls
        made: Self = make(ea=int(action), **_descriptors(elements))
        return made

    @property
    def elements(self) -> tuple[MetadataElement, ...]:
        """The elements; `DecodeError` where they can't be."""
        return _elements(self.descriptors, self.ndesc)


class EnhancedControllerMetadata(_Elements, Feature, fid=FeatureId.ENHANCED_CONTROLLER_METADATA, size=4096):
    """Enhanced controller metadata (Base 2.0, 5.27.1.23.1)."""

    gdhm: int = argument(0, 1, "Get Features only: the controller makes its default first")
    ea: int = cdw11(13, 2, "`MetadataAction`", out=False)
    ndesc: int = u8(0, "Number of elements")
    descriptors: bytes = raw_bytes(2, 4094, "The elements, one after the other")


class ControllerMetadata(_Elements, Feature, fid=FeatureId.CONTROLLER_METADATA, size=4096):
    """Controller metadata (Base 2.0, 5.27.1.23.2)."""

    gdhm: int = argument(0, 1, "Get Features only: the controller makes its default first")
    ea: int = cdw11(13, 2, "`MetadataAction`", out=False)
    ndesc: int = u8(0, "Number of elements")
    descriptors: bytes = raw_bytes(2, 4094, "The elements, one after the other")


class NamespaceMetadata(
    _Elements, Feature, fid=FeatureId.NAMESPACE_METADATA, size=4096, scope=Scope.NAMESPACE
):
    """Namespace metadata (Base 2.0, 5.27.1.23.3)."""

    gdhm: int = argument(0, 1, "Get Features only: the controller makes its default first")
    ea: int = cdw11(13, 2, "`MetadataAction`", out=False)
    ndesc: int = u8(0, "Number of elements")
    descriptors: bytes = raw_bytes(2, 4094, "The elements, one after the other")
