"""Reports: what was measured, and a reason in the place of what was not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import attrs
import pytest

from aionvme.errors import UsageError
from aionvme.histogram import Histogram
from aionvme.perf.plot import curve, draw
from aionvme.perf.report import Facts, Report, Window
from aionvme.perf.workload import Workload

DOCS = Path(__file__).parents[4] / "docs" / "perf.md"


def times(count: int, nanoseconds: int = 5000) -> Histogram:
    histogram = Histogram()
    histogram.record(nanoseconds, count)
    return histogram


def window(completed: int = 1000, **others: Any) -> Window:
    words: dict[str, Any] = {
        "seconds": 2.0, "submitted": completed + 5, "completed": completed, "failed": 0, "in_flight_at_start": 3,
        "in_flight_at_end": 8, "latency": times(completed), "process_ns": 9_000_000, "thread_ns": 6_000_000,
        "turns": 100, "doorbells": 50, "per_second": (400.0, 600.0),
    }  # fmt: skip
    return Window(**words | others)


def report(measured: Window | None, **others: Any) -> Report:
    load = Workload(**{"mode": "callback"} | others)
    facts = Facts("model", "serial", 1, 512, 0, 1000)
    return Report(load, facts, measured, 0, 0, 0, (), False)


def test_the_figures() -> None:
    """Rates are counts over seconds, latencies microseconds, CPU time is divided among the commands."""
    figures = report(window()).as_json()
    assert figures["rates"]["commands_per_second"] == 500
    assert figures["rates"]["bytes_per_second"] == 500 * 4096
    assert (figures["latency_us"]["min"], figures["latency_us"]["p50"], figures["latency_us"]["max"]) == (
        5,
    ) * 3
    assert figures["cpu"] == {
        "driving_thread_ns_per_command": 6000.0,
        "other_threads_ns_per_command": 3000.0,
        "process_ns_per_command": 9000.0,
        "driving_thread_busy": 0.003,
        "process_busy": 0.0045,
    }
    assert figures["driver"] == {"commands_per_turn": 10.0, "commands_per_doorbell": 20.0}


def test_percentiles_need_a_tail() -> None:
    """A percentile with fewer than ten times above it is not told, but why; one with ten is."""
    for q, needed in (("p50", 20), ("p90", 100), ("p99", 1000), ("p99.9", 10_000), ("p99.999", 1_000_000)):
        few, enough = report(window(needed - 1)), report(window(needed))
        assert few.as_json()["latency_us"][q] is None
        assert f"{needed - 1} commands are too few" in few.absent[f"latency_us.{q}"]
        assert enough.as_json()["latency_us"][q] == 5
        assert f"latency_us.{q}" not in enough.absent


@pytest.mark.parametrize(
    ("words", "why"),
    [({"mode": "batch"}, "take another --mode"), ({"latency": False}, "--no-latency")],
)
def test_latencies_that_were_not_measured(words: dict[str, Any], why: str) -> None:
    """Of a batch, or without the clock, there are none, not even a mean."""
    told = report(window(latency=None), **words)
    assert told.as_json()["latency_us"] is None
    assert why in told.absent["latency_us"]


@pytest.mark.parametrize(
    ("others", "why"),
    [
        ({"completed": 99}, "99 commands are too few"),
        ({"process_ns": 999_999}, "too few to be told apart"),
        ({"thread_ns": 0}, "too few to be told apart"),
    ],
)
def test_cpu_time_that_says_nothing(others: dict[str, Any], why: str) -> None:
    """With few commands, or little time, there is no CPU time per command."""
    told = report(window(**others))
    assert told.as_json()["cpu"] is None
    assert why in told.absent["cpu"]


def test_nothing_completed() -> None:
    """A rate of nothing is zero, which was measured; what is divided by commands is not told."""
    told = report(window(0))
    assert told.as_json()["rates"]["commands_per_second"] == 0
    assert set(told.absent) == {"latency_us", "cpu", "driver"}


def test_nothing_was_measured() -> None:
    """Of a run that ended in its warm-up every figure is absent, and each says why."""
    told = report(None)
    figures = told.as_json()
    missing = ["seconds", "commands", "rates", "latency_us", "cpu", "driver"]
    assert [figures[name] for name in missing] == [None] * len(missing)
    assert set(told.absent) == set(missing)


@pytest.mark.parametrize(
    "change", ["submitted", "completed", "failed", "in_flight_at_start", "in_flight_at_end"]
)
def test_counts_that_do_not_agree_are_no_report(change: str) -> None:
    """Commands that came from nowhere or went nowhere are a mistake of the tool, which it does not report over."""
    good = window()
    with pytest.raises(RuntimeError, match="do not agree"):
        attrs.evolve(good, **{change: getattr(good, change) + 1})


def _keys(value: Any, prefix: str = "") -> set[str]:
    if not isinstance(value, dict):
        return set()
    found = {f"{prefix}{key}" for key in value}
    return found.union(*(_keys(inner, f"{prefix}{key}.") for key, inner in value.items()))


def test_the_documentation_has_every_key() -> None:
    """Each key of the JSON is in docs/perf.md, and each key there is one."""
    figures = json.loads(json.dumps(report(window(10**6), verify=True).as_json()))
    keys = _keys({"address": "", "loop": ""} | figures)
    section = DOCS.read_text().partition("\n## JSON\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w.]+)` \|", section, re.MULTILINE)
    assert sorted(rows) == sorted(keys)


def test_a_chart_needs_commands(tmp_path: Path) -> None:
    """The chart ends where ten commands are left, and with fewer there is none."""
    with pytest.raises(UsageError, match="too few"):
        draw(report(window(9)), tmp_path / "few.png")
    spread = Histogram()
    for value in range(1, 101):
        spread.record(value * 1000)
    odds, microseconds = curve(spread)
    assert odds == sorted(odds)
    assert microseconds == sorted(microseconds)
    assert odds[-1] == 10
    assert microseconds[-1] == pytest.approx(90, rel=0.01)


def test_a_chart_is_drawn(tmp_path: Path) -> None:
    """It is a picture of the kind that its name says."""
    pytest.importorskip("matplotlib", reason="charts are an extra")
    measured = window(10**6)
    draw(report(measured), tmp_path / "it.png")
    draw(report(measured), tmp_path / "it.svg")
    assert (tmp_path / "it.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "it.svg").read_text()
