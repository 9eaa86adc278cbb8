"""A process that borrows a controller: `python -m aionvme.tests.flow.sharing.borrower PATH WORDS`.

`verify FIRST NBLOCKS SEED OTHER OTHERSEED` writes a pattern, says "written", waits for a line, reads what another wrote
and says "verified". `load` reads until that fails, says "reading", and then how each command and a later call ended.
`late` and `namespaces` are below.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import numpy as np

import aionvme

BLOCK = 512
DEPTH = 16


def pattern(seed: int, nblocks: int) -> np.ndarray:
    """What a process writes."""
    return np.random.default_rng(seed).integers(0, 256, nblocks * BLOCK, dtype=np.uint8)


async def line() -> None:
    """Waits for a line from who has started this."""
    await asyncio.to_thread(sys.stdin.readline)


async def verify(path: str, first: int, nblocks: int, seed: int, other: int, other_seed: int) -> None:
    """Writes a part, in single commands and at once, and checks the part of another process."""
    async with aionvme.borrow(path) as ctrlr, ctrlr.alloc_io_qpair(depth=DEPTH) as qp:
        ns = ctrlr.namespaces[1]
        with ctrlr.dma_alloc(nblocks * BLOCK) as buf:
            buf.array()[:] = pattern(seed, nblocks)
            view = memoryview(buf)
            await asyncio.gather(
                *(qp.write(ns, view[i * BLOCK : (i + 1) * BLOCK], first + i, 1) for i in range(nblocks))
            )
            print("written", flush=True)
            await line()
            await qp.read(ns, view, other, nblocks)
            assert (buf.array() == pattern(other_seed, nblocks)).all()
            await qp.read_batch(ns, buf, np.arange(first, first + nblocks), 1)
            assert (buf.array() == pattern(seed, nblocks)).all()
            del view
    print("verified", flush=True)


async def load(path: str, completion: str) -> None:
    """Reads on and on; the end of it, in words."""
    ctrlr = await aionvme.borrow(path)
    try:
        qp = await ctrlr.alloc_io_qpair(depth=DEPTH, completion=completion)
        ns, bufs = ctrlr.namespaces[1], [ctrlr.dma_alloc(BLOCK) for _ in range(DEPTH)]
        done, reading = 0, asyncio.Event()

        async def reads(buf: aionvme.DmaBuffer) -> None:
            nonlocal done
            while True:
                await qp.read(ns, buf, done % 64, 1, timeout=0)
                done += 1
                reading.set()

        tasks = [asyncio.create_task(reads(buf)) for buf in bufs]
        async with asyncio.timeout(60):
            await reading.wait()
        print("reading", flush=True)
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        print(*sorted({type(end).__name__ for end in ends}), flush=True)
        try:
            ctrlr.dma_alloc(BLOCK)
        except aionvme.NvmeError as error:
            print(type(error).__name__, flush=True)
    finally:
        await ctrlr.close()
    print("closed", flush=True)


async def late(path: str) -> None:
    """How a read with a time limit ends, and whether the next one succeeds; again for each line."""
    async with aionvme.borrow(path) as ctrlr:
        qp = await ctrlr.alloc_io_qpair(depth=DEPTH)
        print("there", flush=True)
        for _ in range(2):
            await line()
            try:
                await qp.read(ctrlr.namespaces[1], ctrlr.dma_alloc(BLOCK), 0, 1, timeout=0.3)
                print("read", flush=True)
            except aionvme.NvmeError as error:
                print(type(error).__name__, flush=True)


async def namespaces(path: str) -> None:
    """Says when the first namespace is taken away, and when it is back, and reads of it."""
    async with aionvme.borrow(path) as ctrlr, ctrlr.alloc_io_qpair(depth=DEPTH) as qp:
        before, buf = ctrlr.namespaces[1], ctrlr.dma_alloc(BLOCK)
        await qp.read(before, buf, 0, 1)
        print("there", flush=True)
        async with asyncio.timeout(60):
            while before.active:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        try:
            qp.read(before, buf, 0, 1)
        except aionvme.UsageError:
            print("gone", flush=True)
        async with asyncio.timeout(60):
            while 1 not in ctrlr.namespaces:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await qp.read(ctrlr.namespaces[1], buf, 0, 1)
        print("back", flush=True)


async def main(path: str, what: str, *words: str) -> None:
    """Does what the words say."""
    if what == "verify":
        await verify(path, *map(int, words))
    else:
        does: dict[str, Any] = {"load": load, "late": late, "namespaces": namespaces}
        await does[what](path, *words)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
