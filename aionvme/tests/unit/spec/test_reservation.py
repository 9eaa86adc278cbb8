"""Reservations, against bytes written by hand from the specification's layouts."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionvme.spec import reservation
from aionvme.spec.errors import DecodeError
from aionvme.spec.reservation import (
    AcquireAction,
    AcquireKeys,
    Cptpl,
    RegisterAction,
    RegisteredController,
    RegisteredControllerExtended,
    RegisterKeys,
    ReleaseAction,
    ReleaseKey,
    ReservationHeader,
    ReservationStatus,
    ReservationType,
    decode_reservation_status,
    reservation_status_bytes,
)


def sqe(opcode: str, cdws: str) -> bytes:
    """64 bytes by hand: opcode, NSID 1, and dwords from 10 on, in the order of the bytes."""
    return (bytes.fromhex(f"{opcode} 00 0000 01000000") + bytes(32) + bytes.fromhex(cdws)).ljust(64, b"\0")


COMMANDS: list[tuple[Callable[[], bytes], bytes]] = [
    (lambda: reservation.reservation_register(1, RegisterAction.REGISTER), sqe("0d", "00000000")),
    (
        lambda: reservation.reservation_register(
            1, RegisterAction.REPLACE, ignore_key=True, cptpl=Cptpl.PERSIST
        ),
        sqe("0d", "0a0000c0"),
    ),
    (
        lambda: reservation.reservation_register(1, RegisterAction.UNREGISTER, cptpl=Cptpl.CLEAR),
        sqe("0d", "01000080"),
    ),
    (
        lambda: reservation.reservation_acquire(1, AcquireAction.ACQUIRE, ReservationType.WRITE_EXCLUSIVE),
        sqe("11", "00010000"),
    ),
    (
        lambda: reservation.reservation_acquire(
            1,
            AcquireAction.PREEMPT_AND_ABORT,
            ReservationType.EXCLUSIVE_ACCESS_ALL_REGISTRANTS,
            ignore_key=True,
        ),
        sqe("11", "0a060000"),
    ),
    (
        lambda: reservation.reservation_release(1, ReleaseAction.RELEASE, ReservationType.EXCLUSIVE_ACCESS),
        sqe("15", "00020000"),
    ),
    (
        lambda: reservation.reservation_release(1, ReleaseAction.CLEAR, 0, ignore_key=True),
        sqe("15", "09000000"),
    ),
    (lambda: reservation.reservation_report(1, nbytes=24), sqe("0e", "05000000")),
    (lambda: reservation.reservation_report(1, nbytes=4096, extended=True), sqe("0e", "ff030000 01000000")),
]


@pytest.mark.parametrize("number", range(len(COMMANDS)))
def test_commands_are_the_bytes_of_the_specification(number: int) -> None:
    """Each builder gives exactly the bytes that the specification's layout asks for."""
    build, expected = COMMANDS[number]
    assert build().hex(" ", 4) == expected.hex(" ", 4)


@pytest.mark.parametrize(
    "build",
    [
        lambda: reservation.reservation_register(1, 8),
        lambda: reservation.reservation_register(1, 0, cptpl=4),
        lambda: reservation.reservation_acquire(1, 0, 256),
        lambda: reservation.reservation_release(1, -1, 1),
        lambda: reservation.reservation_report(1, nbytes=0),
        lambda: reservation.reservation_report(1, nbytes=26),
        lambda: reservation.reservation_report(1, nbytes=(1 << 34) + 4),
        lambda: RegisterKeys(crkey=1 << 64).encode(),
    ],
)
def test_arguments_that_do_not_fit_are_refused(build: Callable[[], bytes]) -> None:
    """No argument spills into the field beside its own."""
    with pytest.raises(ValueError, match=r"fit|dwords"):
        build()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (RegisterAction, "REGISTER 0 UNREGISTER 1 REPLACE 2"),
        (AcquireAction, "ACQUIRE 0 PREEMPT 1 PREEMPT_AND_ABORT 2"),
        (ReleaseAction, "RELEASE 0 CLEAR 1"),
        (Cptpl, "NO_CHANGE 0 CLEAR 2 PERSIST 3"),
        (
            ReservationType,
            "WRITE_EXCLUSIVE 1 EXCLUSIVE_ACCESS 2 WRITE_EXCLUSIVE_REGISTRANTS_ONLY 3"
            " EXCLUSIVE_ACCESS_REGISTRANTS_ONLY 4 WRITE_EXCLUSIVE_ALL_REGISTRANTS 5"
            " EXCLUSIVE_ACCESS_ALL_REGISTRANTS 6",
        ),
    ],
)
def test_numbers_are_those_of_libnvme(kind: type[IntEnum], expected: str) -> None:
    """Every name has the number that libnvme and SPDK give it."""
    words = expected.split()
    assert {each.name: int(each) for each in kind} == dict(
        zip(words[::2], map(int, words[1::2]), strict=True)
    )


# From SPDK's spdk_nvme_reservation_* and spdk_nvme_registered_ctrlr_*, and the same of Linux.
LAYOUTS: list[tuple[Any, int, str]] = [
    (RegisterKeys, 16, "crkey 0 nrkey 8"),
    (AcquireKeys, 16, "crkey 0 prkey 8"),
    (ReleaseKey, 8, "crkey 0"),
    (ReservationHeader, 24, "gen 0 rtype 4 regctl 5 ptpls 9"),
    (RegisteredController, 24, "cntlid 0 rcsts 2 hostid 8 rkey 16"),
    (RegisteredControllerExtended, 64, "cntlid 0 rcsts 2 rkey 8 hostid 16"),
]


@pytest.mark.parametrize(("kind", "size", "offsets"), LAYOUTS)
def test_structures_have_the_layout_of_other_headers(kind: Any, size: int, offsets: str) -> None:
    """Sizes and offsets are those of SPDK's and Linux' structures; one byte less is a DecodeError."""
    words = offsets.split()
    assert size == kind.SIZE
    assert {name: row.offset for name, row in kind.ROWS.items()} == dict(
        zip(words[::2], map(int, words[1::2]), strict=True)
    )
    with pytest.raises(DecodeError):
        kind.decode(bytes(size - 1))


def test_keys_by_hand() -> None:
    """Eight bytes each, the current key first."""
    assert RegisterKeys(crkey=0xA1, nrkey=0x0102_0304_0506_0708).encode().hex(" ", 8) == (
        "a100000000000000 0807060504030201"
    )
    assert AcquireKeys(crkey=1, prkey=2).encode().hex(" ", 8) == "0100000000000000 0200000000000000"
    assert ReleaseKey(crkey=3).encode().hex() == "0300000000000000"


STANDARD = bytes.fromhex(
    "07000000 01 0200 0000 01 0000000000000000000000000000"
    "0100 01 0000000000 8877665544332211 a100000000000000"
    "ffff 00 0000000000 1100000000000000 b200000000000000"
)
EXTENDED = bytes.fromhex(
    "07000000 03 0100 0000 00 0000000000000000000000000000"
    + "00" * 40
    + "0200 01 0000000000 a100000000000000 000102030405060708090a0b0c0d0e0f"
    + "00" * 32
)


def test_a_status_by_hand() -> None:
    """Two registrants, the first of which holds a write exclusive reservation."""
    status = decode_reservation_status(STANDARD)
    assert status == ReservationStatus(
        gen=7,
        rtype=ReservationType.WRITE_EXCLUSIVE,
        ptpls=1,
        registrants=(
            RegisteredController(cntlid=1, rcsts=1, hostid=0x1122_3344_5566_7788, rkey=0xA1),
            RegisteredController(cntlid=0xFFFF, hostid=0x11, rkey=0xB2),
        ),
    )
    assert isinstance(status.rtype, ReservationType)
    assert [each.holder for each in status.registrants] == [True, False]
    assert status.regctl == 2
    assert status.encode() == STANDARD
    assert len(STANDARD) == reservation_status_bytes(2) == 72


def test_an_extended_status_by_hand() -> None:
    """Registrants begin at byte 64 and have the key before a host identifier of 16 bytes."""
    status = decode_reservation_status(EXTENDED, extended=True)
    (registrant,) = status.registrants
    assert isinstance(registrant, RegisteredControllerExtended)
    assert (registrant.cntlid, registrant.holder, registrant.rkey) == (2, True, 0xA1)
    assert registrant.hostid == bytes(range(16))
    assert status.rtype == ReservationType.WRITE_EXCLUSIVE_REGISTRANTS_ONLY
    assert status.encode() == EXTENDED
    assert len(EXTENDED) == reservation_status_bytes(1, extended=True) == 128


def test_a_status_goes_into_json() -> None:
    """The plain form has the specification's names, and bytes as digits."""
    plain = json.loads(json.dumps(decode_reservation_status(EXTENDED, extended=True).to_dict()))
    assert plain == {
        "gen": 7,
        "rtype": 3,
        "regctl": 1,
        "ptpls": 0,
        "registrants": [
            {"cntlid": 2, "rcsts": 1, "rkey": 0xA1, "hostid": "000102030405060708090a0b0c0d0e0f"}
        ],
    }


@pytest.mark.parametrize(
    ("data", "extended"),
    [
        (b"", False),
        (bytes(23), False),
        (STANDARD[:-1], False),
        (STANDARD[:24], False),
        (bytes(24), True),
        (bytes(63), True),
        (EXTENDED[:-1], True),
        (STANDARD, True),
        (bytes(5) + b"\xff\xff" + bytes(4089), False),
        (bytes(5) + b"\xff\xff" + bytes(4089), True),
    ],
)
def test_a_status_that_counts_more_than_it_has_is_refused(data: bytes, extended: bool) -> None:
    """A count from the device never reads behind the data: DecodeError."""
    with pytest.raises(DecodeError):
        decode_reservation_status(data, extended=extended)


def test_a_status_ends_with_its_count() -> None:
    """What lies behind the counted controllers is not looked at, and no controllers are fine."""
    assert decode_reservation_status(STANDARD + b"\xff" * 100) == decode_reservation_status(STANDARD)
    none = decode_reservation_status(bytes(4096), extended=True)
    assert (none.rtype, none.registrants) == (0, ())
    assert decode_reservation_status(bytes(4) + b"\x99" + bytes(19)).rtype == 0x99


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_decode_or_are_refused(data: bytes, extended: bool) -> None:
    """No bytes raise anything but DecodeError, and what decodes survives its own bytes."""
    try:
        status = decode_reservation_status(data, extended=extended)
    except DecodeError:
        return
    assert decode_reservation_status(status.encode(), extended=extended) == status
