"""Owns what a second process costs that shares a controller: processor time per command, beside another and alone.

    python -m bench.processes
    python -m bench.processes --turns 100 --loop asyncio --json processes.json

This process has a mock that moves no data, driven by its own thread, and lends it. Two others borrow it, and work in
turns of three windows, as the loops of `bench.threads` do: the first alone, the second alone, both. Each counts its own
thread's processor time, so that the device's is in no figure. With fewer than three processors the device takes its
share of theirs, and a process waits more: that is no processor time, but caches are colder.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

import aionvme
from aionvme.mock import MockController
from bench.threads import BLOCK, BLOCKS, DEPTH, LOOPS, MODES, Cost, Lane, Window, cost, factory, in_turn

WARM_UP = 4.0  # seconds, until both have borrowed
# Of a window in which a process had a processor: two processes and the device may have two between them.
SHARE = 0.4


async def work(path: str, which: int, mode: str, start: float, turns: int) -> list[Window]:
    """What borrower `which` does in its windows."""
    async with aionvme.borrow(path) as ctrlr, ctrlr.alloc_io_qpair(depth=DEPTH) as qp:
        lane = Lane(qp, ctrlr.namespaces[1], [ctrlr.dma_alloc(BLOCK) for _ in range(DEPTH)])
        return await in_turn(lane, which, mode, start, turns)


async def measure(mode: str, loop: str, turns: int) -> Cost:
    """What two borrowers of one device say."""
    with (
        tempfile.TemporaryDirectory() as folder,
        MockController(no_data=True, size=BLOCK * BLOCKS, lba=BLOCK) as mock,
    ):
        async with aionvme.connect(mock) as ctrlr, aionvme.lend(ctrlr, Path(folder, "lent")) as lender:
            start = time.monotonic() + WARM_UP
            words = ["--loop", loop, "--mode", mode, "--turns", str(turns), "--borrow", str(lender.path)]
            command = [sys.executable, "-m", "bench.processes", *words]
            each = [
                await asyncio.create_subprocess_exec(
                    *command, str(which), repr(start), stdout=asyncio.subprocess.PIPE
                )
                for which in range(2)
            ]
            answers = await asyncio.gather(*(process.communicate() for process in each))
        if mock.counters.errors:
            raise RuntimeError(f"the device counted {mock.counters.errors} errors")
    return cost([[Window(*window) for window in json.loads(out)] for out, _ in answers], SHARE)


def main(argv: Sequence[str]) -> int:
    """Measure, print a table, and return an exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.processes", description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=60, help="default: %(default)s")
    parser.add_argument("--loop", choices=LOOPS, default="uvloop", help="default: %(default)s")
    parser.add_argument("--mode", choices=MODES, action="append", help="default: both")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--borrow", nargs=3, help=argparse.SUPPRESS)  # path, which, when it begins
    options = parser.parse_args(argv)
    modes = options.mode or MODES
    if options.borrow:
        path, which, start = options.borrow
        with asyncio.Runner(loop_factory=factory(options.loop)) as runner:
            windows = runner.run(work(path, int(which), modes[0], float(start), options.turns))
        print(json.dumps([attrs.astuple(window) for window in windows]))
        return 0
    print(f"{options.loop}, reads of {BLOCK} bytes, depth {DEPTH}, {len(os.sched_getaffinity(0))} processors")
    print("processor time per command, ns      one alone      both     ratio  windows")
    results: dict[str, Any] = {"loop": options.loop}
    for mode in modes:
        found = asyncio.run(measure(mode, options.loop, options.turns))
        print(f"{f'{mode}, two borrowers':<34}{found.alone:>11.0f}{found.both:>10.0f}{found.ratio:>10.3f}"
              f"{found.windows:>9}", flush=True)  # fmt: skip
        results[mode] = attrs.asdict(found) | {"ratio": found.ratio}
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
