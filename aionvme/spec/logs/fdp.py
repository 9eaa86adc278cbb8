"""Log pages of Flexible Data Placement (TP4146, NVMe Base 2.1, 5.1.12.1.28 to 31); the endurance group is LSI."""

from __future__ import annotations

from enum import IntEnum, unique

import attrs

from aionvme.spec.bits import Bits, bits
from aionvme.spec.errors import DecodeError
from aionvme.spec.listing import Cursor, Listing, encode_all
from aionvme.spec.structure import Buffer, Structure, raw_bytes, u8, u16, u32, u64, u128

# -- configurations ------------------------------------------------------------------------------------------


class FdpAttributes(Bits, width=8):
    """FDPA of a configuration."""

    rgif = bits(0, 4, "Bits of a placement identifier that are the reclaim group")
    vwc = bits(4, 1, "There is a volatile write cache for FDP")
    valid = bits(7, 1, "The configuration is valid")


class FdpConfigurationsHeader(Structure, size=16):
    """Of the FDP configurations log."""

    n: int = u16(0, "Number of configurations, 0's based")
    version: int = u8(2, "Of the page's layout")
    size: int = u32(4, "Bytes of the page")


class FdpConfigurationHeader(Structure, size=64):
    """Of one FDP configuration."""

    dsze: int = u16(0, "Bytes of the descriptor")
    fdpa: int = u8(2, "Attributes", bits=FdpAttributes)
    vss: int = u8(3, "Bytes of vendor specific data at its end")
    nrg: int = u32(4, "Number of reclaim groups")
    nruh: int = u16(8, "Number of reclaim unit handles")
    maxpids: int = u16(10, "Placement identifiers that a namespace may have at most, 0's based")
    nns: int = u32(12, "Namespaces that the endurance group may have at most, 0 for no limit")
    runs: int = u64(16, "Nominal size of a reclaim unit, bytes")
    erutl: int = u32(24, "Estimated time limit of a reclaim unit, seconds; 0 for none")


class ReclaimUnitHandle(Structure, size=4):
    """One reclaim unit handle of a configuration."""

    ruht: int = u8(0, "Type: 1 initially isolated, 2 persistently isolated")


@attrs.frozen(kw_only=True)
class FdpConfiguration(Listing):
    """One FDP configuration.

    Attributes:
        head: Its fixed part; `encode` fills in the sizes and the number of handles.
        handles: Its reclaim unit handles.
        vendor: Vendor specific data.
        padding: What the descriptor has besides, for alignment.
    """

    head: FdpConfigurationHeader
    handles: tuple[ReclaimUnitHandle, ...] = ()
    vendor: bytes = b""
    padding: bytes = b""

    @classmethod
    def decode(cls, data: Buffer) -> FdpConfiguration:
        """From its descriptor."""
        head = FdpConfigurationHeader.decode(data)
        cursor = Cursor(bytes(data[: head.dsze]), "the FDP configuration")
        cursor.take(FdpConfigurationHeader)
        handles = cursor.several(ReclaimUnitHandle, head.nruh)
        vendor = cursor.raw(head.vss)
        return cls(head=head, handles=handles, vendor=vendor, padding=cursor.raw(cursor.left))

    def encode(self) -> bytes:
        """Its descriptor."""
        tail = encode_all(self.handles) + self.vendor + self.padding
        head = self.head.replace(
            dsze=FdpConfigurationHeader.SIZE + len(tail), nruh=len(self.handles), vss=len(self.vendor)
        )
        return head.encode() + tail


@attrs.frozen(kw_only=True)
class FdpConfigurations(Listing):
    """FDP configurations, log page 20h.

    Attributes:
        version: Of the page's layout.
        configurations: At least one, by index.
    """

    version: int = 0
    configurations: tuple[FdpConfiguration, ...] = ()

    @classmethod
    def decode(cls, data: Buffer) -> FdpConfigurations:
        """From the header and as many descriptors as it says, within the size that it says."""
        head = FdpConfigurationsHeader.decode(data)
        if not FdpConfigurationsHeader.SIZE <= head.size <= len(data):
            raise DecodeError(f"the FDP configurations say that they have {head.size} bytes, of {len(data)}")
        cursor = Cursor(bytes(data[: head.size]), "the FDP configurations")
        cursor.take(FdpConfigurationsHeader)
        found = []
        for _ in range(head.n + 1):
            nbytes = int.from_bytes(cursor.raw(2), "little")
            cursor.at -= 2
            found.append(FdpConfiguration.decode(cursor.raw(nbytes)))
        return cls(version=head.version, configurations=tuple(found))

    def encode(self) -> bytes:
        """As long as its descriptors are."""
        if not self.configurations:
            raise ValueError("configurations must not be empty")
        body = b"".join(item.encode() for item in self.configurations)
        size = FdpConfigurationsHeader.SIZE + len(body)
        head = FdpConfigurationsHeader(n=len(self.configurations) - 1, version=self.version, size=size)
        return head.encode() + body


def configurations_bytes(data: bytes) -> int:
    """Bytes of the FDP configurations log, by its header."""
    return max(FdpConfigurationsHeader.decode(data).size, FdpConfigurationsHeader.SIZE)


# -- usage ---------------------------------------------------------------------------------------------------


class HandleUsage(Structure, size=8):
    """How a reclaim unit handle is used."""

    ruha: int = u8(0, "0 not used, 1 specified by the host, 2 specified by the controller")


class FdpHandleUsageHeader(Structure, size=8):
    """Of the reclaim unit handle usage log."""

    nruh: int = u16(0, "Number of reclaim unit handles")


@attrs.frozen(kw_only=True)
class FdpHandleUsage(Listing):
    """Reclaim unit handle usage, log page 21h.

    Attributes:
        handles: Usage by reclaim unit handle.
    """

    handles: tuple[HandleUsage, ...] = ()

    @classmethod
    def decode(cls, data: Buffer) -> FdpHandleUsage:
        """From the header and as many handles as it says."""
        cursor = Cursor(data, "the reclaim unit handle usage")
        head = cursor.take(FdpHandleUsageHeader)
        return cls(handles=cursor.several(HandleUsage, head.nruh))

    def encode(self) -> bytes:
        """As long as it has handles."""
        return FdpHandleUsageHeader(nruh=len(self.handles)).encode() + encode_all(self.handles)


def usage_bytes(data: bytes) -> int:
    """Bytes of the reclaim unit handle usage log, by its header."""
    return FdpHandleUsageHeader.SIZE + HandleUsage.SIZE * FdpHandleUsageHeader.decode(data).nruh


# -- statistics ----------------------------------------------------------------------------------------------


class FdpStatistics(Structure, size=64):
    """FDP statistics, log page 22h. All in bytes."""

    hbmw: int = u128(0, "Written by hosts, with metadata")
    mbmw: int = u128(16, "Written to the media, with metadata")
    mbe: int = u128(32, "Erased")

    @property
    def write_amplification(self) -> float:
        """Bytes that the media got for each byte that hosts wrote; 0 where they wrote nothing."""
        return self.mbmw / self.hbmw if self.hbmw else 0.0


# -- events --------------------------------------------------------------------------------------------------


@unique
class FdpEventType(IntEnum):
    """FDP events: of the host below 80h, of the controller from there on."""

    NOT_FULLY_WRITTEN = 0x00
    TIME_LIMIT_EXCEEDED = 0x01
    RESET_MODIFIED_HANDLES = 0x02
    INVALID_PLACEMENT_IDENTIFIER = 0x03
    MEDIA_REALLOCATED = 0x80
    IMPLICITLY_MODIFIED_HANDLE = 0x81


class FdpEventFlags(Bits, width=8):
    """Which fields of an FDP event count."""

    piv = bits(0, 1, "Placement identifier")
    nsidv = bits(1, 1, "Namespace identifier")
    lv = bits(2, 1, "Reclaim group and reclaim unit handle")


class FdpEvent(Structure, size=64):
    """One FDP event."""

    type: int = u8(0, "`FdpEventType`")
    flags: int = u8(1, "Which fields count", bits=FdpEventFlags)
    pid: int = u16(2, "Placement identifier")
    timestamp: int = u64(4, "As the Timestamp feature gives it")
    nsid: int = u32(12, "Namespace identifier")
    specific: bytes = raw_bytes(16, 16, "As its type says")
    rgid: int = u16(32, "Reclaim group identifier")
    ruhid: int = u8(34, "Reclaim unit handle identifier")
    vendor: bytes = raw_bytes(40, 24, "Vendor specific")


class MediaReallocated(Structure, size=16):
    """What is specific to an event of media that were reallocated."""

    flags: int = u8(0, "Bit 0: the LBA counts")
    nlbam: int = u16(2, "Number of logical blocks moved")
    lba: int = u64(4, "First of them")


class FdpEventsHeader(Structure, size=64):
    """Of the FDP events log."""

    n: int = u32(0, "Number of events")


MOST_EVENTS = 63


@attrs.frozen(kw_only=True)
class FdpEvents(Listing):
    """FDP events, log page 23h: with LSP 0 those of the controller, with LSP 1 those of the host.

    Attributes:
        events: At most 63.
    """

    events: tuple[FdpEvent, ...] = ()

    @classmethod
    def decode(cls, data: Buffer) -> FdpEvents:
        """From the header and as many events as it says."""
        cursor = Cursor(data, "the FDP events")
        head = cursor.take(FdpEventsHeader)
        if head.n > MOST_EVENTS:
            raise DecodeError(f"the FDP events say that they are {head.n}, of {MOST_EVENTS} at most")
        return cls(events=cursor.several(FdpEvent, head.n))

    def encode(self) -> bytes:
        """As long as it has events."""
        return FdpEventsHeader(n=len(self.events)).encode() + encode_all(self.events)


def events_bytes(data: bytes) -> int:
    """Bytes of the FDP events log, by its header."""
    return FdpEventsHeader.SIZE + FdpEvent.SIZE * min(FdpEventsHeader.decode(data).n, MOST_EVENTS)
