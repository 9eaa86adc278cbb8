"""Owns a process that writes with many commands in flight until it is killed: `python -m ... ADDRESS LBA COUNT SEED`.

It writes `COUNT` pieces of a page each from `LBA` on, in an order of its own, and says on standard output which piece was
acknowledged, as four bytes each.
"""

from __future__ import annotations

import asyncio
import os
import random
import struct
import sys

import aionvme
from aionvme.tests.journeys.device import fill, pattern

PIECE = 4096
DEPTH = 64
ACKNOWLEDGED = struct.Struct("=I")


def order(count: int, seed: int) -> list[int]:
    """The order in which the pieces are written."""
    numbers = list(range(count))
    random.Random(seed).shuffle(numbers)
    return numbers


def piece(seed: int, number: int) -> bytes:
    """The data of one piece."""
    return pattern(seed * 1_000_003 + number, PIECE)


async def _write(address: str, lba: int, count: int, seed: int) -> None:
    async with aionvme.connect(address) as ctrlr, ctrlr.alloc_io_qpair(depth=DEPTH) as qp:
        ns = ctrlr.namespaces[1]
        nblocks = PIECE // ns.block_size
        buffer = ctrlr.dma_alloc(count * PIECE)
        for number in range(count):
            fill(memoryview(buffer)[number * PIECE :], piece(seed, number))

        def on_done(number: int, cpl: aionvme.Completion) -> None:
            assert not cpl.status
            os.write(1, ACKNOWLEDGED.pack(number))

        requests = [
            qp.submit_write(
                ns, memoryview(buffer)[n * PIECE :], lba + n * nblocks, nblocks, on_done, n
            )
            for n in order(count, seed)
        ]
        await asyncio.gather(*requests)


if __name__ == "__main__":
    asyncio.run(_write(sys.argv[1], *map(int, sys.argv[2:5])))
