"""Copy with protection information: the 64 bytes and the source ranges, against the figures of the specification.

NVM Command Set 1.0, 3.2.2. Dword 12: NR 7:0, format 11:8, PRINFOR 15:12, STCW 24, STCR 25, PRINFOW 29:26. PRINFO is
PRACT 8h, guard 4h, application tag 2h, reference tag 1h. Dwords 14, 3 and 2 are the tags of what is written, 15 has its
mask and application tag. Source ranges have theirs at their ends, most significant byte first in formats 1 and 3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from aionvme.errors import UsageError
from aionvme.spec.nvm import IoFlags
from aionvme.tests.unit.qpair.device import Device, device

LBA = 0x12_3456_789A
PRACT, GUARD, APP, REF, STC = (
    IoFlags.PRACT,
    IoFlags.PRCHK_GUARD,
    IoFlags.PRCHK_APP,
    IoFlags.PRCHK_REF,
    IoFlags.STORAGE_TAG_CHECK,
)
PI1 = {"metadata_size": 8, "pi_type": 1, "pi_size": 8}
PI2, PI3 = PI1 | {"pi_type": 2}, PI1 | {"pi_type": 3}
GUARD64 = {"metadata_size": 16, "pi_type": 2, "pi_size": 16, "tag_bits": 48, "storage_tag_bits": 16}
GUARD32 = {"metadata_size": 16, "pi_type": 2, "pi_size": 16, "tag_bits": 80, "storage_tag_bits": 16}


@attrs.frozen
class Limits:
    """The limits of Copy in Identify Namespace."""

    mssrl: int = 64
    mcl: int = 64
    msrc: int = 127


@attrs.frozen
class Case:
    """A copy of two blocks from 5 on, its dwords 12 to 15, 3 and 2, and the tail of its source range."""

    ns: dict[str, Any]
    keywords: dict[str, Any]
    dwords: dict[int, int]
    tail: bytes


def tail(ref: int, app: int = 0, mask: int = 0) -> bytes:
    """Bytes 24 to 31 of formats 0 and 2."""
    return struct.pack("<IHH", ref, app, mask)


def long_tail(tags: str, app: int = 0, mask: int = 0) -> bytes:
    """Bytes 24 to 39 of formats 1 and 3: ten of tags from 26 on."""
    return bytes(2) + bytes.fromhex(tags) + struct.pack("<HH", app, mask)


CASES = {
    "as it is": Case(PI1, {}, {14: 0x3456789A}, tail(5)),
    "read checks": Case(
        PI1, {"source_flags": GUARD | APP | REF, "source_app_tag": 0x1234, "source_app_mask": 0xFF0F},
        {12: 0x7000, 14: 0x3456789A}, tail(5, 0x1234, 0xFF0F)),
    "write checks": Case(
        PI1, {"io_flags": GUARD | APP, "app_tag": 0x1234, "app_mask": 0xFF0F},
        {12: 0x1800_0000, 14: 0x3456789A, 15: 0xFF0F_1234}, tail(5)),
    # PRACT is set for both sides or for none.
    "action": Case(PI1, {"io_flags": PRACT}, {12: 0x2000_8000, 14: 0x3456789A}, tail(5)),
    "action and checks": Case(
        PI1, {"io_flags": PRACT | IoFlags.FORCE_UNIT_ACCESS, "source_flags": REF}, {12: 0x6000_9000, 14: 0x3456789A},
        tail(5)),
    "type 2": Case(
        PI2, {"io_flags": REF, "ref_tag": 0xDEADBEEF, "source_flags": REF, "source_ref_tags": [0xCAFEF00D]},
        {12: 0x0400_1000, 14: 0xDEADBEEF}, tail(0xCAFEF00D)),
    "type 2, none": Case(PI2, {}, {}, tail(0)),
    "type 3": Case(PI3, {"ref_tag": 7, "source_ref_tags": (9,)}, {14: 7}, tail(9)),
    "storage tag of 8 bits": Case(
        PI2 | {"storage_tag_bits": 8},
        {"io_flags": STC, "source_flags": STC, "ref_tag": 0x123456, "storage_tag": 0xAB, "source_storage_tag": 0xCD,
         "source_ref_tags": [0x654321]},
        {12: 0x0300_0000, 14: 0xAB123456}, tail(0xCD654321)),
    "64-bit guard": Case(
        GUARD64,
        {"format": 1, "ref_tag": 0x89ABCDEF, "storage_tag": 0xBEEF, "source_ref_tags": [0x01020304],
         "source_storage_tag": 0x1122, "source_app_tag": 0x55},
        {12: 0x100, 3: 0xBEEF, 14: 0x89ABCDEF}, long_tail("00000000 1122 01020304", 0x55)),
    "32-bit guard": Case(
        GUARD32,
        {"format": 1, "io_flags": PRACT, "ref_tag": 0x0123_4567_89AB_CDEF, "storage_tag": 0xBEEF,
         "source_ref_tags": [0x1112_1314_1516_1718], "source_storage_tag": 0xA1A2},
        {12: 0x2000_8100, 2: 0xBEEF, 3: 0x01234567, 14: 0x89ABCDEF}, long_tail("a1a2 1112131415161718")),
}  # fmt: skip


@pytest.fixture
def dev() -> Iterator[Device]:
    """A queue pair whose controller has everything."""
    with device() as made:
        yield made


def dwords(sqe: bytes) -> dict[int, int]:
    """The dwords of the command's own that are not zero."""
    words = struct.unpack("<16I", sqe)
    return {number: words[number] for number in (2, 3, 10, 11, 12, 13, 14, 15) if words[number]}


@pytest.mark.parametrize("spelling", ["await", "submit"])
@pytest.mark.parametrize("name", CASES)
def test_dwords_and_source_range(dev: Device, name: str, spelling: str) -> None:
    """Each side's flags and tags are where the figures have them, in both spellings."""
    case = CASES[name]
    ns = dev.namespace(data=Limits(), **case.ns)
    if spelling == "submit":
        dev.qp.submit_copy(ns, [(5, 2)], LBA, **case.keywords)
    else:
        request = dev.qp.copy(ns, [(5, 2)], LBA, **case.keywords)
    [sqe] = dev.commands()
    (prp1,) = struct.unpack_from("<Q", sqe, 24)
    assert dwords(sqe) == {10: 0x3456789A, 11: 0x12} | case.dwords
    assert dev.fetch(prp1, 24 + len(case.tail)) == struct.pack("<8xQH6x", 5, 1) + case.tail
    dev.complete(sqe)
    dev.qp.process_completions()
    if spelling == "await":
        assert not request.result().status


def test_format_2_names_the_source(dev: Device) -> None:
    """A range of another namespace begins with its identifier; the tags are its own."""
    ns, other = dev.namespace(data=Limits(), **PI1), dev.namespace(nsid=9, **PI1)
    sqe = dev.command(
        dev.qp.submit_copy, ns, [(5, 2)], LBA, format=2, source_ns=other, io_flags=PRACT, source_flags=GUARD
    )
    (prp1,) = struct.unpack_from("<Q", sqe, 24)
    assert dwords(sqe) == {10: 0x3456789A, 11: 0x12, 12: 0x2000_C200, 14: 0x3456789A}
    assert dev.fetch(prp1, 32) == struct.pack("<I4xQH6x", 9, 5, 1) + tail(5)


def test_tags_count_on_where_a_copy_is_cut() -> None:
    """Each command's reference tag is that of its first block, and each range's that of its own; they wrap in width."""
    with device(depth=4) as dev:
        ns = dev.namespace(data=Limits(mssrl=4, mcl=6, msrc=7), **PI2 | {"storage_tag_bits": 8})
        dev.look = lambda sqe: (sqe, dev.fetch(struct.unpack_from("<Q", sqe, 24)[0], 32 * (sqe[48] + 1)))
        seen = dev.all_commands(
            dev.qp.submit_copy, ns, [(100, 9), (50, 5)], 1000, io_flags=PRACT, ref_tag=0xFFFFF8, storage_tag=0xAB,
            source_flags=REF, source_ref_tags=[0xFFFFFE, 7], source_storage_tag=0xCD,
        )  # fmt: skip
        written = [(struct.unpack_from("<Q", sqe, 40)[0], dwords(sqe)[14]) for sqe, _ in seen]
        assert written == [(1000, 0xABFFFFF8), (1006, 0xABFFFFFE), (1012, 0xAB000004)]
        read = [
            struct.unpack_from("<QH6xI", data, at + 8) for _, data in seen for at in range(0, len(data), 32)
        ]
        assert [(lba, nlb + 1, tags) for lba, nlb, tags in read] == [
            (100, 4, 0xCDFFFFFE), (104, 2, 0xCD000002), (106, 2, 0xCD000004), (108, 1, 0xCD000006),
            (50, 3, 0xCD000007), (53, 1, 0xCD00000A), (54, 1, 0xCD00000B),
        ]  # fmt: skip


def test_tags_of_type_3_stay() -> None:
    """They do not count, on either side."""
    with device() as dev:
        ns = dev.namespace(data=Limits(mssrl=2, mcl=2), **PI3)
        dev.look = lambda sqe: (dwords(sqe)[14], dev.fetch(struct.unpack_from("<Q", sqe, 24)[0] + 24, 4))
        seen = dev.all_commands(dev.qp.submit_copy, ns, [(9, 6)], 1000, ref_tag=77, source_ref_tags=[88])
        assert seen == [(77, struct.pack("<I", 88))] * 3


WRONG: list[tuple[dict[str, Any], dict[str, Any], type[Exception], str]] = [
    (PI1, {"source_flags": PRACT}, UsageError, "source_flags 0x20000000: copy takes only STORAGE_TAG_CHECK and PRCHK"),
    (PI1, {"source_flags": -1}, UsageError, "source_flags must be from 0 to 4294967295"),
    (PI1, {"source_flags": "x"}, TypeError, "source_flags must be a whole number"),
    (PI1, {"ref_tag": 1 << 32}, UsageError, "ref_tag must be from 0 to 4294967295"),
    (PI1, {"ref_tag": 5, "io_flags": REF}, UsageError, "ref_tag 5: .*lowest 32 bits of the LBA"),
    (PI1, {"ref_tag": 5, "io_flags": PRACT}, UsageError, "ref_tag 5: .*lowest 32 bits of the LBA"),
    (PI2, {"io_flags": REF}, UsageError, "ref_tag: give it"),
    (PI2, {"io_flags": PRACT}, UsageError, "ref_tag: give it"),
    (PI1, {"app_tag": 1 << 16}, UsageError, "app_tag must be from 0 to 65535"),
    (PI1, {"app_mask": -1}, UsageError, "app_mask must be from 0 to 65535"),
    (PI1, {"storage_tag": 1}, UsageError, "storage_tag: .* has none"),
    (GUARD64, {"format": 1, "storage_tag": 1 << 16}, UsageError, "storage_tag must be from 0 to 65535"),
    (PI1, {"source_ref_tags": [5, 6]}, UsageError, "source_ref_tags has 2 tags, and there are 1 ranges"),
    (PI1, {"source_ref_tags": 5}, TypeError, "source_ref_tags must be reference tags"),
    (PI1, {"source_ref_tags": ["x"]}, TypeError, r"source_ref_tags\[0\] must be a whole number"),
    (PI1, {"source_ref_tags": [6], "source_flags": REF}, UsageError, r"source_ref_tags\[0\] 6: .*bits of the LBA"),
    (PI2, {"source_ref_tags": [1 << 32]}, UsageError, r"source_ref_tags\[0\] must be from 0 to 4294967295"),
    (PI2, {"source_flags": REF}, UsageError, r"source_ref_tags\[0\]: give it"),
    (PI1, {"source_app_tag": 1 << 16}, UsageError, "source_app_tag must be from 0 to 65535"),
    (PI1, {"source_app_mask": 1 << 16}, UsageError, "source_app_mask must be from 0 to 65535"),
    (PI1, {"source_app_tag": None}, TypeError, "source_app_tag must be a whole number"),
    (PI1, {"source_storage_tag": 1}, UsageError, "source_storage_tag: .* has none"),
    (PI1, {"format": 1}, UsageError, "format 1: .*guards of 16 bits"),
]  # fmt: skip


@pytest.mark.parametrize("case", WRONG, ids=str)
def test_wrong_arguments(dev: Device, case: Any) -> None:
    """What cannot be is refused at the call, by the name of the parameter, and nothing is posted."""
    fields, keywords, error, text = case
    ns = dev.namespace(data=Limits(), **fields)
    for call in (dev.qp.copy, dev.qp.submit_copy):
        with pytest.raises(error, match=text):
            call(ns, [(5, 2)], 1000, **keywords)
    assert dev.commands() == []


@pytest.mark.parametrize("other", [PI2, PI1 | {"storage_tag_bits": 8}, {"metadata_size": 8}])
def test_a_source_that_is_protected_otherwise(dev: Device, other: dict[str, Any]) -> None:
    """Blocks go from one namespace to another only where both have the same protection information."""
    ns, source = dev.namespace(data=Limits(), **PI1), dev.namespace(nsid=9, **other)
    with pytest.raises(UsageError, match=r"source_ns: .* has other protection information"):
        dev.qp.copy(ns, [(5, 2)], 1000, format=2, source_ns=source)
