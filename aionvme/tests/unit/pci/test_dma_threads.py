"""DMA memory that several threads look at, hold and give back at once: nothing is lost, and nothing goes back twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from aionvme.errors import UsageError
from aionvme.pci.backing import PAGE
from aionvme.pci.dma import DmaSpace, hold, release
from aionvme.tests.unit.pci.recording import RecordingFunction, address_of, pages

ROUNDS = 100


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What calls give that begin together, each in a thread."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        start.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_lookups_while_the_table_changes() -> None:
    """What is mapped is found, and found at its place, whatever is mapped and unmapped around it meanwhile."""
    space = DmaSpace(RecordingFunction())
    memory = pages(2 * ROUNDS)
    first = address_of(memory)
    middle = first + ROUNDS * PAGE
    kept = space.register(memoryview(memory)[ROUNDS * PAGE : (ROUNDS + 1) * PAGE])
    place = space.lookup(middle, PAGE)
    over = threading.Event()

    def look() -> int:
        count = 0
        while not (over.is_set() and count):
            assert space.lookup(middle, PAGE) == place
            holder = space.hold_at(middle, PAGE)
            assert holder is kept
            space.release_at(holder)
            count += 1
        return count

    def change() -> int:
        try:
            made = [
                space.register(memoryview(memory)[n * PAGE : (n + 1) * PAGE]) for n in range(0, ROUNDS, 2)
            ]
            for registration in made:
                registration.close()
            assert len(made) == ROUNDS // 2
            return len(made)
        finally:
            over.set()

    counts = at_once(look, change, look)
    assert all(counts)
    kept.close()
    assert space.mappings() == []
    space.close()


def test_a_buffer_is_closed_while_others_take_it() -> None:
    """Whoever takes the memory has it until it lets go; then it goes back, once, and the next buffer has it."""
    space = DmaSpace(RecordingFunction())
    iova = space.alloc(PAGE).iova
    for _ in range(ROUNDS):
        buffer = space.alloc(PAGE)
        assert buffer.iova == iova

        def take(buffer: Any = buffer) -> None:
            try:
                view = memoryview(buffer)
            except BufferError:
                return
            assert view[0] == 0
            view.release()

        def command(buffer: Any = buffer) -> None:
            hold(buffer)
            release(buffer)

        at_once(buffer.close, take, command, buffer.close)
        assert buffer.closed
    space.close()


def test_a_registration_is_closed_while_commands_take_it() -> None:
    """A command holds it, or is told that it was closed; after the last it is unmapped, once."""
    function = RecordingFunction()
    space = DmaSpace(function)
    memory = pages(1)
    address = address_of(memory)
    for _ in range(ROUNDS):
        registration = space.register(memory)

        def take() -> None:
            try:
                holder = space.hold_at(address, PAGE)
            except UsageError:
                return
            if holder is not None:
                assert len(function.mapped) == 1
                space.release_at(holder)

        at_once(registration.close, take, take)
        assert function.mapped == {}
    space.close()


def test_memory_from_four_threads() -> None:
    """Buffers and registrations of several threads never share a byte, and all of it is given back."""
    function = RecordingFunction()
    space = DmaSpace(function)

    def churn(mark: int) -> None:
        for n in range(ROUNDS):
            with space.alloc(PAGE << n % 4) as buffer:
                array = bytearray(2 * PAGE)
                with space.register(array):
                    view = memoryview(buffer)
                    view[:] = bytes([mark]) * len(buffer)
                    assert space.lookup(address_of(array), 1)[0] == 1
                    assert view == bytes([mark]) * len(buffer)
                    view.release()

    at_once(*(partial(churn, mark) for mark in range(4)))
    assert len(function.mapped) == 1, "one arena stays"
    space.close()
    assert function.mapped == {}
