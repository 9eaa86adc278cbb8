"""`aionvme list`: who has each function, and how it can be used."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

import pytest

from aionvme.tests.unit.pci.machine import BDF, FakeMachine

if TYPE_CHECKING:
    from aionvme.tests.unit.cli.conftest import Run


def _mounted(machine: FakeMachine, place: str = "/home") -> None:
    machine.function(driver="nvme")
    machine.namespace()
    (machine.sys / "bus/pci/devices" / BDF / "nvme/nvme0/model").write_text("QEMU NVMe Ctrl     \n")
    with (machine.proc / "self/mountinfo").open("a") as file:
        file.write(f"30 22 259:0 / {place} rw,relatime shared:1 - ext4 /dev/nvme0n1 rw\n")


def test_no_function(run: Run) -> None:
    """A machine without NVMe says so, and that there is the mock."""
    ended = run("list")
    assert ended.status == 0
    assert "no NVMe function" in ended.out
    assert "mock:" in ended.err
    assert json.loads(run("list", "--json").out) == []


def test_a_mounted_one(run: Run, machine: FakeMachine) -> None:
    """A function whose namespace is mounted is shown with its model, who holds it, and as not to be had."""
    _mounted(machine)
    ended = run("list")
    for text in (
        BDF,
        "1b36:0010",
        "QEMU NVMe Ctrl",
        "nvme0n1: mounted on /home",
        "in use by this system",
    ):
        assert text in ended.out
    (one,) = json.loads(run("list", "--json").out)
    assert (one["driver"], one["iommu_group"], one["numa_node"]) == ("nvme", 7, None)
    assert (one["usable"], one["held_by"]) == (False, ["nvme0n1: mounted on /home"])


def test_what_each_takes(run: Run, machine: FakeMachine) -> None:
    """Bound: hello. With the kernel: bind. No IOMMU, no rights: said. No device but NVMe is shown."""
    machine.function("0000:01:00.0", group=1)
    machine.function("0000:02:00.0", driver="nvme", group=2)
    machine.function("0000:03:00.0", driver="nvme", group=None)
    machine.function("0000:04:00.0", group=4)
    machine.function("0000:05:00.0", class_code=0x010601)
    machine.usable = lambda path: path.name != "4"  # type: ignore[method-assign]
    assert [one["use"] for one in json.loads(run("list", "--json").out)] == [
        "aionvme hello 0000:01:00.0",
        "sudo aionvme bind 0000:02:00.0",
        "no IOMMU switched on",
        f"needs rights on {machine.dev}/vfio/4",
    ]


def test_its_own_node_will_do(run: Run, machine: FakeMachine) -> None:
    """A function that may be opened by its own node needs no rights on its group's."""
    machine.function()
    machine.with_cdev()
    machine.usable = lambda path: path.name == "vfio3"  # type: ignore[method-assign]
    assert json.loads(run("list", "--json").out)[0]["usable"] is True


@pytest.mark.parametrize("columns", ["20", "60", "200"])
def test_what_is_piped_is_whole(
    run: Run, machine: FakeMachine, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    """Without a terminal a function is one line, without colour, however long it is."""
    place = "/srv/" + "x" * 200
    _mounted(machine, place)
    monkeypatch.setenv("COLUMNS", columns)
    lines = run("list").out.splitlines()
    assert len(lines) == 2
    assert place in lines[1]
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize(("columns", "heads"), [("60", 0), ("200", 1)])
def test_a_terminal_that_is_too_narrow(
    run: Run, machine: FakeMachine, monkeypatch: pytest.MonkeyPatch, columns: str, heads: int
) -> None:
    """Where the table does not fit, each function is a block of lines, none wider than the terminal."""
    _mounted(machine)
    machine.function("0000:02:00.0", driver="nvme")
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    out = re.sub(r"\x1b\[[0-9;]*m", "", run("list").out)
    assert sum(line.startswith("ADDRESS") for line in out.splitlines()) == heads
    assert max(len(line.rstrip()) for line in out.splitlines()) <= int(columns)
    assert "in use by this system" in out


def test_it_opens_nothing(run: Run, machine: FakeMachine) -> None:
    """Listing needs no rights and disturbs nobody: no node is opened, nothing is written."""
    _mounted(machine)
    machine.function("0000:02:00.0")
    run("list")
    assert machine.calls == []
