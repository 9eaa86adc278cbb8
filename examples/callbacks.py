"""The callback style, as in SPDK's hello_world and perf: `python callbacks.py [ADDRESS]`, by default "mock:".

A "manual" queue pair has no poller: it is polled by whoever calls `process_completions`. Connecting and
closing are awaited; nothing in between is.
"""

import signal
import sys
import time
from collections import deque

import aionvme

DEPTH = 32
READS = 20_000


class Perf:
    """Keeps `DEPTH` reads under way: each that ends starts the next one, with the buffer that it set free."""

    def __init__(self, ns: aionvme.Namespace, qp: aionvme.IoQueuePair) -> None:
        self.ns = ns
        self.qp = qp
        self.submitted = 0
        self.completed = 0
        self.failed = 0

    def submit(self, buf: aionvme.DmaBuffer) -> None:
        """Starts one read. The second argument of the callback is all that it is told of which read ended."""
        lba = self.submitted * 7919 % self.ns.nblocks
        self.submitted += 1
        self.qp.submit_read(self.ns, buf, lba, 1, self.read_done, buf)

    def read_done(self, buf: aionvme.DmaBuffer, cpl: aionvme.Completion) -> None:
        """Called by `process_completions`. A callback has to look at the status: nothing is raised for it."""
        self.completed += 1
        if cpl.status:
            self.failed += 1
        if self.submitted < READS:
            self.submit(buf)

    def run(self, bufs: list[aionvme.DmaBuffer]) -> None:
        """Polls until all reads have ended."""
        for buf in bufs:
            self.submit(buf)
        while self.completed < READS:
            self.qp.process_completions()


def hello(ns: aionvme.Namespace, qp: aionvme.IoQueuePair, buf: aionvme.DmaBuffer) -> bytes:
    """Writes a block, and reads it from the callback of the write."""
    events: deque[aionvme.Completion] = deque()

    def write_done(arg: aionvme.DmaBuffer, cpl: aionvme.Completion) -> None:
        if cpl.status:
            events.append(cpl)
            return
        memoryview(arg)[:] = bytes(len(arg))
        qp.submit_read(ns, arg, 0, 1, lambda _arg, cpl: events.append(cpl), None)

    memoryview(buf)[:13] = b"Hello, world!"
    qp.submit_write(ns, buf, 0, 1, write_done, buf)
    while not events:
        qp.process_completions()
    if events[0].status:
        raise SystemExit(f"LBA 0: {events[0].status}")
    return bytes(buf)[:13]


async def main(address: str) -> None:
    """Sets up, runs, and tears down."""
    # Of asyncio's own a Ctrl-C would be seen at the next await, and the loops here have none.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    async with aionvme.connect(address) as ctrlr:
        ns = ctrlr.namespaces[min(ctrlr.namespaces)]
        async with ctrlr.alloc_io_qpair(depth=DEPTH, completion="manual") as qp:
            bufs = [ctrlr.dma_alloc(ns.block_size) for _ in range(DEPTH)]
            # A real device, or a mock's storage file, has somebody's data on it: there it only reads.
            if address.startswith("mock:") and "storage=" not in address:
                print("LBA 0 begins with", hello(ns, qp, bufs[0]))
            perf = Perf(ns, qp)
            begun = time.perf_counter()
            perf.run(bufs)
            took = time.perf_counter() - begun
            print(
                f"{perf.completed} reads of {ns.block_size} bytes at depth {DEPTH}, {perf.failed} failed: "
                f"{perf.completed / took:.0f} a second"
            )


aionvme.run(main(sys.argv[1] if len(sys.argv) > 1 else "mock:"))
