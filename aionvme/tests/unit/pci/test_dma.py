"""DMA memory against a function that records what is mapped, and refuses what an IOMMU would refuse."""

from __future__ import annotations

import asyncio
import gc
import mmap
import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aionvme.errors import UsageError
from aionvme.pci import dma
from aionvme.pci.backing import PAGE
from aionvme.pci.dma import DmaBuffer, DmaRegistration, DmaSpace
from aionvme.pci.function import Function

MIB = 1 << 20


class RecordingFunction(Function):
    """Keeps the mappings as an IOMMU would: whole pages, within the ranges, none over another."""

    def __init__(self, ranges: list[tuple[int, int]] | None = None, limit: int = 1 << 62) -> None:
        super().__init__("fake")
        self.ranges = ranges or [(0, (1 << 39) - 1)]
        self.limit = limit
        self.mapped: dict[int, tuple[int, int]] = {}
        self.calls = 0
        self.refuse_unmap = False

    def iova_ranges(self) -> list[tuple[int, int]]:
        return self.ranges

    def map_dma(self, address: int, nbytes: int, iova: int, *, fd: int = -1, offset: int = 0) -> None:
        assert nbytes > 0 and not any(value % PAGE for value in (address, nbytes, iova, offset))
        assert iova != 0
        assert any(first <= iova and iova + nbytes - 1 <= last for first, last in self.ranges)
        for other, (_, length) in self.mapped.items():
            assert iova + nbytes <= other or other + length <= iova
        if fd >= 0:
            assert os.fstat(fd).st_size >= offset + nbytes
        if sum(length for _, length in self.mapped.values()) + nbytes > self.limit:
            raise OSError(12, "memlock")
        self.calls += 1
        self.mapped[iova] = (address, nbytes)

    def unmap_dma(self, iova: int, nbytes: int) -> None:
        if self.refuse_unmap:
            raise OSError(5, "refused")
        assert self.mapped.pop(iova)[1] == nbytes


@pytest.fixture
def function() -> RecordingFunction:
    return RecordingFunction()


@pytest.fixture
def space(function: RecordingFunction) -> DmaSpace:
    return DmaSpace(function)


def address_of(memory: Any) -> int:
    return int(np.frombuffer(memory, np.uint8).ctypes.data)


def pages(count: int) -> mmap.mmap:
    return mmap.mmap(-1, count * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


# -- buffers -------------------------------------------------------------------------------------------------------------


def test_buffer_is_writable_zeroed_bytes(space: DmaSpace) -> None:
    """A buffer is writable bytes of the length that was asked for, all zero, also where an earlier one lay."""
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
    """One mapping of 2 MiB, at a multiple of it on both sides, serves many buffers; its I/O address is low, not 0."""
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
def test_too_much_memory_is_refused_before_it_is_tried(function: RecordingFunction, space: DmaSpace, nbytes: int) -> None:
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


def test_memory_of_a_forgotten_command_is_never_used_again(space: DmaSpace, function: RecordingFunction) -> None:
    """A buffer that is collected while a command holds it does not go back."""
    buffer = space.alloc(5 * MIB)
    dma.hold(buffer)
    del buffer
    gc.collect()
    assert len(function.mapped) == 1


def test_registration_under_a_forgotten_command_is_kept(function: RecordingFunction) -> None:
    """Memory that a command holds stays exported when the space is collected, though the device reaches it no more."""
    space = DmaSpace(function)
    memory = pages(1)
    space.register(memory)
    space.hold_at(address_of(memory), PAGE)
    del space
    gc.collect()
    assert function.mapped == {}
    with pytest.raises(BufferError):
        memory.close()


def test_array_has_the_items_asked_for(space: DmaSpace) -> None:
    """array() is a writable view; a length that is not whole items is refused."""
    buffer = space.alloc(4096)
    array = buffer.array("<u8")
    array[-1] = 0x0102030405060708
    assert (array.shape, bytes(buffer)[-8:]) == ((512,), bytes([8, 7, 6, 5, 4, 3, 2, 1]))
    with pytest.raises(UsageError, match="whole number"):
        space.alloc(4095).array(np.uint16)


def test_repr_shows_no_data(space: DmaSpace) -> None:
    """repr names length and I/O address, and nothing of the contents."""
    buffer = space.alloc(4096)
    memoryview(buffer)[:6] = b"secret"
    assert repr(buffer) == f"<DmaBuffer of 4096 bytes at iova {buffer.iova:#x}>"
    buffer.close()
    assert "closed" in repr(buffer)


def test_made_by_the_space_alone() -> None:
    """Buffers and registrations cannot be made by hand, and one forced into being is of no use and no harm."""
    for cls in (DmaBuffer, DmaRegistration):
        with pytest.raises(TypeError, match="is made by"):
            cls()
    with pytest.raises(BufferError):
        memoryview(DmaBuffer.__new__(DmaBuffer))
    DmaRegistration.__new__(DmaRegistration).close()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_allocator_never_overlaps_and_gets_all_back(data: st.DataObject) -> None:
    """Whatever is allocated and let go in whatever order: no two buffers overlap, all are mapped, all comes back."""
    function = RecordingFunction()
    space = DmaSpace(function, arena_size=16 * PAGE)
    live: list[DmaBuffer] = []
    for stamp in range(1, data.draw(st.integers(1, 60))):
        if live and data.draw(st.booleans()):
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
        assert all(end <= start for (_, end), (start, _) in zip(spans, spans[1:], strict=False))
    for buffer in live:
        assert len(set(bytes(buffer))) == 1
        buffer.close()
    assert len(function.mapped) <= 1
    space.close()
    assert function.mapped == {}


# -- where the device finds memory ---------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_lookup_agrees_with_a_model(data: st.DataObject) -> None:
    """lookup() gives the I/O address of every byte, to the end of what is linear, as a table of pages says."""
    function = RecordingFunction()
    space = DmaSpace(function)
    memory = pages(32)
    base = address_of(memory)
    view = memoryview(memory)
    registrations = []
    for _ in range(data.draw(st.integers(0, 8))):
        first = data.draw(st.integers(0, 31))
        last = data.draw(st.integers(first, 31))
        registrations.append(space.register(view[first * PAGE : (last + 1) * PAGE]))
    model = {
        address + offset: iova + offset
        for iova, (address, nbytes) in function.mapped.items()
        for offset in range(0, nbytes, PAGE)
    }
    for _ in range(20):
        address = base + data.draw(st.integers(-PAGE, 33 * PAGE))
        nbytes = data.draw(st.integers(0, 10 * PAGE))
        assert space.lookup(address, nbytes) == modelled(model, address, nbytes)


def modelled(model: dict[int, int], address: int, nbytes: int) -> tuple[int, int]:
    page = address // PAGE * PAGE
    if page not in model:
        return 0, 0
    iova = model[page] + address - page
    reached = page + PAGE - address
    while reached < nbytes and model.get(address + reached) == iova + reached:
        reached += PAGE
    return min(reached, nbytes), iova


def test_lookup_of_what_is_not_mapped(space: DmaSpace) -> None:
    """Nothing is reached at an address that is not mapped, and nothing beyond the end of a mapping."""
    assert space.lookup(0, 1) == (0, 0)
    buffer = space.alloc(2 * MIB)
    address = address_of(buffer)
    assert space.lookup(address - 1, 1) == (0, 0)
    assert space.lookup(address + 2 * MIB - 1, 100)[0] >= 1
    assert space.lookup(address + 4 * MIB, 1)[0] in (0, 1)


# -- registrations -------------------------------------------------------------------------------------------------------


def test_registered_memory_is_mapped_in_whole_pages(function: RecordingFunction, space: DmaSpace) -> None:
    """Memory of the caller's is rounded out to pages, at I/O addresses of ours, until close()."""
    array = np.frombuffer(pages(4), np.uint8)
    address = int(array.ctypes.data)
    registration = space.register(array[100 : 2 * PAGE + 1])
    assert registration.nbytes == 2 * PAGE - 99
    [(iova, mapped)] = function.mapped.items()
    assert mapped == (address, 3 * PAGE)
    assert space.lookup(address + 100, 10) == (10, iova + 100)
    registration.close()
    registration.close()
    assert registration.closed
    assert function.mapped == {}
    assert space.lookup(address + 100, 10) == (0, 0)


def test_exact_refuses_odd_ends(function: RecordingFunction, space: DmaSpace) -> None:
    """exact=True takes whole pages only."""
    view = memoryview(pages(4))
    for part in (view[1 : PAGE + 1], view[: PAGE + 1], view[8:PAGE]):
        with pytest.raises(UsageError, match="whole pages"):
            space.register(part, exact=True)
    assert function.mapped == {}
    with space.register(view, exact=True):
        assert len(function.mapped) == 1


@pytest.mark.parametrize(
    "memory",
    [
        b"read-only bytes",
        memoryview(bytes(100)),
        np.zeros((8, 8), np.uint8)[:, ::2],
        np.zeros((8, 8), np.uint8, order="F"),
        bytearray(),
    ],
)
def test_memory_that_no_device_can_write_is_refused(function: RecordingFunction, space: DmaSpace, memory: Any) -> None:
    """Read-only, non-contiguous and empty memory is refused with a reason."""
    with pytest.raises(UsageError, match="obj"):
        space.register(memory)
    assert function.mapped == {}


def test_no_buffer_is_a_type_error(space: DmaSpace) -> None:
    """What is no memory at all is a TypeError."""
    with pytest.raises(TypeError):
        space.register(42)  # type: ignore[arg-type]


def test_registered_memory_cannot_be_resized(space: DmaSpace) -> None:
    """The registration exports the memory; after close() it is the caller's again."""
    memory = bytearray(3 * PAGE)
    registration = space.register(memory)
    with pytest.raises(BufferError):
        memory.extend(b"more")
    registration.close()
    memory.extend(b"more")


def test_failed_registration_leaves_nothing(space: DmaSpace) -> None:
    """When the second of two runs cannot be mapped the first is unmapped, and the memory let go."""
    function = RecordingFunction(limit=3 * PAGE)
    space = DmaSpace(function)
    memory = pages(5)
    middle = space.register(memoryview(memory)[2 * PAGE : 3 * PAGE])
    with pytest.raises(OSError, match="memlock"):
        space.register(memory)
    assert len(function.mapped) == 1
    middle.close()
    assert function.mapped == {}
    memory.close()


def test_dropped_registration_goes_on(space: DmaSpace, function: RecordingFunction) -> None:
    """Memory stays registered when the caller keeps nothing of it, until the space closes."""
    space.register(bytearray(PAGE))
    gc.collect()
    assert len(function.mapped) == 1
    space.close()
    assert function.mapped == {}


def test_buffer_of_the_space_can_be_registered(space: DmaSpace, function: RecordingFunction) -> None:
    """Memory that the device reaches already is not mapped twice."""
    buffer = space.alloc(4 * PAGE)
    calls = function.calls
    registration = space.register(buffer)
    assert function.calls == calls
    registration.close()
    assert space.lookup(address_of(buffer), PAGE) == (PAGE, buffer.iova)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_overlapping_registrations(data: st.DataObject) -> None:
    """Registrations of parts of one array may overlap and end in any order: what is open is reached, by one mapping each."""
    function = RecordingFunction()
    space = DmaSpace(function)
    memory = pages(16)
    base = address_of(memory)
    live: list[tuple[int, int, DmaRegistration, object]] = []
    for _ in range(data.draw(st.integers(1, 24))):
        if live and data.draw(st.booleans()):
            *_, registration, holder = live.pop(data.draw(st.integers(0, len(live) - 1)))
            registration.close()
            space.release_at(holder)
        else:
            start = data.draw(st.integers(0, 16 * PAGE - 1))
            end = data.draw(st.integers(start + 1, 16 * PAGE))
            registration = space.register(memoryview(memory)[start:end])
            holder = space.hold_at(base + start, end - start) if data.draw(st.booleans()) else None
            live.append((start, end, registration, holder))
        for start, end, *_ in live:
            assert reached(space, base + start, end - start)
        addresses = sorted(function.mapped.values())
        assert all(one + length <= two for (one, length), (two, _) in zip(addresses, addresses[1:], strict=False))
        if not live:
            assert function.mapped == {}
    for *_, registration, holder in live:
        space.release_at(holder)
        registration.close()
    assert function.mapped == {}
    memory.close()


def reached(space: DmaSpace, address: int, nbytes: int) -> bool:
    while nbytes > 0:
        run, _ = space.lookup(address, nbytes)
        if run == 0:
            return False
        address, nbytes = address + run, nbytes - run
    return True


def test_command_keeps_registered_memory_mapped(space: DmaSpace, function: RecordingFunction) -> None:
    """close() under a command refuses new commands and unmaps when the command lets go."""
    memory = pages(2)
    address = address_of(memory)
    registration = space.register(memory)
    assert space.owner_of(address + 5000) is registration
    holder = space.hold_at(address + 5000, 100)
    registration.close()
    assert space.lookup(address, 1)[0] == 1
    assert space.owner_of(address) is None
    with pytest.raises(UsageError, match="closed: register it again"):
        space.hold_at(address, 1)
    space.release_at(holder)
    assert function.mapped == {}
    memory.close()


def test_command_over_two_registrations_holds_both(space: DmaSpace, function: RecordingFunction) -> None:
    """Memory that two registrations cover together is held in both."""
    memory = pages(4)
    view = memoryview(memory)
    first = space.register(view[: 2 * PAGE])
    second = space.register(view[2 * PAGE :])
    holder = space.hold_at(address_of(memory) + PAGE, 2 * PAGE)
    first.close()
    second.close()
    assert len(function.mapped) == 2
    space.release_at(holder)
    assert function.mapped == {}


def test_nothing_is_held_in_an_arena(space: DmaSpace) -> None:
    """A view of a buffer holds its memory by itself; memory that is not mapped is held by nobody."""
    buffer = space.alloc(PAGE)
    assert space.hold_at(address_of(buffer), PAGE) is None
    assert space.hold_at(PAGE, PAGE) is None
    space.release_at(None)


@pytest.mark.asyncio
async def test_wait_closed_waits_for_commands(space: DmaSpace) -> None:
    """wait_closed() ends when the last command has let go, and at once where there is none."""
    memory = pages(1)
    registration = space.register(memory)
    with pytest.raises(UsageError, match="close"):
        await registration.wait_closed()
    holder = space.hold_at(address_of(memory), PAGE)
    registration.close()
    waiter = asyncio.ensure_future(registration.wait_closed())
    await asyncio.sleep(0)
    assert not waiter.done()
    space.release_at(holder)
    await waiter
    await registration.wait_closed()
    async with space.register(memory) as registration:
        assert not registration.closed
    assert registration.closed


# -- the end -------------------------------------------------------------------------------------------------------------


def test_close_unmaps_all_and_keeps_memory_valid(space: DmaSpace, function: RecordingFunction) -> None:
    """After close() the device reaches nothing; views of buffers can be read and written, and end without harm."""
    buffer, large = space.alloc(PAGE), space.alloc(3 * MIB)
    view = memoryview(buffer)
    memory = bytearray(PAGE)
    space.register(memory)
    space.close()
    space.close()
    assert function.mapped == {} and space.mappings() == []
    view[:] = b"z" * PAGE
    large.array()[:] = 1
    memory.extend(b"is free again")
    buffer.close()
    del view, large
    for call in (lambda: space.alloc(1), lambda: space.register(memory)):
        with pytest.raises(UsageError, match="closed"):
            call()


def test_space_that_is_dropped_unmaps_all(function: RecordingFunction) -> None:
    """A space that is collected open takes its mappings back, registrations included."""
    space = DmaSpace(function)
    space.alloc(PAGE)
    space.register(bytearray(PAGE))
    del space
    gc.collect()
    assert function.mapped == {}


def test_close_goes_on_after_a_refusal(space: DmaSpace, function: RecordingFunction) -> None:
    """A mapping that the kernel does not take back is reported; its memory is never used again."""
    space.alloc(PAGE)
    function.refuse_unmap = True
    with pytest.raises(OSError, match="refused"):
        space.close()
    assert space.mappings() == [] and len(function.mapped) == 1


def test_close_after_the_function(space: DmaSpace, function: RecordingFunction) -> None:
    """When the function was closed its mappings are gone, and nothing is asked of it."""
    space.alloc(PAGE)
    function.refuse_unmap = True
    function.close()
    space.close()
    assert space.mappings() == []


def test_quarantined_memory_is_never_handed_out(space: DmaSpace, function: RecordingFunction) -> None:
    """After quarantine() nothing is allocated, memory in use stays valid, and what is let go stays where it is."""
    buffer, large = space.alloc(PAGE), space.alloc(3 * MIB)
    memory = pages(1)
    space.register(memory)
    space.quarantine()
    with pytest.raises(UsageError, match="lost"):
        space.alloc(PAGE)
    memoryview(buffer)[:] = b"q" * PAGE
    large.close()
    assert len(function.mapped) == 3
    function.refuse_unmap = True
    space.close()
    assert bytes(buffer) == b"q" * PAGE
    with pytest.raises(BufferError):
        memory.close()


def test_forked_child_has_no_part_in_it(space: DmaSpace, function: RecordingFunction) -> None:
    """A forked child is refused, and its collector unmaps nothing that is the parent's."""
    buffer = space.alloc(PAGE)
    registration = space.register(pages(1))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = child_is_refused(space, buffer, function)
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert bytes(buffer) == bytes(PAGE)
    registration.close()


def child_is_refused(space: DmaSpace, buffer: DmaBuffer, function: RecordingFunction) -> int:
    function.refuse_unmap = True
    for refused, call in ((UsageError, lambda: space.alloc(1)), (BufferError, lambda: memoryview(buffer))):
        try:
            call()
        except refused:
            continue
        return 2
    buffer.close()
    space.close()
    return 0 if len(function.mapped) == 2 else 3
