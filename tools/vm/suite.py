"""Owns the VM tier's run: the tests in the guest, the checks on the host after power-off, and the count."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tools.runs import Count
from tools.vm.boot import GUEST_SHARE, Boot, in_host_root
from tools.vm.layout import remove, say, stage

TESTS = "aionvme/tests/vm"


def compile_all(python: Path) -> None:
    """Leave the bytecode of all that the tests import on the host: a guest can keep none, and is slow to make it."""
    environment = os.environ | {"AIONVME_VM": "host"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    # pytest has its own of what it rewrites. A module that does not compile fails in the guest, where it is told.
    collect = ["-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "-q", TESTS]
    with stage("bytecode"):
        for words in (["-m", "compileall", "-q", "aionvme"], collect):
            subprocess.run([python, *words], env=environment, check=False, stdout=subprocess.DEVNULL)


def run(
    boot: Boot,
    python: Path,
    arguments: Sequence[str],
    *,
    part: int | None = None,
    quick: bool = False,
    allow_skips: bool = False,
) -> int:
    """Run the tests in the guest, then the host's part on what the guest has left; return an exit status.

    Args:
        boot: the machine.
        python: the interpreter for both parts; it has pytest.
        arguments: pytest's, for the guest; the whole tier if there are none.
        part: which of two parts of the tests to run; all if there is none.
        quick: leave out what a quick run does (aionvme/tests/quick.py).
        allow_skips: do not count a skipped test as a failure.

    Raises:
        VmError: the guest gave no result.
    """
    chosen = [*["--quick"] * quick, *(arguments or [TESTS])]
    environment = {"AIONVME_VM_PART": str(part)} if part else {}
    guest_status = boot.run(in_host_root(_pytest(python, f"{GUEST_SHARE}/guest.xml", chosen), environment))
    guest = Count.read(boot.share / "guest.xml")
    host = _host_part(boot, python, named=bool(arguments))
    say(f"in the guest: {guest}")
    say(f"on the host, after power-off: {host}")
    tell(guest + host)
    problems = _problems(guest_status, guest, host, allow_skips)
    for problem in problems:
        say(f"FAILED: {problem}")
    say(f"{guest.passed + host.passed} tests passed" + (" (not enough, see above)" if problems else ""))
    return 1 if problems else 0


def tell(count: Count, lines: int = 20) -> None:
    """Print each test that failed, with the end of what it said: for whoever sees no more than a log's last lines."""
    for failure in count.failures:
        for line in failure.end(lines):
            say(f"    {line}")
        say(f"FAILED: {failure.name}")


def _pytest(python: Path, report: str, arguments: Sequence[str]) -> list[str]:
    # pytest's cache would go to a folder that is lost with the guest; the plug-ins take seconds there to import.
    plugins = ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest"]
    return [str(python), "-m", "pytest", *plugins, f"--junitxml={report}", "-v", *arguments]


def _host_part(boot: Boot, python: Path, *, named: bool) -> Count:
    report = boot.folder / "host.xml"
    remove(report)
    environment = os.environ | {"AIONVME_VM": "host", "AIONVME_VM_SHARE": str(boot.share)}
    if named:
        environment["AIONVME_VM_NAMED"] = "1"
    with stage("checks on the host"):
        subprocess.run(_pytest(python, str(report), [TESTS]), env=environment, check=False)
    return Count.read(report)


def _problems(status: int, guest: Count, host: Count, allow_skips: bool) -> list[str]:
    problems = []
    for place, count in (("the guest", guest), ("the host", host)):
        if count.failed:
            problems.append(f"{count.failed} tests failed in {place}")
        if not count.passed:
            problems.append(f"not one test passed in {place}")
        if count.skipped and not allow_skips:
            problems.append(f"{count.skipped} tests were skipped in {place}, which has all that they need")
    if status and not guest.failed:
        problems.append(f"pytest in the guest returned {status}")
    return problems
