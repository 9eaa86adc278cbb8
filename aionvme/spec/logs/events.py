"""The persistent event log, page 0Dh: its header, and events of every type (NVMe Base 2.0, 5.16.1.14)."""

from __future__ import annotations

from enum import IntEnum, unique
from typing import Any

import attrs

from aionvme.spec.bits import Bits, bits
from aionvme.spec.errors import DecodeError
from aionvme.spec.listing import Cursor, Listing, encode_all, encode_uints
from aionvme.spec.logs.captures import TelemetryHeader
from aionvme.spec.logs.health import SmartLog
from aionvme.spec.structure import (
    Buffer,
    Structure,
    ascii_text,
    raw_bytes,
    u8,
    u16,
    u32,
    u64,
    u128,
    utf8_text,
)

# Bytes of an event that EHL does not count.
_UNCOUNTED = 3


@unique
class EventAction(IntEnum):
    """LSP of the persistent event log: what is done with the reporting context."""

    READ = 0
    ESTABLISH_AND_READ = 1
    RELEASE = 2


@unique
class PersistentEventType(IntEnum):
    """What a persistent event tells of. 0Eh came after Base 2.0."""

    SMART = 0x01
    FIRMWARE_COMMIT = 0x02
    TIMESTAMP_CHANGE = 0x03
    POWER_ON_OR_RESET = 0x04
    HARDWARE_ERROR = 0x05
    CHANGE_NAMESPACE = 0x06
    FORMAT_START = 0x07
    FORMAT_COMPLETION = 0x08
    SANITIZE_START = 0x09
    SANITIZE_COMPLETION = 0x0A
    SET_FEATURE = 0x0B
    TELEMETRY_CREATE = 0x0C
    THERMAL_EXCURSION = 0x0D
    SANITIZE_MEDIA_VERIFICATION = 0x0E
    VENDOR = 0xDE
    TCG = 0xDF


class ReportingContext(Bits, width=32):
    """RCI: who has the reporting context (after Base 2.0)."""

    rcpid = bits(0, 16, "Port identifier")
    rcpit = bits(16, 2, "0 no context, 1 of a port, 2 of a management endpoint")
    rce = bits(18, 1, "There was a context before this command")


class PersistentEventsHeader(Structure, size=512):
    """Header of the persistent event log."""

    lid: int = u8(0, "Log page identifier")
    tnev: int = u32(4, "Total number of events")
    tll: int = u64(8, "Bytes of the log, with this header")
    lrev: int = u8(16, "Log revision")
    lhl: int = u16(18, "Bytes of this header behind byte 19")
    timestamp: int = u64(20, "When the context was established, as the Timestamp feature gives it")
    poh: int = u128(28, "Power on hours")
    pcc: int = u64(44, "Power cycle count")
    vid: int = u16(52, "PCI vendor identifier")
    ssvid: int = u16(54, "PCI subsystem vendor identifier")
    sn: str = ascii_text(56, 20, "Serial number")
    mn: str = ascii_text(76, 40, "Model number")
    subnqn: str = utf8_text(116, 256, "NVM subsystem NQN")
    generation: int = u16(372, "Counts the contexts that were established; after 1.4")
    rci: int = u32(374, "Who has the context; after Base 2.0", bits=ReportingContext)
    seb: bytes = raw_bytes(480, 32, "Supported events: bit n for type n")

    @property
    def supported(self) -> frozenset[int]:
        """Types of events that the log may have."""
        return frozenset(kind for kind in range(256) if self.seb[kind // 8] >> kind % 8 & 1)


class PersistentEventHeader(Structure, size=24):
    """Header of one event."""

    etype: int = u8(0, "`PersistentEventType`")
    etrev: int = u8(1, "Revision of the type's layout")
    ehl: int = u8(2, "Bytes of this header behind byte 2")
    ehai: int = u8(3, "Bits 1:0: kind of the port identifier; after Base 2.0")
    cntlid: int = u16(4, "Controller that it is of")
    timestamp: int = u64(6, "As the Timestamp feature gives it")
    pelpid: int = u16(14, "Port identifier; after Base 2.0")
    vsil: int = u16(20, "Bytes of vendor specific information")
    el: int = u16(22, "Bytes of vendor specific information and event data")


# -- the events' data ----------------------------------------------------------------------------------------


class FirmwareCommitEvent(Structure, size=22):
    """Event 02h: a Firmware Commit."""

    old: str = ascii_text(0, 8, "Firmware revision before")
    new: str = ascii_text(8, 8, "Firmware revision of the slot, or of the image")
    action: int = u8(16, "Commit action")
    slot: int = u8(17, "Firmware slot")
    sct: int = u8(18, "Status code type of the command")
    sc: int = u8(19, "Status code of the command")
    vendor: int = u16(20, "Vendor's result code")


class TimestampChangeEvent(Structure, size=16):
    """Event 03h: the timestamp was set."""

    previous: int = u64(0, "Timestamp before")
    since_reset: int = u64(8, "Milliseconds since the last controller level reset")


class ResetInformation(Structure, size=36):
    """How a controller came up, in event 04h."""

    cntlid: int = u16(0, "Controller identifier")
    firmware_activation: int = u8(2, "1: it activated a firmware image")
    operation: int = u8(3, "Bit 0 format, bit 1 sanitize was in progress")
    power_cycle: int = u32(16, "Power cycle count")
    power_on_milliseconds: int = u64(20, "Milliseconds since power on")
    timestamp: int = u64(28, "The controller's timestamp")


@attrs.frozen(kw_only=True)
class PowerOnResetEvent(Listing):
    """Event 04h: power on, or a reset.

    Attributes:
        firmware: Firmware revision.
        controllers: How each controller came up.
    """

    firmware: str = ""
    controllers: tuple[ResetInformation, ...] = ()

    @classmethod
    def decode(cls, data: Buffer) -> PowerOnResetEvent:
        """From the firmware revision and as many controllers as there is room for."""
        cursor = Cursor(data, "the power on event")
        firmware = cursor.raw(8).decode("latin-1").rstrip("\0 ")
        if cursor.left % ResetInformation.SIZE:
            raise DecodeError(f"the power on event has {len(data)} bytes: its controllers have 36 each")
        controllers = cursor.several(ResetInformation, cursor.left // ResetInformation.SIZE)
        return cls(firmware=firmware, controllers=controllers)

    def encode(self) -> bytes:
        """As long as its controllers are."""
        return self.firmware.encode("latin-1").ljust(8)[:8] + encode_all(self.controllers)


@attrs.frozen(kw_only=True)
class HardwareErrorEvent(Listing):
    """Event 05h: an NVM subsystem hardware error.

    Attributes:
        code: Which error: 1 to 4 of PCIe, 5 its link, 6 critical warning, 7 of an endurance group, 8 unsafe shutdown,
            9 fatal status, Ah media and data integrity, Bh not ready in time.
        information: As the code defines it.
    """

    code: int
    information: bytes = b""

    @classmethod
    def decode(cls, data: Buffer) -> HardwareErrorEvent:
        """From the code and the rest."""
        cursor = Cursor(data, "the hardware error event")
        head = cursor.raw(4)
        return cls(code=int.from_bytes(head[:2], "little"), information=cursor.raw(cursor.left))

    def encode(self) -> bytes:
        """The code and the rest."""
        return encode_uints((self.code,), 2) + bytes(2) + self.information


class ChangeNamespaceEvent(Structure, size=48):
    """Event 06h: Namespace Management."""

    cdw10: int = u32(0, "Command dword 10")
    nsze: int = u64(8, "Namespace size, logical blocks")
    ncap: int = u64(24, "Namespace capacity, logical blocks")
    flbas: int = u8(32, "Formatted LBA size")
    dps: int = u8(33, "Protection information settings")
    nmic: int = u8(34, "Sharing")
    anagrpid: int = u32(36, "ANA group identifier")
    nvmsetid: int = u16(40, "NVM set identifier")
    nsid: int = u32(44, "Namespace identifier")


class FormatStartEvent(Structure, size=12):
    """Event 07h: a format began."""

    nsid: int = u32(0, "Namespace identifier")
    fna: int = u8(4, "Format NVM attributes of Identify Controller")
    cdw10: int = u32(8, "Command dword 10")


class FormatCompletionEvent(Structure, size=12):
    """Event 08h: a format ended."""

    nsid: int = u32(0, "Namespace identifier")
    fpi: int = u8(4, "Smallest format progress indicator")
    status: int = u8(5, "Bit 0: another operation was in progress; bit 1: the format failed")
    information: int = u16(6, "Vendor's code")
    status_field: int = u32(8, "Bits 15:0 status of the command")


class SanitizeStartEvent(Structure, size=12):
    """Event 09h: a sanitize operation began."""

    sanicap: int = u32(0, "Sanitize capabilities of Identify Controller")
    cdw10: int = u32(4, "Command dword 10")
    cdw11: int = u32(8, "Command dword 11: the pattern of an overwrite")


class SanitizeCompletionEvent(Structure, size=8):
    """Event 0Ah: a sanitize operation ended."""

    sprog: int = u16(0, "Progress in 65536ths")
    sstat: int = u16(2, "Status, as in the sanitize status log")
    information: int = u16(4, "Vendor's code")


class SetFeatureLayout(Bits, width=32):
    """What a set feature event has."""

    dwords = bits(0, 3, "Command dwords logged")
    dw0 = bits(3, 1, "Completion dword 0 was logged")
    nbytes = bits(16, 16, "Bytes of data logged")


@attrs.frozen(kw_only=True)
class SetFeatureEvent(Listing):
    """Event 0Bh: a feature was set.

    Attributes:
        cdws: Command dwords from 10 on.
        data: The command's data.
        dw0: Completion dword 0, None where it was not logged.
        rest: What the event has besides.
    """

    cdws: tuple[int, ...] = ()
    data: bytes = b""
    dw0: int | None = None
    rest: bytes = b""

    @property
    def fid(self) -> int | None:
        """The feature, None where no command dword was logged."""
        return self.cdws[0] & 0xFF if self.cdws else None

    @classmethod
    def decode(cls, data: Buffer) -> SetFeatureEvent:
        """From its layout and what that says."""
        cursor = Cursor(data, "the set feature event")
        layout = SetFeatureLayout(int.from_bytes(cursor.raw(4), "little"))
        cdws = cursor.uints(4, layout.dwords)
        logged = cursor.raw(layout.nbytes)
        dw0 = int.from_bytes(cursor.raw(4), "little") if layout.dw0 else None
        return cls(cdws=cdws, data=logged, dw0=dw0, rest=cursor.raw(cursor.left))

    def encode(self) -> bytes:
        """Its layout and what that says."""
        layout = SetFeatureLayout(dwords=len(self.cdws), dw0=self.dw0 is not None, nbytes=len(self.data))
        last = b"" if self.dw0 is None else encode_uints((self.dw0,), 4)
        return encode_uints((layout.value, *self.cdws), 4) + self.data + last + self.rest


class ThermalExcursionEvent(Structure, size=2):
    """Event 0Dh: a temperature threshold was passed."""

    over: int = u8(0, "Degrees over the threshold; 0 where it came back")
    threshold: int = u8(1, "1 under, 2 warning, 3 critical, 4 and 5 thermal management 1 and 2")


_DATA: dict[int, Any] = {
    PersistentEventType.SMART: SmartLog,
    PersistentEventType.FIRMWARE_COMMIT: FirmwareCommitEvent,
    PersistentEventType.TIMESTAMP_CHANGE: TimestampChangeEvent,
    PersistentEventType.POWER_ON_OR_RESET: PowerOnResetEvent,
    PersistentEventType.HARDWARE_ERROR: HardwareErrorEvent,
    PersistentEventType.CHANGE_NAMESPACE: ChangeNamespaceEvent,
    PersistentEventType.FORMAT_START: FormatStartEvent,
    PersistentEventType.FORMAT_COMPLETION: FormatCompletionEvent,
    PersistentEventType.SANITIZE_START: SanitizeStartEvent,
    PersistentEventType.SANITIZE_COMPLETION: SanitizeCompletionEvent,
    PersistentEventType.SET_FEATURE: SetFeatureEvent,
    PersistentEventType.TELEMETRY_CREATE: TelemetryHeader,
    PersistentEventType.THERMAL_EXCURSION: ThermalExcursionEvent,
}


@attrs.frozen(kw_only=True)
class PersistentEvent(Listing):
    """One persistent event.

    Attributes:
        head: Its header; `encode` fills in the lengths.
        more: What the header has behind the fields known here.
        vendor: Vendor specific information.
        data: The event's data.
    """

    head: PersistentEventHeader
    more: bytes = b""
    vendor: bytes = b""
    data: bytes = b""

    @property
    def value(self) -> Any:
        """The data decoded where its type is known, else bytes.

        Raises:
            DecodeError: They are not what an event of that type has.
        """
        kind = _DATA.get(self.head.etype)
        return kind.decode(self.data) if kind is not None else self.data

    @classmethod
    def take(cls, cursor: Cursor) -> PersistentEvent:
        """The next of a page."""
        head = cursor.take(PersistentEventHeader)
        nbytes = head.ehl + _UNCOUNTED
        if nbytes < PersistentEventHeader.SIZE or head.vsil > head.el:
            raise DecodeError(f"a persistent event has a header of {nbytes} bytes, {head.vsil} of {head.el}")
        more = cursor.raw(nbytes - PersistentEventHeader.SIZE)
        vendor = cursor.raw(head.vsil)
        return cls(head=head, more=more, vendor=vendor, data=cursor.raw(head.el - head.vsil))

    @classmethod
    def decode(cls, data: Buffer) -> PersistentEvent:
        """From its header and what that says."""
        return cls.take(Cursor(data, "the persistent event"))

    def encode(self) -> bytes:
        """Its header and what that says."""
        head = self.head.replace(
            ehl=PersistentEventHeader.SIZE + len(self.more) - _UNCOUNTED,
            vsil=len(self.vendor),
            el=len(self.vendor) + len(self.data),
        )
        return head.encode() + self.more + self.vendor + self.data


@attrs.frozen(kw_only=True)
class PersistentEventLog(Listing):
    """The persistent event log, page 0Dh.

    Attributes:
        head: Its header; `encode` fills in the number of events and the length.
        events: The latest first.
    """

    head: PersistentEventsHeader
    events: tuple[PersistentEvent, ...] = ()

    @classmethod
    def decode(cls, data: Buffer) -> PersistentEventLog:
        """From the header and as many events as it says, within the length that it says."""
        head = PersistentEventsHeader.decode(data)
        if not PersistentEventsHeader.SIZE <= head.tll <= len(data):
            raise DecodeError(f"the persistent event log says that it has {head.tll} bytes, of {len(data)}")
        cursor = Cursor(bytes(data[: head.tll]), "the persistent event log")
        cursor.take(PersistentEventsHeader)
        if head.tnev * PersistentEventHeader.SIZE > cursor.left:
            raise DecodeError(
                f"the persistent event log of {head.tll} bytes says that it has {head.tnev} events"
            )
        return cls(head=head, events=tuple(PersistentEvent.take(cursor) for _ in range(head.tnev)))

    def encode(self) -> bytes:
        """As long as its events are."""
        body = b"".join(event.encode() for event in self.events)
        head = self.head.replace(tnev=len(self.events), tll=PersistentEventsHeader.SIZE + len(body))
        return head.encode() + body


def persistent_bytes(data: bytes) -> int:
    """Bytes of the persistent event log, by its header."""
    return max(PersistentEventsHeader.decode(data).tll, PersistentEventsHeader.SIZE)
