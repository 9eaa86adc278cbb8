"""The end of DMA memory: close, quarantine, collection, fork."""

from __future__ import annotations

import gc
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from aionvme.errors import UsageError
from aionvme.pci.backing import PAGE
from aionvme.pci.dma import DmaBuffer, DmaSpace
from aionvme.tests.unit.pci.recording import MIB, RecordingFunction, address_of, pages


@pytest.fixture
def function() -> RecordingFunction:
    return RecordingFunction()


@pytest.fixture
def space(function: RecordingFunction) -> DmaSpace:
    return DmaSpace(function)


def test_registration_under_a_forgotten_command_is_kept(function: RecordingFunction) -> None:
    """Memory that a command holds stays exported when the space is collected, though unmapped."""
    space = DmaSpace(function)
    memory = pages(1)
    space.register(memory)
    space.hold_at(address_of(memory), PAGE)
    del space
    gc.collect()
    assert function.mapped == {}
    with pytest.raises(BufferError):
        memory.close()


def test_close_unmaps_all_and_keeps_memory_valid(space: DmaSpace, function: RecordingFunction) -> None:
    """After close() the device reaches nothing; views of buffers are valid, and end without harm."""
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
    """After quarantine() nothing is allocated, memory in use stays valid, and what is let go stays."""
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


def test_collector_in_the_middle_of_a_mapping(space: DmaSpace, function: RecordingFunction) -> None:
    """Buffers that are collected while the space is at work come back when it is done."""
    buffers = [space.alloc(3 * MIB) for _ in range(4)]
    cycle: list[object] = [buffers]
    cycle.append(cycle)
    del buffers, cycle
    function.on_map = gc.collect
    buffer = space.alloc(PAGE)
    assert function.mapped.keys() == {buffer.iova}


def test_threads_share_a_space(space: DmaSpace, function: RecordingFunction) -> None:
    """Threads that allocate, register and close at once never get the same memory, and all comes back."""

    def work(stamp: int) -> bool:
        intact = True
        for step in range(60):
            with space.alloc((1 + step % 5) * PAGE) as buffer, space.register(bytearray(3 * PAGE)):
                array = buffer.array()
                array[:] = stamp
                intact = intact and bool((array == stamp).all())
        return intact

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(work, range(1, 9)))
    finally:
        sys.setswitchinterval(interval)
    assert len(function.mapped) == 1
    space.close()
    assert function.mapped == {}
