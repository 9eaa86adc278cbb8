"""nvme-cli's options are ours: each sub-command that both have takes what nvme-cli 2.16 lists in its --help."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("typer", reason="the command line is an extra")

import typer
import typer.main

from aionvme.cli.app import app
from aionvme.tests.unit.spec.golden import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A line is a sub-command, and its options: `name=` with a value, and behind a comma the letter.
THEIRS = dict(line.split(": ", 1) for line in (ROOT / "nvme-cli-2.16/options.txt").read_text().splitlines())
OPTION = re.compile(r"([\w-]+)(=?)(?:,(\w))?")
#: What is not taken: unknown, it is refused, and nothing is sent.
NOT_HERE = {
    "dry-run": "most sub-commands send more than the one command that nvme-cli would show; those of blocks and the "
    "pass-through have it",
    "copy sopts": "the driver's copy has no options of a range",
    "copy dir-type": "the driver's copy has no directive",
    "copy dir-spec": "the driver's copy has no directive",
    **{
        f"{name} {option}": "it reads files of the kernel's, and sends the kernel's controllers nothing"
        for name in ("list", "list-subsys")
        for option in ("timeout", "no-retries", "output-format-version")
    },
}


ROOT_COMMAND = typer.main.get_command(app)


def _ours(words: list[str]) -> dict[str, tuple[bool, frozenset[str]]]:
    """The options of a sub-command by their long names: whether there is a value, and the letters."""
    command = ROOT_COMMAND
    for word in words:
        command = command.get_command(typer.Context(command), word)  # type: ignore[attr-defined]
    found: dict[str, tuple[bool, frozenset[str]]] = {}
    for option in command.params:
        longs = [name[2:] for name in option.opts if name.startswith("--")]
        letters = frozenset(name[1:] for name in option.opts if not name.startswith("--"))
        found |= {name: (not getattr(option, "is_flag", False), letters) for name in longs}
    return found


def _missing(name: str) -> Iterator[str]:
    ours = _ours(name.split())
    theirs = [OPTION.fullmatch(word) for word in THEIRS[name].split()]
    letters = [option[3] for option in theirs if option]
    for option in theirs:
        assert option is not None
        long, has_value, letter = option[1], bool(option[2]), option[3]
        if long not in ours:
            if f"{name} {long}" not in NOT_HERE and long not in NOT_HERE:
                yield f"{name}: no --{long}"
            continue
        assert f"{name} {long}" not in NOT_HERE
        if ours[long][0] != has_value:
            yield f"{name}: --{long} {'has' if has_value else 'has no'} value"
        # nvme-cli gives some letters twice, and then the first option has it.
        if letter and letter not in ours[long][1] and letters.count(letter) == 1:
            yield f"{name}: --{long} is -{letter}"


def test_each_option_of_nvme_cli_is_taken() -> None:
    """By its long name and its letter, with a value or without, but for those that are listed here with a reason."""
    assert [line for name in THEIRS for line in _missing(name)] == []
