"""Owns the comparison of a mock in this process with one in another, over vfio-user: the same reads, in turn.

Both have memory behind them. The driver has the first processor, the device the second, whichever device it is.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aionvme
from aionvme.perf.measure import Measurement
from aionvme.perf.workload import MODES, Workload
from bench.device import new_threads_on, processors
from bench.figures import describe_machine, save, table

OPTIONS = {"lba": "4096", "size": "64MiB"}
#: Part of the throughput in process that there is to be at least.
GOAL = 0.8


@contextlib.contextmanager
def served(cpus: frozenset[int] | None) -> Iterator[str]:
    """A mock in a process of its own; its address."""
    with tempfile.TemporaryDirectory() as folder:
        options = [f"{name}={value}" for name, value in OPTIONS.items()]
        command = [sys.executable, "-m", "aionvme.cli", "mock", "serve", "--socket", folder, *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            assert process.stdout is not None
            if "Serving" not in (line := process.stdout.readline()):
                raise SystemExit(f"no mock is served: {line or 'it ended'}")
            if cpus is not None:
                for task in Path(f"/proc/{process.pid}/task").iterdir():
                    os.sched_setaffinity(int(task.name), cpus)
            yield f"vfio-user:{folder}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
            if process.stdout is not None:
                process.stdout.close()


@contextlib.asynccontextmanager
async def _both(options: argparse.Namespace) -> AsyncIterator[dict[str, aionvme.Controller]]:
    _, device = processors()
    async with contextlib.AsyncExitStack() as stack:
        address = options.served or stack.enter_context(served(device))
        with new_threads_on(device):
            local = await stack.enter_async_context(aionvme.connect(options.local))
        other = await stack.enter_async_context(aionvme.connect(address))
        yield {"in process": local, "vfio-user": other}


async def _rate(ctrlr: aionvme.Controller, mode: str, options: argparse.Namespace) -> float:
    driver, _ = processors()
    load = Workload(
        mode=mode, depth=options.depth, seconds=options.seconds, warmup=0.1, latency=False, pattern="randread"
    )
    report = await Measurement(ctrlr, ctrlr.namespaces[min(ctrlr.namespaces)], load, cpus=driver).run()
    if not report.good or report.window is None:
        raise SystemExit(f"{mode}: {', '.join(report.failures)}")
    return report.window.completed / report.window.seconds


async def _measure(options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    rates: dict[str, dict[str, list[float]]] = {}
    async with _both(options) as controllers:
        runs = [(name, mode) for name in controllers for mode in MODES]
        rates = {mode: {name: [] for name in controllers} for mode in MODES}
        for _ in range(options.rounds):
            random.shuffle(runs)
            for name, mode in runs:
                rates[mode][name].append(await _rate(controllers[name], mode, options))
    return rates


def main() -> None:
    """Runs it, prints the ratios, and ends with status 1 if one misses the goal."""
    parser = argparse.ArgumentParser(prog="python -m bench.vfio_user", description=__doc__)
    address = "mock:?" + "&".join(f"{name}={value}" for name, value in OPTIONS.items())
    parser.add_argument("--local", default=address, help="the mock in this process (%(default)s)")
    parser.add_argument("--served", help="vfio-user:FOLDER of one that is served; by default one is started")
    parser.add_argument("--rounds", type=int, default=7, help="of each mode on each (%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each run (%(default)s)")
    parser.add_argument("--depth", type=int, default=32, help="commands under way at once (%(default)s)")
    parser.add_argument("--no-save", action="store_true", help="only print")
    options = parser.parse_args()
    there = describe_machine()
    rates = aionvme.run(_measure(options))
    rows, results, missed = [], [], False
    for mode, found in rates.items():
        local, other = (statistics.median(found[name]) for name in ("in process", "vfio-user"))
        # Of neighbours in time, whatever else the machine did: their median is the ratio.
        ratios = sorted(b / a for a, b in zip(found["in process"], found["vfio-user"], strict=True))
        ratio = statistics.median(ratios)
        missed |= ratio < GOAL
        rows.append(
            [mode, f"{local / 1e6:.3f} M/s", f"{other / 1e6:.3f} M/s",
             f"{ratio:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})", "meets" if ratio >= GOAL else "MISSES"]
        )  # fmt: skip
        results.append({"mode": mode, "ratio": ratio, "goal": GOAL, "runs": found})
    heading = f"4 KiB random read, depth {options.depth}"
    print(table([heading, "in process", "vfio-user", "ratio", f"{GOAL:g} or more"], rows))
    if not options.no_save:
        asked = {"rounds": options.rounds, "seconds": options.seconds, "depth": options.depth}
        print("results in", save("vfio_user", {"machine": there, "asked": asked, "results": results}))
    raise SystemExit(missed)


if __name__ == "__main__":
    main()
