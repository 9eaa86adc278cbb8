"""Owns how `aionvme top` draws the figures of controllers: a table and the health of each, in the terminal's width."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from aionvme.cli import console

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType

    from aionvme.metrics import Health, Interval, KindRates, Snapshot

__all__ = ["HINT", "Dashboard", "lines"]

HINT = (
    "Start it with AIONVME_METRICS=1 in its environment, or have it call aionvme.metrics.publish(ctrlr); try: "
    "AIONVME_METRICS=1 aionvme perf mock: -t 60"
)

_BLOCKS = "▁▂▃▄▅▆▇█"
_HISTORY = 60
# Of the columns these go first where the terminal is narrow.
_COLUMNS = ("kind", "IOPS", "data/s", "depth", "mean", "p50", "p99", "p99.9", "errors")
_NARROW = ("kind", "IOPS", "data/s", "p50", "p99")
_WIDE_ENOUGH = 80
_KINDS = ("read", "write", "other")
# Bits of the critical warning (NVMe Base 2.0, 5.16.1.3).
_WARNINGS = ("spare", "temperature", "reliability", "read only", "volatile memory", "persistent memory")


class Dashboard:
    """What is on the screen, which remembers how many commands there were.

    Args:
        queues: Whether each queue pair has a row.
    """

    def __init__(self, *, queues: bool = False) -> None:
        self._queues = queues
        self._history: dict[tuple[int, str], deque[float]] = {}

    def draw(self, intervals: Sequence[Interval], width: int) -> RenderableType:
        """All controllers, one below the other.

        Args:
            intervals: Of each.
            width: Columns of the terminal.
        """
        if not intervals:
            return Text("Waiting for a program that publishes its controllers' figures. " + HINT, "dim")
        self._remember(intervals)
        return Group(*(self._one(interval, width) for interval in intervals))

    def _remember(self, intervals: Sequence[Interval]) -> None:
        there = {_key(interval): interval for interval in intervals}
        self._history = {key: self._history.get(key, deque(maxlen=_HISTORY)) for key in there}
        for key, interval in there.items():
            self._history[key].append(interval.all_io().iops)

    def _one(self, interval: Interval, width: int) -> RenderableType:
        after = interval.after
        heading = Text.assemble(
            (after.address, "bold"),
            f"  {after.model}, {after.serial}  ",
            (f"{after.program} ({after.pid})", "dim"),
            ("" if after.state == "live" else f"  {after.state}", "bold red"),
            no_wrap=True,
            overflow="ellipsis",
        )
        return Group(
            heading,
            Text(_spark(self._history[_key(interval)], min(width, _HISTORY)), "cyan"),
            self._table(interval, width),
            health_text(after.health),
            Text(),
        )

    def _table(self, interval: Interval, width: int) -> Table:
        columns = _COLUMNS if width >= _WIDE_ENOUGH else _NARROW
        grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for name in columns:
            grid.add_column(name, no_wrap=True, justify="left" if name == "kind" else "right")
        for kind, rates in self._rows(interval):
            cells = {"kind": kind, **_cells(rates)}
            grid.add_row(*(Text(cells[name]) for name in columns))
        return grid

    def _rows(self, interval: Interval) -> Iterable[tuple[str, KindRates]]:
        for kind in _KINDS:
            yield kind, interval.io(kind)
        yield "admin", interval.admin()
        if self._queues:
            for queue in interval.after.queues:
                if queue.qid and queue.depth:
                    yield (
                        f"queue {queue.qid}, {queue.outstanding} of {queue.depth}",
                        interval.all_io(queue.qid),
                    )


def _key(interval: Interval) -> tuple[int, str]:
    return interval.after.pid, interval.after.address


def _cells(rates: KindRates) -> dict[str, str]:
    return {
        "IOPS": f"{rates.iops:,.0f}",
        "data/s": console.size(int(rates.bytes_per_second)),
        "depth": f"{rates.mean_depth:.1f}",
        "mean": _time(rates.mean_us),
        "p50": _time(rates.percentile_us(50)),
        "p99": _time(rates.percentile_us(99)),
        "p99.9": _time(rates.percentile_us(99.9)),
        "errors": f"{rates.counts.failed:,}",
    }


def _time(us: float | None) -> str:
    if us is None:
        return "-"
    return f"{us / 1000:,.1f} ms" if us >= 10_000 else f"{us:,.1f} µs"


def _spark(values: Sequence[float], width: int) -> str:
    shown = list(values)[-width:]
    most = max(shown, default=0) or 1
    return "".join(_BLOCKS[min(int(value / most * len(_BLOCKS)), len(_BLOCKS) - 1)] for value in shown)


def health_text(health: Health | None) -> Text:
    """A line about the SMART log page."""
    if health is None:
        return Text("no SMART log page", "dim")
    warnings = [name for bit, name in enumerate(_WARNINGS) if health.critical_warning >> bit & 1]
    words = [
        f"{health.temperature_c} °C",
        f"{health.percentage_used} % used",
        f"spare {health.available_spare} %",
        f"{health.media_errors} media errors",
        f"{health.power_on_hours} h on",
    ]
    text = Text("SMART: " + ", ".join(words), "dim", no_wrap=True, overflow="ellipsis")
    if warnings:
        text.append(f"  warning: {', '.join(warnings)}", "bold red")
    return text


def lines(intervals: Sequence[Interval]) -> None:
    """The figures once, as lines for a pipe or a log."""
    for interval in intervals:
        after: Snapshot = interval.after
        console.result(
            f"{after.address}  {after.model}, {after.serial}  {after.program} ({after.pid})", "bold"
        )
        rows = [(kind, _sentence(interval.io(kind))) for kind in _KINDS]
        rows += [("admin", _sentence(interval.admin())), ("outstanding", str(interval.outstanding))]
        console.facts([*rows, ("health", health_text(after.health).plain)])


def _sentence(rates: KindRates) -> str:
    cells = _cells(rates)
    text = f"{cells['IOPS']} IOPS, {cells['data/s']}/s, {cells['errors']} errors"
    if rates.mean_us is None:
        return text
    return (
        f"{text}, p50 {cells['p50']}, p99 {cells['p99']}, p99.9 {cells['p99.9']}, mean depth {cells['depth']}"
    )
