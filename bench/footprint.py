"""Owns what the driver costs before a command: its import, a connect, a queue pair's memory; each beside its goal.

python -m bench.footprint
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import aionvme
from bench.figures import RESULTS, describe_machine, table

DEPTH = 256
QUEUE_PAIRS = 16
PAGE = 4096


def _seconds(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def import_ms(rounds: int) -> float:
    """Milliseconds that `import aionvme` adds to a program with asyncio: medians of interleaved runs."""
    without, both = [], []
    for _ in range(rounds):
        without.append(_seconds("import asyncio"))
        both.append(_seconds("import asyncio, aionvme"))
    return 1e3 * (statistics.median(both) - statistics.median(without))


async def connect_ms(rounds: int) -> float:
    """Milliseconds until a mock is connected, its namespaces there; the median, without the first, which imports."""
    took = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        async with aionvme.connect("mock:?size=1GiB"):
            took.append(time.perf_counter() - began)
    return 1e3 * statistics.median(took[1:])


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


async def queue_pair_kib() -> float:
    """KiB that a queue pair takes once as many commands as it has slots were under way, each with a PRP list."""
    async with aionvme.connect("mock:?size=1GiB") as ctrlr:
        ns, nbytes = ctrlr.namespaces[1], ctrlr.max_transfer
        assert nbytes is not None
        with ctrlr.dma_alloc(nbytes) as buf:

            async def use() -> aionvme.IoQueuePair:
                qp = await ctrlr.alloc_io_qpair(depth=DEPTH)
                await asyncio.gather(*(qp.read(ns, buf, 0, nbytes // ns.block_size) for _ in range(DEPTH)))
                return qp

            first = await use()  # what is made once for all
            before = _resident()
            qps = [await use() for _ in range(QUEUE_PAIRS)]
            after = _resident()
            for qp in (first, *qps):
                await qp.close()
    return (after - before) / QUEUE_PAIRS / 1024


def main() -> None:
    """Measures and prints a table."""
    rounds = 11
    figures: list[tuple[str, Callable[[], float], float, str]] = [
        ("import aionvme, beyond import asyncio", lambda: import_ms(rounds), 80, "ms"),
        ("connect to the mock", lambda: aionvme.run(connect_ms(rounds)), 50, "ms"),
        (f"memory of a queue pair of depth {DEPTH}", lambda: aionvme.run(queue_pair_kib()), 1024, "KiB"),
    ]
    rows, results = [], []
    for what, measure, goal, unit in figures:
        value = measure()
        rows.append([what, f"{value:.0f} {unit}", f"{'meets' if value < goal else 'MISSES'} {goal} {unit}"])
        results.append({"what": what, "value": value, "unit": unit, "goal": goal})
    print(table(["", "measured", "goal"], rows))
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "footprint.json"
    path.write_text(json.dumps({"machine": describe_machine(), "results": results}, indent=2) + "\n")
    print(f"results in {path}")


if __name__ == "__main__":
    main()
