"""Owns how much more memory this process can have: what is over on the machine, and in its control groups.

The kernel does not refuse what is beyond that: it kills a process, ours perhaps, when the memory is filled.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import attrs

__all__ = ["available_memory"]


@attrs.frozen
class _Hierarchy:
    """A hierarchy of control groups that limits memory: where it is mounted, and what its files are called."""

    mount: str
    limit: str
    used: str
    #: In `memory.stat`: pages of files, which are dropped before anything is killed. Shared memory is not among them.
    files: tuple[str, ...]


# Documentation/admin-guide/cgroup-v2.rst (memory.max, memory.current, memory.stat) and cgroup-v1/memory.rst.
_UNIFIED = _Hierarchy("", "memory.max", "memory.current", ("inactive_file", "active_file"))
_FIRST = _Hierarchy(
    "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")
)


def available_memory(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """How many bytes this process may fill before the kernel kills one for it, as far as can be said.

    Args:
        proc: Where procfs is.
        groups: Where the control groups are, of either version.
    """
    limits = [_left(hierarchy, folder) for hierarchy, folder in _folders(proc, groups)]
    return min([_of_the_machine(proc), *(limit for limit in limits if limit is not None)])


def _of_the_machine(proc: Path) -> int:
    try:
        return _fields(proc / "meminfo")["MemAvailable:"] * 1024
    except (OSError, KeyError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE")


def _folders(proc: Path, groups: Path) -> Iterator[tuple[_Hierarchy, Path]]:
    """The folders of the groups that this process is in, each with those around it, which limit it as well."""
    try:
        lines = (proc / "self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            hierarchy = _UNIFIED
        elif "memory" in controllers.split(","):
            hierarchy = _FIRST
        else:
            continue
        top = groups / hierarchy.mount
        folder = top / path.lstrip("/")
        yield from ((hierarchy, each) for each in (folder, *folder.parents) if each.is_relative_to(top))


def _left(hierarchy: _Hierarchy, folder: Path) -> int | None:
    """What a group leaves of its limit; None if it has none, or none that can be seen from in here."""
    try:
        limit = (folder / hierarchy.limit).read_text().strip()
        if limit == "max":
            return None
        used = int((folder / hierarchy.used).read_text())
        stat = _fields(folder / "memory.stat")
    except (OSError, ValueError):
        return None
    return max(0, int(limit) - used + sum(stat.get(name, 0) for name in hierarchy.files))


def _fields(path: Path) -> dict[str, int]:
    """Lines of a name and a number."""
    pairs = (line.split()[:2] for line in path.read_text(encoding="ascii").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}
