"""Owns what comes from a later Debian than the system's: QEMU and the guest's programs, unpacked beside it.

Nothing is installed. The packages and all that they depend on are resolved by apt in a folder of its own, from the
same mirror as the system's, and run by their own dynamic linker with their own libraries.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tools.vm import debian
from tools.vm.layout import CACHE, Unavailable, VmError, cached, command, locked, remove, say

# The first of Debian's suites in which QEMU has `vfio-user-pci`; sid has it too, but changes from day to day.
SUITES = ("trixie", "trixie-backports")
PACKAGES = ("qemu-system-x86", "nvme-cli", "fio", "e2fsprogs")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
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
        cached(TREE, _fetch)
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
    start = [LINKER, "--library-path", SEARCHED, "--argv0", program.name, program]
    return [str(word) for word in (*start, *arguments)]


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


def _fetch(into: Path) -> None:
    if not shutil.which("apt-get") or not KEYRING.exists():
        raise Unavailable(
            "QEMU with vfio-user comes from Debian's archive: this system has no apt-get or no keyring"
        )
    apt = into / ".apt"
    options = _apt(apt, _mirror())
    try:
        command(["apt-get", *options, "update", "-q"])
        # With nothing installed, as this apt sees it, all that is depended on is fetched.
        fetch = [
            "install",
            "-y",
            "-q",
            "--download-only",
            "--no-install-recommends",
            "-t",
            SUITES[-1],
            *PACKAGES,
        ]
        command(["apt-get", *options, *fetch])
    except VmError as error:
        raise Unavailable(f"the packages of {SUITES[-1]} can't be had: {error}") from None
    for deb in sorted((apt / "cache/archives").glob("*.deb")):
        command(["dpkg", "-x", deb, into])
    remove(apt)


def _mirror() -> str:
    """Where this system takes Debian from."""
    ask = ["apt-get", "indextargets", "--format", "$(REPO_URI)"]
    # Not of the security archive, which is another place and has another label.
    chosen = ["Created-By: Packages", "Label: Debian", "Component: main"]
    mirrors = command([*ask, *chosen]).split()
    if not mirrors:
        debian.update_lists()
        mirrors = command([*ask, *chosen]).split()
    if not mirrors:
        raise Unavailable(
            "apt has no source of Debian's: add one to /etc/apt/sources.list.d and run apt-get update"
        )
    return mirrors[0]


def _apt(home: Path, mirror: str) -> list[str]:
    """Make an apt of its own below `home`: its sources, lists, cache, and no package installed. Return its options."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (home / folder).mkdir(parents=True)
    (home / "status").touch()
    sources = [f"deb [signed-by={KEYRING}] {mirror} {suite} main\n" for suite in SUITES]
    (home / "sources.list").write_text("".join(sources))
    settings = {
        "Dir::State": home,
        "Dir::State::status": home / "status",
        "Dir::Cache": home / "cache",
        "Dir::Etc::sourcelist": home / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "APT::Sandbox::User": "root",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
