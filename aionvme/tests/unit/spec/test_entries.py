"""Queue entries and admin commands, against bytes written by hand from the specification."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionvme.spec import entries
from aionvme.spec.entries import CQE_BYTES, SQE_BYTES, Cqe, CqeStatus, SglDescriptor, Sqe
from aionvme.spec.errors import DecodeError
from aionvme.spec.opcodes import AdminOpcode, Cns, FeatureId
from aionvme.spec.status import StatusCode

SQE_OFFSETS = {
    "opc": 0,
    "flags": 1,
    "cid": 2,
    "nsid": 4,
    "cdw2": 8,
    "cdw3": 12,
    "mptr": 16,
    "prp1": 24,
    "prp2": 32,
    "cdw10": 40,
    "cdw11": 44,
    "cdw12": 48,
    "cdw13": 52,
    "cdw14": 56,
    "cdw15": 60,
}
CQE_OFFSETS = {"dw0": 0, "dw1": 4, "sqhd": 8, "sqid": 10, "cid": 12, "sf": 14}


def test_layouts_are_those_of_other_headers() -> None:
    """The entries have the members of FreeBSD's nvme_command and nvme_completion at their offsets."""
    assert (SQE_BYTES, CQE_BYTES, SglDescriptor.SIZE) == (64, 16, 16)
    assert {name: row.offset for name, row in Sqe.ROWS.items()} == SQE_OFFSETS
    assert {name: row.offset for name, row in Cqe.ROWS.items()} == CQE_OFFSETS


def sqe(opcode: str, *, nsid: str = "00000000", prp1: str = "0000000000000000", cdws: str = "") -> bytes:
    """64 bytes by hand: opcode, NSID, PRP1, and dwords from 10 on, each in the order in which bytes lie."""
    head = bytes.fromhex(f"{opcode} 00 0000 {nsid} {'00' * 16} {prp1} {'00' * 8}")
    return (head + bytes.fromhex(cdws)).ljust(64, b"\0")


COMMANDS: list[tuple[Callable[[], bytes], bytes]] = [
    (lambda: entries.identify(Cns.CONTROLLER), sqe("06", cdws="01000000")),
    (lambda: entries.identify(0, nsid=0x01020304), sqe("06", nsid="04030201")),
    (
        lambda: entries.identify(0x05, nsid=1, cntid=0x1234, csi=2, cns_specific=0x5678, uuid_index=0x7F),
        sqe("06", nsid="01000000", cdws="05003412 78560002 00000000 00000000 7f000000"),
    ),
    (
        lambda: entries.get_log_page(2, nbytes=512, nsid=0xFFFFFFFF),
        sqe("02", nsid="ffffffff", cdws="02007f00"),
    ),
    (
        lambda: entries.get_log_page(
            0x0D,
            nbytes=0x0123_4568 * 4,
            nsid=0,
            offset=0x1122_3344_5566_7788,
            lsp=0x7F,
            lsi=0xABCD,
            retain_event=True,
            uuid_index=3,
            csi=2,
        ),
        sqe("02", cdws="0dff6745 2301cdab 88776655 44332211 03000002"),
    ),
    (
        lambda: entries.get_features(FeatureId.TEMPERATURE_THRESHOLD, cdw11=0x0001_0000, nsid=5, select=3),
        sqe("0a", nsid="05000000", cdws="04030000 00000100"),
    ),
    (
        lambda: entries.get_features(0xC0, uuid_index=1),
        sqe("0a", cdws="c0000000 00000000 00000000 00000000 01000000"),
    ),
    (lambda: entries.set_features(7, cdw11=0x0003_0003), sqe("09", cdws="07000000 03000300")),
    (
        lambda: entries.set_features(
            0x0D, cdw11=1, cdw12=0x22, cdw13=0x33, cdw14=0x44, cdw15=0x55, nsid=6, save=True
        ),
        sqe("09", nsid="06000000", cdws="0d000080 01000000 22000000 33000000 44000000 55000000"),
    ),
    (lambda: entries.abort(sqid=0x0102, cid=0x0304), sqe("08", cdws="02010403")),
    (
        lambda: entries.create_io_cq(qid=3, entries=256, iova=0x1122_3344_5566_7000),
        sqe("05", prp1="0070665544332211", cdws="0300ff00 01000000"),
    ),
    (
        lambda: entries.create_io_cq(qid=1, entries=65536, iova=0x1000, vector=0x0102),
        sqe("05", prp1="0010000000000000", cdws="0100ffff 03000201"),
    ),
    (
        lambda: entries.create_io_cq(qid=1, entries=2, iova=0x1000, vector=0),
        sqe("05", prp1="0010000000000000", cdws="01000100 03000000"),
    ),
    (
        lambda: entries.create_io_sq(qid=2, cqid=0x0304, entries=64, iova=0x2000, qprio=2),
        sqe("01", prp1="0020000000000000", cdws="02003f00 05000403"),
    ),
    (
        lambda: entries.create_io_sq(qid=2, cqid=1, entries=64, iova=0x2000),
        sqe("01", prp1="0020000000000000", cdws="02003f00 01000100"),
    ),
    (lambda: entries.delete_io_sq(0x0102), sqe("00", cdws="02010000")),
    (lambda: entries.delete_io_cq(0x0102), sqe("04", cdws="02010000")),
    (entries.async_event_request, sqe("0c")),
    (entries.keep_alive, sqe("18")),
]


@pytest.mark.parametrize("number", range(len(COMMANDS)))
def test_commands_are_the_bytes_of_the_specification(number: int) -> None:
    """Each builder gives exactly the bytes that the specification's layout asks for."""
    build, expected = COMMANDS[number]
    assert build().hex(" ", 4) == expected.hex(" ", 4)


@pytest.mark.parametrize(
    "build",
    [
        lambda: entries.identify(0x100),
        lambda: entries.identify(0, cntid=0x10000),
        lambda: entries.identify(0, nsid=1 << 32),
        lambda: entries.identify(0, uuid_index=128),
        lambda: entries.get_log_page(2, nbytes=510),
        lambda: entries.get_log_page(2, nbytes=0),
        lambda: entries.get_log_page(2, nbytes=4, offset=2),
        lambda: entries.get_log_page(2, nbytes=4, lsp=128),
        lambda: entries.get_log_page(2, nbytes=4, offset=1 << 64),
        lambda: entries.get_log_page(2, nbytes=(1 << 34) + 4),
        lambda: entries.get_features(1, select=8),
        lambda: entries.set_features(0x100),
        lambda: entries.abort(sqid=1, cid=0x10000),
        lambda: entries.create_io_cq(qid=1, entries=0, iova=0x1000),
        lambda: entries.create_io_cq(qid=1, entries=65537, iova=0x1000),
        lambda: entries.create_io_sq(qid=1, cqid=1, entries=2, iova=0x1000, qprio=4),
        lambda: entries.delete_io_sq(0x10000),
    ],
)
def test_arguments_that_do_not_fit_are_refused(build: Callable[[], bytes]) -> None:
    """No argument spills into the field beside its own."""
    with pytest.raises(ValueError, match=r"fit|dwords"):
        build()


def test_a_controller_reads_what_the_driver_built() -> None:
    """The tables of command dwords give back the builder's arguments."""
    entry = Sqe.decode(entries.get_log_page(0x0D, nbytes=1 << 20, nsid=7, lsp=3, lsi=9, retain_event=True))
    cdw10 = entries.GetLogPageCdw10.from_int(entry.cdw10)
    cdw11 = entries.GetLogPageCdw11.from_int(entry.cdw11)
    assert (entry.opc, entry.nsid) == (AdminOpcode.GET_LOG_PAGE, 7)
    assert (cdw10.lid, cdw10.lsp, cdw10.rae, cdw11.lsi) == (0x0D, 3, 1, 9)
    assert (cdw11.numdu << 16 | cdw10.numdl) + 1 == (1 << 20) // 4


def test_fuse_and_psdt_are_in_the_second_byte() -> None:
    """FUSE is bits 9:8 and PSDT bits 15:14 of dword 0 (Base 2.0, 3.3.3.1)."""
    entry = Sqe.decode(bytes.fromhex("01 82 3412") + bytes(60))
    assert (entry.opc, entry.fuse, entry.psdt, entry.cid) == (1, 2, 2, 0x1234)


def test_a_completion_is_taken_apart() -> None:
    """A completion by hand: DW0 7, DW1 8, SQHD 2, SQID 1, CID 0102h, phase 1, DNR, LBA out of range."""
    cqe = Cqe.decode(bytes.fromhex("07000000 08000000 0200 0100 0201 0181"))
    assert (cqe.dw0, cqe.dw1, cqe.sqhd, cqe.sqid, cqe.cid, cqe.phase) == (7, 8, 2, 1, 0x0102, 1)
    assert cqe.status == StatusCode.LBA_OUT_OF_RANGE
    assert cqe.status.dnr
    assert CqeStatus(cqe.sf).to_dict() == {"p": 1, "sc": 0x80, "sct": 0, "crd": 0, "m": 0, "dnr": 1}


@given(st.binary(min_size=64, max_size=64))
def test_any_submission_entry_comes_back(data: bytes) -> None:
    """A submission queue entry has no byte that its table does not cover."""
    assert Sqe.decode(data).encode() == data


@given(st.binary(min_size=16, max_size=16))
def test_any_completion_and_descriptor_comes_back(data: bytes) -> None:
    """Nor has a completion queue entry or an SGL descriptor, and any status field decodes."""
    assert Cqe.decode(data).encode() == data
    assert SglDescriptor.decode(data).encode() == data
    assert Cqe.decode(data).status.to_field() == int.from_bytes(data[14:], "little") >> 1


@pytest.mark.parametrize("kind", [Sqe, Cqe, SglDescriptor])
def test_truncated_entries_are_refused(kind: type[Sqe]) -> None:
    """One byte short is a DecodeError."""
    with pytest.raises(DecodeError):
        kind.decode(bytes(kind.SIZE - 1))
