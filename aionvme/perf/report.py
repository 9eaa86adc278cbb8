"""Owns what is said of a measurement: figures that were measured, and for each other one why there is none."""

from __future__ import annotations

import os
import platform
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

import aionvme

if TYPE_CHECKING:
    from aionvme.admin.controller import Controller
    from aionvme.histogram import Histogram
    from aionvme.perf.workload import Region, Workload
    from aionvme.qpair.namespace import Namespace

__all__ = ["PERCENTILES", "TAIL_LEAST", "Facts", "Report", "Window", "machine"]

PERCENTILES = (50, 90, 99, 99.9, 99.99, 99.999)
#: Of the JSON; a key that changes its meaning, or goes, makes it greater.
VERSION = 1
#: Fewer times above a percentile than these, and it says more of chance than of the device.
TAIL_LEAST = 10

# Of commands and of CPU time: below, the ends of the measurement count for too much.
_COMMANDS_LEAST = 100
_CPU_LEAST_NS = 1_000_000


def machine() -> dict[str, Any]:
    """On what it was measured, in words and numbers for a report."""
    return {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "aionvme": aionvme.__version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


@attrs.frozen
class Facts:
    """On what it was run.

    Attributes:
        model, serial: As the controller says.
        nsid, block_size: Of the namespace.
        first, nblocks: The region.
    """

    model: str
    serial: str
    nsid: int
    block_size: int
    first: int
    nblocks: int

    @classmethod
    def of(cls, ctrlr: Controller, ns: Namespace, region: Region) -> Facts:
        """Of a controller that is open."""
        return cls(
            ctrlr.data.mn.strip(),
            ctrlr.data.sn.strip(),
            ns.nsid,
            ns.block_size,
            region.first,
            region.nblocks,
        )


@attrs.frozen
class Window:
    """What was read off between two moments.

    Attributes:
        seconds: Between them.
        submitted, completed, failed: Commands.
        in_flight_at_start, in_flight_at_end: Commands that were under way at either moment.
        latency: Of those that completed, None where it was not measured.
        process_ns, thread_ns: CPU time of the process, and of the thread that drives the queue pairs.
        turns, doorbells: Of the queue pairs.
        per_second: Commands a second, second by second.
    """

    seconds: float
    submitted: int
    completed: int
    failed: int
    in_flight_at_start: int
    in_flight_at_end: int
    latency: Histogram | None
    process_ns: int
    thread_ns: int
    turns: int
    doorbells: int
    per_second: tuple[float, ...]

    def __attrs_post_init__(self) -> None:
        began, ended = self.in_flight_at_start + self.submitted, self.completed + self.failed
        if began != ended + self.in_flight_at_end:
            raise RuntimeError(
                f"the counts do not agree, which is a mistake of aionvme's: {self.in_flight_at_start} in flight and "
                f"{self.submitted} submitted, but {self.completed} completed, {self.failed} failed and "
                f"{self.in_flight_at_end} in flight"
            )


@attrs.frozen(slots=False)
class Report:
    """What is said of one run.

    Attributes:
        load, facts: What was run on what.
        window: What was read off; None if the run ended before there was anything.
        blocks_verified, mismatched: Blocks whose data was compared, and commands for which it was wrong.
        failed, failures: Commands that failed, the warm-up's too; the first failures in words.
        interrupted: Whether it was ended before its time by its user.
    """

    load: Workload
    facts: Facts
    window: Window | None
    blocks_verified: int
    mismatched: int
    failed: int
    failures: tuple[str, ...]
    interrupted: bool

    @property
    def good(self) -> bool:
        """Whether all commands went well and all data was right."""
        return not self.failures

    @cached_property
    def absent(self) -> dict[str, str]:
        """Why a figure is None, by its name in the JSON."""
        if self.window is None:
            why = "the run ended before anything was measured"
            return dict.fromkeys(("seconds", "commands", "rates", "latency_us", "cpu", "driver"), why)
        absent = {**self._absent_latency(self.window), **self._absent_cpu(self.window)}
        if self.window.completed == 0:
            absent["driver"] = "no command completed"
        return absent

    def _absent_latency(self, window: Window) -> dict[str, str]:
        if self.load.mode == "batch":
            return {
                "latency_us": "a batch tells of its end and not of each command's: take another --mode for latency"
            }
        if window.latency is None:
            return {"latency_us": "it was not measured, as --no-latency says"}
        count = window.latency.count
        if count == 0:
            return {"latency_us": "no command completed"}
        absent = {}
        for q in PERCENTILES:
            needed = round(TAIL_LEAST * 100 / (100 - q))
            if count < needed:
                absent[f"latency_us.{_name(q)}"] = (
                    f"{count} commands are too few: it takes {needed} to have {TAIL_LEAST} above it"
                )
        return absent

    @staticmethod
    def _absent_cpu(window: Window) -> dict[str, str]:
        if window.completed < _COMMANDS_LEAST:
            return {"cpu": f"{window.completed} commands are too few: it takes {_COMMANDS_LEAST}"}
        if window.process_ns < _CPU_LEAST_NS or window.thread_ns <= 0:
            return {
                "cpu": f"{window.process_ns} ns of CPU time are too few to be told apart from the clock's own"
            }
        return {}

    def as_json(self) -> dict[str, Any]:
        """For programs; `docs/perf.md` describes each key. A value that was not measured is None."""
        load, window = self.load, self.window
        return {
            "version": VERSION,
            "machine": machine(),
            "device": attrs.asdict(self.facts),
            "workload": attrs.asdict(load) | {"read_percent": load.reads},
            "interrupted": self.interrupted,
            "seconds": None if window is None else window.seconds,
            "commands": self._commands(),
            "rates": self._rates(),
            "latency_us": self._latency(),
            "cpu": self._cpu(),
            "driver": self._driver(),
            "verified": {"blocks": self.blocks_verified, "mismatched": self.mismatched}
            if load.verify
            else None,
            "failed": self.failed,
            "failures": list(self.failures),
            "not_measured": self.absent,
        }

    def _commands(self) -> dict[str, int] | None:
        if (window := self.window) is None:
            return None
        names = ("submitted", "completed", "failed", "in_flight_at_start", "in_flight_at_end")
        return {name: getattr(window, name) for name in names}

    def _rates(self) -> dict[str, Any] | None:
        if (window := self.window) is None:
            return None
        iops = window.completed / window.seconds
        return {
            "commands_per_second": iops,
            "bytes_per_second": iops * self.load.io_size,
            "asked_for": self.load.rate,
            "per_second": list(window.per_second),
        }

    def _latency(self) -> dict[str, float | None] | None:
        if "latency_us" in self.absent or self.window is None or (times := self.window.latency) is None:
            return None
        assert times.min is not None
        assert times.max is not None
        assert times.mean is not None
        figures: dict[str, float | None] = {"min": times.min / 1000, "mean": times.mean / 1000}
        for q in PERCENTILES:
            missing = f"latency_us.{_name(q)}" in self.absent
            figures[_name(q)] = None if missing else times.percentile(q) / 1000
        return {**figures, "max": times.max / 1000}

    def _cpu(self) -> dict[str, float] | None:
        if "cpu" in self.absent or (window := self.window) is None:
            return None
        other = max(window.process_ns - window.thread_ns, 0)
        return {
            "driving_thread_ns_per_command": window.thread_ns / window.completed,
            "other_threads_ns_per_command": other / window.completed,
            "process_ns_per_command": window.process_ns / window.completed,
            "driving_thread_busy": window.thread_ns / (window.seconds * 1e9),
            "process_busy": window.process_ns / (window.seconds * 1e9),
        }

    def _driver(self) -> dict[str, float] | None:
        if "driver" in self.absent or (window := self.window) is None:
            return None
        return {
            "commands_per_turn": window.completed / max(window.turns, 1),
            "commands_per_doorbell": window.completed / max(window.doorbells, 1),
        }


def _name(q: float) -> str:
    return f"p{q:g}"
