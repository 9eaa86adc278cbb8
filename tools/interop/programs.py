"""Owns the programs of the guest: which they are, and the tree with them and their libraries for the initramfs."""

from __future__ import annotations

import shutil
from pathlib import Path

from tools.interop import beside
from tools.vm.layout import cached

PROGRAMS = ("usr/sbin/nvme", "usr/bin/fio", "usr/sbin/mke2fs", "usr/sbin/e2fsck")


def tree() -> Path:
    """Return the folder with the programs, made when it is not there. It goes with the packages that it is from."""
    return cached(beside.TREE / "guest", _gather)


def _gather(into: Path) -> None:
    for name in PROGRAMS:
        program = beside.TREE / name
        for path in (program, *beside.libraries(program)):
            _copy(path, into / path.relative_to(beside.TREE))
    _copy(beside.TREE / "etc/mke2fs.conf", into / "etc/mke2fs.conf")
    _copy(beside.LINKER, into / "lib64" / beside.LINKER.name)


def _copy(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, to)
