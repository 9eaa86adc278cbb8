"""The command as a whole: help, version, and what it does without its extra."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import aionvme

if TYPE_CHECKING:
    from aionvme.tests.unit.cli.conftest import Run


def test_help_names_every_subcommand(run: Run) -> None:
    """`aionvme --help` shows what there is."""
    ended = run("--help")
    assert ended.status == 0
    for name in ("hello", "list", "bind", "unbind", "manage", "mock", "perf"):
        assert name in ended.out


@pytest.mark.parametrize("name", ["hello", "list", "bind", "unbind", "manage", "mock", "perf"])
def test_each_subcommand_has_help(run: Run, name: str) -> None:
    """Each subcommand explains itself, by -h too."""
    ended = run(name, "-h")
    assert ended.status == 0
    # A switch has no value that one could give.
    assert "<bool>" not in ended.out


def test_version(run: Run) -> None:
    """--version is one line that begins with the name."""
    ended = run("--version")
    assert (ended.status, ended.out) == (0, f"aionvme {aionvme.__version__}\n")


def test_what_is_unknown_is_wrong_usage(run: Run) -> None:
    """An unknown subcommand or option ends with status 2."""
    assert run("frobnicate").status == 2
    assert run("list", "--frobnicate").status == 2


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra(missing: str) -> None:
    """Without Typer or Rich the command says in one line what to install, and ends with status 1."""
    program = f"import sys; sys.modules[{missing!r}] = None; from aionvme.cli import main; main()"
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert "pip install aionvme[cli]" in ended.stderr


def test_the_package_does_without_the_extra() -> None:
    """Importing the driver, or the command's package, imports neither Typer nor Rich."""
    program = "import sys, aionvme, aionvme.cli; sys.exit('typer' in sys.modules or 'rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
