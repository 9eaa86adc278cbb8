"""Owns finding the Pythons of this machine: each version that aionvme supports, or why there is none.

`python -m tools.interpreters` lists them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools import freethreaded

VERSIONS = ("3.11", "3.12", "3.13", "3.14")
# Of these one will do; `make python-freethreaded` builds the first whose source can be had.
FREE_THREADED = tuple(program.removeprefix("python") for _, _, program in freethreaded.SOURCES)
CHECK = Path(__file__).with_name("environment.py")


@dataclass(frozen=True)
class Interpreter:
    """One supported version of Python.

    Attributes:
        version: such as "3.11"; "3.14t" is free-threaded.
        path: its program, None if this machine has none that will do.
        reason: why there is none.
    """

    version: str
    path: Path | None
    reason: str = ""

    @property
    def is_free_threaded(self) -> bool:
        """Whether it has no GIL."""
        return self.version.endswith("t")


def find_all() -> list[Interpreter]:
    """Look for every supported version, oldest first, and for one that is free-threaded."""
    return [*map(find, VERSIONS), find_free_threaded()]


def find_free_threaded() -> Interpreter:
    """Look for the newest free-threaded version."""
    for found in map(find, FREE_THREADED):
        if found.path:
            return found
    return Interpreter(FREE_THREADED[0], None, "not on this machine: `make python-freethreaded` builds it")


def find(version: str) -> Interpreter:
    """Look for one version: on PATH, among pyenv's, then the one that is built here."""
    reasons = []
    for path in _candidates(version):
        problem = _shortcoming(path, version)
        if not problem:
            return Interpreter(version, path)
        reasons.append(f"{path}: {problem}")
    return Interpreter(version, None, "; ".join(reasons) or "not on this machine")


def _candidates(version: str) -> Iterator[Path]:
    name = f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    # A shim is a program for whichever version was chosen; the versions themselves follow.
    folders = [folder for folder in folders if folder != pyenv / "shims"]
    # pyenv has 3.14.0 and 3.14.0t.
    number, kind = version.removesuffix("t"), "t" if version.endswith("t") else ""
    folders += sorted(pyenv.glob(f"versions/{number}*{kind}/bin"), key=_as_numbers, reverse=True)
    folders.append(freethreaded.PREFIX / "bin")
    seen = set()
    for folder in folders:
        path = folder / name
        if path.is_file() and path.resolve() not in seen:
            seen.add(path.resolve())
            yield path


def _as_numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.parent.name)]


def _shortcoming(path: Path, version: str) -> str:
    code = "import sys, sysconfig; print('%d.%d' % sys.version_info[:2], end='')"
    code += "; print('t' if sysconfig.get_config_var('Py_GIL_DISABLED') else '')"
    try:
        found = subprocess.run([path, "-c", code], check=False, capture_output=True, text=True)
        checked = subprocess.run([path, CHECK, "--check"], check=False, capture_output=True, text=True)
    except OSError as error:
        return str(error)
    if found.stdout.strip() != version:
        return f"it is not {version}"
    lines = checked.stderr.strip().splitlines()
    return (
        "" if checked.returncode == 0 else lines[-1].removeprefix(f"{path}: ") if lines else "it does not run"
    )


def main() -> int:
    """List what there is."""
    for found in find_all():
        print(f"Python {found.version}: {found.path or f'none ({found.reason})'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
