"""Owns the chart of a report's latencies: which part of the commands took how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aionvme.errors import UsageError
from aionvme.perf.report import PERCENTILES, TAIL_LEAST

if TYPE_CHECKING:
    from pathlib import Path

    from aionvme.histogram import Histogram
    from aionvme.perf.report import Report

__all__ = ["curve", "draw"]


def curve(times: Histogram) -> tuple[list[float], list[float]]:
    """Latency in microseconds against 1 / (1 - part of the commands that were not slower), which is 10 for p90.

    Ends where ten commands are left, as the percentiles of a report do.
    """
    seen, odds, microseconds = 0, [], []
    if times.count < 2 * TAIL_LEAST:
        return [], []
    for _least, greatest, count in times.filled():
        seen += count
        left = max(times.count - seen, TAIL_LEAST)
        odds.append(times.count / left)
        microseconds.append(greatest / 1000)
        if left == TAIL_LEAST:
            break
    return odds, microseconds


def draw(report: Report, path: Path) -> None:
    """Draws the chart into a file, in the format that its name says.

    Raises:
        UsageError: There are too few commands for a chart.
        OSError: The file can't be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    times = report.window.latency if report.window is not None else None
    odds, microseconds = curve(times) if times is not None else ([], [])
    if not odds or times is None:
        raise UsageError(f"{path}: too few commands were measured for a chart")
    load = report.load
    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    try:
        axes.plot(odds, microseconds, drawstyle="steps-post")
        axes.set_xscale("log")
        axes.set_yscale("log")
        marks = [q for q in PERCENTILES if 100 / (100 - q) <= max(odds) * 1.05]
        axes.set_xticks([100 / (100 - q) for q in marks], [f"p{q:g}" for q in marks])
        axes.minorticks_off()
        axes.set_xlabel("part of the commands that took no longer")
        axes.set_ylabel("latency, µs")
        axes.set_title(
            f"{load.pattern} of {load.io_size} bytes, depth {load.depth}, {load.mode}: {times.count:,} commands"
        )
        axes.grid(alpha=0.3)
        figure.savefig(path, dpi=120)
    finally:
        pyplot.close(figure)
