"""Owns programs of another of Debian's suites than the system's, unpacked beside it.

Nothing is installed. The packages and all that they depend on are resolved by apt in a folder of its own, from the
same mirror as the system's, and run by their own dynamic linker with their own libraries.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from tools.vm import debian
from tools.vm.layout import Unavailable, VmError, command, remove

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def unpack(into: Path, suites: Sequence[str], packages: Sequence[str]) -> None:
    """Download and unpack packages, with all that they depend on.

    Args:
        into: the folder, which is made.
        suites: where apt looks; it takes the packages from the last.
        packages: their names.

    Raises:
        Unavailable: they can't be had here.
    """
    if not shutil.which("apt-get") or not KEYRING.exists():
        raise Unavailable(
            f"{packages[0]} of {suites[-1]} comes from Debian's archive: this system has no apt-get or no keyring"
        )
    apt = into / ".apt"
    options = _apt(apt, _mirror(), suites)
    try:
        command(["apt-get", *options, "update", "-q"])
        # With nothing installed, as this apt sees it, all that is depended on is fetched.
        fetch = ["install", "-y", "-q", "--download-only", "--no-install-recommends", "-t", suites[-1]]
        command(["apt-get", *options, *fetch, *packages])
    except VmError as error:
        raise Unavailable(f"the packages of {suites[-1]} can't be had: {error}") from None
    for deb in sorted((apt / "cache/archives").glob("*.deb")):
        command(["dpkg", "-x", deb, into])
    remove(apt)


def run(tree: Path, program: str, *arguments: str | Path, folders: Sequence[str] = ()) -> list[str]:
    """The command line that runs a program of an unpacked tree, whatever the system's libraries are.

    Args:
        tree: where it was unpacked.
        program: its path in there.
        arguments: the program's.
        folders: of libraries, below the usual one.
    """
    libraries = tree / "usr/lib/x86_64-linux-gnu"
    searched = ":".join(str(libraries / folder) for folder in ("", *folders))
    start = [libraries / "ld-linux-x86-64.so.2", "--library-path", searched]
    return [str(word) for word in (*start, "--argv0", Path(program).name, tree / program, *arguments)]


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


def _apt(home: Path, mirror: str, suites: Sequence[str]) -> list[str]:
    """Make an apt of its own below `home`: its sources, lists, cache, and no package installed. Return its options."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (home / folder).mkdir(parents=True)
    (home / "status").touch()
    sources = [f"deb [signed-by={KEYRING}] {mirror} {suite} main\n" for suite in suites]
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
