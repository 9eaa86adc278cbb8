"""How much memory this process can have: what is over on the machine, and in each control group that it is in."""

from __future__ import annotations

from pathlib import Path

import pytest

from aionvme.pci.available import available_memory
from aionvme.tests.unit.test_layers import made_up

GIB = 1 << 30
MEMINFO = "MemTotal:  8388608 kB\nMemFree:  524288 kB\nMemAvailable:    4194304 kB\nHugePages_Total:   0\n"
STAT = "anon 5000\nfile 9000\nshmem 100\ninactive_file 3000\nactive_file 500\n"


def available(root: Path, files: dict[str, str]) -> int:
    """What is said on a machine with these files."""
    made_up(root, {"proc/meminfo": MEMINFO, **files})
    return available_memory(root / "proc", root / "groups")


def group(name: str, limit: str, used: int = 0, stat: str = STAT) -> dict[str, str]:
    """The files of a control group of version 2."""
    values = {"memory.max": f"{limit}\n", "memory.current": f"{used}\n", "memory.stat": stat}
    return {f"groups/{name}/{file}": text for file, text in values.items()}


def test_of_the_machine(tmp_path: Path) -> None:
    """Without control groups it is what the kernel calls available."""
    assert available(tmp_path, {}) == 4 * GIB


@pytest.mark.parametrize(
    "text", ["", "MemTotal: 8388608 kB\n", "MemAvailable:\n", "MemAvailable: many kB\n"], ids=repr
)
def test_a_machine_that_does_not_say(tmp_path: Path, text: str) -> None:
    """Where the kernel does not say what is available, all of its memory is."""
    assert available(tmp_path, {"proc/meminfo": text}) > 1 << 27


def test_a_group_without_a_limit(tmp_path: Path) -> None:
    """A group that has none limits nothing."""
    assert available(tmp_path, {"proc/self/cgroup": "0::/a\n", **group("a", "max", 12345)}) == 4 * GIB


def test_the_limit_of_a_group(tmp_path: Path) -> None:
    """What the group has used is taken off, but for pages of files, which the kernel drops first."""
    files = {"proc/self/cgroup": "0::/a\n", **group("a", "100000", 60000)}
    assert available(tmp_path, files) == 100000 - 60000 + 3000 + 500


def test_a_group_that_is_full(tmp_path: Path) -> None:
    """It leaves nothing, not less than that."""
    assert available(tmp_path, {"proc/self/cgroup": "0::/a\n", **group("a", "1000", 60000)}) == 0


@pytest.mark.parametrize("outer", ["50000", "200000"])
def test_groups_in_groups(tmp_path: Path, outer: str) -> None:
    """The one that leaves the least counts, whether it is the process's own or one around it."""
    files = {"proc/self/cgroup": "0::/a/b/c\n", **group("a", outer, 40000), **group("a/b/c", "100000", 60000)}
    left = min(int(outer) - 40000, 100000 - 60000)
    assert available(tmp_path, files) == left + 3500


def test_a_container(tmp_path: Path) -> None:
    """A process that sees its own group as the top has that group's limit."""
    assert available(tmp_path, {"proc/self/cgroup": "0::/\n", **group(".", "9000", 0, "")}) == 9000


def test_a_group_of_the_first_version(tmp_path: Path) -> None:
    """Its hierarchy of the memory controller has other names; hierarchies of other controllers are passed over."""
    lines = "5:cpu,cpuacct:/x\n4:memory:/a:b\n0::/a:b\n"
    values = {
        "memory.limit_in_bytes": "100000\n",
        "memory.usage_in_bytes": "60000\n",
        "memory.stat": "cache 1\ninactive_file 1\ntotal_inactive_file 200\ntotal_active_file 30\n",
    }
    files = {f"groups/memory/a:b/{name}": text for name, text in values.items()}
    assert available(tmp_path, {"proc/self/cgroup": lines, **files}) == 40230


def test_this_process() -> None:
    """Here there is some, and not more than the machine has."""
    assert 1 << 20 < available_memory() < 1 << 50
