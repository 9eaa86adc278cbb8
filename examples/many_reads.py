"""Many reads at once, in three ways: `python many_reads.py [ADDRESS]`, by default "mock:". It only reads."""

import asyncio
import sys
import time

import aionvme

DEPTH = 64
READS = 4096


async def main(address: str) -> None:
    """Reads blocks all over the first namespace, by `gather`, by a `TaskGroup`, and by one task at a time."""
    async with aionvme.connect(address) as ctrlr:
        ns = ctrlr.namespaces[min(ctrlr.namespaces)]
        # A stride that is odd to any round size: neighbouring reads are far from each other.
        lbas = [i * 7919 % ns.nblocks for i in range(READS)]
        # One buffer per command that may be under way; it is the device's until the read has ended.
        bufs = [ctrlr.dma_alloc(ns.block_size) for _ in range(DEPTH)]
        async with ctrlr.alloc_io_qpair(depth=DEPTH) as qp:

            async def gathered() -> None:
                # A command is posted when it is called: gather takes the commands themselves, without tasks.
                for start in range(0, READS, DEPTH):
                    some = lbas[start : start + DEPTH]
                    await asyncio.gather(
                        *(qp.read(ns, buf, lba, 1) for buf, lba in zip(bufs, some, strict=False))
                    )

            async def workers() -> None:
                # Each worker has a buffer, and reads on once its last read has ended: the depth is kept.
                todo = iter(lbas)

                async def work(buf: aionvme.DmaBuffer) -> None:
                    for lba in todo:
                        await qp.read(ns, buf, lba, 1)

                async with asyncio.TaskGroup() as group:
                    for buf in bufs:
                        group.create_task(work(buf))

            async def one_by_one() -> None:
                for lba in lbas:
                    await qp.read(ns, bufs[0], lba, 1)

            for way in (gathered, workers, one_by_one):
                begun = time.perf_counter()
                await way()
                took = time.perf_counter() - begun
                print(
                    f"{way.__name__:10} {READS} reads of {ns.block_size} bytes, "
                    f"{took / READS * 1e6:.2f} µs each"
                )


aionvme.run(main(sys.argv[1] if len(sys.argv) > 1 else "mock:"))
