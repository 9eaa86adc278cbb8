"""Owns what sub-commands that act share: asking before data is lost, data of files, lists, what is left behind.

Such a sub-command is a plain function, which reads its files and checks what it was told before it connects
(`call.run`). One that destroys data asks on any address but a mock without a storage file, as `aionvme manage` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aionvme.cli import console
from aionvme.cli.confirm import can_ask, confirmed, is_disposable
from aionvme.cli.mistakes import cannot_be_read, writing
from aionvme.cli.nvme.options import number, switch, value
from aionvme.errors import NvmeError, UsageError

if TYPE_CHECKING:
    from aionvme.cli.nvme.frame import Call

__all__ = [
    "Confirmed",
    "LongForce",
    "LongTimeout",
    "NotConfirmedError",
    "OwnB",
    "check_can_ask",
    "check_output",
    "fields",
    "left_behind",
    "may_destroy",
    "numbers",
    "one_of",
    "read_input",
    "timed",
    "write_output",
]

# Where nvme-cli has another option by that letter.
LongTimeout = Annotated[
    int | None, value("--timeout", help="Milliseconds that a command may take.", metavar="MS")
]
LongForce = Annotated[bool, switch("--force", help="Do not ask.")]
Confirmed = Annotated[bool, switch("--force", "-f", help="Do not ask.")]
OwnB = Annotated[bool, typer.Option("--raw-binary", hidden=True)]


class NotConfirmedError(NvmeError):
    """Nobody confirmed that data is to be lost."""


def timed(call: Call, timeout: int | None) -> None:
    """Takes --timeout where it has no letter."""
    call.timeout = None if timeout is None else timeout / 1000


def check_can_ask(call: Call, force: bool) -> None:
    """Before connecting: somebody will be asked, and is there.

    Raises:
        UsageError: Nobody sits there; or it is no address.
    """
    if not force and not is_disposable(call.address) and not can_ask():
        raise UsageError(
            f"{call.name}: data would be lost, and there is no terminal to ask on. Add --force if that is meant"
        )


async def may_destroy(call: Call, what: str, force: bool) -> None:
    """Asks for the serial number or the address before data is lost.

    Args:
        call: The call, connected.
        what: "format namespace 1", after "About to".
        force: Nobody is asked.

    Raises:
        NotConfirmedError: It was not confirmed.
    """
    if force or is_disposable(call.address):
        return
    data = call.ctrlr.data
    serial = data.sn.strip()
    console.note(f"About to {what} of {data.mn.strip()}, serial {serial}, at {call.address}.")
    question = "What is there now is lost. Type the serial number or the address to go on: "
    if not await confirmed(question, (serial, call.ctrlr.pci_dev.bdf, call.address)):
        raise NotConfirmedError("nothing was done")


@contextlib.contextmanager
def left_behind(text: str) -> Iterator[None]:
    """Says what goes on in the device where Ctrl-C ended what is inside."""
    try:
        yield
    except asyncio.CancelledError:
        console.note(("\n" if sys.stderr.isatty() else "") + text)
        raise


def numbers(text: str | None) -> list[int]:
    """A list of numbers with commas between, as nvme-cli takes them.

    Raises:
        typer.BadParameter: One is no number.
    """
    return [number(part.strip()) for part in text.split(",")] if text else []


def one_of(**named: int) -> Callable[[str | int], int]:
    """A parser for a number that may be given by name; underscores are hyphens."""
    names = {name.replace("_", "-"): found for name, found in named.items()}
    return lambda text: names[text] if isinstance(text, str) and text in names else number(text)


def read_input(path: Path | None, nbytes: int | None = None) -> bytes:
    """The data that goes to the controller: of a file, or of standard input.

    Args:
        path: The file; None for standard input.
        nbytes: How many bytes: what there is more is left, what is missing is zeros. None for all there are.

    Raises:
        UsageError: It can't be read, or has nothing.
    """
    if path is None and sys.stdin is not None and sys.stdin.isatty():
        raise UsageError("there is no data: name a file, or send it to standard input")
    try:
        if path is None:
            data = sys.stdin.buffer.read() if nbytes is None else sys.stdin.buffer.read(nbytes)
        else:
            with path.open("rb") as file:
                data = file.read() if nbytes is None else file.read(nbytes)
    except OSError as error:
        told = (
            cannot_be_read(path, error)
            if path
            else "standard input can't be read: name a file, or send data to it"
        )
        raise UsageError(told) from error
    if not data and nbytes != 0:
        raise UsageError(f"{path or 'standard input'} has no data")
    return data if nbytes is None else data.ljust(nbytes, b"\0")


def write_output(path: Path | None, data: bytes) -> None:
    """Data that came from the controller: to a file, or to standard output.

    Raises:
        UsageError: Standard output is a terminal.
        FileError: The file can't be written.
        OutputError: Standard output can't be written.
    """
    if path is not None:
        with writing(path):
            path.write_bytes(data)
        return
    from aionvme.cli.nvme.output import print_bytes

    print_bytes(data)


def check_output(path: Path | None) -> None:
    """Before connecting: bytes have a place to go to that is no terminal."""
    if path is None and sys.stdout.isatty():
        raise UsageError(
            "the data is not for a terminal: name a file with -d, or send it to a file (> FILE) or a pipe"
        )


def fields(rows: Sequence[tuple[str, Any, str]]) -> None:
    """A command as --show-command has it: names, and values by their format."""
    for name, found, form in rows:
        console.result(f"{name:<12} : {found:{form}}")
