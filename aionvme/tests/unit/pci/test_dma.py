"""DMA buffers and their arenas."""

from __future__ import annotations

import gc
import os
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aionvme.errors import UsageError
from aionvme.pci import dma
from aionvme.pci.backing import PAGE
from aionvme.pci.dma import DmaBuffer, DmaRegistration, DmaSpace
from aionvme.tests.quick import examples
from aionvme.tests.unit.pci.recording import MIB, RecordingFunction, address_of


@pytest.fixture
def function() -> RecordingFunction:
    return RecordingFunction()


@pytest.fixture
def space(function: RecordingFunction) -> DmaSpace:
    return DmaSpace(function)


def test_buffer_is_writable_zeroed_bytes(space: DmaSpace) -> None:
    """A buffer is writable bytes of the length asked for, all zero, also where an earlier one lay."""
    for _ in range(2):
        with space.alloc(5000) as buffer:
            view = memoryview(buffer)
            assert (view.format, view.ndim, view.readonly, len(view)) == ("B", 1, False, 5000)
            assert (len(buffer), buffer.nbytes) == (5000, 5000)
            assert view == bytes(5000)
            view[:] = b"\xaa" * 5000
            assert bytes(buffer) == b"\xaa" * 5000
            view.release()


def test_arena_is_shared_and_aligned_for_large_pages(function: RecordingFunction, space: DmaSpace) -> None:
    """One mapping of 2 MiB, aligned to it on both sides, serves many buffers; its iova is low, not 0."""
    buffers = [space.alloc(PAGE) for _ in range(10)]
    [(iova, (address, nbytes))] = function.mapped.items()
    assert (iova % (2 * MIB), address % (2 * MIB), nbytes) == (0, 0, 2 * MIB)
    assert 0 < iova < 1 << 30
    for buffer in buffers:
        assert space.lookup(address_of(buffer), PAGE) == (PAGE, buffer.iova)


def test_large_allocation_has_an_arena_of_its_own(function: RecordingFunction, space: DmaSpace) -> None:
    """More than an arena is mapped by itself, linear on both sides, and unmapped as soon as it is let go."""
    buffer = space.alloc(5 * MIB)
    assert space.lookup(address_of(buffer), 5 * MIB) == (5 * MIB, buffer.iova)
    assert len(function.mapped) == 1
    buffer.close()
    assert function.mapped == {}


@pytest.mark.parametrize("align", [1, 4096, 65536, 4 * MIB])
def test_alignment_is_kept_on_both_sides(space: DmaSpace, align: int) -> None:
    """Both the address and the I/O address are multiples of `align`."""
    space_taker = space.alloc(100)
    buffer = space.alloc(100, align=align)
    assert buffer.iova % align == 0
    assert address_of(buffer) % align == 0
    del space_taker


@pytest.mark.parametrize("nbytes", [0, -1])
def test_no_length_is_refused(space: DmaSpace, nbytes: int) -> None:
    """A length below 1 is refused."""
    with pytest.raises(UsageError, match="nbytes must be at least 1"):
        space.alloc(nbytes)


@pytest.mark.parametrize("align", [0, -4096, 3, 4097])
def test_odd_alignment_is_refused(space: DmaSpace, align: int) -> None:
    """An alignment that is no power of two is refused."""
    with pytest.raises(UsageError, match="power of two"):
        space.alloc(4096, align=align)


def test_wrong_type_stays_a_type_error(space: DmaSpace) -> None:
    """A length that is no whole number is a TypeError."""
    with pytest.raises(TypeError):
        space.alloc(4096.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 100, PAGE // 2, PAGE + 1, 3 * PAGE])
def test_odd_arena_size_is_refused(function: RecordingFunction, size: int) -> None:
    """Arenas are a power of two of bytes, whole pages."""
    with pytest.raises(UsageError, match="arena_size"):
        DmaSpace(function, arena_size=size)


@pytest.mark.parametrize("nbytes", [1 << 45, 1 << 62, 1 << 70])
def test_too_much_memory_is_refused(function: RecordingFunction, space: DmaSpace, nbytes: int) -> None:
    """More memory than there is raises MemoryError, and costs none."""
    with pytest.raises(MemoryError, match="no memory for"):
        space.alloc(nbytes)
    assert function.mapped == {}


def test_memlock_limit_leaves_nothing_half_mapped() -> None:
    """When the kernel maps no more, its error comes through, and what was there before goes on."""
    function = RecordingFunction(limit=4 * MIB)
    space = DmaSpace(function)
    buffers = [space.alloc(2 * MIB) for _ in range(2)]
    files = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="memlock"):
        space.alloc(PAGE)
    assert len(os.listdir("/proc/self/fd")) == files
    assert len(space.mappings()) == len(function.mapped) == 2
    buffers.pop().close()
    assert space.alloc(2 * MIB).nbytes == 2 * MIB


def test_no_io_addresses_left_is_a_memory_error() -> None:
    """A range that is used up is a MemoryError, and free again when memory is let go."""
    space = DmaSpace(RecordingFunction([(0, 4 * MIB - 1)]))
    buffer = space.alloc(2 * MIB)
    with pytest.raises(MemoryError, match="no I/O addresses left"):
        space.alloc(PAGE)
    buffer.close()
    assert space.alloc(PAGE).iova == 2 * MIB


def test_open_files_do_not_grow_with_arenas(space: DmaSpace) -> None:
    """An arena keeps no descriptor."""
    files = len(os.listdir("/proc/self/fd"))
    buffers = [space.alloc(2 * MIB) for _ in range(4)]
    assert len(os.listdir("/proc/self/fd")) == files
    assert len(buffers) == 4


def test_one_empty_arena_is_kept(function: RecordingFunction, space: DmaSpace) -> None:
    """Of arenas that become empty one stays mapped as a spare; the others are unmapped."""
    buffers = [space.alloc(2 * MIB) for _ in range(3)]
    for buffer in buffers:
        buffer.close()
    assert len(function.mapped) == 1
    calls = function.calls
    assert space.alloc(2 * MIB).nbytes == 2 * MIB
    assert function.calls == calls


def test_memory_goes_back_after_the_last_view(space: DmaSpace, function: RecordingFunction) -> None:
    """close() with a memoryview alive refuses new ones, and gives the memory back when that view ends."""
    buffer = space.alloc(5 * MIB)
    view = memoryview(buffer)[100:200]
    buffer.close()
    assert buffer.closed
    with pytest.raises(BufferError):
        memoryview(buffer)
    with pytest.raises(UsageError):
        buffer.array()
    view[:] = b"x" * 100
    assert len(function.mapped) == 1
    view.release()
    assert function.mapped == {}


def test_memory_goes_back_after_the_last_command(space: DmaSpace, function: RecordingFunction) -> None:
    """close() while a command holds the memory gives it back only when the command lets go."""
    buffer = space.alloc(5 * MIB)
    dma.hold(buffer)
    dma.hold(buffer)
    buffer.close()
    dma.release(buffer)
    assert len(function.mapped) == 1
    dma.release(buffer)
    assert function.mapped == {}


def test_dropped_buffer_goes_back_silently(
    space: DmaSpace, function: RecordingFunction, recwarn: pytest.WarningsRecorder
) -> None:
    """A buffer that is collected open gives its memory back, without a warning; an array keeps it."""
    array = space.alloc(5 * MIB).array(np.uint32)
    gc.collect()
    assert len(function.mapped) == 1
    array[:] = 7
    del array
    gc.collect()
    assert function.mapped == {}
    assert len(recwarn) == 0


def test_memory_of_a_forgotten_command_is_kept(space: DmaSpace, function: RecordingFunction) -> None:
    """A buffer that is collected while a command holds it does not go back."""
    buffer = space.alloc(5 * MIB)
    dma.hold(buffer)
    del buffer
    gc.collect()
    assert len(function.mapped) == 1


def test_array_has_the_items_asked_for(space: DmaSpace) -> None:
    """array() is a writable view; a length that is not whole items is refused."""
    buffer = space.alloc(4096)
    array = buffer.array("<u8")
    array[-1] = 0x0102030405060708
    assert (array.shape, bytes(buffer)[-8:]) == ((512,), bytes([8, 7, 6, 5, 4, 3, 2, 1]))
    with pytest.raises(UsageError, match="whole number"):
        space.alloc(4095).array(np.uint16)


def test_repr_shows_no_data(space: DmaSpace) -> None:
    """Its repr names length and I/O address, and nothing of the contents."""
    buffer = space.alloc(4096)
    memoryview(buffer)[:6] = b"secret"
    assert repr(buffer) == f"<DmaBuffer of 4096 bytes at iova {buffer.iova:#x}>"
    buffer.close()
    assert "closed" in repr(buffer)


def test_made_by_the_space_alone() -> None:
    """Buffers and registrations cannot be made by hand; one forced into being is of no use and no harm."""
    for cls in (DmaBuffer, DmaRegistration):
        with pytest.raises(TypeError, match="is made by"):
            cls()
    with pytest.raises(BufferError):
        memoryview(DmaBuffer.__new__(DmaBuffer))
    DmaRegistration.__new__(DmaRegistration).close()


@settings(max_examples=examples(60), deadline=None)
@given(st.data())
def test_allocator_never_overlaps_and_gets_all_back(data: st.DataObject) -> None:
    """In whatever order memory is allocated and let go: no two buffers overlap, and all comes back."""
    function = RecordingFunction()
    space = DmaSpace(function, arena_size=16 * PAGE)
    live: list[DmaBuffer] = []
    for stamp in range(1, data.draw(st.integers(1, 60))):
        if data.draw(st.booleans()) and live:
            live.pop(data.draw(st.integers(0, len(live) - 1))).close()
            continue
        nbytes = data.draw(st.integers(1, 20 * PAGE))
        align = 1 << data.draw(st.integers(0, 17))
        buffer = space.alloc(nbytes, align=align)
        assert not buffer.array().any()
        buffer.array()[:] = stamp
        assert buffer.iova % align == 0
        assert space.lookup(address_of(buffer), nbytes) == (nbytes, buffer.iova)
        live.append(buffer)
        spans = sorted((one.iova, one.iova + one.nbytes) for one in live)
        assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    for buffer in live:
        assert len(set(bytes(buffer))) == 1
        buffer.close()
    assert len(function.mapped) <= 1
    space.close()
    assert function.mapped == {}
