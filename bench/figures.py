"""Owns what becomes of samples: medians with their spread, the table, the file of results and its chart."""

from __future__ import annotations

import datetime
import json
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from aionvme.perf.report import machine
from bench.device import Sample

__all__ = ["Cell", "describe_machine", "save", "table"]

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
CHARTS = HERE.parent / "docs"


@attrs.define
class Cell:
    """All runs of one contender on one device at one depth; or why there are none."""

    samples: list[Sample] = attrs.field(factory=list)
    why_not: str | None = None

    @property
    def rate(self) -> float:
        """Commands a second, the median of the runs."""
        return statistics.median(sample.rate for sample in self.samples)

    @property
    def spread(self) -> float:
        """Half of the distance between the least and the greatest rate, as a part of the median."""
        rates = [sample.rate for sample in self.samples]
        return (max(rates) - min(rates)) / 2 / self.rate

    @property
    def cpu_ns(self) -> float:
        """CPU time of the driving thread for a command, the median of the runs."""
        return statistics.median(sample.thread_ns / sample.commands for sample in self.samples)

    def as_json(self) -> dict[str, Any]:
        """All that there is to it."""
        if not self.samples:
            return {"why_not": self.why_not}
        return {
            "commands_per_second": self.rate,
            "spread": self.spread,
            "cpu_ns_per_command": self.cpu_ns,
            "runs": [sample.rate for sample in self.samples],
        }


def describe_machine() -> dict[str, Any]:
    """The machine, the time, and the commit."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, check=False, capture_output=True, text=True
    ).stdout.strip()
    load = Path("/proc/loadavg").read_text().split()[0]
    return {
        **machine(),
        "commit": commit or None,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        # Above 1 before it began, others had the processors too, and the figures say less.
        "load_before": float(load),
    }


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown, aligned for those who read it as it is."""
    widths = [max(len(row[at]) for row in (headings, *rows)) for at in range(len(headings))]
    lines = [" | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
    head = " | ".join(text.ljust(width) for text, width in zip(headings, widths, strict=True))
    return "\n".join(f"| {line} |" for line in (head, " | ".join("-" * width for width in widths), *lines))


def save(name: str, results: dict[str, Any]) -> Path:
    """Writes a file of results; where it is."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(results, indent=2) + "\n")
    return path
