"""PRP entries, against a model that looks each page up.

Against a decoder that walks them as a controller does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aionvme.pci.backing import PAGE
from aionvme.pci.dma import DmaSpace
from aionvme.qpair.describe import describe
from aionvme.tests.quick import examples
from aionvme.tests.unit.pci.recording import MIB, RecordingFunction, address_of, pages

OK, NOT_MAPPED, TOO_LONG, UNALIGNED = range(4)
LIST = 0x7FFF_0000_0000


def prps(
    space: DmaSpace, address: int, nbytes: int, page_size: int = PAGE, capacity: int = 512
) -> tuple[int, int, int, list[int]]:
    """What PRPs say of one stretch of memory: the result, PRP1, PRP2, and the entries of a list."""
    result, described, (prp1, prp2), raw = describe(
        "prp",
        space,
        [(address, nbytes)],
        0,
        nbytes,
        page_size=page_size,
        list_bytes=8 * capacity,
        list_iova=LIST,
    )
    assert described <= nbytes
    entries = [entry for (entry,) in struct.iter_unpack("<Q", raw)]
    while entries and not entries[-1]:
        entries.pop()
    return result, prp1, prp2, entries


class Memory:
    """One buffer of 2 MiB that a device reaches, and where."""

    def __init__(self) -> None:
        self.function = RecordingFunction()
        self.space = DmaSpace(self.function)
        self.buf = self.space.alloc(2 * MIB)
        [(iova, (address, self.nbytes))] = self.function.mapped.items()
        assert self.buf.iova == iova
        self.iova, self.address = iova, address

    def describe(
        self, offset: int, nbytes: int, page_size: int = PAGE, capacity: int = 512
    ) -> tuple[int, int, int, list[int]]:
        """As the driver would describe a part of the buffer."""
        return prps(self.space, self.address + offset, nbytes, page_size, capacity)


@pytest.fixture(scope="module")
def memory() -> Iterator[Memory]:
    """The same for all tests."""
    memory = Memory()
    yield memory
    memory.space.close()


def walk(prp1: int, prp2: int, entries: list[int], nbytes: int, page_size: int) -> list[int]:
    """The I/O address of each dword of a transfer, as a controller finds it (NVMe Base 2.0, 4.1.1)."""
    first = min(nbytes, page_size - prp1 % page_size)
    runs = [(prp1, first)]
    left = nbytes - first
    if left <= page_size:
        pages = [prp2] if left else []
    else:
        assert prp2 == LIST
        pages = list(entries)
    for page in pages:
        assert page % page_size == 0
        runs.append((page, min(left, page_size)))
        left -= min(left, page_size)
    assert left == 0
    return [address for start, length in runs for address in range(start, start + length, 4)]


dwords = st.integers(0, 512).map(lambda n: 4 * n)
offsets = st.one_of(
    dwords, st.integers(0, 255).map(lambda n: n * PAGE), st.integers(0, MIB // 4).map(lambda n: 4 * n)
)
lengths = st.one_of(
    st.integers(1, 1024).map(lambda n: 4 * n),
    st.integers(1, 255).flatmap(lambda n: st.sampled_from([n * PAGE - 4, n * PAGE, n * PAGE + 4])),
)


@given(offset=offsets, nbytes=lengths, page_size=st.sampled_from([PAGE, 2 * PAGE, 16 * PAGE]))
@settings(max_examples=examples(300), deadline=None)
def test_a_controller_finds_each_byte(memory: Memory, offset: int, nbytes: int, page_size: int) -> None:
    """Walked as the specification says, the entries lead to every dword of the memory, in order.

    To no other.
    """
    result, prp1, prp2, entries = memory.describe(offset, nbytes, page_size)
    assert result == OK
    start = memory.iova + offset
    assert walk(prp1, prp2, entries, nbytes, page_size) == list(range(start, start + nbytes, 4))


@given(offset=offsets, nbytes=lengths)
@settings(max_examples=examples(200), deadline=None)
def test_shape_by_number_of_pages(memory: Memory, offset: int, nbytes: int) -> None:
    """One page: PRP2 is 0. Two: it is the second page. More: the list, which has all but the first."""
    _, prp1, prp2, entries = memory.describe(offset, nbytes)
    start = memory.iova + offset
    pages = list(range(start // PAGE * PAGE, start + nbytes, PAGE))
    assert prp1 == start
    if len(pages) == 1:
        assert (prp2, entries) == (0, [])
    elif len(pages) == 2:
        assert (prp2, entries) == (pages[1], pages[1:])
    else:
        assert (prp2, entries) == (LIST, pages[1:])


@given(offset=offsets, nbytes=lengths, room=st.integers(-3, 3))
@settings(max_examples=examples(200), deadline=None)
def test_list_is_never_overrun(memory: Memory, offset: int, nbytes: int, room: int) -> None:
    """What has more pages than there is room for is refused, exactly from there on."""
    start = memory.iova + offset
    needed = len(range(start // PAGE * PAGE, start + nbytes, PAGE)) - 1
    capacity = max(needed + room, 1)
    result = memory.describe(offset, nbytes, capacity=capacity)[0]
    assert result == (OK if needed <= capacity else TOO_LONG)


@given(offset=st.integers(0, PAGE).filter(lambda n: n % 4), nbytes=lengths)
@settings(deadline=None)
def test_misaligned_memory_is_refused(memory: Memory, offset: int, nbytes: int) -> None:
    """PRP1 has a dword's alignment (bits 1:0 are 0)."""
    assert memory.describe(offset, nbytes)[0] == UNALIGNED


@given(over=st.integers(1, 2 * PAGE))
@settings(deadline=None)
def test_memory_that_ends_too_early_is_refused(memory: Memory, over: int) -> None:
    """A transfer that goes one byte, or a page, over what the device reaches is refused."""
    start = memory.nbytes - 3 * PAGE
    assert memory.describe(start, 3 * PAGE)[0] == OK
    assert memory.describe(start, 3 * PAGE + over)[0] == NOT_MAPPED


@given(order=st.permutations(range(6)), first=st.integers(0, 5), offset=st.integers(0, 1023), data=st.data())
@settings(max_examples=examples(60), deadline=None)
def test_memory_in_pieces_for_the_device(
    order: list[int], first: int, offset: int, data: st.DataObject
) -> None:
    """Neighbouring pages that were registered one by one are found each at its own I/O address."""
    function = RecordingFunction()
    space = DmaSpace(function)
    memory = pages(6)
    address = address_of(memory)
    view = memoryview(memory)
    for number in order:
        space.register(view[number * PAGE : (number + 1) * PAGE])
    start = first * PAGE + 4 * offset
    nbytes = 4 * data.draw(st.integers(1, (6 * PAGE - start) // 4))
    result, prp1, prp2, entries = prps(space, address + start, nbytes)
    assert result == OK
    iovas = {a: iova for iova, (base, length) in function.mapped.items() for a in [base] if length == PAGE}
    expected = [
        iovas[at // PAGE * PAGE] + at % PAGE for at in range(address + start, address + start + nbytes, 4)
    ]
    assert walk(prp1, prp2, entries, nbytes, PAGE) == expected
    space.close()


def test_memory_that_is_not_mapped_is_refused(memory: Memory) -> None:
    """Nothing of it is reached."""
    foreign = pages(1)
    assert prps(memory.space, address_of(foreign), 4)[0] == NOT_MAPPED


def test_nothing_needs_no_entry(memory: Memory) -> None:
    """A command without data has no pointer."""
    assert memory.describe(0, 0) == (OK, 0, 0, [])
