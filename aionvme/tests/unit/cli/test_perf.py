"""`aionvme perf`: what it refuses before anything is run."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest
import typer

from aionvme.cli.perf import cpus_of

if TYPE_CHECKING:
    from pathlib import Path

    from aionvme.tests.unit.cli.conftest import Run
    from aionvme.tests.unit.cli.fakes import FakeController


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--mode", "batch", "--plot", "x.png"], "a batch has none"),
        (["--no-latency", "--plot", "x.png"], "--no-latency measures none"),
        (["--plot", "x.txt"], "to be a .png, .svg or .pdf"),
        (["-w", "randwrite", "--verify"], "nothing to verify"),
        (["-M", "50"], "read_percent is for rw and randrw"),
        (["-c", "four"], "no list of processors"),
        (["-o", "4 bananas"], "not a size"),
        (["-o", "100"], "multiple of the 512 bytes"),
        (["--nsid", "9"], "no such active namespace; there is 1"),
        (["-t", "0"], "seconds must be more than 0"),
        (["-q", "100000"], "depth must be from 1 to"),
    ],
)
def test_what_cannot_be_is_refused(run: Run, words: list[str], why: str) -> None:
    """Status 2, a sentence that says what is wrong, and no report."""
    ended = run("perf", "mock:", *words)
    assert (ended.status, ended.out) == (2, "")
    # Typer folds its own messages into a frame.
    assert why in re.sub(r"[│\s]+", " ", ended.err)


@pytest.mark.parametrize("words", [["-w", "write"], ["-w", "randrw"], ["--verify"]])
def test_a_device_is_not_overwritten_unasked(
    run: Run, ctrlr: FakeController, tmp_path: Path, words: list[str]
) -> None:
    """Without a terminal and --yes nothing is opened; a mock with a file is a device as well."""
    image = tmp_path / "image"
    for address in ("01:00.0", f"mock:?size=1MiB&storage={image}"):
        ended = run("perf", address, *words)
        assert (ended.status, ended.out, ctrlr.closed) == (2, "", 0)
        assert "Add --yes" in ended.err
    assert not image.exists()


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("0", {0}), ("0,2-3", {0, 2, 3}), ("[1,4]", {1, 4}), ("0x5", {0, 2}), ("0XF0", {4, 5, 6, 7})],
)
def test_lists_of_processors(text: str, cpus: set[int]) -> None:
    """A list as taskset has it, and SPDK's list in brackets and mask."""
    assert cpus_of(text) == cpus


@pytest.mark.parametrize("text", ["", "x", "1,", "0x", "0x0", "[1", "3-1", "-1", "1;2"])
def test_what_is_no_list_of_processors(text: str) -> None:
    """Anything else, and none at all, is refused with how it is written."""
    with pytest.raises(typer.BadParameter, match="0,2-3"):
        cpus_of(text)


def test_charts_need_the_extra(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without matplotlib --plot says what to install, before anything is run."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    ended = run("perf", "mock:", "--plot", "x.png")
    assert (ended.status, ended.out) == (2, "")
    assert "pip install 'aionvme[plot]'" in ended.err
