"""Owns writing with many commands in flight, for a process that is to be killed meanwhile."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import aionvme
from aionvme.tests.journeys.device import fill, pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from multiprocessing.connection import Connection

    from aionvme.qpair.opening import Opening

PIECE = 4096
DEPTH = 64


def order(count: int, seed: int) -> list[int]:
    """The order in which the pieces are written."""
    numbers = list(range(count))
    random.Random(seed).shuffle(numbers)
    return numbers


def piece(seed: int, number: int) -> bytes:
    """The data of one piece."""
    return pattern(seed * 1_000_003 + number, PIECE)


def runs(seed: int, numbers: Iterable[int]) -> Iterator[tuple[int, bytes]]:
    """The pieces with these numbers, each run of neighbours as one: by how many bytes it begins later, and its data."""
    first, data = 0, b""
    for number in sorted(numbers):
        if data and number * PIECE != first + len(data):
            yield first, data
            data = b""
        if not data:
            first = number * PIECE
        data += piece(seed, number)
    if data:
        yield first, data


def write(connection: Connection[Any, Any], address: str, lba: int, count: int, seed: int) -> None:
    """Write pieces of a page each, in an order of its own, over and over; send the number of each that is acknowledged.

    It does not end by itself: whoever kills it does so in mid-write, however late.
    """
    asyncio.run(_write(connection, aionvme.connect(address), lba, count, seed))


def write_borrowed(connection: Connection[Any, Any], path: str, lba: int, count: int, seed: int) -> None:
    """As `write`, by a controller that another process lends."""
    asyncio.run(_write(connection, aionvme.borrow(path), lba, count, seed))


async def _write(
    connection: Connection[Any, Any],
    opening: Opening[aionvme.Controller] | Opening[aionvme.BorrowedController],
    lba: int,
    count: int,
    seed: int,
) -> None:
    async with opening as ctrlr, ctrlr.alloc_io_qpair(depth=DEPTH) as qp:
        ns = ctrlr.namespaces[1]
        nblocks = PIECE // ns.block_size
        buffer = ctrlr.dma_alloc(count * PIECE)
        for number in range(count):
            fill(memoryview(buffer)[number * PIECE :], piece(seed, number))

        def on_done(number: int, cpl: aionvme.Completion) -> None:
            assert not cpl.status
            connection.send(number)

        while True:
            requests = [
                qp.submit_write(ns, memoryview(buffer)[n * PIECE :], lba + n * nblocks, nblocks, on_done, n)
                for n in order(count, seed)
            ]
            await asyncio.gather(*requests)
