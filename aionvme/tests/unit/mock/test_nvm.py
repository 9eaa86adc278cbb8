"""The NVM command set: data, ranges, data pointers, and each refusal."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aionvme.errors import UsageError
from aionvme.mock import MockController, NamespaceConfig
from aionvme.tests.quick import examples
from aionvme.tests.unit.mock.raw import PAGE, Queue, Raw

Make = Callable[..., Raw]
FLUSH, WRITE, READ, COMPARE, ZEROES = 0x00, 0x01, 0x02, 0x05, 0x08
MiB = 1 << 20
NO_DATA = pytest.mark.parametrize("no_data", [False, True])


def rw(queue: Queue, opcode: int, lba: int, nblocks: int, prp1: int, prp2: int = 0, **fields: int) -> int:
    """A command on a range of blocks; its status code."""
    cdw12 = fields.pop("flags12", 0) | (nblocks - 1)
    nsid = fields.pop("nsid", 1)
    return queue.run(
        opcode,
        nsid=nsid,
        prp1=prp1,
        prp2=prp2,
        cdw10=lba & 0xFFFFFFFF,
        cdw11=lba >> 32,
        cdw12=cdw12,
        **fields,
    ).code


@pytest.mark.parametrize("lba", [512, 4096, 65536])
def test_data(make: Make, lba: int) -> None:
    """What is written is stored where it belongs, and read back."""
    raw = make(lba=lba, namespaces=2)
    queue = raw.create(1)
    npages = max(lba // PAGE, 1)
    where = raw.memory.take(npages)
    listed = raw.memory.take(1)
    for index in range(1, npages):
        struct.pack_into(
            "<Q", raw.memory.bytes, listed + 8 * (index - 1), raw.memory.iova + where + index * PAGE
        )
    prp2 = raw.memory.iova + (listed if npages > 2 else where + PAGE)
    content = bytes(index * 7 & 0xFF for index in range(lba))
    raw.memory.bytes[where : where + lba] = content
    assert rw(queue, WRITE, 3, 1, raw.memory.iova + where, prp2, nsid=2) == 0
    assert raw.mock.peek(2, 3) == content
    assert raw.mock.peek(1, 3) == raw.mock.peek(2, 2) == raw.mock.peek(2, 4) == bytes(lba)
    raw.memory.bytes[where : where + lba] = bytes(lba)
    assert rw(queue, READ, 3, 1, raw.memory.iova + where, prp2, nsid=2) == 0
    assert raw.memory.bytes[where : where + lba] == content


@NO_DATA
def test_ranges(make: Make, no_data: bool) -> None:
    """The last block can be read, one beyond it can't, and no sum wraps."""
    raw = make(size=MiB, no_data=no_data)
    queue = raw.create(1)
    assert rw(queue, READ, 2047, 1, raw.page_iova) == 0
    for lba, nblocks in ((2048, 1), (2047, 2), (1 << 32, 1), ((1 << 64) - 1, 1), ((1 << 64) - 1, 2)):
        assert rw(queue, READ, lba, nblocks, raw.page_iova) == 0x80
        assert rw(queue, ZEROES, lba, nblocks, 0) == 0x80


def test_namespaces(make: Make) -> None:
    """No namespace, all of them, one that is not there: invalid; one that is inactive: invalid field."""
    raw = make(namespaces=[NamespaceConfig(), NamespaceConfig(active=False)])
    queue = raw.create(1)
    for nsid in (0, 3, 0xFFFFFFFF):
        assert rw(queue, READ, 0, 1, raw.page_iova, nsid=nsid) == 0x0B
    assert rw(queue, READ, 0, 1, raw.page_iova, nsid=2) == 0x02
    assert [queue.run(FLUSH, nsid=nsid).code for nsid in (1, 2, 3, 0, 0xFFFFFFFF)] == [0, 0x02, 0x0B, 0x0B, 0]


@NO_DATA
def test_transfer_size(make: Make, no_data: bool) -> None:
    """MDTS is taken, one block more is an invalid field; it is no limit of Write Zeroes."""
    raw = make(mdts=8192, no_data=no_data)
    queue = raw.create(1)
    buffer = raw.memory.iova + raw.memory.take(2)
    assert rw(queue, READ, 0, 16, buffer, buffer + PAGE) == 0
    assert rw(queue, READ, 0, 17, buffer, buffer + PAGE) == 0x02
    assert rw(queue, ZEROES, 0, 65536, 0) == 0


def test_flags(make: Make) -> None:
    """FUA and limited retry are taken; directives, SGLs, fused and unknown commands are refused."""
    raw = make(sgls=0, fuses=0, oncs=0x49)
    queue = raw.create(1)
    assert rw(queue, WRITE, 0, 1, raw.page_iova, flags12=3 << 30) == 0
    assert rw(queue, READ, 0, 1, raw.page_iova, flags12=3 << 30) == 0
    assert rw(queue, WRITE, 0, 1, raw.page_iova, flags12=1 << 20) == 0x02
    assert rw(queue, READ, 0, 1, raw.page_iova, flags=0x40) == 0x02
    assert rw(queue, COMPARE, 0, 1, raw.page_iova, flags=0x01) == 0x02
    for opcode in (0x04, 0x09, 0x0C, 0x0D, 0x19, 0x79, 0x80, 0xFF):
        assert queue.run(opcode, nsid=1).status == 0x4001


def test_compare(raw: Raw) -> None:
    """Equal blocks compare; one bit makes the difference."""
    queue = raw.create(1)
    raw.memory.bytes[raw.page : raw.page + 1024] = bytes(range(256)) * 4
    raw.mock.poke(1, 8, bytes(range(256)) * 4)
    assert rw(queue, COMPARE, 8, 2, raw.page_iova) == 0
    raw.memory.bytes[raw.page + 1023] ^= 0x10
    assert rw(queue, COMPARE, 8, 2, raw.page_iova) == 0x285
    assert rw(queue, COMPARE, 8, 1, raw.page_iova) == 0


def test_write_zeroes(raw: Raw) -> None:
    """A large range of zeros, and not a byte more."""
    queue = raw.create(1)
    raw.mock.poke(1, 0, b"\xa5" * (4 * MiB))
    assert rw(queue, ZEROES, 3, 5000, 0) == 0
    assert raw.mock.peek(1, 0, 8192) == b"\xa5" * 1536 + bytes(5000 * 512) + b"\xa5" * (4 * MiB - 5003 * 512)


@NO_DATA
def test_data_pointers(make: Make, no_data: bool) -> None:
    """Offsets that can't be, and memory that is not mapped."""
    raw = make(no_data=no_data)
    queue = raw.create(1)
    base = raw.memory.iova + raw.memory.take(4)
    assert rw(queue, READ, 0, 1, base + 2) == 0x13
    assert rw(queue, READ, 0, 16, base, base + PAGE + 8) == 0x13
    assert rw(queue, READ, 0, 24, base, base + 3 * PAGE + 4) == 0x13
    assert rw(queue, READ, 0, 1, 0x5000_0000_0000) == 0x04
    assert rw(queue, READ, 0, 16, base, 0x5000_0000_0000) == 0x04
    assert rw(queue, READ, 0, 24, base, 0x5000_0000_0000) == 0x04
    struct.pack_into("<QQ", raw.memory.bytes, raw.page, base + PAGE, base + 2 * PAGE + 512)
    assert rw(queue, READ, 0, 24, base, raw.page_iova) == 0x13
    struct.pack_into("<QQ", raw.memory.bytes, raw.page, base + PAGE, base + 2 * PAGE)
    assert rw(queue, READ, 0, 24, base, raw.page_iova) == 0


def test_no_data(make: Make) -> None:
    """Without data a write stores and a read brings nothing; both count, and are refused as ever."""
    raw = make(no_data=True, size=MiB)
    queue = raw.create(1)
    raw.mock.poke(1, 8, b"\x55" * 8192)
    two = raw.memory.iova + raw.memory.take(2)
    content = bytes(range(256)) * 16
    raw.memory.bytes[raw.page : raw.page + PAGE] = content
    for prp1, prp2, nblocks in ((raw.page_iova, 0, 1), (two, two + PAGE, 16)):
        assert rw(queue, WRITE, 0, nblocks, prp1, prp2) == 0
        assert rw(queue, READ, 8, nblocks, prp1, prp2) == 0
    assert raw.mock.peek(1, 0, 16) == bytes(4096) + b"\x55" * 4096
    assert raw.data(PAGE) == content
    assert raw.memory.bytes[two - raw.memory.iova :][: 2 * PAGE] == bytes(2 * PAGE)
    counters = raw.mock.counters
    assert (counters.reads, counters.bytes_read) == (counters.writes, counters.bytes_written) == (2, 17 * 512)
    assert rw(queue, READ, 0, 1, 0x5000_0000_0000) == 0x04
    # An SGL of one data block, which is mapped, or too short.
    assert queue.run(READ, nsid=1, flags=0x40, prp1=two, prp2=512, cdw12=0).code == 0
    assert queue.run(READ, nsid=1, flags=0x40, prp1=two, prp2=508, cdw12=0).code == 0x0F
    assert queue.run(READ, nsid=1, flags=0x40, prp1=0x5000_0000_0000, prp2=512, cdw12=0).code == 0x04
    # A reservation or a block that can't be read makes it another path in the mock.
    assert queue.run(0x04, nsid=1, cdw10=100, cdw12=0).code == 0
    assert rw(queue, READ, 8, 1, raw.page_iova) == 0
    assert raw.data(PAGE) == content


def test_no_data_is_for_plain_memory(tmp_path: Path) -> None:
    """What no-data namespaces can't be is refused; an address can ask for them."""
    for options in ({"storage": tmp_path / "file"}, {"metadata": 8}, {"pi": 1, "metadata": 8}):
        with pytest.raises(UsageError, match="no_data is for namespaces in memory"):
            MockController(no_data=True, **options)
    with MockController.from_options({"no_data": "1"}) as mock:
        assert mock.options.media.no_data


def test_a_failed_read_changes_nothing(raw: Raw) -> None:
    """When a later part of the data pointer is wrong, no earlier part was written."""
    queue = raw.create(1)
    raw.mock.poke(1, 0, b"\x55" * 8192)
    raw.memory.bytes[raw.page : raw.page + PAGE] = bytes(PAGE)
    assert rw(queue, READ, 0, 16, raw.page_iova, 0x5000_0000_0000) == 0x04
    assert raw.data(PAGE) == bytes(PAGE)


@settings(max_examples=examples(60), deadline=None)
@given(data=st.data())
def test_prp_lists(data: st.DataObject) -> None:
    """Any transfer, from any dword, by scattered pages and a list that crosses list pages."""
    nblocks = data.draw(st.integers(1, 2048 * 4), label="nblocks")
    offset = data.draw(st.integers(0, PAGE // 4 - 1), label="dword") * 4
    entry = data.draw(st.integers(0, PAGE // 8 - 1), label="first entry of the list")
    seed = random.Random(data.draw(st.integers(0, 1 << 32), label="seed"))
    with MockController(drive="step", mdts=0, size=8 * MiB) as mock, Raw(mock, memory=16 * MiB) as raw:
        raw.enable()
        queue = raw.create(1)
        nbytes = nblocks * 512
        npages = -(-(offset + nbytes) // PAGE)
        pages = [raw.memory.take(1) for _ in range(npages + npages // 400 + 4)]
        seed.shuffle(pages)
        spare, used = pages[npages:], pages[:npages]
        prp2 = 0
        if npages == 2:
            prp2 = raw.memory.iova + used[1]
        elif npages > 2:
            prp2 = write_list(raw, used[1:], spare, entry)
        content = seed.randbytes(nbytes)
        mock.poke(1, 7, content)
        assert rw(queue, READ, 7, nblocks, raw.memory.iova + used[0] + offset, prp2) == 0
        whole = b"".join(raw.memory.bytes[page : page + PAGE] for page in used)
        assert whole[offset : offset + nbytes] == content
        assert not any(whole[:offset] + whole[offset + nbytes :])


def write_list(raw: Raw, pages: list[int], spare: list[int], entry: int) -> int:
    """Writes a PRP list; the address of its first entry."""
    page = spare.pop()
    first = raw.memory.iova + page + 8 * entry
    left = [raw.memory.iova + data for data in pages]
    while left:
        if entry == PAGE // 8 - 1 and len(left) > 1:
            following = spare.pop()
            struct.pack_into("<Q", raw.memory.bytes, page + 8 * entry, raw.memory.iova + following)
            page, entry = following, 0
        struct.pack_into("<Q", raw.memory.bytes, page + 8 * entry, left.pop(0))
        entry += 1
    return first
