"""PRPs and SGLs over segments, walked as a controller does, against a model that looks each page up."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aionvme.pci.backing import PAGE
from aionvme.pci.dma import DmaSpace
from aionvme.qpair.describe import describe
from aionvme.tests.quick import examples
from aionvme.tests.unit.pci.recording import MIB, RecordingFunction, address_of, pages
from aionvme.tests.unit.qpair.model import (
    Iommu,
    Run,
    descriptors,
    merged,
    part,
    prp_prefix,
    total,
    walk_prps,
    walk_sgl,
)

ALL, NOT_MAPPED, TOO_MANY, UNALIGNED, BUCKET = range(5)
DWORDS, BUCKETS = 1, 2
LIST = 0x7FFF_0000_0000
PAGES = 24
Segment = tuple[int, int]
Kind = Literal["prp", "sgl"]
KINDS: tuple[Kind, ...] = ("prp", "sgl")


class Said(NamedTuple):
    """What a description says, and how to read its list."""

    result: int
    described: int
    dptr: tuple[int, int]
    entries: bytes

    def fetch(self, iova: int, nbytes: int) -> bytes:
        assert iova >= LIST
        assert iova + nbytes <= LIST + len(self.entries)
        return self.entries[iova - LIST :][:nbytes]

    def prps(self, page_size: int) -> list[Run]:
        return walk_prps(*self.dptr, self.described, page_size, self.fetch)

    def sgl(self) -> list[Run]:
        return walk_sgl(struct.pack("<QQ", *self.dptr), self.fetch)


class Memory:
    """Pages of which some are together for the device, some are anywhere, and some it does not reach."""

    def __init__(self) -> None:
        self.function = RecordingFunction()
        self.space = DmaSpace(self.function)
        self.pages = pages(PAGES)
        self.address = address_of(self.pages)
        view = memoryview(self.pages)
        # From page to page: alone and out of order, then three and eight together, and the last three not at all.
        for first, count in (
            (5, 1),
            (2, 1),
            (7, 1),
            (0, 1),
            (3, 1),
            (8, 3),
            (1, 1),
            (11, 8),
            (4, 1),
            (6, 1),
            (19, 2),
        ):
            self.space.register(view[first * PAGE : (first + count) * PAGE])
        self.buf = self.space.alloc(18 * MIB)
        self.iommu = Iommu(self.function.mapped)
        self.iova = self.buf.iova

    @property
    def buf_address(self) -> int:
        return address_of(self.buf)

    def runs(self, segments: list[Segment], offset: int, nbytes: int) -> list[Run]:
        """What a transfer is for the device, up to the first byte that it does not reach."""
        found: list[Run] = []
        for address, length in segments:
            skipped = min(offset, length)
            offset -= skipped
            taken = min(length - skipped, nbytes)
            nbytes -= taken
            here = self.iommu.runs(address + skipped, taken) if address else [(None, taken)]
            found += here
            if total(here) < taken:
                break
        return merged(found)

    def say(self, kind: Kind, segments: list[Segment], offset: int, nbytes: int, **options: Any) -> Said:
        return Said(*describe(kind, self.space, segments, offset, nbytes, list_iova=LIST, **options))


@pytest.fixture(scope="module")
def memory() -> Iterator[Memory]:
    """The same for all tests."""
    memory = Memory()
    yield memory
    memory.space.close()


# -- random segments ---------------------------------------------------------------------------------------------------

_places = st.one_of(
    st.integers(0, PAGES * PAGE // 4 - 1).map(lambda n: 4 * n),
    st.integers(0, PAGES - 1).map(lambda n: PAGE * n),
    st.integers(0, PAGES * PAGE - 1),
)
_lengths = st.one_of(
    st.integers(1, 4).map(lambda n: PAGE * n),
    st.integers(1, 2 * PAGE).map(lambda n: 4 * n),
    st.integers(1, 3 * PAGE),
)
_segment = st.tuples(_places, _lengths, st.integers(0, 7))


@st.composite
def transfers(draw: st.DrawFn) -> tuple[list[tuple[int | None, int]], int, int]:
    """Segments as (offset in the pages or None, bytes), and which part of them is transferred."""
    segments: list[tuple[int | None, int]] = []
    for place, nbytes, kind in draw(st.lists(_segment, min_size=1, max_size=12)):
        if kind == 0:
            segments.append((None, nbytes))
        elif kind == 1 and segments and segments[-1][0] is not None:
            # Where the one before ends: one stretch in two segments.
            before, length = segments[-1]
            assert before is not None
            place = before + length
            if place < PAGES * PAGE:
                segments.append((place, min(nbytes, PAGES * PAGE - place)))
        elif kind in (2, 3):
            # Whole pages, as PRPs want them.
            page = place // PAGE * PAGE
            segments.append((page, min(-(-nbytes // PAGE) * PAGE, PAGES * PAGE - page)))
        else:
            segments.append((place, min(nbytes, PAGES * PAGE - place)))
    size = sum(nbytes for _, nbytes in segments)
    offset = draw(st.one_of(st.just(0), st.integers(0, size - 1)))
    return segments, offset, draw(st.one_of(st.just(size - offset), st.integers(1, size - offset)))


def placed(memory: Memory, segments: list[tuple[int | None, int]]) -> list[Segment]:
    return [(0 if place is None else memory.address + place, nbytes) for place, nbytes in segments]


@given(
    transfer=transfers(),
    page_size=st.sampled_from([PAGE, 2 * PAGE, 4 * PAGE, 16 * PAGE]),
    room=st.integers(0, 20),
)
@settings(max_examples=examples(500), deadline=None)
def test_prps_describe_as_much_as_there_can_be_and_no_more(
    memory: Memory, transfer: Any, page_size: int, room: int
) -> None:
    """Walked, PRPs are the first bytes of the transfer; they go as far as the model, and say why no further."""
    segments, offset, nbytes = transfer
    segments = placed(memory, segments)
    said = memory.say("prp", segments, offset, nbytes, page_size=page_size, list_bytes=8 * room or 4)
    runs = memory.runs(segments, offset, nbytes)
    assert said.prps(page_size) == part(runs, 0, said.described)
    assert said.described == prp_prefix(runs, page_size, room)
    assert (said.result == ALL) == (said.described == nbytes)
    if said.result == NOT_MAPPED:
        assert said.described == total(runs)
    if said.result == BUCKET:
        assert part(runs, said.described, 1)[0][0] is None
    if said.result == TOO_MANY:
        assert prp_prefix(runs, page_size, room + 1) > said.described
    if said.result == UNALIGNED:
        assert prp_prefix(runs, page_size, 1 << 20) == said.described < total(runs)


def sgl_prefix(
    memory: Memory, segments: list[Segment], offset: int, nbytes: int, flags: int, room: int
) -> int:
    """How many bytes an SGL can describe, with room for so many descriptors in a list."""
    reached: list[Run] = []
    for address, length in segments:
        skipped = min(offset, length)
        offset -= skipped
        taken = min(length - skipped, nbytes)
        nbytes -= taken
        if not taken:
            continue
        if not address:
            if not flags & BUCKETS:
                break
            reached.append((None, taken))
            continue
        runs = memory.iommu.runs(address + skipped, taken)
        for iova, run in runs:
            assert iova is not None
            reached.append((iova, run))
        if total(runs) < taken:
            break
    done = 0
    for iova, run in merged(reached)[: max(room, 1)]:
        # It is descriptors that are to be dwords; what they are made of need not.
        if flags & DWORDS and iova is not None and (iova % 4 or run % 4):
            return done if iova % 4 else done + run // 4 * 4
        done += run
    return done


@given(transfer=transfers(), flags=st.integers(0, 3), room=st.integers(1, 16))
@settings(max_examples=examples(500), deadline=None)
def test_sgls_describe_as_much_as_there_can_be_and_no_more(
    memory: Memory, transfer: Any, flags: int, room: int
) -> None:
    """Walked, an SGL is the first bytes of the transfer; it goes as far as the model, and says why no further."""
    segments, offset, nbytes = transfer
    segments = placed(memory, segments)
    said = memory.say("sgl", segments, offset, nbytes, flags=flags, list_bytes=16 * room)
    runs = memory.runs(segments, offset, nbytes)
    assert said.described == sgl_prefix(memory, segments, offset, nbytes, flags, room)
    if said.described:
        assert said.sgl() == part(runs, 0, said.described)
        assert descriptors(struct.pack("<QQ", *said.dptr)) <= room
    assert (said.result == ALL) == (said.described == nbytes)
    if said.result == NOT_MAPPED:
        assert said.described == total(runs)
    if said.result == BUCKET:
        assert not flags & BUCKETS
        assert part(runs, said.described, 1)[0][0] is None
    if said.result == TOO_MANY:
        # What comes next has no room; whether it is a multiple of 4 is not asked any more.
        assert sgl_prefix(memory, segments, offset, nbytes, flags & ~DWORDS, room + 1) > said.described
    if said.result == UNALIGNED:
        assert flags & DWORDS


@given(
    transfer=transfers(),
    kind=st.sampled_from(KINDS),
    page_size=st.sampled_from([PAGE, 2 * PAGE, 16 * PAGE]),
    room=st.integers(1, 12),
    unit=st.sampled_from([1, 4, 512, 520, 4096]),
)
@settings(max_examples=examples(500), deadline=None)
def test_cut_where_a_description_ends_nothing_is_lost_or_said_twice(
    memory: Memory, transfer: Any, kind: Kind, page_size: int, room: int, unit: int
) -> None:
    """Cut to whole blocks of what was described each time, the pieces are all of the transfer, each byte once."""
    segments, begin, nbytes = transfer
    segments = placed(memory, segments)
    options = {"page_size": page_size, "list_bytes": 16 * room, "flags": BUCKETS}
    found: list[Run] = []
    done = 0
    while done < nbytes:
        said = memory.say(kind, segments, begin + done, nbytes - done, **options)
        take = nbytes - done if said.result == ALL else said.described // unit * unit
        if take == 0:
            break
        again = memory.say(kind, segments, begin + done, take, **options)
        assert (again.result, again.described) == (ALL, take)
        found += again.prps(page_size) if kind == "prp" else again.sgl()
        done += take
    assert merged(found) == part(memory.runs(segments, begin, nbytes), 0, done)


# -- many segments -----------------------------------------------------------------------------------------------------

SHAPES = [1, 2, 3, 4, 127, 128, 255, 256, 257, 511, 512, 513, 2048, 4095, 4096]


def shuffled_pages(memory: Memory, count: int) -> list[Segment]:
    order = [2 * n for n in range(count)] if count <= 2048 else list(range(count))
    random.Random(count).shuffle(order)
    return [(memory.buf_address + PAGE * number, PAGE) for number in order]


@pytest.mark.parametrize("count", SHAPES)
def test_prps_of_pages_anywhere(memory: Memory, count: int) -> None:
    """So many pages in any order: PRP1 is the first, the list has the others, in a list of up to 512 entries."""
    segments = shuffled_pages(memory, count)
    said = memory.say("prp", segments, 0, count * PAGE)
    assert said.described == min(count, 513) * PAGE
    assert said.result == (ALL if count <= 513 else TOO_MANY)
    assert said.prps(PAGE) == part(memory.runs(segments, 0, count * PAGE), 0, said.described)


@pytest.mark.parametrize("count", SHAPES)
def test_sgls_of_pieces_anywhere(memory: Memory, count: int) -> None:
    """So many pieces of 12 bytes: a descriptor each, in a list with room for all; one alone is in the command."""
    segments = [
        (address + 4 * (number % 1000), 12)
        for number, (address, _) in enumerate(shuffled_pages(memory, count))
    ]
    said = memory.say("sgl", segments, 0, count * 12, list_bytes=16 * 4096, flags=DWORDS)
    assert (said.result, said.described) == (ALL, count * 12)
    assert descriptors(struct.pack("<QQ", *said.dptr)) == (0 if count == 1 else count)
    assert said.sgl() == memory.runs(segments, 0, count * 12)


@given(count=st.integers(1, 4096), seed=st.integers(0, 1 << 32), room=st.sampled_from([64, 128, 256]))
@settings(max_examples=25, deadline=None)
def test_any_number_of_segments_is_cut_into_commands(
    memory: Memory, count: int, seed: int, room: int
) -> None:
    """From 1 to 4096 segments of any length, cut into blocks: all of it once, each command as full as can be."""
    chosen = random.Random(seed)
    segments = [
        (memory.buf_address + 4 * chosen.randrange(4 * MIB), 4 * chosen.randint(1, 64)) for _ in range(count)
    ]
    nbytes = sum(length for _, length in segments) // 512 * 512
    found: list[Run] = []
    done = 0
    while done < nbytes:
        said = memory.say("sgl", segments, done, nbytes - done, list_bytes=16 * room)
        if said.result != ALL:
            assert descriptors(struct.pack("<QQ", *said.dptr)) == room
        take = said.described // 512 * 512
        assert take
        found += part(said.sgl(), 0, take)
        done += take
    assert merged(found) == memory.runs(segments, 0, nbytes)


def test_neighbours_are_one_descriptor(memory: Memory) -> None:
    """Segments that follow on are one data block, in the command itself."""
    segments = [(memory.buf_address + 100 * number, 100) for number in range(512)]
    said = memory.say("sgl", segments, 0, 51200)
    assert said.dptr == (memory.iova, 51200)
    assert said.entries == bytes(4096)


def test_odd_neighbours_are_a_descriptor_of_dwords(memory: Memory) -> None:
    """Where SGLs take dwords alone, pieces of any length are taken if what they make up together is dwords."""
    address, lengths = memory.buf_address + 8, (1, 2, 510, 3, 508)
    segments = []
    for nbytes in lengths:
        segments.append((address, nbytes))
        address += nbytes
    said = memory.say("sgl", segments, 0, 1024, flags=DWORDS)
    assert (said.result, said.described, said.dptr) == (ALL, 1024, (memory.iova + 8, 1024))
    # Moved by a byte, or with a gap where the sum is odd, they are not.
    moved = [(address + 1, nbytes) for address, nbytes in segments]
    assert memory.say("sgl", moved, 0, 1024, flags=DWORDS)[:2] == (UNALIGNED, 0)
    parted = [*segments[:3], *((address + PAGE, nbytes) for address, nbytes in segments[3:])]
    assert memory.say("sgl", parted, 0, 1024, flags=DWORDS)[:2] == (UNALIGNED, 512)


def test_a_lone_bit_bucket_stands_in_a_list(memory: Memory) -> None:
    """A command's own descriptor is a data block or leads to a list; nothing else is promised to be understood."""
    said = memory.say("sgl", [(0, 512)], 0, 512, flags=BUCKETS)
    assert struct.pack("<QQ", *said.dptr) == struct.pack("<QI3xB", LIST, 16, 0x30)
    assert said.entries[:16] == struct.pack("<QI3xB", 0, 512, 0x10)


def test_bit_buckets_beside_each_other_are_one(memory: Memory) -> None:
    """Two buckets between data are one descriptor of both lengths, with an address of zero."""
    segments = [(memory.buf_address, 512), (0, 100), (0, 412), (memory.buf_address + PAGE, 512)]
    said = memory.say("sgl", segments, 0, 1536, flags=BUCKETS)
    assert struct.pack("<QQ", *said.dptr) == struct.pack("<QI3xB", LIST, 48, 0x30)
    assert said.entries[:48] == (
        struct.pack("<QI3xB", memory.iova, 512, 0)
        + struct.pack("<QI3xB", 0, 512, 0x10)
        + struct.pack("<QI3xB", memory.iova + PAGE, 512, 0)
    )


def test_prps_by_hand(memory: Memory) -> None:
    """One, two and three pages from an offset on: PRP2 is zero, the second page, a list of the second and third."""
    at, iova = memory.buf_address + 512, memory.iova + 512
    said = [memory.say("prp", [(at, nbytes)], 0, nbytes) for nbytes in (3584, 3588, 7680, 7684)]
    assert [(s.result, s.dptr) for s in said] == [
        (ALL, (iova, 0)),
        (ALL, (iova, memory.iova + PAGE)),
        (ALL, (iova, memory.iova + PAGE)),
        (ALL, (iova, LIST)),
    ]
    assert said[3].entries[:24] == struct.pack("<QQQ", memory.iova + PAGE, memory.iova + 2 * PAGE, 0)
