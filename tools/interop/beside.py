"""Owns what comes from a later Debian than the system's: QEMU and the guest's programs, unpacked beside it.

Nothing is installed: see `tools.vm.aside`.
"""

from __future__ import annotations

import re
from pathlib import Path

from tools.vm import aside
from tools.vm.layout import CACHE, Unavailable, VmError, cached, command, locked, remove, say

# The first of Debian's suites in which QEMU has `vfio-user-pci`; sid has it too, but changes from day to day.
SUITES = ("trixie", "trixie-backports")
PACKAGES = ("qemu-system-x86", "nvme-cli", "fio", "e2fsprogs")
TREE = CACHE / "beside"
LIBRARIES = TREE / "usr/lib/x86_64-linux-gnu"
LINKER = LIBRARIES / "ld-linux-x86-64.so.2"
# Ceph's are found by an absolute path that its users have built in.
SEARCHED = f"{LIBRARIES}:{LIBRARIES}/ceph"
QEMU = TREE / "usr/bin/qemu-system-x86_64"


def set_up(*, refresh: bool = False) -> None:
    """Download and unpack the packages, or find it done.

    Args:
        refresh: take what Debian has today.

    Raises:
        Unavailable: the packages can't be had here, or do not run here.
    """
    with locked("beside"):
        if refresh:
            remove(TREE)
        cached(TREE, lambda into: aside.unpack(into, SUITES, PACKAGES))
    try:
        told = command(run(QEMU, "--version"))
        command(run(QEMU, "-device", "vfio-user-pci,help"))
    except VmError as error:
        raise Unavailable(
            f"Debian's QEMU of {SUITES[-1]} does not run here or has no vfio-user: {error}"
        ) from None
    say(f"{told.partition(chr(10))[0]}, beside the system")


def run(program: Path, *arguments: str | Path) -> list[str]:
    """The command line that runs a program of the tree on the host, whatever the host's libraries are."""
    return aside.run(TREE, str(program.relative_to(TREE)), *arguments, folders=("ceph",))


def libraries(program: Path) -> list[Path]:
    """The shared libraries that a program of the tree is linked to, all of them in the tree.

    Raises:
        VmError: one is not in the tree.
    """
    told = command([LINKER, "--library-path", SEARCHED, "--list", program])
    paths = [Path(path) for path in re.findall(r"=> (/\S+) \(", told)]
    strange = [path for path in paths if TREE not in path.parents]
    if strange:
        raise VmError(
            f"{program.name} would take {strange[0]} from the system: remove {TREE} and set up anew"
        )
    return paths
