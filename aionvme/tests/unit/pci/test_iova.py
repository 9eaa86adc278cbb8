"""I/O addresses: within the ranges, never 0, low first; and the list of free extents beneath."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionvme.pci.extents import Extents
from aionvme.pci.iova import LOW_LIMIT, IovaSpace

PAGE = 4096
MIB = 1 << 20

# The ranges of a VT-d IOMMU with 39 bits: all but the window of the interrupt messages.
VTD = [(0, 0xFEDFFFFF), (0xFEF00000, (1 << 39) - 1)]


def test_low_addresses_first_but_not_the_lowest() -> None:
    """The first address is the lowest aligned one from 64 KiB on."""
    space = IovaSpace(VTD, PAGE)
    assert space.take(PAGE) == LOW_LIMIT
    assert space.take(2 * MIB, 2 * MIB) == 2 * MIB
    assert space.take(PAGE) == LOW_LIMIT + PAGE


def test_holes_are_never_used() -> None:
    """What does not fit below a hole goes above it."""
    space = IovaSpace(VTD, PAGE)
    assert space.take(0xFEE00000 - 0x200000, 0x200000) == 0x200000
    assert space.take(16 * MIB, 2 * MIB) == 0xFF000000


def test_lowest_addresses_serve_when_nothing_else_is_left() -> None:
    """Below 64 KiB is used last, and 0 never."""
    space = IovaSpace([(0, LOW_LIMIT + PAGE - 1)], PAGE)
    assert [space.take(PAGE) for _ in range(3)] == [LOW_LIMIT, PAGE, 2 * PAGE]
    assert space.take(LOW_LIMIT) is None


def test_last_page_of_64_bits() -> None:
    """A range may end with the last of 64-bit addresses."""
    space = IovaSpace([((1 << 64) - 2 * PAGE, (1 << 64) - 1)], PAGE)
    assert space.take(2 * PAGE) == (1 << 64) - 2 * PAGE


@pytest.mark.parametrize("ranges", [[], [(0, PAGE - 1)], [(100, 2 * PAGE - 2)]])
def test_ranges_without_a_whole_page(ranges: list[tuple[int, int]]) -> None:
    """Parts of pages, and page 0, are not used."""
    space = IovaSpace(ranges, PAGE)
    assert space.free == 0
    assert space.take(PAGE) is None


ranges_of_pages = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 60)), min_size=1, max_size=5)
requests = st.lists(st.tuples(st.booleans(), st.integers(1, 30), st.integers(0, 5)), max_size=60)


def laid_out(gaps_and_lengths: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found, at = [], 0
    for gap, length in gaps_and_lengths:
        at += gap * PAGE
        if length:
            found.append((at, at + length * PAGE - 1))
        at += length * PAGE
    return found


@given(ranges_of_pages, requests)
def test_addresses_never_overlap_and_all_come_back(
    gaps: list[tuple[int, int]], asked: list[tuple[bool, int, int]]
) -> None:
    """What is taken is within one range, aligned and not in use; and nothing is refused that fits."""
    ranges = laid_out(gaps)
    space = IovaSpace(ranges, PAGE)
    total = space.free
    used: dict[int, int] = {}
    for give, npages, shift in asked:
        if give and used:
            iova = sorted(used)[npages % len(used)]
            space.give(iova, used.pop(iova))
            continue
        nbytes, align = npages * PAGE, PAGE << shift
        taken = space.take(nbytes, align)
        assert (taken is not None) == fits(ranges, used, nbytes, align)
        if taken is not None:
            assert taken % align == 0 and is_free(ranges, used, taken, nbytes)
            used[taken] = nbytes
    for iova, nbytes in used.items():
        space.give(iova, nbytes)
    assert space.free == total


def is_free(ranges: list[tuple[int, int]], used: dict[int, int], iova: int, nbytes: int) -> bool:
    inside = any(first <= iova and iova + nbytes - 1 <= last for first, last in ranges)
    return inside and all(iova + nbytes <= other or other + length <= iova for other, length in used.items())


def fits(ranges: list[tuple[int, int]], used: dict[int, int], nbytes: int, align: int) -> bool:
    starts = (iova for first, last in ranges for iova in range(-(-first // align) * align, last, align))
    return any(is_free(ranges, used, iova, nbytes) for iova in starts)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 63), st.integers(1, 8)), max_size=80))
def test_extents_agree_with_a_set(steps: list[tuple[bool, int, int]]) -> None:
    """Free extents are what a set of numbers says, in the fewest pieces."""
    extents, model = Extents(), set[int]()
    for give, start, size in steps:
        numbers = set(range(start, start + size))
        if not give:
            taken = extents.take(size)
            model -= set() if taken is None else set(range(taken, taken + size))
        elif numbers & model:
            with pytest.raises(ValueError, match="free already"):
                extents.give(start, size)
        else:
            extents.give(start, size)
            model |= numbers
        listed = list(extents)
        assert {number for first, end in listed for number in range(first, end)} == model
        assert all(end < first for (_, end), (first, _) in pairwise(listed))
        assert extents.free == len(model)
