"""Owns what tests of the command are given: a way to run it, a machine, a controller, a terminal."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import attrs
import pytest

import aionvme
from aionvme.tests.unit.cli.fakes import FakeController
from aionvme.tests.unit.pci.machine import FakeMachine

pytest.importorskip("typer", reason="the command line is an extra")

from aionvme.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Run = Callable[..., "Ended"]
    Type = Callable[[str], object]


@attrs.frozen
class Ended:
    """How the command ended.

    Attributes:
        status: Its exit status.
        out, err: What it wrote.
    """

    status: int
    out: str
    err: str


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[FakeMachine]:
    """A machine without functions; afterwards no descriptor that it gave may be open."""
    machine = FakeMachine(tmp_path)
    yield machine
    assert machine.open_fds == {}


@pytest.fixture
def run(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in this process on that machine, without a terminal."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def invoke(*words: str) -> Ended:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app(args=list(words), prog_name="aionvme", obj=machine)
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, out, err)

    return invoke


@pytest.fixture
def ctrlr(monkeypatch: pytest.MonkeyPatch) -> FakeController:
    """A controller that is at every address."""
    ctrlr = FakeController()
    monkeypatch.setattr(aionvme, "connect", ctrlr.connect, raising=False)
    monkeypatch.setattr(aionvme, "run", asyncio.run, raising=False)
    return ctrlr


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Type]:
    """Standard input is a terminal; the fixture types on it."""
    master, slave = os.openpty()
    with os.fdopen(slave) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield lambda text: os.write(master, text.encode())
    os.close(master)
