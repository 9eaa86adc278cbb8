"""The 64 bytes that each call posts, against dwords written by hand from the figures of the specification.

Command dword 0 is the opcode in 7:0, FUSE in 9:8, PSDT in 15:14 and the identifier above (NVMe Base 2.0, figure 87);
dwords 4 and 5 are MPTR, 6 to 9 the data pointer, 10 to 15 each command's own (NVM Command Set 1.0, 3.2).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

from aionvme.spec.nvm import IoFlags
from aionvme.spec.reservation import AcquireAction, Cptpl, RegisterAction, ReleaseAction, ReservationType
from aionvme.tests.unit.qpair.device import Device, device

FUA, LR = IoFlags.FORCE_UNIT_ACCESS, IoFlags.LIMITED_RETRY
REF, APP, GUARD, PRACT, STC = (
    IoFlags.PRCHK_REF,
    IoFlags.PRCHK_APP,
    IoFlags.PRCHK_GUARD,
    IoFlags.PRACT,
    IoFlags.STORAGE_TAG_CHECK,
)
LBA = 0x12_3456_789A  # dword 10: 3456789Ah, dword 11: 12h
PLACE = {10: 0x3456789A, 11: 0x12}
EVERYTHING = 1 | 1 << 16 | 1 << 17  # SGLS: SGLs, bit buckets, a metadata pointer beside them

SEPARATE = {"metadata_size": 8}
PI1 = {"metadata_size": 8, "pi_type": 1, "pi_size": 8}
PI2 = PI1 | {"pi_type": 2}
PI3 = PI1 | {"pi_type": 3}
GUARD64 = {"metadata_size": 16, "pi_type": 2, "pi_size": 16, "tag_bits": 48}
GUARD32 = GUARD64 | {"tag_bits": 80}


@attrs.frozen
class Case:
    """A call by its name, and the dwords that are not zero, without those that say where memory is.

    `pointers` are "prp" for PRP1 at the buffer's address and no PRP2, "sgl" for one data block, None for no data.
    """

    name: str
    args: tuple[Any, ...]
    dwords: dict[int, int]
    keywords: dict[str, Any] = attrs.field(factory=dict)
    ns: dict[str, Any] = attrs.field(factory=dict)
    pointers: str | None = "prp"
    metadata: bool = False


def transfer(name: str, dwords: dict[int, int], ns: dict[str, Any] | None = None, **keywords: Any) -> Case:
    """A transfer of three blocks with a buffer, in PRPs."""
    metadata = bool(ns and ns.get("metadata_size") and not ns.get("extended"))
    return Case(name, ("buf", LBA, 3), PLACE | {12: 2, 14: 0} | dwords, keywords, ns or {}, metadata=metadata)


def ranged(name: str, dwords: dict[int, int], ns: dict[str, Any] | None = None, **keywords: Any) -> Case:
    """A command on three blocks without data."""
    return Case(name, (LBA, 3), PLACE | {12: 2} | dwords, keywords, ns or {}, pointers=None)


CASES = {
    "flush": Case("flush", (), {0: 0x00}, pointers=None),
    # -- Write 01h, Read 02h, Compare 05h: NLB is 0's based in dword 12, 15:0; LR 31, FUA 30
    "read": transfer("read", {0: 0x02}),
    "write": transfer("write", {0: 0x01}),
    "compare": transfer("compare", {0: 0x05}),
    "read, FUA": transfer("read", {0: 0x02, 12: 0x4000_0002}, io_flags=FUA),
    "read, LR": transfer("read", {0: 0x02, 12: 0x8000_0002}, io_flags=LR),
    "write, FUA and LR": transfer("write", {0: 0x01, 12: 0xC000_0002}, io_flags=FUA | LR),
    "compare, FUA and LR": transfer("compare", {0: 0x05, 12: 0xC000_0002}, io_flags=FUA | LR),
    # Directive type in dword 12, 23:20, what it specifies in dword 13, 31:16.
    "write, directive": transfer("write", {0: 0x01, 12: 0x0010_0002, 13: 0xABCD_0000}, dtype=1, dspec=0xABCD),
    "write, largest directive": transfer("write", {0: 0x01, 12: 0x00F0_0002, 13: 0xFFFF_0000}, dtype=15, dspec=0xFFFF),
    "write, PRPs on demand": transfer("write", {0: 0x01}, sgl=False),
    "first block": Case("read", ("buf", 0, 1), {0: 0x02}),
    # PSDT 01b: an SGL, and MPTR as one piece of memory.
    "read, SGL": attrs.evolve(transfer("read", {0: 0x4002}, sgl=True), pointers="sgl"),
    "write, SGL": attrs.evolve(transfer("write", {0: 0x4001}, sgl=True), pointers="sgl"),
    "compare, SGL": attrs.evolve(transfer("compare", {0: 0x4005}, sgl=True), pointers="sgl"),
    "read, SGL with metadata": attrs.evolve(transfer("read", {0: 0x4002}, SEPARATE, sgl=True), pointers="sgl"),
    "readv": Case("readv", ("iov", LBA, 3), PLACE | {0: 0x02, 12: 2}),
    "writev": Case("writev", ("iov", LBA, 3), PLACE | {0: 0x01, 12: 0x4020_0002, 13: 0x50000}, {
        "io_flags": FUA, "dtype": 2, "dspec": 5}),
    "comparev": Case("comparev", ("iov", LBA, 3), PLACE | {0: 0x05, 12: 2}),
    "readv, SGL": Case("readv", ("iov", LBA, 3), PLACE | {0: 0x4002, 12: 2}, {"sgl": True}, pointers="sgl"),
    # -- metadata and protection information: PRACT 29, PRCHK 28:26, STC 24; dword 14 ref, dword 15 mask and a
    "read, metadata": transfer("read", {0: 0x02}, SEPARATE),
    "write, metadata": transfer("write", {0: 0x01}, SEPARATE),
    "type 1, LBA as reference tag": transfer("read", {0: 0x02, 14: 0x3456789A}, PI1),
    "type 1, guard": transfer("read", {0: 0x02, 12: 0x1000_0002, 14: 0x3456789A}, PI1, io_flags=GUARD),
    "type 1, app": transfer(
        "read", {0: 0x02, 12: 0x0800_0002, 14: 0x3456789A, 15: 0xFF0F_1234}, PI1, io_flags=APP, app_tag=0x1234,
        app_mask=0xFF0F),
    "type 1, ref": transfer("write", {0: 0x01, 12: 0x0400_0002, 14: 0x3456789A}, PI1, io_flags=REF),
    "type 1, all": transfer("compare", {0: 0x05, 12: 0x1C00_0002, 14: 0x3456789A}, PI1, io_flags=GUARD | APP | REF),
    "type 1, PRACT": attrs.evolve(
        transfer("write", {0: 0x01, 12: 0x2000_0002, 14: 0x3456789A}, PI1, io_flags=PRACT), metadata=False),
    "type 2, tags": transfer(
        "write", {0: 0x01, 12: 0x0400_0002, 14: 0xDEADBEEF, 15: 0x0000_FFFF}, PI2, io_flags=REF, ref_tag=0xDEADBEEF,
        app_tag=0xFFFF),
    "type 2, no tag": transfer("read", {0: 0x02}, PI2),
    "type 3, tag": transfer("read", {0: 0x02, 14: 0xFFFFFFFF}, PI3, ref_tag=0xFFFFFFFF),
    "type 3, no tag": transfer("read", {0: 0x02}, PI3),
    "16-bit guard, storage tag": transfer(
        "write", {0: 0x01, 12: 0x0100_0002, 14: 0xAB_123456}, PI2 | {"storage_tag_bits": 8}, io_flags=STC,
        ref_tag=0x123456, storage_tag=0xAB),
    "16-bit guard, LBA below storage tag": transfer(
        "read", {0: 0x02, 14: 0xAB_56789A}, PI1 | {"storage_tag_bits": 8}, storage_tag=0xAB),
    "16-bit guard, all of it storage tag": transfer(
        "read", {0: 0x02, 14: 0x89ABCDEF}, PI1 | {"storage_tag_bits": 32}, storage_tag=0x89ABCDEF),
    # 48 bits: dword 14 has the lowest 32, dword 3 the other 16.
    "64-bit guard": transfer("read", {0: 0x02, 3: 0x1234, 14: 0x56789ABC}, GUARD64, ref_tag=0x1234_5678_9ABC),
    "64-bit guard, type 1": transfer("read", {0: 0x02, 3: 0x12, 14: 0x3456789A}, GUARD64 | {"pi_type": 1}),
    "64-bit guard, storage tag": transfer(
        "read", {0: 0x02, 3: 0xBEEF, 14: 0x89ABCDEF}, GUARD64 | {"storage_tag_bits": 16}, ref_tag=0x89ABCDEF,
        storage_tag=0xBEEF),
    "64-bit guard, long storage tag": transfer(
        "read", {0: 0x02, 3: 0xCAFE, 14: 0xF00D_1234}, GUARD64 | {"storage_tag_bits": 32}, ref_tag=0x1234,
        storage_tag=0xCAFEF00D),
    # 80 bits: the upper 16 in dword 2.
    "32-bit guard, short storage tag": transfer(
        "read", {0: 0x02, 2: 0xBEEF, 3: 0x01234567, 14: 0x89ABCDEF}, GUARD32 | {"storage_tag_bits": 16},
        ref_tag=0x0123_4567_89AB_CDEF, storage_tag=0xBEEF),
    "32-bit guard, storage tag": transfer(
        "read", {0: 0x02, 2: 0xAABB, 3: 0xCCDD_EEFF, 14: 0x1122_3344}, GUARD32 | {"storage_tag_bits": 40},
        ref_tag=0xFF_1122_3344, storage_tag=0xAABBCCDDEE),
    "32-bit guard, long storage tag": transfer(
        "read", {0: 0x02, 2: 0x0123, 3: 0x4567_89AB, 14: 0xCDEF_4321}, GUARD32 | {"storage_tag_bits": 64},
        ref_tag=0x4321, storage_tag=0x0123_4567_89AB_CDEF),
    # -- Write Zeroes 08h (DEAC 25), Verify 0Ch, Write Uncorrectable 04h ----------------
    "write zeroes": ranged("write_zeroes", {0: 0x08}),
    "write zeroes, DEAC": ranged("write_zeroes", {0: 0x08, 12: 0x0200_0002}, deallocate=True),
    "write zeroes, DEAC and flags": ranged(
        "write_zeroes", {0: 0x08, 12: 0xC200_0002}, deallocate=True, io_flags=FUA | LR),
    "write zeroes, PRACT": ranged(
        "write_zeroes", {0: 0x08, 12: 0x2000_0002, 14: 0x3456789A, 15: 0x7777}, PI1, io_flags=PRACT, app_tag=0x7777),
    "write zeroes, type 2": ranged(
        "write_zeroes", {0: 0x08, 12: 0x2400_0002, 14: 0x77}, PI2, io_flags=PRACT | REF, ref_tag=0x77),
    "verify": ranged("verify", {0: 0x0C}),
    "verify, flags": ranged("verify", {0: 0x0C, 12: 0xC000_0002}, io_flags=FUA | LR),
    "verify, checks": ranged(
        "verify", {0: 0x0C, 12: 0x1D00_0002, 3: 0xBEEF, 14: 5, 15: 0x00FF_0011}, GUARD64 | {"storage_tag_bits": 16},
        io_flags=GUARD | APP | REF | STC, ref_tag=5, storage_tag=0xBEEF, app_tag=0x11, app_mask=0xFF),
    "write uncorrectable": ranged("write_uncorrectable", {0: 0x04}),
    # Dwords 14 and 15 are reserved.
    "write uncorrectable, protected": ranged("write_uncorrectable", {0: 0x04}, PI1),
    # -- Dataset Management 09h: NR in dword 10, 7:0; AD 2, IDW 1, IDR 0 in dword 11 ----
    "dataset management": Case("dataset_management", ([(1, 2)],), {0: 0x09}),
    "deallocate": Case("dataset_management", ([(1, 2)] * 3,), {0: 0x09, 10: 2, 11: 4}, {"deallocate": True}),
    "integral read": Case("dataset_management", ([(1, 2)],), {0: 0x09, 11: 1}, {"integral_read": True}),
    "integral write": Case("dataset_management", ([(1, 2)] * 256,), {0: 0x09, 10: 255, 11: 2}, {
        "integral_write": True}),
    # -- Copy 19h: SDLBA in dwords 10 and 11; NR 7:0, format 11:8, FUA and LR in dword 12
    "copy": Case("copy", ([(1, 2), (9, 1)], LBA), PLACE | {0: 0x19, 12: 1}),
    "copy, flags": Case("copy", ([(1, 2)], LBA), PLACE | {0: 0x19, 12: 0xC000_0000}, {"io_flags": FUA | LR}),
    "copy, format 2": Case("copy", ([(1, 2)] * 5, LBA), PLACE | {0: 0x19, 12: 0x204}, {
        "format": 2, "source_ns": "other"}),
    # -- reservations: IEKEY is bit 3 of dword 10 in all --------------------------------
    # Register 0Dh: RREGA 2:0, CPTPL 31:30.
    "register": Case("reservation_register", (RegisterAction.REGISTER,), {0: 0x0D}),
    "unregister": Case("reservation_register", (1,), {0: 0x0D, 10: 0x1}),
    "replace, any key, clear": Case("reservation_register", (RegisterAction.REPLACE,), {0: 0x0D, 10: 0x8000_000A}, {
        "ignore_key": True, "cptpl": Cptpl.CLEAR}),
    "register, persist": Case("reservation_register", (0,), {0: 0x0D, 10: 0xC000_0000}, {"cptpl": Cptpl.PERSIST}),
    # Acquire 11h: RACQA 2:0, RTYPE 15:8.
    **{
        f"acquire, type {rtype}": Case("reservation_acquire", (AcquireAction.ACQUIRE, rtype), {0: 0x11, 10: rtype << 8})
        for rtype in range(1, 7)
    },
    "preempt": Case("reservation_acquire", (1, ReservationType.EXCLUSIVE_ACCESS), {0: 0x11, 10: 0x201}),
    "preempt and abort, any key": Case("reservation_acquire", (AcquireAction.PREEMPT_AND_ABORT, 6), {
        0: 0x11, 10: 0x60A}, {"ignore_key": True}),
    # Release 15h: RRELA 2:0, RTYPE 15:8.
    "release": Case("reservation_release", (ReleaseAction.RELEASE, 3), {0: 0x15, 10: 0x300}),
    "clear, any key": Case("reservation_release", (ReleaseAction.CLEAR, 1), {0: 0x15, 10: 0x109}, {
        "ignore_key": True}),
    # Report 0Eh: dwords to transfer, 0's based, in dword 10; EDS is bit 0 of dword 11.
    "report": Case("reservation_report", (), {0: 0x0E, 10: 4095}, {"extended": False}, pointers="list"),
    "report, extended": Case("reservation_report", (), {0: 0x0E, 10: 4095, 11: 1}, {"extended": True}, pointers="list"),
}  # fmt: skip


@pytest.fixture
def dev() -> Iterator[Device]:
    """A queue pair whose controller has everything."""
    with device(sgls=EVERYTHING) as made:
        yield made


def dwords(sqe: bytes) -> dict[int, int]:
    """The dwords that are not zero, without the command identifier."""
    words = list(struct.unpack("<16I", sqe))
    words[0] &= 0xFFFF
    return {number: word for number, word in enumerate(words) if word}


def post(dev: Device, case: Case, spelling: str) -> tuple[bytes, dict[str, int]]:
    """The one command of a case, and where its memory is for the device."""
    buf, metadata = dev.alloc(4096), dev.alloc(4096)
    ns = dev.namespace(data=Copies(), **case.ns)
    named = {
        "buf": buf,
        "iov": [memoryview(buf)[:512], memoryview(buf)[512:]],
        "other": dev.namespace(nsid=9, **case.ns),
    }
    args = [named.get(arg, arg) if isinstance(arg, str) else arg for arg in case.args]
    keywords = {
        key: named.get(arg, arg) if isinstance(arg, str) else arg for key, arg in case.keywords.items()
    }
    if ns.metadata_size and case.pointers:
        keywords["metadata"] = metadata
    if spelling == "submit":
        sqe = dev.command(getattr(dev.qp, f"submit_{case.name}"), ns, *args, **keywords)
    else:
        request = getattr(dev.qp, case.name)(ns, *args, **keywords)
        [sqe] = dev.commands()
        dev.complete(sqe)
        dev.qp.process_completions()
        assert not request.result().status
    return sqe, {"buf": buf.iova, "metadata": metadata.iova}


@pytest.mark.parametrize("spelling", ["await", "submit"])
@pytest.mark.parametrize("name", CASES)
def test_dwords_of_a_command(dev: Device, name: str, spelling: str) -> None:
    """Each command, with each of its options and in both spellings, is the dwords of the specification's figures."""
    case = CASES[name]
    sqe, iova = post(dev, case, spelling)
    expected = {0: 0, 1: 7} | case.dwords
    if case.metadata:
        expected |= {4: iova["metadata"] & 0xFFFFFFFF, 5: iova["metadata"] >> 32}
    found = dwords(sqe)
    if "buf" in case.args or "iov" in case.args:
        expected |= {6: iova["buf"] & 0xFFFFFFFF, 7: iova["buf"] >> 32}
        if case.pointers == "sgl":
            # A data block (type 0h) of 1536 bytes.
            expected |= {8: 1536}
    elif case.pointers:
        # Memory of the driver's own: see below for what is in it.
        for number in (6, 7, 8, 9):
            found.pop(number, None)
    assert found == {number: word for number, word in expected.items() if word}


def test_every_command_is_here(dev: Device) -> None:
    """The table has each command of the queue pair."""
    commands = {name.removeprefix("submit_") for name in dir(dev.qp) if name.startswith("submit_")}
    assert commands - {case.name for case in CASES.values()} == {"io_raw", "compare_and_write"}


def test_fused_pair(dev: Device) -> None:
    """Compare with FUSE 01b and Write with 10b, next to each other under one doorbell; the flags are the write's."""
    ns, compare, write = dev.namespace(), dev.alloc(4096), dev.alloc(4096)
    first, second = dev.all_commands(
        dev.qp.submit_compare_and_write, ns, compare, write, LBA, 3, io_flags=FUA | LR)  # fmt: skip
    assert dwords(first) == PLACE | {0: 0x0105, 1: 7, 12: 2} | pointer(compare.iova)
    assert dwords(second) == PLACE | {0: 0x0201, 1: 7, 12: 0xC000_0002} | pointer(write.iova)
    assert [value for offset, value in dev.function.rung if offset == 0x1008] == [2]


def pointer(iova: int) -> dict[int, int]:
    """PRP1, or the address of an SGL descriptor."""
    return {number: word for number, word in ((6, iova & 0xFFFFFFFF), (7, iova >> 32)) if word}


def prp(sqe: bytes) -> int:
    return int.from_bytes(sqe[24:32], "little")


@pytest.mark.parametrize(
    ("nbytes", "offset", "second"), [(4096, 0, None), (4096, 512, 1), (8192, 0, 1), (7680, 512, 1)])  # fmt: skip
def test_second_prp(dev: Device, nbytes: int, offset: int, second: int | None) -> None:
    """PRP2 is zero for one page, and the second page where two are touched."""
    buf = dev.alloc(16384)
    sqe = dev.command(dev.qp.submit_read, dev.namespace(), memoryview(buf)[offset:], 0, nbytes // 512)
    expected = (buf.iova + offset, 0 if second is None else buf.iova + 4096 * second)
    assert struct.unpack_from("<QQ", sqe, 24) == expected


def test_prp_list() -> None:
    """Without SGLs PRP2 leads to a list of all pages but the first."""
    with device(sgls=0) as dev:
        buf = dev.alloc(16384)
        sqe = dev.command(dev.qp.submit_read, dev.namespace(), memoryview(buf)[4:], 0, 24)
        prp1, prp2 = struct.unpack_from("<QQ", sqe, 24)
        assert prp1 == buf.iova + 4
        assert dev.fetch(prp2, 24) == struct.pack("<QQQ", *(buf.iova + 4096 * page for page in (1, 2, 3)))


def test_sgl_list(dev: Device) -> None:
    """The command has a last segment descriptor (type 3h), and the list data blocks (0h) and a bit bucket (1h)."""
    buf = dev.alloc(8192)
    parts = [memoryview(buf)[:4], (None, 500), memoryview(buf)[4096:4104]]
    sqe = dev.command(dev.qp.submit_readv, dev.namespace(), parts, 0, 1)
    address, length, kind = struct.unpack_from("<QI3xB", sqe, 24)
    assert (sqe[1], length, kind) == (0x40, 48, 0x30)
    assert dev.fetch(address, 48) == (
        struct.pack("<QII", buf.iova, 4, 0)
        + struct.pack("<QI3xB", 0, 500, 0x10)
        + struct.pack("<QII", buf.iova + 4096, 8, 0)
    )


def test_data_of_dataset_management(dev: Device) -> None:
    """A range has attributes, its length (not 0's based) and its first block (NVM Command Set 1.0, figure 39)."""
    sqe = dev.command(
        dev.qp.submit_dataset_management, dev.namespace(), [(LBA, 5), (7, 0x1_0000)], deallocate=True
    )
    assert dev.fetch(prp(sqe), 32) == bytes.fromhex(
        "00000000 05000000 9a785634 1200000000000000 00000100 07000000 00000000"
    )


def test_data_of_copy(dev: Device) -> None:
    """Format 0: the first block at byte 8, the length, 0's based, at byte 16 (NVM Command Set 1.0, figure 34)."""
    sqe = dev.command(dev.qp.submit_copy, copying(dev), [(LBA, 5), (7, 1)], 4096)
    assert dev.fetch(prp(sqe), 64) == bytes.fromhex(
        "00000000 00000000 9a785634 12000000 04000000 00000000 00000000 00000000"
        "00000000 00000000 07000000 00000000 00000000 00000000 00000000 00000000"
    )


def test_data_of_copy_from_elsewhere(dev: Device) -> None:
    """Format 2 is format 0 with the source namespace in the first four bytes."""
    other = dev.namespace(nsid=0x1234)
    sqe = dev.command(dev.qp.submit_copy, copying(dev), [(LBA, 5)], 4096, format=2, source_ns=other)
    assert dev.fetch(prp(sqe), 32) == bytes.fromhex(
        "34120000 00000000 9a785634 12000000 04000000 00000000 00000000 00000000"
    )


@pytest.mark.parametrize(
    ("name", "args", "keys", "data"),
    [
        ("reservation_register", (0,), {"crkey": 0x0102030405060708, "nrkey": (1 << 64) - 1},
         "08070605 04030201 ffffffff ffffffff"),
        ("reservation_acquire", (0, 1), {"crkey": (1 << 64) - 1, "prkey": 0x1122},
         "ffffffff ffffffff 22110000 00000000"),
        ("reservation_release", (0, 1), {"crkey": 0x0102030405060708}, "08070605 04030201"),
    ],
)  # fmt: skip
def test_data_of_reservations(dev: Device, name: str, args: Any, keys: dict[str, int], data: str) -> None:
    """The keys, 64 bits each, any of them (NVMe Base 2.0, 7.2 to 7.4)."""
    sqe = dev.command(getattr(dev.qp, f"submit_{name}"), dev.namespace(), *args, **keys)
    expected = bytes.fromhex(data)
    assert dev.fetch(prp(sqe), len(expected)) == expected


def test_a_report_is_no_longer_than_a_command_transfers() -> None:
    """A controller that transfers a page at most is asked for a page."""
    with device(max_transfer=4096) as dev:
        sqe = dev.command(dev.qp.submit_reservation_report, dev.namespace())
        assert dwords(sqe)[10] == 1023


def copying(dev: Device) -> Any:
    """A namespace that takes copies."""
    return dev.namespace(data=Copies())


@attrs.frozen
class Copies:
    """The limits of Copy in Identify Namespace."""

    mssrl: int = 0xFFFF
    mcl: int = 0xFFFFFF
    msrc: int = 127


@pytest.mark.parametrize("spelling", ["io_raw", "submit_io_raw"])
def test_raw_bytes_go_out_as_they_are(dev: Device, spelling: str) -> None:
    """A command without data is the caller's 64 bytes but for the identifier."""
    given = bytes(range(64))
    request = getattr(dev.qp, spelling)(given)
    [sqe] = dev.commands()
    assert (sqe[:2], sqe[4:]) == (given[:2], given[4:])
    assert int.from_bytes(sqe[2:4], "little") == request.cid
    dev.complete(sqe)
    dev.qp.process_completions()


def test_raw_data_and_metadata(dev: Device) -> None:
    """Their addresses are put in the command: PRPs whatever their size, and MPTR."""
    given = bytearray(64)
    given[0], given[4], given[60] = 0x82, 3, 0x99
    data, metadata = dev.alloc(16384), dev.alloc(64)
    sqe = dev.command(dev.qp.submit_io_raw, given, data=data, metadata=metadata)
    assert (sqe[0], sqe[1], sqe[4], sqe[60]) == (0x82, 0, 3, 0x99)
    mptr, prp1, prp2 = struct.unpack_from("<QQQ", sqe, 16)
    assert (mptr, prp1) == (metadata.iova, data.iova)
    assert dev.fetch(prp2, 24) == struct.pack("<QQQ", *(data.iova + 4096 * page for page in (1, 2, 3)))
    assert given[24:40] == bytes(16)


CALLS: dict[str, Callable[[Device, Any, Any], Any]] = {
    "queued": lambda dev, ns, buf: dev.qp.submit_read(ns, buf, LBA, 3, when_full=None),
    "refused": lambda dev, ns, buf: dev.qp.submit_read(ns, buf, LBA, 3, when_full="error"),
    "timed": lambda dev, ns, buf: dev.qp.submit_read(ns, buf, LBA, 3, timeout=100),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_the_host_does_is_not_in_the_command(dev: Device, name: str) -> None:
    """`timeout` and `when_full` are not the device's business."""
    buf = dev.alloc(4096)
    CALLS[name](dev, dev.namespace(), buf)
    [sqe] = dev.commands()
    assert dwords(sqe) == PLACE | {0: 0x02, 1: 7, 12: 2} | pointer(buf.iova)
    dev.complete(sqe)
    dev.qp.process_completions()
