"""Owns `aionvme trace` and `aionvme replay`: recordings, shown and executed again."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

import aionvme
from aionvme.cli import console
from aionvme.cli.confirm import can_ask, confirmed, is_disposable
from aionvme.errors import UsageError
from aionvme.replay import Replayed, changes_data
from aionvme.replay import replay as replay_trace
from aionvme.trace import Trace, chrome, lines, read_trace
from aionvme.trace.showing import as_json

__all__ = ["replay", "trace"]

File = Annotated[Path, typer.Argument(metavar="FILE", help="What Controller.record wrote.")]


class Form(StrEnum):
    """How a recording is shown."""

    TEXT = "text"
    JSON = "json"
    CHROME = "chrome"


def trace(
    file: File,
    form: Annotated[
        Form,
        typer.Option("--format", help="Text, JSON, or Chrome's trace format, which ui.perfetto.dev opens."),
    ] = Form.TEXT,
) -> None:
    """Show a recording of a controller's commands: what they were, what they took, how they ended.

    Data that was recorded is not shown. A recording that was cut short is shown as far as it goes.
    """
    found = read_trace(file)
    if form is Form.JSON:
        console.print_json(as_json(found))
    elif form is Form.CHROME:
        print(chrome(found))
    else:
        sys.stdout.writelines(f"{line}\n" for line in lines(found))


def replay(
    file: File,
    address: Annotated[
        str, typer.Argument(help='Where: "mock:", "0000:01:00.0", "vfio-user:/run/ctrl".')
    ] = "mock:",
    speed: Annotated[
        float,
        typer.Option(min=0.0, help="How many times as fast as recorded at most; 0: as the order allows."),
    ] = 0.0,
    skip_writes: Annotated[
        bool, typer.Option("--skip-writes", metavar="", help="Leave out what changes data.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", metavar="", help="Do not ask before it writes.")] = False,
) -> None:
    """Execute the commands of a recording again, and say what is different: status, value, data.

    What the recording wrote is written again. On any address but a mock without a storage file that is asked for
    first, unless --yes or --skip-writes is given. Exit status 1 means that there were differences.
    """
    found = read_trace(file)
    writes = changes_data(found) and not skip_writes
    asks = writes and not is_disposable(address)
    if asks and not yes and not can_ask():
        raise UsageError(
            f"{console.named(address)}: the recording writes, and there is no terminal to ask on. Add --yes if that "
            "is meant, or --skip-writes"
        )
    result = aionvme.run(_replay(found, address, speed, skip_writes, asks and not yes))
    if result is None:
        console.note("Nothing was done.")
        raise typer.Exit(console.ERROR)
    _show(result)
    if result.differences:
        raise typer.Exit(console.ERROR)


async def _replay(found: Trace, address: str, speed: float, skip_writes: bool, ask: bool) -> Replayed | None:
    async with aionvme.connect(address) as ctrlr:
        serial = ctrlr.data.sn.strip()
        if ask:
            console.note(
                f"About to overwrite blocks of {ctrlr.data.mn.strip()}, serial {serial}, at {address}."
            )
            question = "What is there now is lost. Type the serial number or the address to go on: "
            if not await confirmed(question, (serial, ctrlr.pci_dev.bdf, address)):
                return None
        return await replay_trace(found, ctrlr, speed=speed, skip_writes=skip_writes)


def _show(result: Replayed) -> None:
    for difference in result.differences:
        console.result(str(difference))
    rows: list[tuple[str, Any]] = [
        ("executed", f"{result.executed} commands"),
        ("data compared", f"of {result.compared}"),
        *(("left out", f"{count} {why}") for why, count in result.skipped.most_common()),
        ("differences", str(len(result.differences))),
    ]
    console.facts(rows)
