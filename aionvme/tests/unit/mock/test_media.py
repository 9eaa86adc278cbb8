"""Format, sanitize and self-test of the mock, by the bytes of the specification and by a clock that the test moves."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from aionvme.mock import MockController
from aionvme.tests.unit.mock.raw import PAGE, Raw

Make = Callable[..., Raw]
FORMAT, SANITIZE, SELF_TEST, LOG, EVENT, READ, WRITE, FEATURES = (
    0x80,
    0x84,
    0x14,
    0x02,
    0x0C,
    0x02,
    0x01,
    0x09,
)
MIB = 1 << 20


def page(raw: Raw, lid: int, nbytes: int) -> bytes:
    """A log page."""
    assert raw.admin.run(LOG, cdw10=lid | (nbytes // 4 - 1) << 16, prp1=raw.page_iova).status == 0
    return raw.data(nbytes)


def described(raw: Raw, nsid: int = 1) -> tuple[int, int, int, int]:
    """NSZE, FLBAS, DPS and FPI of a namespace."""
    data = raw.identify(0x00, nsid=nsid)[1]
    return struct.unpack_from("<Q", data)[0], data[26], data[29], data[32]


def test_format(make: Make) -> None:
    """The namespace has the new format, as many blocks as fit, and none of its data."""
    raw = make(size=MIB)
    queue = raw.create(1)
    raw.mock.poke(1, 0, b"old")
    assert described(raw) == (2048, 0, 0, 0x80)
    assert raw.admin.run(FORMAT, nsid=1, cdw10=1).status == 0
    assert described(raw) == (256, 1, 0, 0x80)
    assert raw.mock.peek(1, 0) == bytes(PAGE)
    assert queue.run(READ, nsid=1, prp1=raw.page_iova, cdw10=255).status == 0
    assert queue.run(READ, nsid=1, prp1=raw.page_iova, cdw10=256).code == 0x80
    raw.mock.poke(1, 0, b"new")
    assert raw.admin.run(FORMAT, nsid=0xFFFFFFFF, cdw10=1 | 1 << 9).status == 0
    assert raw.mock.peek(1, 0) == bytes(PAGE)


def test_format_with_protection(make: Make) -> None:
    """PI, PIL and MSET are what Identify then says, and what commands then need."""
    raw = make(size=MIB)
    queue = raw.create(1)
    assert raw.admin.run(FORMAT, nsid=1, cdw10=2 | 1 << 4 | 1 << 5 | 1 << 8).status == 0
    assert described(raw) == (2048, 0x12, 0b1001, 0x80)
    assert queue.run(WRITE, nsid=1, prp1=raw.page_iova, cdw12=1 << 29).status == 0
    assert len(raw.mock.peek_metadata(1, 0)) == 8
    assert raw.admin.run(FORMAT, nsid=1, cdw10=0).status == 0
    assert described(raw) == (2048, 0, 0, 0x80)


def test_refused_formats(make: Make) -> None:
    """A format that is not there, protection without room for it, a secure erase that is not, and no namespace."""
    raw = make(size=MIB, max_namespaces=2)
    assert raw.admin.run(FORMAT, nsid=1, cdw10=4).code == 0x10A
    assert raw.admin.run(FORMAT, nsid=1, cdw10=1 | 1 << 5).code == 0x10A
    assert raw.admin.run(FORMAT, nsid=1, cdw10=2 | 4 << 5).code == 0x10A
    assert raw.admin.run(FORMAT, nsid=1, cdw10=3 << 9).code == 0x02
    assert raw.admin.run(FORMAT, nsid=2).code == 0x02
    assert raw.admin.run(FORMAT, nsid=3).code == 0x0B
    assert raw.admin.run(FORMAT, nsid=0).code == 0x0B


def test_format_takes_its_time(make: Make) -> None:
    """Until its end the command is outstanding, I/O is refused, and Identify has the percent that remains."""
    raw = make(size=MIB, format_time=1000.0)
    queue = raw.create(1)
    raw.admin.post(FORMAT, nsid=1, cid=9, cdw10=1)
    raw.admin.ring()
    raw.mock.step()
    raw.mock.advance(250.0)
    nsze, flbas, _dps, fpi = described(raw)
    assert (nsze, flbas) == (2048, 0)
    assert 0x80 | 70 < fpi <= 0x80 | 75
    assert queue.run(READ, nsid=1, prp1=raw.page_iova).code == 0x84
    assert queue.run(0x00, nsid=0xFFFFFFFF).code == 0x84
    assert raw.admin.run(FORMAT, nsid=1, cdw10=0).code == 0x84
    raw.mock.advance(750.0)
    ((*_rest, cid, status),) = raw.admin.wait()
    assert (cid, status) == (9, 0)
    assert described(raw) == (256, 1, 0, 0x80)
    assert queue.run(READ, nsid=1, prp1=raw.page_iova).status == 0


@pytest.fixture
def raw(make: Make) -> Raw:
    """A mock whose sanitize operations and self-tests take a thousand seconds."""
    return make(size=MIB, sanitize_time=1000.0, self_test_time=1000.0)


def sanitize_log(raw: Raw) -> tuple[int, int, int]:
    """SPROG, SSTAT and SCDW10."""
    progress, status, dword = struct.unpack_from("<HHI", page(raw, 0x81, 512))
    return progress, status, dword


def test_sanitize(raw: Raw) -> None:
    """It goes on after its command, with progress, and refuses I/O and most admin commands; then all data is gone."""
    queue = raw.create(1)
    raw.mock.poke(1, 0, b"secret")
    assert sanitize_log(raw) == (0xFFFF, 0, 0)
    assert raw.admin.run(SANITIZE, cdw10=2).status == 0
    raw.mock.advance(500.0)
    progress, status, dword = sanitize_log(raw)
    assert 32768 <= progress < 34000
    assert (status, dword) == (2, 2)
    assert queue.run(READ, nsid=1, prp1=raw.page_iova).code == 0x1D
    assert raw.admin.run(SANITIZE, cdw10=2).code == 0x1D
    assert raw.admin.run(FORMAT, nsid=1).code == 0x1D
    assert raw.admin.run(SELF_TEST, nsid=1, cdw10=1).code == 0x1D
    assert raw.identify(0x01)[0].status == 0
    raw.mock.advance(500.0)
    assert sanitize_log(raw) == (0xFFFF, 1, 2)
    assert raw.mock.peek(1, 0) == bytes(512)
    assert queue.run(READ, nsid=1, prp1=raw.page_iova).status == 0


def test_sanitize_event(raw: Raw) -> None:
    """Its end is told by an event of type 6 for page 81h."""
    assert raw.admin.run(SANITIZE, cdw10=4).status == 0
    raw.admin.post(EVENT, cid=5)
    raw.admin.ring()
    raw.mock.step()
    raw.mock.advance(1000.0)
    (cqe,) = raw.admin.wait()
    assert (cqe.cid, cqe.dw0) == (5, 6 | 1 << 8 | 0x81 << 16)


def test_overwrite_counts_passes(make: Make) -> None:
    """Passes that are complete are in SSTAT; 0 stands for 16."""
    raw = make(size=MIB)
    assert raw.admin.run(SANITIZE, cdw10=3 | 3 << 4).status == 0
    assert sanitize_log(raw)[1] == 1 | 3 << 3
    assert raw.admin.run(SANITIZE, cdw10=3).status == 0
    assert sanitize_log(raw)[1] == 1 | 16 << 3


def test_refused_sanitize(raw: Raw) -> None:
    """Actions and options that SANICAP does not have."""
    for cdw10 in (0, 5, 6, 2 | 1 << 9, 2 | 1 << 10):
        assert raw.admin.run(SANITIZE, cdw10=cdw10).code == 0x02


def test_failed_sanitize(make: Make) -> None:
    """After a failure commands end with Sanitize Failed; it is left at will only where that was asked for."""
    raw = make(size=MIB, sanitize_fails=True)
    queue = raw.create(1)
    assert raw.admin.run(SANITIZE, cdw10=1).status == 0
    assert raw.admin.run(SANITIZE, cdw10=2).status == 0
    assert sanitize_log(raw)[1] == 3
    assert queue.run(READ, nsid=1, prp1=raw.page_iova).code == 0x1C
    assert raw.admin.run(FORMAT, nsid=1).code == 0x1C
    assert raw.admin.run(SANITIZE, cdw10=1).code == 0x1C
    assert raw.admin.run(SANITIZE, cdw10=2 | 1 << 3).code == 0x1C

    raw = make(size=MIB, sanitize_fails=True)
    queue = raw.create(1)
    assert raw.admin.run(SANITIZE, cdw10=2 | 1 << 3).status == 0
    assert raw.admin.run(SANITIZE, cdw10=1).status == 0
    assert queue.run(READ, nsid=1, prp1=raw.page_iova).status == 0


def test_self_test(raw: Raw) -> None:
    """One at a time; its percent while it goes on, and its result in front of the older ones."""
    assert page(raw, 0x06, 564)[:8] == bytes(4) + b"\x0f\0\0\0"
    assert raw.admin.run(SELF_TEST, nsid=0xFFFFFFFF, cdw10=1).status == 0
    raw.mock.advance(250.0)
    assert page(raw, 0x06, 564)[:2] == b"\x01\x19"
    assert raw.admin.run(SELF_TEST, nsid=1, cdw10=2).code == 0x11D
    raw.mock.advance(750.0)
    assert page(raw, 0x06, 564)[:5] == b"\0\0\0\0\x10"
    assert raw.admin.run(SELF_TEST, nsid=0, cdw10=2).status == 0
    assert raw.admin.run(SELF_TEST, nsid=0, cdw10=0xF).status == 0
    data = page(raw, 0x06, 564)
    assert (data[0], data[4], data[32]) == (0, 0x21, 0x10)
    assert raw.admin.run(SELF_TEST, nsid=1, cdw10=3).code == 0x02
    assert raw.admin.run(SELF_TEST, nsid=2, cdw10=1).code == 0x0B


@pytest.mark.parametrize(("opcode", "cdw10", "result"), [(FORMAT, 0, 4), (SANITIZE, 2, 9), (0x0D, 1, 3)])
def test_what_aborts_a_self_test(raw: Raw, opcode: int, cdw10: int, result: int) -> None:
    """A format, a sanitize operation and a deletion abort it, and its result says so."""
    assert raw.admin.run(SELF_TEST, nsid=1, cdw10=2).status == 0
    nsid = 0 if opcode == SANITIZE else 1
    assert raw.admin.run(opcode, nsid=nsid, cdw10=cdw10).status == 0
    assert page(raw, 0x06, 564)[4] == 0x20 | result


def test_real_clock() -> None:
    """Without a hand on the clock it goes by itself."""
    with MockController(size=MIB, format_time=0.05) as mock, Raw(mock) as raw:
        raw.enable()
        assert raw.admin.run(FORMAT, nsid=1, cdw10=1).status == 0
        assert described(raw) == (256, 1, 0, 0x80)
