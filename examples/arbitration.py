"""Weighted round robin: `python arbitration.py [ADDRESS]`, by default "mock:?wrr=1".

Queue pairs of three priority classes are filled at once: of the reads that end while all three have some to do, the
heavier classes have more.
Where the controller has no weighted round robin (CAP.AMS), all have about the same.
"""

import asyncio
import sys
from collections import Counter

import aionvme
from aionvme import QPrio

DEPTH = 512
ROUNDS = 8
# Large enough that the controller is what all wait for, and not this program.
NBYTES = 128 * 1024
WEIGHTS = {QPrio.LOW: 8, QPrio.MEDIUM: 16, QPrio.HIGH: 32}


async def compete(ctrlr: aionvme.Controller, qps: dict[QPrio, aionvme.IoQueuePair]) -> Counter[QPrio]:
    """Fills every queue pair; counts which reads ended while all of them were at work."""
    ns = ctrlr.namespaces[min(ctrlr.namespaces)]
    nblocks = NBYTES // ns.block_size
    order: list[QPrio] = []

    def ended(qprio: QPrio, cpl: aionvme.Completion) -> None:
        if cpl.status:
            raise SystemExit(f"a read failed: {cpl.status.text}")
        order.append(qprio)

    with ctrlr.dma_alloc(NBYTES) as buf:
        # Nothing is awaited in between, so that all doorbells ring at the end of this turn of the loop.
        reads = [
            qp.submit_read(ns, buf, slot * nblocks % (ns.nblocks - nblocks), nblocks, ended, qprio)
            for qprio, qp in qps.items()
            for slot in range(DEPTH)
        ]
        await asyncio.gather(*reads)
    begin = max(order.index(qprio) for qprio in qps)
    end = min(len(order) - order[::-1].index(qprio) for qprio in qps)
    return Counter(order[begin:end])


async def main(address: str) -> None:
    """Competes a few times, and shows the shares."""
    opts = aionvme.ControllerOptions(
        arb_mechanism=aionvme.ArbMechanism.WEIGHTED_ROUND_ROBIN,
        arbitration_burst=0,
        high_priority_weight=WEIGHTS[QPrio.HIGH],
        medium_priority_weight=WEIGHTS[QPrio.MEDIUM],
        low_priority_weight=WEIGHTS[QPrio.LOW],
    )
    async with aionvme.connect(address, opts) as ctrlr:
        # The options are what was asked for; ctrlr.opts is what it became.
        print(f"arbitration: {ctrlr.opts.arb_mechanism.name.lower().replace('_', ' ')}")
        qps = {qprio: await ctrlr.alloc_io_qpair(depth=DEPTH, qprio=qprio) for qprio in WEIGHTS}
        ended = sum([await compete(ctrlr, qps) for _ in range(ROUNDS)], Counter())
        for qprio, weight in WEIGHTS.items():
            print(f"{qprio.name.lower():<7} weight {weight:>3}: {ended[qprio] / max(ended.total(), 1):>6.1%}")


aionvme.run(main(sys.argv[1] if len(sys.argv) > 1 else "mock:?wrr=1"))
