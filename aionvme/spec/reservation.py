"""Reservations: the four commands, and the data that they carry (NVMe Base 2.0, 8.19)."""

from __future__ import annotations

from enum import IntEnum, unique
from typing import Any

import attrs

from aionvme.spec.bits import Bits, bits
from aionvme.spec.entries import Sqe
from aionvme.spec.errors import DecodeError
from aionvme.spec.opcodes import NvmOpcode
from aionvme.spec.structure import Buffer, Structure, raw_bytes, u8, u16, u32, u64


@unique
class RegisterAction(IntEnum):
    """RREGA: what Reservation Register does with the host's key (NVMe Base 2.0, 7.3)."""

    REGISTER = 0
    UNREGISTER = 1
    REPLACE = 2


@unique
class AcquireAction(IntEnum):
    """RACQA: what Reservation Acquire does (NVMe Base 2.0, 7.2)."""

    ACQUIRE = 0
    PREEMPT = 1
    PREEMPT_AND_ABORT = 2


@unique
class ReleaseAction(IntEnum):
    """RRELA: what Reservation Release does (NVMe Base 2.0, 7.4). CLEAR takes all keys with it."""

    RELEASE = 0
    CLEAR = 1


@unique
class ReservationType(IntEnum):
    """RTYPE: what others may not do, and who is not others (NVMe Base 2.0, 7.2)."""

    WRITE_EXCLUSIVE = 1
    EXCLUSIVE_ACCESS = 2
    WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 3
    EXCLUSIVE_ACCESS_REGISTRANTS_ONLY = 4
    WRITE_EXCLUSIVE_ALL_REGISTRANTS = 5
    EXCLUSIVE_ACCESS_ALL_REGISTRANTS = 6


@unique
class Cptpl(IntEnum):
    """Change of what happens to keys and reservation at a loss of power (NVMe Base 2.0, 7.3)."""

    NO_CHANGE = 0
    CLEAR = 2
    PERSIST = 3


# -- command dwords ------------------------------------------------------------------------------------------


class RegisterCdw10(Bits, width=32):
    """Reservation Register, command dword 10 (NVMe Base 2.0, 7.3)."""

    rrega = bits(0, 3, "Action")
    iekey = bits(3, 1, "Ignore existing key")
    cptpl = bits(30, 2, "Change persist through power loss state")


class AcquireCdw10(Bits, width=32):
    """Reservation Acquire, command dword 10 (NVMe Base 2.0, 7.2)."""

    racqa = bits(0, 3, "Action")
    iekey = bits(3, 1, "Ignore existing key")
    rtype = bits(8, 8, "Reservation type")


class ReleaseCdw10(Bits, width=32):
    """Reservation Release, command dword 10 (NVMe Base 2.0, 7.4)."""

    rrela = bits(0, 3, "Action")
    iekey = bits(3, 1, "Ignore existing key")
    rtype = bits(8, 8, "Reservation type, which is that of the reservation")


class ReportCdw11(Bits, width=32):
    """Reservation Report, command dword 11 (NVMe Base 2.0, 7.5). Dword 10 counts dwords, 0's based."""

    eds = bits(0, 1, "Extended data structure: host identifiers of 128 bits")


# -- data ----------------------------------------------------------------------------------------------------


class RegisterKeys(Structure, size=16):
    """Data of Reservation Register (NVMe Base 2.0, 7.3)."""

    crkey: int = u64(0, "Current reservation key")
    nrkey: int = u64(8, "New reservation key")


class AcquireKeys(Structure, size=16):
    """Data of Reservation Acquire (NVMe Base 2.0, 7.2)."""

    crkey: int = u64(0, "Current reservation key")
    prkey: int = u64(8, "Preempt reservation key: whom to unregister")


class ReleaseKey(Structure, size=8):
    """Data of Reservation Release (NVMe Base 2.0, 7.4)."""

    crkey: int = u64(0, "Current reservation key")


class ReservationHeader(Structure, size=24):
    """What a reservation status begins with, in both forms (NVMe Base 2.0, 7.5)."""

    gen: int = u32(0, "Generation: counts changes of registrations")
    rtype: int = u8(4, "Reservation type, 0 for none")
    regctl: int = u16(5, "Number of registered controllers")
    ptpls: int = u8(9, "Persist through power loss state")


class Rcsts(Bits, width=8):
    """Reservation status of a controller (NVMe Base 2.0, 7.5)."""

    holder = bits(0, 1, "Its host holds the reservation")


class RegisteredController(Structure, size=24):
    """Registered controller (NVMe Base 2.0, 7.5)."""

    cntlid: int = u16(0, "Controller identifier; FFFFh if dynamic")
    rcsts: int = u8(2, "Reservation status", bits=Rcsts)
    hostid: int = u64(8, "Host identifier")
    rkey: int = u64(16, "Reservation key")

    @property
    def holder(self) -> bool:
        """Whether the controller's host holds the reservation."""
        return bool(Rcsts(self.rcsts).holder)


class RegisteredControllerExtended(Structure, size=64):
    """Registered controller, extended (NVMe Base 2.0, 7.5)."""

    cntlid: int = u16(0, "Controller identifier; FFFFh if dynamic")
    rcsts: int = u8(2, "Reservation status", bits=Rcsts)
    rkey: int = u64(8, "Reservation key")
    hostid: bytes = raw_bytes(16, 16, "Host identifier")

    @property
    def holder(self) -> bool:
        """Whether the controller's host holds the reservation."""
        return bool(Rcsts(self.rcsts).holder)


Registrant = RegisteredController | RegisteredControllerExtended

_EXTENDED_HEADER = 64


@attrs.frozen
class ReservationStatus:
    """What Reservation Report tells (NVMe Base 2.0, 7.5).

    Attributes:
        gen: Generation: counts changes of registrations.
        rtype: A `ReservationType`, 0 for no reservation, or another number.
        ptpls: Whether keys and reservation outlive a loss of power: 1, or 0.
        registrants: The controllers whose hosts are registered: all `RegisteredControllerExtended` if `extended`.
        extended: Whether host identifiers have 128 bits, not 64.
    """

    gen: int
    rtype: int
    ptpls: int
    registrants: tuple[Registrant, ...]
    extended: bool = False

    @property
    def regctl(self) -> int:
        """Number of registered controllers."""
        return len(self.registrants)

    def encode(self) -> bytes:
        """The bytes, as a controller gives them."""
        header = ReservationHeader(gen=self.gen, rtype=self.rtype, regctl=self.regctl, ptpls=self.ptpls)
        start, _ = _layout(self.extended)
        return header.encode().ljust(start, b"\0") + b"".join(each.encode() for each in self.registrants)

    def to_dict(self) -> dict[str, Any]:
        """Every field by name, in forms that JSON knows."""
        return {
            "gen": self.gen,
            "rtype": int(self.rtype),
            "regctl": self.regctl,
            "ptpls": self.ptpls,
            "registrants": [each.to_dict() for each in self.registrants],
        }


def reservation_status_bytes(regctl: int, *, extended: bool = False) -> int:
    """Size of a reservation status with `regctl` registered controllers."""
    start, kind = _layout(extended)
    return start + regctl * kind.SIZE


def decode_reservation_status(data: Buffer, extended: bool = False) -> ReservationStatus:
    """The reservation status at the start of `data`.

    How many bytes it has is known from its own `ReservationHeader`; see `reservation_status_bytes`.

    Raises:
        DecodeError: `data` is shorter than the header, or than the registered controllers it counts.
    """
    header = ReservationHeader.decode(data)
    start, kind = _layout(extended)
    needed = start + header.regctl * kind.SIZE
    if len(data) < needed:
        raise DecodeError(
            f"a reservation status of {header.regctl} registered controllers has {needed} bytes, "
            f"and here are {len(data)}"
        )
    whole = bytes(data[:needed])
    return ReservationStatus(
        gen=header.gen,
        rtype=_known_type(header.rtype),
        ptpls=header.ptpls,
        registrants=tuple(kind.decode(whole[at : at + kind.SIZE]) for at in range(start, needed, kind.SIZE)),
        extended=bool(extended),
    )


def _layout(extended: bool) -> tuple[int, type[Registrant]]:
    if extended:
        return _EXTENDED_HEADER, RegisteredControllerExtended
    return ReservationHeader.SIZE, RegisteredController


def _known_type(rtype: int) -> int:
    try:
        return ReservationType(rtype)
    except ValueError:
        return rtype


# -- builders ------------------------------------------------------------------------------------------------


def reservation_register(
    nsid: int, action: int, *, ignore_key: bool = False, cptpl: int = Cptpl.NO_CHANGE
) -> bytes:
    """Reservation Register (NVMe Base 2.0, 7.3). Its data is a `RegisterKeys`."""
    cdw10 = RegisterCdw10(rrega=action, iekey=int(ignore_key), cptpl=cptpl).value
    return Sqe(opc=NvmOpcode.RESERVATION_REGISTER, nsid=nsid, cdw10=cdw10).encode()


def reservation_acquire(nsid: int, action: int, rtype: int, *, ignore_key: bool = False) -> bytes:
    """Reservation Acquire (NVMe Base 2.0, 7.2). Its data is an `AcquireKeys`."""
    cdw10 = AcquireCdw10(racqa=action, iekey=int(ignore_key), rtype=rtype).value
    return Sqe(opc=NvmOpcode.RESERVATION_ACQUIRE, nsid=nsid, cdw10=cdw10).encode()


def reservation_release(nsid: int, action: int, rtype: int, *, ignore_key: bool = False) -> bytes:
    """Reservation Release (NVMe Base 2.0, 7.4). Its data is a `ReleaseKey`."""
    cdw10 = ReleaseCdw10(rrela=action, iekey=int(ignore_key), rtype=rtype).value
    return Sqe(opc=NvmOpcode.RESERVATION_RELEASE, nsid=nsid, cdw10=cdw10).encode()


def reservation_report(nsid: int, *, nbytes: int, extended: bool = False) -> bytes:
    """Reservation Report (NVMe Base 2.0, 7.5). What it gives is for `decode_reservation_status`.

    Args:
        nsid: Namespace.
        nbytes: Bytes to transfer, a multiple of 4.
        extended: Host identifiers of 128 bits; a controller refuses the form that is not the host's.

    Raises:
        ValueError: `nbytes` is no multiple of 4, or does not fit in its field.
    """
    if nbytes < 4 or nbytes % 4:
        raise ValueError(f"a reservation status is read in dwords, not {nbytes} bytes")
    return Sqe(
        opc=NvmOpcode.RESERVATION_REPORT,
        nsid=nsid,
        cdw10=nbytes // 4 - 1,
        cdw11=ReportCdw11(eds=int(extended)).value,
    ).encode()
