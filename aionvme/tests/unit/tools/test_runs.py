"""How runs of pytest are counted, and what is told of those that failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.runs import Count
from tools.vm import suite

REPORT = """<testsuites><testsuite>
<testcase classname="a.b" name="test_good"/>
<testcase classname="a.b" name="test_left"><skipped message="why"/></testcase>
<testcase classname="a.b" name="test_bad"><failure message="short">first line
last line</failure></testcase>
<testcase classname="a.b" name="test_broken"><error message="short">no fixture</error></testcase>
</testsuite></testsuites>"""


def test_count(tmp_path: Path) -> None:
    """Passed, failed and skipped tests, errors of fixtures among the failed, each with its name and text."""
    (tmp_path / "report.xml").write_text(REPORT)
    count = Count.read(tmp_path / "report.xml")
    assert (count.passed, count.failed, count.skipped) == (1, 2, 1)
    assert [failure.name for failure in count.failures] == ["a.b.test_bad", "a.b.test_broken"]
    assert count.failures[0].end(1) == ["last line"]


@pytest.mark.parametrize("text", [None, "<testsuites><testsuite>"])
def test_no_report(tmp_path: Path, text: str | None) -> None:
    """A run that left no report, or half of one, has failed once."""
    if text is not None:
        (tmp_path / "report.xml").write_text(text)
    count = Count.read(tmp_path / "report.xml")
    assert (count.passed, count.failed) == (0, 1)
    assert count.failures[0].name.startswith("pytest itself")


def test_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last that a run prints are the tests that failed, by name, with the end of what they said."""
    (tmp_path / "report.xml").write_text(REPORT)
    suite.tell(Count.read(tmp_path / "report.xml"), lines=1)
    said = capsys.readouterr().out
    assert "first line" not in said
    assert said.splitlines() == [
        "vm:     last line",
        "vm: FAILED: a.b.test_bad",
        "vm:     no fixture",
        "vm: FAILED: a.b.test_broken",
    ]
