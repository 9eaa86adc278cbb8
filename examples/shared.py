"""Several processes read from one drive: `python shared.py [ADDRESS [PROCESSES]]`, by default "mock:" and 2.

This process has the drive and lends it. Each of the others borrows it, and reads by a queue pair of its own. It only
reads.
"""

import asyncio
import sys
import tempfile
import time

import aionvme

DEPTH = 32
READS = 4096


async def read(path: str, number: int) -> None:
    """In a process of its own: reads a part of the first namespace."""
    async with aionvme.borrow(path) as ctrlr, ctrlr.alloc_io_qpair(depth=DEPTH) as qp:
        ns = ctrlr.namespaces[min(ctrlr.namespaces)]
        todo = iter(range(number * READS, (number + 1) * READS))

        async def work(buf: aionvme.DmaBuffer) -> None:
            for lba in todo:
                await qp.read(ns, buf, lba % ns.nblocks, 1)

        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(DEPTH):
                group.create_task(work(ctrlr.dma_alloc(ns.block_size)))
        took = time.perf_counter() - begun
    print(f"process {number}: {READS} reads by queue {qp.qid}, {took / READS * 1e6:.2f} µs each", flush=True)


async def main(address: str = "mock:", processes: str = "2") -> None:
    """Has the drive, lends it to the others, and waits for them."""
    with tempfile.TemporaryDirectory() as folder:
        async with aionvme.connect(address) as ctrlr, aionvme.lend(ctrlr, f"{folder}/lent") as lender:
            others = [
                await asyncio.create_subprocess_exec(
                    sys.executable, __file__, "--read", str(lender.path), str(number)
                )
                for number in range(int(processes))
            ]
            ended = [await other.wait() for other in others]
    print(f"{ended.count(0)} of {len(ended)} processes have read")


if sys.argv[1:2] == ["--read"]:
    aionvme.run(read(sys.argv[2], int(sys.argv[3])))
else:
    aionvme.run(main(*sys.argv[1:]))
