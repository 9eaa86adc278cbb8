"""Write Zeroes, Write Uncorrectable, Verify, Dataset Management, Copy: what they do, their limits, their errors."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence

import pytest

from aionvme.mock import NamespaceConfig
from aionvme.tests.unit.mock.raw import PAGE, Cqe, Queue, Raw
from aionvme.tests.unit.mock.test_metadata import protection, protection64

Make = Callable[..., Raw]
Fused = tuple[int, int, dict[str, int]]  # opcode, flags, other fields
WRITE, READ, UNCORRECTABLE, COMPARE, ZEROES, DSM, VERIFY, COPY = (
    0x01,
    0x02,
    0x04,
    0x05,
    0x08,
    0x09,
    0x0C,
    0x19,
)
DEALLOCATE = 4
SIZE_LIMIT, READ_ERROR, OUT_OF_RANGE = 0x183, 0x281, 0x80
MiB = 1 << 20


def on(raw: Raw, queue: Queue, opcode: int, lba: int, nblocks: int = 1, **fields: int) -> int:
    """A command on a range of blocks; its status code."""
    cdw12 = fields.pop("flags12", 0) | (nblocks - 1)
    fields = {"nsid": 1, "prp1": raw.page_iova} | fields
    return queue.run(opcode, cdw10=lba & 0xFFFFFFFF, cdw11=lba >> 32, cdw12=cdw12, **fields).code


def dsm(raw: Raw, queue: Queue, ranges: Sequence[tuple[int, int]], attributes: int = DEALLOCATE) -> int:
    """Dataset Management of (lba, nblocks); its status code."""
    packed = b"".join(struct.pack("<IIQ", 0, nblocks, lba) for lba, nblocks in ranges)
    raw.memory.bytes[raw.page : raw.page + len(packed)] = packed
    return queue.run(DSM, nsid=1, prp1=raw.page_iova, cdw10=len(ranges) - 1, cdw11=attributes).code


def copy(
    raw: Raw, queue: Queue, ranges: Sequence[tuple[int, int]], lba: int, *, form: int = 0, source: int = 0,
    tags: Sequence[int] = (0, 0, 0), **fields: int,
) -> Cqe:  # fmt: skip
    """Copy of (lba, nblocks) to a block; tags are reference tag, application tag, mask."""
    entries = []
    for start, nblocks in ranges:
        entry = struct.pack("<IIQHIH", source, 0, start, nblocks - 1, 0, 0)
        if form & 1:
            entry += bytes(6) + tags[0].to_bytes(6, "big") + struct.pack("<HH", *tags[1:])
        else:
            entry += struct.pack("<IHH", *tags)
        entries.append(entry)
    raw.memory.bytes[raw.page : raw.page + PAGE] = b"".join(entries).ljust(PAGE, b"\0")
    cdw12 = fields.pop("flags12", 0) | form << 8 | (len(ranges) - 1)
    return queue.run(
        COPY, nsid=1, prp1=raw.page_iova, cdw10=lba & 0xFFFFFFFF, cdw11=lba >> 32, cdw12=cdw12, **fields
    )


def enable_formats(raw: Raw, formats: int) -> None:
    """Host Behavior Support: Copy formats."""
    raw.memory.bytes[raw.page : raw.page + 512] = bytes(4) + struct.pack("<H", formats) + bytes(506)
    assert raw.admin.run(0x09, cdw10=0x16, prp1=raw.page_iova).status == 0


# -- what ONCS says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bit", "opcode"),
    [(0, COMPARE), (1, UNCORRECTABLE), (2, DSM), (3, ZEROES), (5, 0x0D), (5, 0x0E), (5, 0x11), (5, 0x15),
     (7, VERIFY), (8, COPY)],
)  # fmt: skip
def test_switched_off(make: Make, bit: int, opcode: int) -> None:
    """A bit of ONCS that is 0 switches its command off, in Identify, in the log and in fact."""
    for on_or_off in (1, 0):
        raw = make(oncs=0x1FF & ~(1 << bit) | on_or_off << bit)
        queue = raw.create(1)
        invalid = queue.run(opcode, nsid=1, prp1=raw.page_iova).code == 0x01
        assert invalid is not bool(on_or_off)
        assert struct.unpack_from("<H", raw.identify(0x01)[1], 520)[0] >> bit & 1 == on_or_off
        raw.admin.run(0x02, prp1=raw.page_iova, cdw10=0x3FF << 16 | 5)
        assert struct.unpack_from("<I", raw.data(PAGE), 1024 + 4 * opcode)[0] & 1 == on_or_off


def test_effects(raw: Raw) -> None:
    """The log has every command that is there, and says which change what is stored."""
    raw.admin.run(0x02, prp1=raw.page_iova, cdw10=0x3FF << 16 | 5)
    effects = struct.unpack_from("<256I", raw.data(PAGE), 1024)
    known = {opcode: effect for opcode, effect in enumerate(effects) if effect}
    assert known == {
        0x00: 1, WRITE: 3, READ: 1, UNCORRECTABLE: 3, COMPARE: 1, ZEROES: 3, DSM: 3, VERIFY: 1,
        0x0D: 1, 0x0E: 1, 0x11: 1, 0x15: 1, COPY: 3,
    }  # fmt: skip


# -- Write Zeroes, Write Uncorrectable, Verify ---------------------------------------------------------------


@pytest.mark.parametrize(("option", "opcode"), [("wzsl", ZEROES), ("wusl", UNCORRECTABLE), ("vsl", VERIFY)])
def test_size_limits(make: Make, option: str, opcode: int) -> None:
    """Each has a limit of its own in bytes; 0 is none."""
    raw = make(**{option: 1})
    queue = raw.create(1)
    assert on(raw, queue, opcode, 0, 16) == 0
    assert on(raw, queue, opcode, 100, 17) == 0x02
    assert on(raw, queue, opcode, (64 * MiB) // 512, 1) == OUT_OF_RANGE
    raw = make(**{option: 0})
    assert on(raw, raw.create(1), opcode, 0, 65536) == 0


@pytest.mark.parametrize("stored", ["memory", "file"])
def test_write_uncorrectable(make: Make, tmp_path: object, stored: str) -> None:
    """What reads fails until the block is written, by whatever writes; its neighbours are well."""
    raw = make(size=MiB, **({"storage": f"{tmp_path}/blocks"} if stored == "file" else {}))
    queue = raw.create(1)
    page2 = raw.memory.iova + raw.memory.take(1)
    raw.mock.poke(1, 0, b"\x12" * 8192)
    assert on(raw, queue, UNCORRECTABLE, 3, 2) == 0
    for lba, nblocks, status in (
        (2, 1, 0),
        (2, 2, READ_ERROR),
        (3, 1, READ_ERROR),
        (4, 1, READ_ERROR),
        (5, 1, 0),
    ):
        assert on(raw, queue, READ, lba, nblocks) == status
        assert on(raw, queue, VERIFY, lba, nblocks) == status
    assert on(raw, queue, COMPARE, 3, prp1=page2) == READ_ERROR
    assert copy(raw, queue, [(1, 2), (4, 1)], 100).code == READ_ERROR
    assert on(raw, queue, WRITE, 3, prp1=page2) == 0
    assert on(raw, queue, READ, 3) == 0
    assert on(raw, queue, READ, 4) == READ_ERROR
    undoings: list[Callable[[], int]] = [
        lambda: on(raw, queue, ZEROES, 4),
        lambda: dsm(raw, queue, [(4, 1)]),
        lambda: copy(raw, queue, [(10, 1)], 4).code,
        lambda: on(raw, queue, WRITE, 2, 4, prp1=page2),
    ]
    for undo in undoings:
        assert on(raw, queue, UNCORRECTABLE, 4) == 0
        assert on(raw, queue, READ, 4) == READ_ERROR
        assert undo() == 0
        assert on(raw, queue, READ, 4) == 0


def test_directives(raw: Raw) -> None:
    """No directive is supported: DTYPE must be 0 where there is one; FUA and limited retry are taken."""
    queue = raw.create(1)
    for opcode in (WRITE, UNCORRECTABLE):
        assert on(raw, queue, opcode, 0, flags12=1 << 20) == 0x02
    assert copy(raw, queue, [(0, 1)], 10, flags12=1 << 20).code == 0x02
    for opcode in (WRITE, READ, ZEROES, VERIFY):
        assert on(raw, queue, opcode, 0, flags12=3 << 30) == 0
    assert on(raw, queue, WRITE, 0, cdw13=0xFFFF0000) == 0


@pytest.mark.parametrize("stored", ["memory", "file"])
def test_deallocate_bit(make: Make, tmp_path: object, stored: str) -> None:
    """Write Zeroes with DEAC reads as zeros."""
    raw = make(size=MiB, **({"storage": f"{tmp_path}/blocks"} if stored == "file" else {}))
    queue = raw.create(1)
    raw.mock.poke(1, 0, b"\x12" * MiB)
    assert on(raw, queue, ZEROES, 1, 2000, flags12=1 << 25) == 0
    assert raw.mock.peek(1, 0, 2048) == b"\x12" * 512 + bytes(2000 * 512) + b"\x12" * (47 * 512)


# -- Dataset Management --------------------------------------------------------------------------------------


def test_deallocate(raw: Raw) -> None:
    """Many ranges read as zeros; a hint without the attribute does nothing; a range may be empty."""
    queue = raw.create(1)
    raw.mock.poke(1, 0, b"\x12" * MiB)
    ranges = [(8 * index, index % 8) for index in range(100)]
    assert dsm(raw, queue, ranges, 3) == 0
    assert raw.mock.peek(1, 0, 2048) == b"\x12" * MiB
    assert dsm(raw, queue, ranges) == 0
    for lba, nblocks in ranges:
        assert raw.mock.peek(1, lba, 8) == bytes(nblocks * 512) + b"\x12" * (8 - nblocks) * 512


def test_dsm_limits(make: Make) -> None:
    """Ranges, blocks of one, blocks of all: more is Command Size Limit Exceeded; beyond the end is out of range."""
    raw = make(dmrl=3, dmrsl=10, dmsl=25, size=MiB)
    queue = raw.create(1)
    raw.mock.poke(1, 0, b"\x12" * 8192)
    assert dsm(raw, queue, [(0, 10), (10, 10), (20, 5)]) == 0
    raw.mock.poke(1, 0, b"\x12" * 8192)
    assert dsm(raw, queue, [(0, 1)] * 4) == SIZE_LIMIT
    assert dsm(raw, queue, [(0, 1), (10, 11)]) == SIZE_LIMIT
    assert dsm(raw, queue, [(0, 10), (10, 10), (20, 6)]) == SIZE_LIMIT
    assert dsm(raw, queue, [(0, 1), (2048, 1)]) == OUT_OF_RANGE
    assert dsm(raw, queue, [(0, 1), ((1 << 64) - 1, 2)]) == OUT_OF_RANGE
    assert raw.mock.peek(1, 0, 16) == b"\x12" * 8192
    raw = make(dmrl=0, dmrsl=0, dmsl=0)
    assert dsm(raw, raw.create(1), [(0, 100000)] + [(0, 1)] * 255) == 0


# -- Copy ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", ["memory", "file"])
def test_copy(make: Make, tmp_path: object, stored: str) -> None:
    """Ranges are put one after the other, with metadata."""
    options = {"storage": f"{tmp_path}/blocks"} if stored == "file" else {}
    raw = make(size=MiB, metadata=8, **options)
    queue = raw.create(1)
    data, meta = random.Random(1).randbytes(64 * 512), random.Random(2).randbytes(64 * 8)
    raw.mock.poke(1, 0, data)
    raw.mock.poke_metadata(1, 0, meta)
    assert copy(raw, queue, [(10, 2), (0, 1), (60, 4)], 1000).status == 0
    assert raw.mock.peek(1, 1000, 7) == data[5120:6144] + data[:512] + data[60 * 512 :]
    assert raw.mock.peek_metadata(1, 1000, 7) == meta[80:96] + meta[:8] + meta[480:]


def test_copy_limits(make: Make) -> None:
    """Ranges, blocks of one, blocks of all: more is Command Size Limit Exceeded."""
    raw = make(mssrl=4, mcl=10, msrc=2)
    queue = raw.create(1)
    assert copy(raw, queue, [(0, 4), (4, 4), (8, 2)], 100).code == 0
    assert copy(raw, queue, [(0, 1)] * 4, 100).code == SIZE_LIMIT
    assert copy(raw, queue, [(0, 4), (4, 4), (8, 3)], 100).code == SIZE_LIMIT
    cqe = copy(raw, queue, [(0, 4), (4, 5)], 100)
    assert (cqe.code, cqe.dw0) == (SIZE_LIMIT, 1)
    identify = raw.identify(0x00, nsid=1)[1]
    assert struct.unpack_from("<HIB", identify, 74) == (4, 10, 2)


def test_copy_ranges(make: Make) -> None:
    """Source and destination are within the namespace and do not overlap; dword 0 says which was wrong."""
    raw = make(size=MiB)
    queue = raw.create(1)
    last = 2048
    assert copy(raw, queue, [(0, 2)], last - 2).code == 0
    assert copy(raw, queue, [(0, 2)], last - 1).code == OUT_OF_RANGE
    assert copy(raw, queue, [(0, 2)], 1 << 63).code == OUT_OF_RANGE
    cqe = copy(raw, queue, [(0, 1), (5, 1), (last - 1, 2)], 100)
    assert (cqe.code, cqe.dw0) == (OUT_OF_RANGE, 2)
    for lba, end in ((98, (0, 0)), (99, (0x187, 1)), (101, (0x187, 1)), (102, (0x187, 1)), (103, (0, 0))):
        cqe = copy(raw, queue, [(0, 1), (lba, 2)], 100)
        assert (cqe.code, cqe.dw0) == end


def test_copy_formats(make: Make) -> None:
    """OCFS says which formats there are; 2 and 3 are enabled by the host; the guard decides between even and odd."""
    raw = make(namespaces=[NamespaceConfig(), NamespaceConfig()])
    queue = raw.create(1)
    raw.mock.poke(2, 7, b"\x99" * 512)
    assert [copy(raw, queue, [(7, 1)], 20, form=form, source=2).code for form in range(5)] == [
        0, 0x10A, 0x02, 0x02, 0x02,
    ]  # fmt: skip
    enable_formats(raw, 0b1100)
    assert copy(raw, queue, [(7, 1)], 20, form=2, source=2).code == 0
    assert raw.mock.peek(1, 20) == b"\x99" * 512
    assert copy(raw, queue, [(20, 1)], 20, form=2, source=2).code == 0  # another namespace is no overlap
    assert copy(raw, queue, [(7, 1)], 20, form=2, source=3).code == 0x0B
    raw = make(ocfs=0)
    assert copy(raw, raw.create(1), [(0, 1)], 20).code == 0x02
    raw = make(namespaces=[NamespaceConfig(), NamespaceConfig(lba=4096)])
    queue = raw.create(1)
    enable_formats(raw, 0b1100)
    assert copy(raw, queue, [(0, 1)], 20, form=2, source=2).code == 0x185


def test_copy_protection(make: Make) -> None:
    """What is read is checked by the tags of its entry; PRACT makes the tags anew, for both or for neither."""
    raw = make(metadata=8, pi=1)
    queue = raw.create(1)
    raw.mock.poke(1, 5, b"\x12" * 512)
    raw.mock.poke_metadata(1, 5, protection(b"\x12" * 512, app=7, ref=5))
    checked = 7 << 12 | 1 << 15  # PRINFOR
    both = checked | 1 << 29
    assert copy(raw, queue, [(5, 1)], 50, tags=(5, 7, 0xFFFF), flags12=both, cdw14=50, cdw15=9).code == 0
    assert raw.mock.peek_metadata(1, 50) == protection(b"\x12" * 512, app=9, ref=50)
    assert copy(raw, queue, [(5, 1)], 50, tags=(5, 8, 0xFFFF), flags12=both, cdw14=50).code == 0x283
    assert copy(raw, queue, [(5, 1)], 50, tags=(4, 7, 0xFFFF), flags12=both, cdw14=50).code == 0x181
    assert copy(raw, queue, [(5, 1)], 50, tags=(5, 7, 0xFFFF), flags12=checked, cdw14=50).code == 0x02
    written = 5 << 26  # PRINFOW: guard and reference tag
    assert copy(raw, queue, [(5, 1)], 60, flags12=written, cdw14=60).code == 0x284
    raw = make(metadata=16, pi=2, guard=64)
    queue = raw.create(1)
    raw.mock.poke_metadata(1, 5, protection64(bytes(512), app=7, space=0x1234_5678_9ABC))
    tags = (0x1234_5678_9ABC, 7, 0xFFFF)
    assert copy(raw, queue, [(5, 1)], 50, form=1, tags=tags, flags12=both, cdw14=1, cdw3=2).code == 0
    assert raw.mock.peek_metadata(1, 50) == protection64(bytes(512), space=2 << 32 | 1)
    assert copy(raw, queue, [(5, 1)], 50, form=0, tags=(0, 7, 0xFFFF), flags12=both).code == 0x10A


# -- fused ---------------------------------------------------------------------------------------------------


def fused(raw: Raw, queue: Queue, *commands: Fused) -> list[tuple[int, int]]:
    """Posts (opcode, flags, fields) with one doorbell; (cid, status code) as they completed."""
    for cid, (opcode, flags, fields) in enumerate(commands):
        queue.post(opcode, cid=cid, flags=flags, **({"nsid": 1, "prp1": raw.page_iova} | fields))
    queue.ring()
    return [(cqe.cid, cqe.code) for cqe in queue.wait(len(commands))]


def test_compare_and_write(raw: Raw) -> None:
    """Equal: both succeed and the block is written. Not equal: Compare Failure, and the write was aborted (09h)."""
    queue = raw.create(1)
    new = raw.memory.take(1)
    raw.memory.bytes[new : new + 512] = b"\x22" * 512
    write = (WRITE, 2, {"prp1": raw.memory.iova + new, "cdw10": 9})
    assert fused(raw, queue, (COMPARE, 1, {"cdw10": 9}), write) == [(0, 0), (1, 0)]
    assert raw.mock.peek(1, 9) == b"\x22" * 512
    assert fused(raw, queue, (COMPARE, 1, {"cdw10": 9}), write) == [(0, 0x285), (1, 0x09)]


def test_missing_partner(raw: Raw) -> None:
    """The two must be neighbours, first and second (0Ah); what stands between them is executed."""
    queue = raw.create(1)
    compare: Fused = (COMPARE, 1, {})
    write: Fused = (WRITE, 2, {})
    flush: Fused = (0x00, 0, {})
    assert fused(raw, queue, write) == [(0, 0x0A)]
    assert fused(raw, queue, compare, flush) == [(0, 0x0A), (1, 0)]
    assert fused(raw, queue, compare, flush, write) == [(0, 0x0A), (1, 0), (2, 0x0A)]
    assert fused(raw, queue, compare, compare, write) == [(0, 0x0A), (1, 0), (2, 0)]


def test_fused_across_the_end_of_the_queue(make: Make) -> None:
    """The last entry and the first are neighbours; a pair that comes with two doorbells is one as well."""
    raw = make()
    queue = raw.create(1, 4)
    for _ in range(3):
        assert queue.run(0x00, nsid=1).status == 0
    assert fused(raw, queue, (COMPARE, 1, {}), (WRITE, 2, {})) == [(0, 0), (1, 0)]
    queue.post(COMPARE, cid=5, flags=1, nsid=1, prp1=raw.page_iova)
    queue.ring()
    raw.step()
    assert queue.reap() == []
    queue.post(WRITE, cid=6, flags=2, nsid=1, prp1=raw.page_iova)
    queue.ring()
    assert [(cqe.cid, cqe.code) for cqe in queue.wait(2)] == [(5, 0), (6, 0)]


def test_impossible_pairs(raw: Raw) -> None:
    """Other commands, other blocks and 11b are invalid fields."""
    queue = raw.create(1)
    compare: Fused = (COMPARE, 1, {})
    for second in ((READ, 2, {}), (WRITE, 2, {"cdw10": 1}), (WRITE, 2, {"cdw11": 1}), (WRITE, 2, {"cdw12": 1}),
                   (WRITE, 2, {"nsid": 2})):  # fmt: skip
        assert fused(raw, queue, compare, second) == [(0, 0x02), (1, 0x02)]
    assert fused(raw, queue, (WRITE, 1, {}), (COMPARE, 2, {})) == [(0, 0x02), (1, 0x02)]
    assert fused(raw, queue, (COMPARE, 3, {})) == [(0, 0x02)]


def test_fused_errors(raw: Raw) -> None:
    """A first that can't be executed aborts its second; a second that can't leaves the first as it ended."""
    queue = raw.create(1)
    beyond = {"cdw10": 1 << 31}
    assert fused(raw, queue, (COMPARE, 1, beyond), (WRITE, 2, beyond)) == [(0, 0x80), (1, 0x09)]
    unmapped = {"prp1": 0x5000_0000_0000}
    assert fused(raw, queue, (COMPARE, 1, {}), (WRITE, 2, unmapped)) == [(0, 0), (1, 0x04)]


def test_without_fused(make: Make) -> None:
    """FUSES of 0: either half is an invalid field."""
    raw = make(fuses=0)
    queue = raw.create(1)
    assert fused(raw, queue, (COMPARE, 1, {}), (WRITE, 2, {})) == [(0, 0x02), (1, 0x02)]


def test_delete_with_a_first(raw: Raw) -> None:
    """A first whose second never came is aborted with its queue."""
    queue = raw.create(1)
    queue.post(COMPARE, cid=5, flags=1, nsid=1, prp1=raw.page_iova)
    queue.ring()
    raw.step()
    assert raw.admin.run(0x00, cdw10=1).status == 0
    assert [(cqe.cid, cqe.code) for cqe in queue.reap()] == [(5, 0x08)]
