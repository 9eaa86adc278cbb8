"""Owns the options that several sub-commands have: nvme-cli's letters and names, and how a number is written.

Letters of an option that only one sub-command has are where that sub-command is.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "Address",
    "BlockCount",
    "DataFile",
    "DataLen",
    "DataSize",
    "Force",
    "FormatOption",
    "FormatVersion",
    "Human",
    "MetadataFile",
    "MetadataSize",
    "NamespaceId",
    "NoRetries",
    "Output",
    "RawBinary",
    "StartBlock",
    "Timeout",
    "Verbose",
    "byte_count",
    "format_version",
    "number",
    "switch",
    "value",
]

_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}


class Output(StrEnum):
    """What a sub-command prints: lines for a person, JSON, or the bytes that came from the controller."""

    NORMAL = "normal"
    JSON = "json"
    BINARY = "binary"


def number(text: str | int) -> int:
    """A number from 0 on, decimal or with 0x, as nvme-cli takes them; a default is one already."""
    if isinstance(text, int):
        return text
    try:
        found = int(text, 0)
    except ValueError:
        found = -1
    if found < 0:
        raise typer.BadParameter(f"{text!r} is no number: write it as 10 or 0xa")
    return found


def byte_count(text: str | int) -> int:
    """A number that may end with a binary unit, as nvme-cli takes sizes: 4096, 0x1000, 4k, 1M."""
    unit = None if isinstance(text, int) else _UNITS.get(text[-1:].lower())
    if unit is None or isinstance(text, int) or text[:2].lower() == "0x":
        return number(text)
    return number(text[:-1]) * unit


def format_version(text: str | int) -> int:
    """Of the JSON; nvme-cli has these two."""
    found = number(text)
    if found not in (1, 2):
        raise typer.BadParameter(f"{text!r} is no version of the output: 1 or 2")
    return found


def value(*names: str, help: str, parser: Callable[[str], Any] = number, metavar: str = "NUM") -> Any:
    """An option with a number: for `Annotated[int, value("--sel", "-s", help=...)]`."""
    return typer.Option(*names, parser=parser, metavar=metavar, help=help, show_default=False)


def switch(*names: str, help: str) -> Any:
    """An option that is there or is not."""
    return typer.Option(*names, metavar="", help=help)


Address = Annotated[
    str,
    typer.Argument(
        help='Which controller: "0000:01:00.0", "vfio-user:/run/ctrl", "mock:".', metavar="ADDRESS"
    ),
]
FormatOption = Annotated[
    Output, typer.Option("--output-format", "-o", help="What to print.", metavar="normal|json|binary")
]
RawBinary = Annotated[bool, switch("--raw-binary", "-b", help="Print the bytes: as -o binary.")]
Human = Annotated[bool, switch("--human-readable", "-H", help="Say what the bits mean.")]
Verbose = Annotated[bool, switch("--verbose", "-v", help="Say more: as -H.")]
Timeout = Annotated[
    int | None, value("--timeout", "-t", help="Milliseconds that a command may take.", metavar="MS")
]
# nvme-cli's scripts have these, which make no difference here: no command is sent again, and there is one form of JSON.
NoRetries = Annotated[bool, typer.Option("--no-retries", hidden=True)]
FormatVersion = Annotated[
    int, typer.Option("--output-format-version", parser=format_version, metavar="NUM", hidden=True)
]
NamespaceId = Annotated[int | None, value("--namespace-id", "-n", help="Namespace identifier.")]
StartBlock = Annotated[int, value("--start-block", "-s", help="First logical block.")]
BlockCount = Annotated[int, value("--block-count", "-c", help="Number of logical blocks, 0's based.")]
DataSize = Annotated[
    int | None, value("--data-size", "-z", help="Bytes of data.", parser=byte_count, metavar="SIZE")
]
MetadataSize = Annotated[
    int | None, value("--metadata-size", "-y", help="Bytes of metadata.", parser=byte_count, metavar="SIZE")
]
DataLen = Annotated[
    int | None, value("--data-len", "-l", help="Bytes of data.", parser=byte_count, metavar="SIZE")
]
DataFile = Annotated[
    Path | None, typer.Option("--data", "-d", help="File of the data; standard input or output if not given.")
]
MetadataFile = Annotated[Path | None, typer.Option("--metadata", "-M", help="File of the metadata.")]
Force = Annotated[bool, switch("--force", "-f", help="Do not ask.")]
