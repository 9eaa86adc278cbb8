"""Memory of another process that a function reaches: where it may lie, what is refused, and how it goes back."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest

from aionvme.errors import UsageError
from aionvme.pci.backing import PAGE, backing_file
from aionvme.pci.dma import DmaSpace
from aionvme.pci.lent import LentMemory
from aionvme.tests.unit.pci.recording import RecordingFunction


@contextmanager
def file_of(nbytes: int) -> Iterator[int]:
    """The descriptor of memory as another process makes it."""
    fd, _ = backing_file(nbytes, huge=False)
    try:
        yield fd
    finally:
        os.close(fd)


def test_it_is_the_same_memory_at_the_address_that_was_chosen() -> None:
    """What the function reaches is what the other process sees, also when that has closed its descriptor."""
    function = RecordingFunction()
    space = DmaSpace(function)
    lent = LentMemory(space)
    iova = lent.iova + 5 * PAGE
    with file_of(2 * PAGE) as fd, mmap.mmap(fd, 2 * PAGE) as theirs:
        lent.map(fd, iova, 2 * PAGE)
        theirs[PAGE] = 7
        address, nbytes = function.mapped[iova]
        assert nbytes == 2 * PAGE
        assert (address, nbytes, iova) in space.mappings()
        assert space.lookup(address + PAGE, 1) == (1, iova + PAGE)
    assert lent.covers(iova, 2 * PAGE)
    assert not lent.covers(iova, 2 * PAGE + 1)
    assert not lent.covers(iova - 1, 1)
    lent.unmap(iova, 2 * PAGE)
    assert not function.mapped
    lent.close()
    space.close()


def test_ranges_are_apart_and_come_back() -> None:
    """Two borrowers and the space itself use no I/O address twice; a range that was closed is lent again."""
    space = DmaSpace(RecordingFunction())
    one, two = LentMemory(space), LentMemory(space)
    buffer = space.alloc(PAGE)
    starts = sorted([(one.iova, one.nbytes), (two.iova, two.nbytes), (buffer.iova, PAGE)])
    assert all(start + size <= after for (start, size), (after, _) in pairwise(starts))
    first = one.iova
    one.close()
    one.close()
    assert LentMemory(space).iova == first
    space.close()


def test_few_addresses() -> None:
    """Where the IOMMU has few, the range is smaller; where it has too few, there is none."""
    space = DmaSpace(RecordingFunction([(0, (1 << 30) - 1)]))
    lent = LentMemory(space)
    assert 1 << 26 <= lent.nbytes < 1 << 30
    lent.close()
    small = DmaSpace(RecordingFunction([(0, (1 << 26) - 1)]))
    with pytest.raises(MemoryError, match="are not left"):
        LentMemory(small)
    space.close()
    small.close()


def test_what_is_refused() -> None:
    """Addresses outside of the range, parts of pages, what is mapped, files that may shrink or are short."""
    function = RecordingFunction()
    space = DmaSpace(function)
    lent = LentMemory(space)
    with file_of(2 * PAGE) as fd:
        for iova, nbytes in [
            (lent.iova - PAGE, PAGE),
            (lent.iova + lent.nbytes, PAGE),
            (lent.iova + lent.nbytes - PAGE, 2 * PAGE),
            (lent.iova + 1, PAGE),
            (lent.iova, PAGE + 1),
            (lent.iova, 0),
        ]:
            with pytest.raises(UsageError, match="not whole pages of what was lent"):
                lent.map(fd, iova, nbytes)
        with pytest.raises(UsageError, match="sealed against shrinking"):
            lent.map(fd, lent.iova, 3 * PAGE)
        lent.map(fd, lent.iova, 2 * PAGE)
        with pytest.raises(UsageError, match="mapped already"):
            lent.map(fd, lent.iova + PAGE, PAGE)
        with pytest.raises(UsageError, match="not what was mapped"):
            lent.unmap(lent.iova, PAGE)
    unsealed = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(unsealed, PAGE)
    fcntl.fcntl(unsealed, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
    for fd in (unsealed, os.open(os.devnull, os.O_RDONLY)):
        with pytest.raises(UsageError, match="sealed against shrinking"):
            lent.map(fd, lent.iova + 4 * PAGE, PAGE)
        os.close(fd)
    assert len(function.mapped) == 1
    space.close()


def test_cut_off() -> None:
    """The end of the space is the end of all that was lent of it, before whoever has it gives it back."""
    function = RecordingFunction()
    space = DmaSpace(function)
    lent = LentMemory(space)
    with file_of(PAGE) as fd:
        lent.map(fd, lent.iova, PAGE)
    space.close()
    assert not function.mapped
    lent.close()


def test_what_cannot_be_unmapped_stays() -> None:
    """The memory and the range are not used again where the kernel refuses."""
    function = RecordingFunction()
    space = DmaSpace(function)
    lent = LentMemory(space)
    with file_of(PAGE) as fd:
        lent.map(fd, lent.iova, PAGE)
    first, function.refuse_unmap = lent.iova, True
    with pytest.raises(OSError, match="refused"):
        lent.close()
    assert LentMemory(space).iova != first
    function.refuse_unmap = False
    space.close()
