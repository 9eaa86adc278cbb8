"""Owns whether large transfers run at the speed of memory: 1 MiB reads and writes beside a bare copy of as much.

The mock copies each command's data once; the driver, which copies none, should leave it no slower than that.

    python -m bench.bandwidth
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections.abc import Awaitable, Callable

import numpy as np

import aionvme
from aionvme.perf.measure import Measurement
from aionvme.perf.workload import Workload
from bench.device import SIZE, Device, open_device, pinned
from bench.figures import RESULTS, describe_machine, table

PIECE = 1 << 20
DEPTH = 4
ROUNDS = 7
SECONDS = 0.3


async def _copy(device: Device) -> float:
    """A copy from places of a region as large as the device's into memory as large as what is under way there."""
    source, target = np.ones(SIZE, np.uint8), np.ones(DEPTH * PIECE, np.uint8)
    choice, copied = random.Random(1), 0
    with pinned(device.cpus):
        began = time.perf_counter()
        while (took := time.perf_counter() - began) < SECONDS:
            at, to = choice.randrange(SIZE // PIECE) * PIECE, copied % (DEPTH * PIECE)
            target[to : to + PIECE] = source[at : at + PIECE]
            copied += PIECE
    return copied / took


def _way(pattern: str, mode: str) -> Callable[[Device], Awaitable[float]]:
    async def run(device: Device) -> float:
        load = Workload(
            pattern=pattern,
            mode=mode,
            depth=DEPTH,
            seconds=SECONDS,
            warmup=0.05,
            io_size=PIECE,
            latency=False,
        )
        report = await Measurement(device.ctrlr, device.ns, load, cpus=device.cpus).run()
        if not report.good or (window := report.window) is None:
            raise RuntimeError(f"{pattern}, {mode}: {', '.join(report.failures)}")
        return window.completed * PIECE / window.seconds

    return run


COPY = "a copy"
WAYS: dict[str, Callable[[Device], Awaitable[float]]] = {
    COPY: _copy,
    **{
        f"{pattern}, {mode}": _way(pattern, mode)
        for pattern in ("randread", "randwrite")
        for mode in ("batch", "callback", "await")
    },
}


async def _measure() -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    shuffle = random.Random(1).shuffle
    async with open_device() as device:
        for _ in range(ROUNDS):
            order = list(WAYS)
            shuffle(order)
            for name in order:
                found[name].append(await WAYS[name](device))
                await asyncio.sleep(0)
    return found


def main() -> None:
    """Measures and prints a table."""
    medians = {name: statistics.median(rates) for name, rates in aionvme.run(_measure()).items()}
    rows = [
        [name, f"{rate / 1e9:.1f} GB/s", "" if name == COPY else f"{rate / medians[COPY]:.2f}"]
        for name, rate in medians.items()
    ]
    print(table([f"1 MiB, depth {DEPTH}", "median", "of the copy"], rows))
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "bandwidth.json"
    path.write_text(json.dumps({"machine": describe_machine(), "bytes_per_second": medians}, indent=2) + "\n")
    print(f"results in {path}")


if __name__ == "__main__":
    main()
