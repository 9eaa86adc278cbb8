"""Owns the checks that are too long for every change, and the choice of them that CI has time for.

    python -m tools.full       # all tests: on all Pythons, in both guests, under sanitizers, of the wheel, repeated;
                               # fuzzing; soak; the documentation
    python -m tools.full --only wheel --only soak  # these parts of it
    python -m tools.full --ci  # quick runs on the newest other Python: tests of asyncio's protocols and of the
                               # loop's end; of the compiled core's unit tests under sanitizers
    python -m tools.full --ci --prepare  # only make what these need; then --ci --prepared takes it as it is

Ends with a table of what was run. Exit status 0 means that nothing failed; a Python that this machine does
not have is named in the table, and is no failure.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tools import interpreters, wheel
from tools.interpreters import Interpreter
from tools.runs import REPO, Count, Table, pytest

WORK = REPO / ".cache/full"
REPORTS = WORK / "reports"
TESTS = "aionvme/tests"
TIERS = (f"{TESTS}/unit", f"{TESTS}/flow")
STATEFUL = f"{TESTS}/stateful"
# What another Python may do otherwise, and CI has time for: the tests of asyncio's protocols and of the loop's end.
ASYNCIO = (
    f"{TESTS}/unit/test_free_threading.py",
    f"{TESTS}/flow/tasks",
    f"{TESTS}/flow/test_torn.py",
)
# The compiled modules' own tests, which is what the sanitizers have something to say about.
COMPILED = tuple(f"{TESTS}/unit/{layer}" for layer in ("pci", "qpair", "mock"))
# With AIONVME_FUZZ set these have more examples.
HOSTILE = (f"{TESTS}/unit/qpair/test_hostile.py", f"{TESTS}/flow/test_hostile_registers.py",
           f"{TESTS}/unit/spec/test_every_structure.py")  # fmt: skip
ATHERIS = "fuzzing, decoders by atheris"
SANITIZERS = "address,undefined"
# aionvme/tests/quick.py says what it leaves out.
QUICK = ("--quick",)
# They make every test many times slower, and the limit of a test ends its process.
SLOWLY = ("--timeout=900",)
# What tests write while the copy is made is not to be copied either.
NOT_COPIED = (
    *(".git", ".cache", ".vm", ".venv*", "build", "dist", "*.so", "*.egg-info", "__pycache__"),
    *(".hypothesis", ".pytest_cache", ".mypy_cache", ".ruff_cache"),
)
SANITIZED = WORK / "sanitized"
THIS = f"{sys.version_info.major}.{sys.version_info.minor}"
if sysconfig.get_config_var("Py_GIL_DISABLED"):
    THIS += "t"


def main(argv: Sequence[str]) -> int:
    """Run all of it, or CI's part, and show the table; return an exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.full", description=__doc__.partition("\n")[0])
    parser.add_argument("--ci", action="store_true", help="only what CI has time for")
    parser.add_argument("--only", action="append", choices=parts(0), help="this part; may be given again")
    parser.add_argument("--repeat", type=int, default=20, metavar="N", help="runs of the flow tests")
    stage = parser.add_mutually_exclusive_group()
    stage.add_argument("--prepare", action="store_true", help="with --ci: only make what it needs")
    stage.add_argument("--prepared", action="store_true", help="with --ci: that was made")
    options = parser.parse_args(argv)
    if options.prepare:
        return prepare()
    table = Table()
    if options.ci:
        table.left_out(f"Python {THIS}", "`make test` runs it")
        other_pythons(table, newest_only=True)
        under_sanitizers(table, COMPILED, quick=True, built=options.prepared)
    else:
        run = parts(options.repeat)
        for part in options.only or run:
            run[part](table)
    table.show()
    return 1 if table.failed else 0


def parts(times: int) -> dict[str, Callable[[Table], None]]:
    """What there is to run, in its order; the flow tests so many times."""
    return {
        "suite": lambda table: suite(table, f"Python {THIS}", Path(sys.executable), (*TIERS, STATEFUL)),
        "documentation": documented,
        "pythons": lambda table: other_pythons(table, newest_only=False),
        "guests": in_guests,
        "sanitizers": lambda table: under_sanitizers(table, TIERS),
        "wheel": lambda table: wheel.packaged(table, quick=False),
        "aarch64": lambda table: program(
            table, "aarch64: accesses and barriers", "tools.aarch64", debian=True
        ),
        "mistakes": lambda table: program(table, "builds with a mistake", "tools.wrong"),
        "soak": lambda table: program(table, "ten minutes of soak", "tools.soak"),
        "fuzzing": fuzzed,
        "repeated": lambda table: repeated(table, times),
    }


def prepare() -> int:
    """Make what CI's part needs: the newest other Python's environment, and the tree for the sanitizers."""
    others = [found for found in _others() if found.path and not found.is_free_threaded]
    problems = [_build(found.version, found.path, optimize=False) for found in others[-1:] if found.path]
    problems.append(_build_sanitized())
    for problem in filter(None, problems):
        print(f"FAILED: {problem}", flush=True)
    return 1 if any(problems) else 0


def fuzzed(table: Table) -> None:
    """Many more hostile devices and bytes than every change has time for."""
    more = {**os.environ, "AIONVME_FUZZ": "100"}
    suite(table, "fuzzing", Path(sys.executable), HOSTILE, environment=more, options=SLOWLY)
    if problem := _run(sys.executable, "-m", "pip", "install", "--quiet", "--group", "fuzz"):
        table.left_out(ATHERIS, f"it can't be had for Python {THIS}: {problem}")
    else:
        program(table, ATHERIS, "tools.fuzz", "--seconds", "600")


def suite(
    table: Table,
    what: str,
    python: Path,
    paths: Iterable[str],
    *,
    cwd: Path = REPO,
    environment: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
) -> None:
    """Run each of `paths` by itself, a line of the table for each: one without tests must not hide."""
    for path in paths:
        name = f"{what}, {path.removeprefix(f'{TESTS}/')}"
        print(f"\n== {name}", flush=True)
        began = time.monotonic()
        report = REPORTS / f"{name.replace(' ', '-').replace('/', '-')}.xml"
        count = pytest(python, report, [*options, path], cwd=cwd, environment=environment)
        table.add(name, began, count)


def documented(table: Table) -> None:
    """Build the documentation, and execute its code."""
    began, report = time.monotonic(), REPORTS / "docs.xml"
    report.unlink(missing_ok=True)
    problem = _run("make", "docs", f"VENV={sys.prefix}", f"PYTEST_ARGS=--junitxml={report}")
    if problem and not report.exists():
        table.broke("documentation", began, problem)
    else:
        table.add("documentation", began, Count.read(report))


def other_pythons(table: Table, *, newest_only: bool) -> None:
    """Run tests on the Pythons besides this one, each in an environment of its own."""
    others = _others()
    present = [found.version for found in others if found.path and not found.is_free_threaded]
    for found in others:
        if newest_only and found.is_free_threaded:
            table.left_out(f"Python {found.version}", "`make full` runs it, where it was built")
        elif found.path is None:
            table.left_out(f"Python {found.version}", found.reason)
        elif newest_only and found.version != present[-1]:
            table.left_out(
                f"Python {found.version}", "CI runs the oldest and the newest; `make full` runs all"
            )
        else:
            _on(table, found, found.path, quick=newest_only)


def _others() -> list[Interpreter]:
    """The Pythons besides this one, found or not."""
    return [found for found in interpreters.find_all() if found.version != THIS]


def _on(table: Table, found: Interpreter, path: Path, *, quick: bool) -> None:
    what = f"Python {found.version}"
    began = time.monotonic()
    if problem := _build(found.version, path, optimize=not quick):
        table.broke(what, began, problem)
    else:
        python = REPO / _venv(found.version) / "bin/python"
        suite(table, what, python, ASYNCIO if quick else TIERS, options=QUICK if quick else ())


def _venv(version: str) -> Path:
    return Path(".venvs", version)


def _build(version: str, path: Path, *, optimize: bool = True) -> str:
    """Make the environment of a Python, or find it made; say what went wrong."""
    variables = {} if optimize else {"AIONVME_OPTIMIZE": "0"}
    return _run("make", "build", f"PYTHON={path}", f"VENV={_venv(version)}", environment=variables)


def _build_sanitized() -> str:
    """Build a copy of the tree with the C compiler's sanitizers; say what went wrong."""
    shutil.rmtree(SANITIZED, ignore_errors=True)
    shutil.copytree(REPO, SANITIZED, ignore=shutil.ignore_patterns(*NOT_COPIED), symlinks=True)
    command = (sys.executable, "setup.py", "--quiet", "build_ext", "--inplace")
    return _run(*command, cwd=SANITIZED, environment={"AIONVME_SANITIZE": SANITIZERS})


def in_guests(table: Table) -> None:
    """Run the whole of the tiers that take a guest, where there can be one."""
    vm, interop = "VM tier", "interop tier"
    if not shutil.which("apt-get"):
        for tier in (vm, interop):
            table.left_out(tier, "it takes Debian's packages")
        return
    runs = [REPO / f".vm/runs/test-{part}" for part in (1, 2)]
    reports = [run / report for run in runs for report in ("share/guest.xml", "host.xml")]
    _guest(table, vm, reports, "tools.vm", "test", "--guests=2")
    report = REPORTS / "interop.xml"
    _guest(table, interop, [report], "tools.interop", "test", "--", f"--junitxml={report}")


def _guest(table: Table, tier: str, reports: Sequence[Path], *words: str) -> None:
    began = time.monotonic()
    for report in reports:
        report.unlink(missing_ok=True)
    problem = _run(sys.executable, "-m", *words)
    count = sum((Count.read(report) for report in reports), Count())
    if problem and not count.failed:
        table.broke(tier, began, problem)
    else:
        table.add(tier, began, count)


def under_sanitizers(table: Table, paths: Sequence[str], *, quick: bool = False, built: bool = False) -> None:
    """Build the tree with sanitizers, unless it is, and run tests there."""
    what = f"sanitizers {SANITIZERS}"
    began = time.monotonic()
    if not built and (problem := _build_sanitized()):
        table.broke(what, began, problem)
        return
    # To files: what a process writes while pytest captures it is lost when the sanitizer ends it.
    logs = REPORTS / "sanitizers"
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    # Objects by malloc, so that the sanitizer sees where one ends. Python itself leaves memory at exit.
    environment = {
        "LD_PRELOAD": " ".join(_library(name) for name in ("libasan.so", "libubsan.so", "libstdc++.so.6")),
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=1:strict_string_checks=1"
        f":log_path={logs}/address",
        "UBSAN_OPTIONS": f"print_stacktrace=1:halt_on_error=1:log_path={logs}/undefined",
        "PYTHONMALLOC": "malloc",
    }
    options = (*SLOWLY, *QUICK) if quick else SLOWLY
    suite(table, what, Path(sys.executable), paths, cwd=SANITIZED, environment=environment, options=options)
    reports = sorted(logs.iterdir())
    for report in reports:
        print(report.read_text(errors="replace"), flush=True)
    if reports:
        table.broke(f"{what}, their reports", began, f"{len(reports)} of them, see above")


def _library(name: str) -> str:
    answer = subprocess.run(["cc", f"-print-file-name={name}"], check=True, capture_output=True, text=True)
    return str(Path(answer.stdout.strip()).resolve())


def program(table: Table, what: str, module: str, *words: str, debian: bool = False) -> None:
    """Run one of our own that says by its exit status whether all is well."""
    began = time.monotonic()
    if debian and not shutil.which("apt-get"):
        table.left_out(what, "it takes Debian's packages")
    elif problem := _run(sys.executable, "-m", module, *words):
        table.broke(what, began, problem)
    else:
        table.add(what, began, Count(passed=1))


def repeated(table: Table, times: int) -> None:
    """Run the flow tests many times over: what fails now and then shows."""
    began, count = time.monotonic(), Count()
    for number in range(1, times + 1):
        print(f"\n== flow tests, run {number} of {times}", flush=True)
        count += pytest(Path(sys.executable), REPORTS / "repeated.xml", [f"{TESTS}/flow"])
    table.add(f"flow, {times} times", began, count)


def _run(*command: str, cwd: Path = REPO, environment: Mapping[str, str] | None = None) -> str:
    """Run a program; say what went wrong, nothing if it went well."""
    print(f"\n== {' '.join(command)}", flush=True)
    variables = os.environ | dict(environment or {})
    try:
        done = subprocess.run(command, cwd=cwd, env=variables, check=False, stdin=subprocess.DEVNULL)
    except OSError as error:
        return str(error)
    return f"`{' '.join(command[:4])}` returned {done.returncode}" if done.returncode else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
