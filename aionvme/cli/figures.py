"""Owns how `aionvme perf` shows what it measured: a line for each second, and the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aionvme.cli import console

if TYPE_CHECKING:
    from aionvme.perf.report import Report
    from aionvme.perf.workload import Workload

__all__ = ["Live", "show"]


class Live:
    """What is shown while it runs, on a terminal: elsewhere nothing.

    Args:
        load: What runs.
        on: Whether there is a terminal.
    """

    def __init__(self, load: Workload, on: bool) -> None:
        self._load = load
        self._on = on
        self._told = ""
        self._seconds = 0.0

    def phase(self, phase: str, part: float) -> None:
        """What is done before the measurement, and what part of it is done."""
        text = f"{phase}: {int(part * 10) * 10} %" if part >= 0.1 else phase
        if self._on and text != self._told:
            self._told = text
            console.note(text)

    def second(self, completed: int, seconds: float) -> None:
        """What completed in a second."""
        self._seconds += seconds
        rate = completed / seconds
        if self._on:
            console.note(
                f"{self._seconds:6.1f} s  {rate:>12,.0f} commands/s  {console.size(int(rate * self._load.io_size))}/s"
            )


def show(address: str, report: Report) -> None:
    """The report, for people."""
    load, figures = report.load, report.as_json()
    console.result(f"{load.pattern} of {console.size(load.io_size)} on {address}", "bold")
    rows = [("device", f"{report.facts.model}, namespace {report.facts.nsid}"), ("workload", _workload(load))]
    if (rates := figures["rates"]) is not None:
        rows.append(
            ("measured", f"{figures['seconds']:.3f} s, {figures['commands']['completed']:,} commands")
        )
        rows.append(("commands", f"{rates['commands_per_second']:,.0f}/s{_asked(report, rates)}"))
        rows.append(("data", f"{console.size(int(rates['bytes_per_second']))}/s"))
    if (times := figures["latency_us"]) is not None:
        rows += [
            (f"latency {name}", f"{value:,.2f} µs") for name, value in times.items() if value is not None
        ]
    if (cpu := figures["cpu"]) is not None:
        rows.append(
            (
                "CPU",
                f"{cpu['driving_thread_ns_per_command']:,.0f} ns a command in the driving thread, "
                f"{cpu['other_threads_ns_per_command']:,.0f} ns in others; "
                f"{cpu['driving_thread_busy']:.0%} and {cpu['process_busy'] - cpu['driving_thread_busy']:.0%} busy",
            )
        )
    if (verified := figures["verified"]) is not None:
        rows.append(("verified", f"{verified['blocks']:,} blocks, {verified['mismatched']} wrong"))
    console.facts(rows)
    for name, why in report.absent.items():
        console.note(f"no {name.replace('_us.', ' ').replace('_us', '')}: {why}")


def _workload(load: Workload) -> str:
    words = [f"{load.mode}, depth {load.depth}", f"completions by {load.completion}"]
    if load.queue_pairs > 1:
        words.append(f"{load.queue_pairs} queue pairs")
    if load.mixed:
        words.append(f"{load.reads} % reads")
    if load.verify:
        words.append("verified")
    return ", ".join(words)


def _asked(report: Report, rates: dict[str, float]) -> str:
    asked = report.load.rate
    if asked is None:
        return ""
    kept = rates["commands_per_second"] >= 0.99 * asked
    return f" of {asked:,.0f}/s that were asked for" + ("" if kept else ": it could not keep up")
