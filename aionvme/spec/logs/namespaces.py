"""Log pages of namespaces and groups of them: changes, asymmetric access, doubtful blocks, reservations."""

from __future__ import annotations

from enum import IntEnum, unique

import attrs

from aionvme.spec.errors import DecodeError
from aionvme.spec.listing import Cursor, Listing, encode_all, encode_uints
from aionvme.spec.structure import Buffer, Structure, u8, u16, u32, u64

CHANGED_BYTES = 4096
TOO_MANY = 0xFFFFFFFF

# -- changes -------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class ChangedNamespaces(Listing):
    """Changed namespace list, log page 04h (NVMe Base 2.0, 5.16.1.5).

    Attributes:
        nsids: Namespaces that changed since the page was read last, at most 1024, in order.
        too_many: More than 1024 changed: every namespace has to be looked at.
    """

    nsids: tuple[int, ...] = ()
    too_many: bool = False

    @classmethod
    def decode(cls, data: Buffer) -> ChangedNamespaces:
        """From the identifiers up to the first zero."""
        cursor = Cursor(data, "the changed namespace list")
        numbers = cursor.uints(4, CHANGED_BYTES // 4)
        nsids = numbers[: numbers.index(0)] if 0 in numbers else numbers
        too_many = nsids[:1] == (TOO_MANY,)
        return cls(nsids=() if too_many else nsids, too_many=too_many)

    def encode(self) -> bytes:
        """4096 bytes."""
        nsids = (TOO_MANY,) if self.too_many else self.nsids
        if len(nsids) > CHANGED_BYTES // 4:
            raise ValueError(f"nsids: {len(nsids)} are more than {CHANGED_BYTES // 4}")
        return encode_uints(nsids, 4).ljust(CHANGED_BYTES, b"\0")


@attrs.frozen(kw_only=True)
class EventAggregate(Listing):
    """Which sets or groups have an event, log pages 0Bh and 0Fh (NVMe Base 2.0, 5.16.1.12 and 5.16.1.15).

    Attributes:
        identifiers: Of NVM sets in page 0Bh, of endurance groups in page 0Fh.
    """

    identifiers: tuple[int, ...] = ()

    @classmethod
    def decode(cls, data: Buffer) -> EventAggregate:
        """From a number, and as many identifiers."""
        cursor = Cursor(data, "the event aggregate")
        count = int.from_bytes(cursor.raw(8), "little")
        return cls(identifiers=cursor.uints(2, count))

    def encode(self) -> bytes:
        """As long as it has identifiers."""
        return len(self.identifiers).to_bytes(8, "little") + encode_uints(self.identifiers, 2)


def aggregate_bytes(data: bytes) -> int:
    """Bytes of an event aggregate, by its first 8."""
    return 8 + 2 * int.from_bytes(data[:8], "little")


# -- asymmetric namespace access -----------------------------------------------------------------------------


@unique
class AnaState(IntEnum):
    """Asymmetric namespace access (NVMe Base 2.0, 5.16.1.13)."""

    OPTIMIZED = 0x1
    NON_OPTIMIZED = 0x2
    INACCESSIBLE = 0x3
    PERSISTENT_LOSS = 0x4
    CHANGE = 0xF


class AnaHeader(Structure, size=16):
    """Of the asymmetric namespace access log (NVMe Base 2.0, 5.16.1.13)."""

    chgcnt: int = u64(0, "Change count")
    ngrps: int = u16(8, "Number of groups")


class AnaGroupHeader(Structure, size=32):
    """Of one group (NVMe Base 2.0, 5.16.1.13)."""

    agid: int = u32(0, "ANA group identifier")
    nnsid: int = u32(4, "Number of namespaces listed")
    chgcnt: int = u64(8, "Change count, 0 for not reported")
    state: int = u8(16, "Bits 3:0: `AnaState`")


@attrs.frozen(kw_only=True)
class AnaGroup(Listing):
    """One group of namespaces.

    Attributes:
        agid: ANA group identifier.
        chgcnt: Change count, 0 for not reported.
        state: `AnaState`.
        nsids: Its namespaces; none where only groups were asked for (RGO).
    """

    agid: int
    chgcnt: int = 0
    state: int = 0
    nsids: tuple[int, ...] = ()

    @classmethod
    def _take(cls, cursor: Cursor) -> AnaGroup:
        head = cursor.take(AnaGroupHeader)
        nsids = cursor.uints(4, head.nnsid)
        return cls(agid=head.agid, chgcnt=head.chgcnt, state=head.state & 0xF, nsids=nsids)

    @classmethod
    def decode(cls, data: Buffer) -> AnaGroup:
        """From its descriptor."""
        return cls._take(Cursor(data, "the ANA group"))

    def encode(self) -> bytes:
        """Its descriptor."""
        head = AnaGroupHeader(agid=self.agid, nnsid=len(self.nsids), chgcnt=self.chgcnt, state=self.state)
        return head.encode() + encode_uints(self.nsids, 4)


@attrs.frozen(kw_only=True)
class AnaLog(Listing):
    """Asymmetric namespace access, log page 0Ch (NVMe Base 2.0, 5.16.1.13).

    Attributes:
        chgcnt: Change count of the log.
        groups: The groups in the order of the page.
    """

    chgcnt: int = 0
    groups: tuple[AnaGroup, ...] = ()

    @classmethod
    def decode(cls, data: Buffer) -> AnaLog:
        """From the header and as many groups as it says."""
        cursor = Cursor(data, "the ANA log")
        head = cursor.take(AnaHeader)
        return cls(chgcnt=head.chgcnt, groups=tuple(AnaGroup._take(cursor) for _ in range(head.ngrps)))

    def encode(self) -> bytes:
        """As long as its groups are."""
        head = AnaHeader(chgcnt=self.chgcnt, ngrps=len(self.groups))
        return head.encode() + b"".join(group.encode() for group in self.groups)


def ana_bytes(data: bytes) -> int:
    """Bytes of the ANA log, as far as the part of it that was read can say."""
    groups = AnaHeader.decode(data).ngrps
    at = AnaHeader.SIZE
    for done in range(groups):
        if at + AnaGroupHeader.SIZE > len(data):
            return at + (groups - done) * AnaGroupHeader.SIZE
        at += AnaGroupHeader.SIZE + 4 * AnaGroupHeader.decode(data[at:]).nnsid
    return at


# -- doubtful blocks -----------------------------------------------------------------------------------------


class LbaStatusHeader(Structure, size=16):
    """Of the LBA status information log (NVM Command Set 1.0, 4.1.4.5)."""

    lslplen: int = u32(0, "Bytes of the page")
    nlslne: int = u32(4, "Namespace elements; FFFFFFFFh for namespaces that were all to be looked at")
    estulb: int = u32(8, "Estimate of unrecoverable blocks, FFFFFFFFh for none")
    lsgc: int = u16(14, "Generation counter")


class LbaStatusElement(Structure, size=16):
    """Head of a namespace's element (NVM Command Set 1.0, 4.1.4.5)."""

    neid: int = u32(0, "Namespace identifier")
    nlrd: int = u32(4, "Ranges; FFFFFFFFh for the whole namespace")
    ratype: int = u8(8, "Recommended action of Get LBA Status: 10h scan, 11h report what is tracked")


class LbaRange(Structure, size=16):
    """Blocks that may be unrecoverable (NVM Command Set 1.0, 4.1.4.5)."""

    rslba: int = u64(0, "First logical block")
    rnlb: int = u32(8, "Number of logical blocks")


ALL = 0xFFFFFFFF


@attrs.frozen(kw_only=True)
class NamespaceLbaStatus(Listing):
    """What may be unrecoverable of one namespace.

    Attributes:
        nsid: The namespace.
        ratype: Recommended action of Get LBA Status.
        ranges: Where; empty with `whole`.
        whole: All of it has to be looked at.
    """

    nsid: int
    ratype: int = 0
    ranges: tuple[LbaRange, ...] = ()
    whole: bool = False

    @classmethod
    def _take(cls, cursor: Cursor) -> NamespaceLbaStatus:
        head = cursor.take(LbaStatusElement)
        whole = head.nlrd == ALL
        ranges = () if whole else cursor.several(LbaRange, head.nlrd)
        return cls(nsid=head.neid, ratype=head.ratype, ranges=ranges, whole=whole)

    @classmethod
    def decode(cls, data: Buffer) -> NamespaceLbaStatus:
        """From its element."""
        return cls._take(Cursor(data, "the LBA status element"))

    def encode(self) -> bytes:
        """Its element."""
        count = ALL if self.whole else len(self.ranges)
        head = LbaStatusElement(neid=self.nsid, nlrd=count, ratype=self.ratype)
        return head.encode() + encode_all(self.ranges)


@attrs.frozen(kw_only=True)
class LbaStatusLog(Listing):
    """LBA status information, log page 0Eh (NVM Command Set 1.0, 4.1.4.5).

    Attributes:
        estulb: Estimate of unrecoverable blocks, FFFFFFFFh for none.
        lsgc: Generation counter.
        namespaces: What may be unrecoverable, by namespace; empty with `whole`.
        whole: All namespaces have to be looked at.
    """

    estulb: int = 0
    lsgc: int = 0
    namespaces: tuple[NamespaceLbaStatus, ...] = ()
    whole: bool = False

    @classmethod
    def decode(cls, data: Buffer) -> LbaStatusLog:
        """From the header and as many elements as it says, within the length that it says."""
        head = LbaStatusHeader.decode(data)
        if not LbaStatusHeader.SIZE <= head.lslplen <= len(data):
            raise DecodeError(f"the LBA status log says that it has {head.lslplen} bytes, of {len(data)}")
        cursor = Cursor(bytes(data[: head.lslplen]), "the LBA status log")
        cursor.take(LbaStatusHeader)
        whole = head.nlslne == ALL
        count = 0 if whole else head.nlslne
        if count * LbaStatusElement.SIZE > cursor.left:
            raise DecodeError(f"the LBA status log of {head.lslplen} bytes says that it has {count} elements")
        return cls(
            estulb=head.estulb,
            lsgc=head.lsgc,
            namespaces=tuple(NamespaceLbaStatus._take(cursor) for _ in range(count)),
            whole=whole,
        )

    def encode(self) -> bytes:
        """As long as its elements are."""
        body = b"".join(item.encode() for item in self.namespaces)
        count = ALL if self.whole else len(self.namespaces)
        head = LbaStatusHeader(
            lslplen=LbaStatusHeader.SIZE + len(body), nlslne=count, estulb=self.estulb, lsgc=self.lsgc
        )
        return head.encode() + body


def lba_status_bytes(data: bytes) -> int:
    """Bytes of the LBA status log, by its header."""
    return max(LbaStatusHeader.decode(data).lslplen, LbaStatusHeader.SIZE)


# -- reservations --------------------------------------------------------------------------------------------


@unique
class ReservationNotificationType(IntEnum):
    """What a reservation notification tells of (NVMe Base 2.0, 5.16.1.24)."""

    EMPTY = 0
    REGISTRATION_PREEMPTED = 1
    RESERVATION_RELEASED = 2
    RESERVATION_PREEMPTED = 3


class ReservationNotification(Structure, size=64):
    """Reservation notification, log page 80h (NVMe Base 2.0, 5.16.1.24): the oldest that was not read."""

    lpc: int = u64(0, "Count of notifications, 0 for none")
    rnlpt: int = u8(8, "`ReservationNotificationType`")
    nalp: int = u8(9, "How many more can be read; 255 for as many or more")
    nsid: int = u32(12, "Namespace")
