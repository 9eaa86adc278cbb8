"""The `aionvme` command: hello, list, bind, unbind, manage, mock, perf.

A user of the public names; no layer imports it.

A subcommand has a file of its own. What belongs here as well: how results and errors are shown, how a person
is asked. Does not belong here: anything that a program would want to call.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from aionvme.cli import ending

if TYPE_CHECKING:
    from typer import Typer

__all__ = ["command", "main"]


def command() -> None:
    """The program `aionvme`: `main`, whatever its standard streams are, and whenever Ctrl-C comes.

    Raises:
        SystemExit: As `main`; 141 if whoever read standard output went away.
    """
    ending.run(_load, main)


def main() -> None:
    """Runs the command line; ends with `SystemExit`: 0 done, 1 error, 2 wrong usage, 130 interrupted."""
    _load()(prog_name="aionvme")


def _load() -> Typer:
    # Typer and Rich are an extra: a program that uses the driver does without them.
    try:
        from aionvme.cli.app import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("typer", "rich", "click"):
            raise
        print(
            f"aionvme: the command line needs {error.name}. Run `pip install aionvme[cli]`", file=sys.stderr
        )
        raise SystemExit(1) from None
    return app
