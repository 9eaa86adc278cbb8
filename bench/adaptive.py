"""Owns the chart of adaptive completion: CPU time and latency against load, polled, by interrupt, and by the mix.

The device is a mock that takes 80 µs for a command, as a flash drive does: on one that answers at once polling is
always right. Commands come at a rate, and are driven by callbacks.
"""

from __future__ import annotations

import argparse
import random
import statistics
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import attrs

import aionvme
from aionvme.perf.measure import Measurement
from aionvme.perf.workload import COMPLETIONS, Workload
from bench.device import Device, open_device
from bench.figures import CHARTS, describe_machine, save, table

RATES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
#: How near adaptive has to be to the one of the two that takes less CPU time at that load: part of its CPU
#: time, points of a processor on top, and part of its median latency.
CPU_WITHIN, CPU_POINTS, LATENCY_WITHIN = 1.2, 0.02, 1.2


@attrs.frozen
class Point:
    """What was measured at one load: medians over the rounds.

    Attributes:
        busy: Part of a processor that the driving thread used.
        p50, p99: Latency in microseconds.
        rate: Commands a second that there were.
    """

    busy: float
    p50: float
    p99: float
    rate: float

    @classmethod
    def of(cls, runs: list[dict[str, Any]]) -> Point:
        """From reports."""
        return cls(
            statistics.median(run["cpu"]["driving_thread_busy"] for run in runs),
            statistics.median(run["latency_us"]["p50"] for run in runs),
            statistics.median(run["latency_us"]["p99"] or run["latency_us"]["max"] for run in runs),
            statistics.median(run["rates"]["commands_per_second"] for run in runs),
        )


def follows(points: dict[str, Point]) -> bool:
    """Whether adaptive does at a load about as well as the cheaper of the other two."""
    better = min((points["poll"], points["interrupt"]), key=lambda point: point.busy)
    adaptive = points["adaptive"]
    return (
        adaptive.busy <= better.busy * CPU_WITHIN + CPU_POINTS and adaptive.p50 <= better.p50 * LATENCY_WITHIN
    )


async def _run(device: Device, completion: str, rate: int, options: argparse.Namespace) -> dict[str, Any]:
    load = Workload(
        mode="callback",
        completion=completion,
        rate=rate,
        depth=options.depth,
        seconds=options.seconds,
        warmup=0.1,
    )
    report = await Measurement(device.ctrlr, device.ns, load, cpus=device.cpus).run()
    if not report.good:
        raise SystemExit(f"{completion} at {rate}/s: {', '.join(report.failures)}")
    figures = report.as_json()
    if figures["cpu"] is None or figures["latency_us"] is None:
        raise SystemExit(f"{options.seconds} s are too short for {rate} commands a second")
    return figures


async def _measure(options: argparse.Namespace) -> dict[int, dict[str, Point]]:
    runs: dict[tuple[int, str], list[dict[str, Any]]] = {
        (rate, completion): [] for rate in RATES for completion in COMPLETIONS
    }
    async with AsyncExitStack() as stack:
        device = await stack.enter_async_context(open_device(no_data=True, latency=options.latency))
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", flush=True)
            for rate, completion in random.sample(list(runs), len(runs)):
                runs[rate, completion].append(await _run(device, completion, rate, options))
    return {
        rate: {completion: Point.of(runs[rate, completion]) for completion in COMPLETIONS} for rate in RATES
    }


def _print(found: dict[int, dict[str, Point]]) -> None:
    rows = []
    for rate, points in found.items():
        row = [f"{rate:,}"]
        for completion in COMPLETIONS:
            point = points[completion]
            kept = "" if point.rate >= 0.95 * rate else f" (reached {point.rate:,.0f}/s)"
            row.append(f"{point.busy:.0%} CPU, {point.p50:.0f} µs, p99 {point.p99:.0f} µs{kept}")
        rows.append([*row, "yes" if follows(points) else "NO"])
    print(table(["commands a second", *COMPLETIONS, "adaptive follows"], rows))


def _draw(found: dict[int, dict[str, Point]], path: Path, latency: float) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(2, 1, figsize=(8, 6.5), sharex=True, layout="constrained")
    for completion, style in zip(COMPLETIONS, ("s--", "^--", "o-"), strict=True):
        points = [found[rate][completion] for rate in RATES]
        above.plot(RATES, [100 * point.busy for point in points], style, label=completion, alpha=0.8)
        below.plot(RATES, [point.p50 for point in points], style, label=f"{completion}, p50", alpha=0.8)
    above.set_ylabel("CPU time of the driving thread, %")
    below.set_ylabel("latency, µs")
    below.set_xlabel(f"commands a second, on a device that takes {latency * 1e6:g} µs")
    below.set_xscale("log")
    below.set_yscale("log")
    for axes in (above, below):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path)
    pyplot.close(figure)


def main() -> None:
    """Runs it, and ends with status 1 where adaptive does not follow."""
    parser = argparse.ArgumentParser(prog="python -m bench.adaptive", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of each at each load (%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each run (%(default)s)")
    parser.add_argument(
        "--depth", type=int, default=512, help="commands under way at once at most (%(default)s)"
    )
    parser.add_argument("--latency", type=float, default=80e-6, help="of the device, seconds (%(default)s)")
    parser.add_argument("--no-save", action="store_true", help="only print")
    options = parser.parse_args()
    there = describe_machine()
    found = aionvme.run(_measure(options))
    _print(found)
    if not options.no_save:
        results = [
            {"commands_per_second": rate, "completion": completion, **attrs.asdict(point)}
            for rate, points in found.items()
            for completion, point in points.items()
        ]
        asked = {"rounds": options.rounds, "seconds": options.seconds, "latency": options.latency}
        follow = {rate: follows(points) for rate, points in found.items()}
        path = save("adaptive", {"machine": there, "asked": asked, "follows": follow, "results": results})
        _draw(found, CHARTS / "adaptive.svg", options.latency)
        print("results in", path, "chart in", CHARTS / "adaptive.svg")
    raise SystemExit(not all(follows(points) for points in found.values()))


if __name__ == "__main__":
    main()
