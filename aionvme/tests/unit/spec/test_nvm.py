"""The NVM command set, against bytes written by hand from the specification's layouts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionvme.spec import nvm
from aionvme.spec.entries import Sqe
from aionvme.spec.errors import DecodeError
from aionvme.spec.nvm import (
    COPY_RANGES,
    DEALLOCATE,
    CopyRange0,
    CopyRange1,
    CopyRange2,
    CopyRange3,
    DsmRange,
    IoFlags,
)
from aionvme.spec.opcodes import NvmOpcode

U16 = st.integers(0, 0xFFFF)
U64 = st.integers(0, (1 << 64) - 1)


def sqe(opcode: str, cdws: str = "", *, nsid: str = "01000000", fuse: str = "00", tags: str = "") -> bytes:
    """64 bytes by hand: opcode, FUSE, NSID, dwords 2 and 3, and dwords from 10 on, in the order of the bytes."""
    head = bytes.fromhex(f"{opcode} {fuse} 0000 {nsid} {tags}").ljust(40, b"\0")
    return (head + bytes.fromhex(cdws)).ljust(64, b"\0")


COMMANDS: list[tuple[Callable[[], bytes], bytes]] = [
    (lambda: nvm.flush(0xFFFFFFFF), sqe("00", nsid="ffffffff")),
    (lambda: nvm.transfer(NvmOpcode.READ, 1, 0, 1), sqe("02")),
    (
        lambda: nvm.transfer(NvmOpcode.WRITE, 0x01020304, 0x1122_3344_5566_7788, 65536),
        sqe("01", "88776655 44332211 ffff0000", nsid="04030201"),
    ),
    (
        lambda: nvm.transfer(
            NvmOpcode.WRITE,
            1,
            8,
            8,
            flags=IoFlags.FORCE_UNIT_ACCESS | IoFlags.LIMITED_RETRY,
            dtype=1,
            dspec=0x0203,
            dsm=0x45,
            ref_tag=0x0A0B0C0D,
            app_tag=0x1234,
            app_mask=0xFF00,
        ),
        sqe("01", "08000000 00000000 070010c0 45000302 0d0c0b0a 341200ff"),
    ),
    (
        lambda: nvm.transfer(NvmOpcode.COMPARE, 1, 0, 2, fuse=1, flags=IoFlags.PRACT | IoFlags.PRCHK_GUARD),
        sqe("05", "00000000 00000000 01000030", fuse="01"),
    ),
    (
        lambda: nvm.transfer(
            NvmOpcode.READ,
            1,
            0,
            1,
            fuse=2,
            flags=IoFlags.PRCHK_APP | IoFlags.PRCHK_REF | IoFlags.STORAGE_TAG_CHECK,
            ref_tag=0x0102_0304_0506_0708_090A,
        ),
        sqe("02", "00000000 00000000 0000000d 00000000 0a090807", fuse="02", tags="02010000 06050403"),
    ),
    (lambda: nvm.verify(1, 0x1_0000_0002, 3), sqe("0c", "02000000 01000000 02000000")),
    (
        lambda: nvm.verify(
            1, (1 << 64) - 1, 65536, flags=0xFD00_0000, ref_tag=0xFFFFFFFF, app_tag=0xFFFF, app_mask=0xFFFF
        ),
        sqe("0c", "ffffffff ffffffff ffff00fd 00000000 ffffffff ffffffff"),
    ),
    (lambda: nvm.write_zeroes(1, 16, 256), sqe("08", "10000000 00000000 ff000000")),
    (lambda: nvm.write_zeroes(1, 16, 256, deallocate=True), sqe("08", "10000000 00000000 ff000002")),
    (lambda: nvm.write_zeroes(1, 16, 256, flags=DEALLOCATE), sqe("08", "10000000 00000000 ff000002")),
    (
        lambda: nvm.write_zeroes(
            1,
            0,
            1,
            deallocate=True,
            flags=DEALLOCATE | IoFlags.FORCE_UNIT_ACCESS | IoFlags.PRACT,
            ref_tag=7,
            app_tag=2,
            app_mask=3,
        ),
        sqe("08", "00000000 00000000 00000062 00000000 07000000 02000300"),
    ),
    (lambda: nvm.write_uncorrectable(1, 5, 4), sqe("04", "05000000 00000000 03000000")),
    (
        lambda: nvm.write_uncorrectable(1, 5, 4, dtype=2, dspec=0x0102),
        sqe("04", "05000000 00000000 03002000 00000201"),
    ),
    (lambda: nvm.dataset_management(1, 1, deallocate=True), sqe("09", "00000000 04000000")),
    (lambda: nvm.dataset_management(1, 256, integral_read=True), sqe("09", "ff000000 01000000")),
    (lambda: nvm.dataset_management(1, 2, integral_write=True), sqe("09", "01000000 02000000")),
    (lambda: nvm.copy(1, 0x1_0000_0002, 1), sqe("19", "02000000 01000000")),
    (
        lambda: nvm.copy(
            1,
            4,
            256,
            format=3,
            flags=IoFlags.LIMITED_RETRY | IoFlags.PRACT | IoFlags.PRCHK_REF | IoFlags.STORAGE_TAG_CHECK,
            dtype=2,
            dspec=0x0102,
            prinfor=0xD,
            storage_tag_check_read=True,
            ref_tag=0x1122_3344_5566,
            app_tag=0x7788,
            app_mask=0x99AA,
        ),
        sqe("19", "04000000 00000000 ffd320a7 00000201 66554433 8877aa99", tags="00000000 22110000"),
    ),
]


@pytest.mark.parametrize("number", range(len(COMMANDS)))
def test_commands_are_the_bytes_of_the_specification(number: int) -> None:
    """Each builder gives exactly the bytes that the specification's layout asks for."""
    build, expected = COMMANDS[number]
    assert build().hex(" ", 4) == expected.hex(" ", 4)


@pytest.mark.parametrize(
    "build",
    [
        lambda: nvm.flush(1 << 32),
        lambda: nvm.transfer(NvmOpcode.READ, 1, 0, 0),
        lambda: nvm.transfer(NvmOpcode.READ, 1, 0, 65537),
        lambda: nvm.transfer(NvmOpcode.READ, 1, 1 << 64, 1),
        lambda: nvm.transfer(NvmOpcode.READ, 1, -1, 1),
        lambda: nvm.transfer(NvmOpcode.READ, 1, 0, 1, flags=DEALLOCATE),
        lambda: nvm.transfer(NvmOpcode.READ, 1, 0, 1, flags=1),
        lambda: nvm.transfer(NvmOpcode.READ, 1, 0, 1, flags=IoFlags.LIMITED_RETRY << 1),
        lambda: nvm.transfer(NvmOpcode.READ, 1, 0, 1, flags=-1),
        lambda: nvm.transfer(NvmOpcode.WRITE, 1, 0, 1, dtype=16),
        lambda: nvm.transfer(NvmOpcode.WRITE, 1, 0, 1, dspec=0x10000),
        lambda: nvm.transfer(NvmOpcode.WRITE, 1, 0, 1, dsm=0x100),
        lambda: nvm.transfer(NvmOpcode.WRITE, 1, 0, 1, dsm=-1),
        lambda: nvm.transfer(NvmOpcode.WRITE, 1, 0, 1, ref_tag=1 << 80),
        lambda: nvm.transfer(NvmOpcode.WRITE, 1, 0, 1, ref_tag=-1),
        lambda: nvm.transfer(NvmOpcode.WRITE, 1, 0, 1, app_tag=0x10000),
        lambda: nvm.transfer(NvmOpcode.WRITE, 1, 0, 1, app_mask=0x10000),
        lambda: nvm.transfer(NvmOpcode.WRITE, 1, 0, 1, fuse=4),
        lambda: nvm.verify(1, 0, 1, flags=1 << 20),
        lambda: nvm.write_zeroes(1, 0, 1, flags=1 << 23),
        lambda: nvm.write_uncorrectable(1, 0, 0),
        lambda: nvm.dataset_management(1, 0),
        lambda: nvm.dataset_management(1, 257),
        lambda: nvm.copy(1, 0, 0),
        lambda: nvm.copy(1, 0, 257),
        lambda: nvm.copy(1, 0, 1, format=16),
        lambda: nvm.copy(1, 0, 1, prinfor=16),
        lambda: nvm.copy(1, 0, 1, flags=DEALLOCATE),
        lambda: nvm.pack_dsm_ranges([]),
        lambda: nvm.pack_dsm_ranges([(0, 1)] * 257),
        lambda: nvm.pack_dsm_ranges([(0, 1 << 32)]),
        lambda: nvm.pack_dsm_ranges([(1 << 64, 1)]),
        lambda: nvm.pack_dsm_ranges([(0, 1)], cattr=1 << 32),
        lambda: nvm.pack_copy_ranges(0, []),
        lambda: nvm.pack_copy_ranges(0, [(0, 1)] * 257),
        lambda: nvm.pack_copy_ranges(0, [(0, 0)]),
        lambda: nvm.pack_copy_ranges(0, [(0, 65537)]),
        lambda: nvm.pack_copy_ranges(0, [(0, 1)], ref_tags=[1 << 32]),
        lambda: nvm.pack_copy_ranges(1, [(0, 1)], ref_tags=[1 << 80]),
        lambda: nvm.pack_copy_ranges(1, [(0, 1)], ref_tags=[-1]),
    ],
)
def test_arguments_that_do_not_fit_are_refused(build: Callable[[], bytes]) -> None:
    """No argument spills into the field beside its own, and counts from 1 end where their fields do."""
    with pytest.raises(ValueError, match="fit"):
        build()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((4, [(0, 1)], {}), "formats 0 to 3"),
        ((2, [(0, 1)], {}), "snsid is missing"),
        ((0, [(0, 1)], {"snsid": 1}), "no source namespace"),
        ((1, [(0, 1)], {"fast_only": True}), "no options"),
        ((0, [(0, 1), (1, 1)], {"ref_tags": [1]}), "shorter"),
    ],
)
def test_source_ranges_that_contradict_themselves_are_refused(arguments: Any, complaint: str) -> None:
    """A format has what it has, and as many tags as ranges."""
    format, pairs, options = arguments
    with pytest.raises(ValueError, match=complaint):
        nvm.pack_copy_ranges(format, pairs, **options)


# From SPDK's spdk_nvme_dsm_range and scc_source_range, QEMU's NvmeCopySourceRangeFormat0_2 and 1_3.
LAYOUTS: list[tuple[Any, int, str]] = [
    (DsmRange, 16, "cattr 0 nlb 4 slba 8"),
    (CopyRange0, 32, "slba 8 nlb 16 elbt 24 elbat 28 elbatm 30"),
    (CopyRange1, 40, "slba 8 nlb 16 elbt 26 elbat 36 elbatm 38"),
    (CopyRange2, 32, "snsid 0 slba 8 nlb 16 sopt 22 elbt 24 elbat 28 elbatm 30"),
    (CopyRange3, 40, "snsid 0 slba 8 nlb 16 sopt 22 elbt 26 elbat 36 elbatm 38"),
]


@pytest.mark.parametrize(("kind", "size", "offsets"), LAYOUTS)
def test_ranges_have_the_layout_of_other_headers(kind: Any, size: int, offsets: str) -> None:
    """Sizes and offsets are those of SPDK's and QEMU's structures; one byte less is a DecodeError."""
    words = offsets.split()
    assert size == kind.SIZE
    assert {name: row.offset for name, row in kind.ROWS.items()} == dict(
        zip(words[::2], map(int, words[1::2]), strict=True)
    )
    with pytest.raises(DecodeError):
        kind.decode(bytes(size - 1))


def test_dataset_management_ranges_by_hand() -> None:
    """Attributes, length that is not 0's based, first block; one range after the other."""
    assert nvm.pack_dsm_ranges([(0x1122_3344_5566_7788, 0x01020304), (0, 0)], cattr=0x0A00_0712).hex(
        " ", 4
    ) == ("1207000a 04030201 88776655 44332211 1207000a 00000000 00000000 00000000")
    assert nvm.DsmAttributes(0x0A00_0712).to_dict() == {
        "af": 2,
        "al": 1,
        "sr": 1,
        "sw": 1,
        "wp": 1,
        "cas": 10,
    }


def test_copy_ranges_by_hand() -> None:
    """Blocks 0's based at 16, tags behind; the ten bytes of formats 1h and 3h most significant first."""
    pairs = [(0x1122_3344_5566_7788, 16)]
    tags: dict[str, Any] = {"app_tag": 0x0102, "app_mask": 0x0304}
    assert nvm.pack_copy_ranges(0, pairs, ref_tags=[0x0A0B0C0D], **tags).hex(" ", 4) == (
        "00000000 00000000 88776655 44332211 0f000000 00000000 0d0c0b0a 02010403"
    )
    assert nvm.pack_copy_ranges(1, pairs, ref_tags=[0x0102_0304_0506], **tags).hex(" ", 4) == (
        "00000000 00000000 88776655 44332211 0f000000 00000000 00000000 00000102 03040506 02010403"
    )
    assert nvm.pack_copy_ranges(2, pairs, snsid=9, fast_only=True).hex(" ", 4) == (
        "09000000 00000000 88776655 44332211 0f000000 00000080 00000000 00000000"
    )
    assert nvm.pack_copy_ranges(3, pairs, snsid=9, ref_tags=[1], **tags).hex(" ", 4) == (
        "09000000 00000000 88776655 44332211 0f000000 00000000 00000000 00000000 00000001 02010403"
    )


def test_pairs_may_be_rows_of_an_array() -> None:
    """An (n, 2) array gives the same bytes as its pairs."""
    np = pytest.importorskip("numpy")
    pairs = [(1 << 40, 5), (7, 65536)]
    array = np.array(pairs, dtype=np.uint64)
    assert nvm.pack_dsm_ranges(array) == nvm.pack_dsm_ranges(pairs)
    assert nvm.pack_copy_ranges(0, array) == nvm.pack_copy_ranges(0, pairs)


def test_a_command_has_up_to_256_ranges() -> None:
    """The most that NR can say is packed, 4 KiB of Dataset Management ranges."""
    pairs = [(number, 1) for number in range(256)]
    assert len(nvm.pack_dsm_ranges(pairs)) == 4096
    assert [len(nvm.pack_copy_ranges(format, pairs)) for format in (0, 1)] == [8192, 10240]


@given(st.sampled_from(sorted(COPY_RANGES)), st.lists(st.tuples(U64, U16, U16), min_size=1, max_size=12))
def test_copy_ranges_come_back(format: int, extents: list[tuple[int, int, int]]) -> None:
    """A controller reads the blocks and tags that the driver packed, in any format."""
    kind = COPY_RANGES[format]
    data = nvm.pack_copy_ranges(
        format,
        [(lba, nlb + 1) for lba, nlb, _ in extents],
        snsid=3 if format >= 2 else None,
        ref_tags=[tag for _, _, tag in extents],
    )
    assert len(data) == len(extents) * kind.SIZE
    found = [kind.decode(data[at : at + kind.SIZE]) for at in range(0, len(data), kind.SIZE)]
    assert [(each.slba, each.nlb, each.elbt) for each in found] == extents


@given(st.lists(st.tuples(U64, st.integers(0, 0xFFFFFFFF)), min_size=1, max_size=12))
def test_dataset_management_ranges_come_back(pairs: list[tuple[int, int]]) -> None:
    """So it does of Dataset Management."""
    data = nvm.pack_dsm_ranges(pairs)
    found = [DsmRange.decode(data[at : at + 16]) for at in range(0, len(data), 16)]
    assert [(each.slba, each.nlb) for each in found] == pairs


@given(U64, st.integers(1, 65536), st.integers(0, (1 << 80) - 1), U16, U16)
def test_a_controller_reads_what_the_driver_built(
    lba: int, nblocks: int, ref_tag: int, app_tag: int, app_mask: int
) -> None:
    """The tables of command dwords give back the builder's arguments."""
    entry = Sqe.decode(
        nvm.write_zeroes(
            1, lba, nblocks, deallocate=True, ref_tag=ref_tag, app_tag=app_tag, app_mask=app_mask
        )
    )
    cdw12, cdw15 = nvm.WriteZeroesCdw12(entry.cdw12), nvm.TagsCdw15(entry.cdw15)
    assert (entry.cid, entry.mptr, entry.prp1, entry.prp2) == (0, 0, 0, 0)
    assert (entry.cdw11 << 32 | entry.cdw10, cdw12.nlb + 1, cdw12.deac) == (lba, nblocks, 1)
    assert entry.cdw2 << 64 | entry.cdw3 << 32 | entry.cdw14 == ref_tag
    assert (cdw15.lbat, cdw15.lbatm) == (app_tag, app_mask)


@pytest.mark.parametrize("kind", [nvm.TransferCdw12, nvm.WriteZeroesCdw12, nvm.CopyCdw12])
def test_flags_lie_where_the_tables_have_them(kind: Any) -> None:
    """IoFlags are bits of dword 12; in Copy those of protection information are of the writes."""
    word = kind(int(IoFlags.FORCE_UNIT_ACCESS | IoFlags.STORAGE_TAG_CHECK | IoFlags.PRCHK_APP))
    lowest = "stcw" if kind is nvm.CopyCdw12 else "stc"
    assert (word.fua, word.lr, getattr(word, lowest)) == (1, 0, 1)
    assert (word.prinfow if kind is nvm.CopyCdw12 else word.prchk) == 2


def test_flags_are_those_of_spdk() -> None:
    """SPDK_NVME_IO_FLAGS_* have the same values, and libnvme's NVME_IO_STC, shifted by 16."""
    assert {each.name: int(each) for each in IoFlags} == {
        "STORAGE_TAG_CHECK": 0x0100_0000,
        "PRCHK_REF": 0x0400_0000,
        "PRCHK_APP": 0x0800_0000,
        "PRCHK_GUARD": 0x1000_0000,
        "PRACT": 0x2000_0000,
        "FORCE_UNIT_ACCESS": 0x4000_0000,
        "LIMITED_RETRY": 0x8000_0000,
    }
