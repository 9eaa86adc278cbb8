"""Memory of the caller's: where the device finds it, pages that are shared, commands that hold it."""

from __future__ import annotations

import asyncio
import gc
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aionvme.errors import UsageError
from aionvme.pci.backing import PAGE
from aionvme.pci.dma import DmaRegistration, DmaSpace
from aionvme.tests.quick import examples
from aionvme.tests.unit.pci.recording import MIB, RecordingFunction, address_of, pages


@pytest.fixture
def function() -> RecordingFunction:
    return RecordingFunction()


@pytest.fixture
def space(function: RecordingFunction) -> DmaSpace:
    return DmaSpace(function)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_lookup_agrees_with_a_model(data: st.DataObject) -> None:
    """lookup() gives the I/O address of any byte, and the end of what is linear, as a page table says."""
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
def test_memory_of_no_use_is_refused(function: RecordingFunction, space: DmaSpace, memory: Any) -> None:
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


@settings(max_examples=examples(80), deadline=None)
@given(st.data())
def test_overlapping_registrations(data: st.DataObject) -> None:
    """Registrations may overlap and end in any order: what is open is reached, and mapped once."""
    function = RecordingFunction()
    space = DmaSpace(function)
    memory = pages(16)
    base = address_of(memory)
    live: list[tuple[int, int, DmaRegistration, object]] = []
    for _ in range(data.draw(st.integers(1, 24))):
        if data.draw(st.booleans()) and live:
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
        assert all(one + length <= two for (one, length), (two, _) in pairwise(addresses))
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
