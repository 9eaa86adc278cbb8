"""`aionvme perf` as a process of its own: what it prints, asks, refuses, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aionvme.tests.flow.programs import environment, python

pytest.importorskip("typer", reason="the command line is an extra")

SHORT = ("-t", "0.3", "--warmup", "0.05")
# The command as it is, but what is at every address is the mock: how it treats a device can be tried.
_ON_A_DEVICE = """
import sys, aionvme
from aionvme.cli import command
connect = aionvme.connect
aionvme.connect = lambda address: connect("mock:?size=1MiB")
command()
"""


def perf(*words: str) -> subprocess.CompletedProcess[str]:
    return python("-m", "aionvme.cli", "perf", *words)


def figures(*words: str) -> dict[str, Any]:
    ended = perf(*words, *SHORT, "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


@pytest.mark.parametrize("mode", ["await", "callback", "batch"])
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_json(mode: str, loop: str) -> None:
    """The report is JSON, says what was run, and its figures agree with one another."""
    found = figures("mock:?lba=4096", "-q", "8", "-o", "8KiB", "--mode", mode, "--loop", loop)
    assert (found["version"], found["address"], found["loop"]) == (1, "mock:?lba=4096", loop)
    load, commands, rates = found["workload"], found["commands"], found["rates"]
    assert (load["mode"], load["depth"], load["io_size"], load["pattern"]) == (mode, 8, 8192, "randread")
    assert commands["completed"] > 0
    assert rates["commands_per_second"] == pytest.approx(commands["completed"] / found["seconds"])
    assert rates["bytes_per_second"] == pytest.approx(8192 * rates["commands_per_second"])
    if mode == "batch":
        assert (found["latency_us"], "latency_us" in found["not_measured"]) == (None, True)
        return
    times = found["latency_us"]
    assert times["min"] <= times["mean"] <= times["max"]
    known = [value for name, value in times.items() if name.startswith("p") and value is not None]
    assert known == sorted(known)
    assert found["verified"] is None


def test_spdks_options() -> None:
    """The short options are taken as SPDK's perf takes them."""
    cpu = str(min(os.sched_getaffinity(0)))
    words = ["-q", "4", "-o", "1024", "-w", "randrw", "-M", "30", "-P", "2", "-c", f"[{cpu}]"]
    load = figures("mock:", *words, "--mode", "callback")["workload"]
    assert (load["depth"], load["io_size"], load["pattern"]) == (4, 1024, "randrw")
    assert (load["read_percent"], load["queue_pairs"], load["seconds"]) == (30, 2, 0.3)


def test_a_report_for_people() -> None:
    """It has rates, latencies and CPU time, and says what was not measured and why."""
    ended = perf("mock:", *SHORT, "-q", "4", "--rate", "500")
    assert ended.returncode == 0
    for text in ("commands", "/s of 500/s that were asked for", "latency p50", "µs"):
        assert text in ended.stdout
    assert "no latency p99.999: " in ended.stderr
    assert "it takes 1000000" in ended.stderr


def test_verified_and_drawn(tmp_path: Path) -> None:
    """Data is verified on the way, and the chart of latencies is there at the end."""
    chart = tmp_path / "latency.png"
    ended = perf("mock:?size=1MiB", *SHORT, "--verify", "--mode", "callback", "--plot", str(chart))
    assert (ended.returncode, re.search(r"[\d,]+ blocks, 0 wrong", ended.stdout) is not None) == (0, True)
    assert chart.read_bytes().startswith(b"\x89PNG")


def test_yes_overwrites_a_device(tmp_path: Path) -> None:
    """With --yes the file of a mock is written."""
    image = tmp_path / "image"
    ended = perf(f"mock:?size=1MiB&storage={image}", "-w", "randwrite", "--yes", *SHORT)
    assert ended.returncode == 0
    assert image.stat().st_size == 1 << 20


class _OnATerminal:
    """The command on a terminal, from its first output on standard error that has these words."""

    def __init__(self, program: list[str], words: bytes) -> None:
        self.leader, follower = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, *program],
            stdin=follower,
            stdout=subprocess.PIPE,
            stderr=follower,
            env=environment(COLUMNS="200"),
        )
        os.close(follower)
        self.shown = b""
        while words not in self.shown:
            more = os.read(self.leader, 4096)
            assert more, f"ended before it came to that: {self.shown!r}"
            self.shown += more

    def end(self) -> tuple[int, str]:
        """Waits for the end: status, and standard output."""
        assert self.process.stdout is not None
        out = self.process.stdout.read().decode()
        self.process.stdout.close()
        status = self.process.wait(30)
        os.close(self.leader)
        return status, out


@pytest.mark.parametrize("mode", ["await", "callback", "batch"])
def test_ctrl_c_reports_what_was_measured(mode: str) -> None:
    """Each second has its line; Ctrl-C ends it in order, with the report so far and status 130."""
    words = ["perf", "mock:", "-t", "60", "--warmup", "0", "--mode", mode, "--json"]
    command = _OnATerminal(["-m", "aionvme.cli", *words], b"commands/s")
    assert re.search(rb"1\.\d s +[\d,]+ commands/s", command.shown)
    command.process.send_signal(signal.SIGINT)
    status, out = command.end()
    found = json.loads(out)
    assert (status, found["interrupted"], found["failures"]) == (130, True, [])
    assert 1 <= found["seconds"] < 30
    assert found["commands"]["completed"] > 0


@pytest.mark.parametrize(("typed", "status"), [(b"01:00.0\n", 0), (b"yes\n", 1)])
def test_a_device_is_overwritten_when_that_is_confirmed(typed: bytes, status: int) -> None:
    """The address, typed, confirms; a yes does not. What will be lost is said before."""
    program = ["-c", _ON_A_DEVICE, "perf", "01:00.0", "-w", "randwrite", *SHORT]
    command = _OnATerminal(program, b"to go on: ")
    assert b"namespace 1, LBA 0 to 2047 (1 MiB)" in command.shown
    os.write(command.leader, typed)
    ended, out = command.end()
    assert (ended, "randwrite of 4 KiB on 01:00.0" in out) == (status, status == 0)
