"""SGLs: each descriptor type, segments in segments, and each status of a list that can't be."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aionvme.mock import MockController
from aionvme.tests.quick import examples
from aionvme.tests.unit.mock.raw import PAGE, Queue, Raw

Make = Callable[..., Raw]
FLUSH, WRITE, READ, COMPARE, DSM = 0x00, 0x01, 0x02, 0x05, 0x09
SGL = 0x40
BLOCK, BUCKET, SEGMENT, LAST = 0x00, 0x10, 0x20, 0x30
NOWHERE = 0x5000_0000_0000
MiB = 1 << 20


def descriptor(kind: int, address: int, length: int) -> bytes:
    return struct.pack("<QIBBBB", address, length, 0, 0, 0, kind)


def sgl(queue: Queue, opcode: int, first: bytes, nblocks: int = 1, **fields: int) -> int:
    """A command from block 3 on by this descriptor; its status code."""
    prp1, prp2 = struct.unpack("<QQ", first)
    fields = {"flags": SGL, "nsid": 1, "cdw10": 3, "cdw12": nblocks - 1} | fields
    return queue.run(opcode, prp1=prp1, prp2=prp2, **fields).code


def put(raw: Raw, descriptors: list[bytes], offset: int = 0) -> int:
    """Writes a segment into the page of the test; its address."""
    joined = b"".join(descriptors)
    start = raw.page + offset
    raw.memory.bytes[start : start + len(joined)] = joined
    return raw.page_iova + offset


def test_one_block(raw: Raw) -> None:
    """A data block in the command itself, at any byte."""
    queue = raw.create(1)
    buffer = raw.memory.take(1)
    content = random.Random(1).randbytes(1024)
    raw.memory.bytes[buffer + 13 : buffer + 13 + 1024] = content
    first = descriptor(BLOCK, raw.memory.iova + buffer + 13, 1024)
    assert sgl(queue, WRITE, first, 2) == 0
    assert raw.mock.peek(1, 3, 2) == content
    assert sgl(queue, COMPARE, first, 2) == 0
    raw.memory.bytes[buffer : buffer + PAGE] = bytes(PAGE)
    assert sgl(queue, READ, first, 2) == 0
    assert raw.memory.bytes[buffer + 13 : buffer + 13 + 1024] == content


def test_bit_bucket(raw: Raw) -> None:
    """A read leaves out what falls into a bucket; for a write it has no length."""
    queue = raw.create(1)
    content = random.Random(2).randbytes(1536)
    raw.mock.poke(1, 3, content)
    buffer = raw.memory.take(1)
    at = raw.memory.iova + buffer
    segment = put(
        raw, [descriptor(BLOCK, at, 100), descriptor(BUCKET, 0, 900), descriptor(BLOCK, at + 100, 536)]
    )
    last = descriptor(LAST, segment, 48)
    assert sgl(queue, READ, last, 3) == 0
    assert raw.memory.bytes[buffer : buffer + 636] == content[:100] + content[1000:]
    assert sgl(queue, READ, descriptor(BUCKET, 0, 1536), 3) == 0
    assert sgl(queue, WRITE, last, 3) == 0x0F
    segment = put(
        raw, [descriptor(BLOCK, at, 100), descriptor(BUCKET, 0, 900), descriptor(BLOCK, at + 100, 412)]
    )
    assert sgl(queue, WRITE, descriptor(LAST, segment, 48)) == 0
    assert raw.mock.peek(1, 3) == raw.memory.bytes[buffer : buffer + 512]


def test_bit_bucket_in_a_file(make: Make, tmp_path: object) -> None:
    """A bucket takes what comes out of a file."""
    raw = make(storage=f"{tmp_path}/blocks", size=MiB)
    queue = raw.create(1)
    content = random.Random(3).randbytes(512)
    raw.mock.poke(1, 3, content)
    at = raw.memory.take(1)
    segment = put(raw, [descriptor(BUCKET, 0, 500), descriptor(BLOCK, raw.memory.iova + at, 12)])
    assert sgl(queue, READ, descriptor(LAST, segment, 32)) == 0
    assert raw.memory.bytes[at : at + 12] == content[500:]


def test_nested_segments(raw: Raw) -> None:
    """A segment ends in the descriptor of the next; the last has data only."""
    queue = raw.create(1)
    at = raw.memory.iova + raw.memory.take(1)
    last = put(
        raw, [descriptor(BLOCK, at + 512, 256), descriptor(BLOCK, at, 0), descriptor(BLOCK, at + 768, 256)]
    )
    middle = put(raw, [descriptor(BLOCK, at + 300, 212), descriptor(LAST, last, 48)], 64)
    first = put(raw, [descriptor(BLOCK, at, 300), descriptor(SEGMENT, middle, 32)], 128)
    content = random.Random(4).randbytes(1024)
    raw.mock.poke(1, 3, content)
    assert sgl(queue, READ, descriptor(SEGMENT, first, 32), 2) == 0
    offset = at - raw.memory.iova
    assert raw.memory.bytes[offset : offset + 1024] == content


def test_descriptor_types(make: Make) -> None:
    """Keyed and transport blocks, offsets and reserved types are invalid (11h), and so is a bucket without its bit."""
    raw = make(sgls=1)
    queue = raw.create(1)
    at = raw.memory.iova + raw.memory.take(1)
    for kind in (0x40, 0x50, 0x70, 0xF0, 0x01, 0x0F, BUCKET, 0x21, 0x31):
        assert sgl(queue, READ, descriptor(kind, at, 512)) == 0x11
        segment = put(raw, [descriptor(kind, at, 512)])
        assert sgl(queue, READ, descriptor(LAST, segment, 16)) == 0x11


def test_segment_descriptors(raw: Raw) -> None:
    """What is invalid of a segment: its length, its alignment, its end (0Dh), its middle (0Eh)."""
    queue = raw.create(1)
    at = raw.memory.iova + raw.memory.take(1)
    data = descriptor(BLOCK, at, 512)
    segment = put(raw, [data])
    for kind in (SEGMENT, LAST):
        for length in (0, 1, 15, 17, 24):
            assert sgl(queue, READ, descriptor(kind, segment, length)) == 0x0D
        assert sgl(queue, READ, descriptor(kind, segment + 4, 16)) == 0x0D
        inside = put(raw, [data, descriptor(kind, segment, 16)], 64)
        assert sgl(queue, READ, descriptor(LAST, inside, 32)) == 0x0D
        inside = put(raw, [descriptor(kind, segment, 16), data], 64)
        assert sgl(queue, READ, descriptor(SEGMENT, inside, 32)) == 0x0E
    assert sgl(queue, READ, descriptor(SEGMENT, segment, 16)) == 0x0D  # it does not end in a segment


def test_a_ring_of_segments(raw: Raw) -> None:
    """A list without an end has too many descriptors (0Eh)."""
    queue = raw.create(1)
    segment = put(raw, [descriptor(SEGMENT, raw.page_iova, 16)])
    assert sgl(queue, READ, descriptor(SEGMENT, segment, 16)) == 0x0E


def test_lengths(make: Make) -> None:
    """Too short and, where SGLS does not allow it, too long are both invalid (0Fh)."""
    for sgls, longer in ((0xB0001, 0x0F), (0xF0001, 0)):
        raw = make(sgls=sgls)
        queue = raw.create(1)
        at = raw.memory.iova + raw.memory.take(1)
        for opcode in (READ, WRITE, COMPARE):
            assert sgl(queue, opcode, descriptor(BLOCK, at, 511)) == 0x0F
            assert sgl(queue, opcode, descriptor(BLOCK, at, 513)) == longer
            assert sgl(queue, opcode, descriptor(BLOCK, at, 0)) == 0x0F


def test_dwords(make: Make) -> None:
    """Where SGLS asks for dwords, other lengths and addresses are refused."""
    raw = make(sgls=2)
    queue = raw.create(1)
    at = raw.memory.iova + raw.memory.take(1)
    assert sgl(queue, READ, descriptor(BLOCK, at + 4, 512)) == 0
    assert sgl(queue, READ, descriptor(BLOCK, at + 2, 512)) == 0x1E
    segment = put(raw, [descriptor(BLOCK, at, 510), descriptor(BLOCK, at + 512, 2)])
    assert sgl(queue, READ, descriptor(LAST, segment, 32)) == 0x1E


def test_support(make: Make) -> None:
    """Without SGLs PSDT must be 00b; 11b is reserved; 10b has a bit of its own; admin commands have PRPs."""
    raw = make(sgls=0)
    at = raw.memory.iova + raw.memory.take(1)
    data = descriptor(BLOCK, at, 512)
    queue = raw.create(1)
    assert sgl(queue, READ, data) == 0x02
    raw = make(sgls=1)
    queue = raw.create(1)
    data = descriptor(BLOCK, raw.memory.iova + raw.memory.take(1), 512)
    assert [sgl(queue, READ, data, flags=flags) for flags in (0x40, 0x80, 0xC0)] == [0, 0x02, 0x02]
    assert raw.admin.run(0x06, flags=SGL, prp1=raw.page_iova, cdw10=1).code == 0x02


def test_unmapped(raw: Raw) -> None:
    """Memory that is not mapped ends the transfer, be it of data or of a segment; nothing was changed."""
    queue = raw.create(1)
    buffer = raw.memory.take(1)
    raw.mock.poke(1, 3, b"\x55" * 512)
    assert sgl(queue, READ, descriptor(BLOCK, NOWHERE, 512)) == 0x04
    assert sgl(queue, READ, descriptor(LAST, NOWHERE, 16)) == 0x04
    segment = put(raw, [descriptor(BLOCK, raw.memory.iova + buffer, 256), descriptor(BLOCK, NOWHERE, 256)])
    assert sgl(queue, READ, descriptor(LAST, segment, 32)) == 0x04
    assert raw.memory.bytes[buffer : buffer + PAGE] == bytes(PAGE)


def test_other_commands(raw: Raw) -> None:
    """Every command with data takes an SGL."""
    queue = raw.create(1)
    raw.mock.poke(1, 0, b"\x77" * 4096)
    ranges = put(raw, [struct.pack("<IIQ", 0, 2, 1)])
    status = sgl(queue, DSM, descriptor(BLOCK, ranges, 16), cdw10=0, cdw11=4, cdw12=0)
    assert status == 0
    assert raw.mock.peek(1, 0, 4) == b"\x77" * 512 + bytes(1024) + b"\x77" * 512


@pytest.mark.parametrize("opcode", [READ, WRITE])
@settings(max_examples=examples(60), deadline=None)
@given(data=st.data())
def test_any_list(opcode: int, data: st.DataObject) -> None:
    """Any cut of a transfer into pieces, and of the pieces into segments, is the same transfer."""
    nblocks = data.draw(st.integers(1, 64), label="nblocks")
    seed = random.Random(data.draw(st.integers(0, 1 << 32), label="seed"))
    cuts = sorted(data.draw(st.sets(st.integers(0, nblocks * 512), max_size=40), label="cuts"))
    per_segment = data.draw(st.integers(1, 12), label="descriptors of a segment")
    with MockController(drive="step", size=MiB) as mock, Raw(mock) as raw:
        raw.enable()
        queue = raw.create(1)
        edges = [0, *cuts, nblocks * 512]
        pieces = []  # (offset in the host's memory, offset in the data, length)
        for start, end in itertools.pairwise(edges):
            at = raw.memory.take(-(-(end - start) // PAGE) + 1) + seed.randrange(PAGE)
            pieces.append((at, start, end - start))
        content = seed.randbytes(nblocks * 512)
        if opcode == READ:
            mock.poke(1, 3, content)
        else:
            for at, start, length in pieces:
                raw.memory.bytes[at : at + length] = content[start : start + length]
        first = chain(raw, pieces, per_segment)
        assert sgl(queue, opcode, first, nblocks) == 0
        if opcode == WRITE:
            assert mock.peek(1, 3, nblocks) == content
        else:
            assert b"".join(raw.memory.bytes[at : at + length] for at, _, length in pieces) == content


def chain(raw: Raw, pieces: list[tuple[int, int, int]], per_segment: int) -> bytes:
    """Writes segments of so many data blocks each, the last first; the descriptor of the first."""
    blocks = [descriptor(BLOCK, raw.memory.iova + at, length) for at, _, length in pieces]
    groups = [blocks[index : index + per_segment] for index in range(0, len(blocks), per_segment)]
    following: bytes | None = None
    for group in reversed(groups):
        entries = b"".join(group) + (following or b"")
        where = raw.memory.take(1)
        raw.memory.bytes[where : where + len(entries)] = entries
        kind = LAST if following is None else SEGMENT
        following = descriptor(kind, raw.memory.iova + where, len(entries))
    assert following is not None
    return following
