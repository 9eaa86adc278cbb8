"""Owns running the suite: one run of pytest in some environment, its count, and the table of all runs."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

REPO = Path(__file__).resolve().parents[1]
PASSED = "passed"
FAILED = "FAILED"
NOT_RUN = "not run"
# The tests of one run are shared by two processes, as in `make test`.
SHARED = ("-n", "2", "--dist", "worksteal")


@dataclass(frozen=True)
class Failure:
    """A test that failed.

    Attributes:
        name: the test's, or what failed in its place.
        text: what pytest had to say of it; its end tells the most.
    """

    name: str
    text: str = ""

    def end(self, lines: int) -> list[str]:
        """The last lines of the text."""
        return self.text.splitlines()[-lines:]


@dataclass(frozen=True)
class Count:
    """What runs of pytest reported."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: tuple[Failure, ...] = ()

    @classmethod
    def read(cls, report: Path) -> Count:
        """Read pytest's JUnit file; a run that left none, or half of one, has failed once."""
        try:
            cases = list(ElementTree.parse(report).getroot().iter("testcase"))
        except (OSError, ElementTree.ParseError) as error:
            return cls(
                failed=1, failures=(Failure("pytest itself: it ended before it was done", str(error)),)
            )
        failures = tuple(failure for case in cases if (failure := cls._failure(case)))
        skipped = sum(case.find("skipped") is not None for case in cases)
        return cls(len(cases) - len(failures) - skipped, len(failures), skipped, failures)

    @staticmethod
    def _failure(case: ElementTree.Element) -> Failure | None:
        texts = [part.text or "" for part in case if part.tag in ("failure", "error")]
        return Failure(f"{case.get('classname')}.{case.get('name')}", "\n".join(texts)) if texts else None

    def __add__(self, other: Count) -> Count:
        """Both together."""
        return Count(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
            self.failures + other.failures,
        )

    def __str__(self) -> str:
        """The three figures, as pytest has them."""
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


@dataclass(frozen=True)
class Result:
    """One line of the table.

    Attributes:
        what: what was run.
        verdict: PASSED, FAILED or NOT_RUN.
        count: what was counted.
        seconds: how long it took.
        reason: why it was not run, or why it failed without a test that did.
    """

    what: str
    verdict: str
    count: Count = field(default_factory=Count)
    seconds: float = 0.0
    reason: str = ""


def pytest(
    python: Path,
    report: Path,
    arguments: Sequence[str],
    *,
    cwd: Path = REPO,
    environment: Mapping[str, str] | None = None,
) -> Count:
    """Run the tests once, in a process of its own.

    A skipped test fails the run: wherever this is used there is all that the tests need.

    Args:
        python: the interpreter; it has pytest.
        report: pytest's JUnit file, written anew.
        arguments: pytest's own.
        cwd: the folder to run in; it is imported from first.
        environment: variables besides those of this process.
    """
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *SHARED]
    variables = os.environ | {"AIONVME_NO_SKIPS": "1"} | dict(environment or {})
    done = subprocess.run(
        [*command, *arguments], cwd=cwd, env=variables, check=False, stdin=subprocess.DEVNULL
    )
    count = Count.read(report)
    if done.returncode and not count.failed:
        count += Count(failed=1, failures=(Failure(f"pytest returned {done.returncode}"),))
    return count


class Table:
    """All that was run, in order."""

    def __init__(self) -> None:
        self.results: list[Result] = []

    def add(self, what: str, began: float, count: Count) -> None:
        """Record the outcome of tests that began at `began` (`time.monotonic`)."""
        verdict = PASSED if count.passed and not count.failed else FAILED
        reason = "" if count.passed or count.failed else "not one test ran"
        self.results.append(Result(what, verdict, count, time.monotonic() - began, reason))

    def broke(self, what: str, began: float, reason: str) -> None:
        """Record what failed before any test of it could run."""
        count = Count(failed=1)
        self.results.append(Result(what, FAILED, count, time.monotonic() - began, reason))

    def left_out(self, what: str, reason: str) -> None:
        """Record what was not run, and why; that is no failure."""
        self.results.append(Result(what, NOT_RUN, reason=reason))

    @property
    def failed(self) -> bool:
        """Whether anything failed, or nothing was run at all."""
        verdicts = {result.verdict for result in self.results}
        return FAILED in verdicts or PASSED not in verdicts

    def show(self) -> None:
        """Print the table, what failed, and the sum as a line of its own."""
        rows = [("what", "result", "counts", "seconds")]
        rows += [(result.what, result.verdict, *self._figures(result)) for result in self.results]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        print()
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        total = Count()
        for result in self.results:
            total += result.count
            for name in dict.fromkeys(failure.name for failure in result.count.failures):
                print(f"failed in {result.what}: {name}")
        print(total, flush=True)

    @staticmethod
    def _figures(result: Result) -> tuple[str, str]:
        if result.verdict == NOT_RUN:
            return result.reason, ""
        counted = f"{result.count}; {result.reason}" if result.reason else str(result.count)
        return counted, f"{result.seconds:.1f}"
