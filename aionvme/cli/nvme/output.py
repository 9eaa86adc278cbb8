"""Owns how a document is printed: as JSON, as the bytes it was made of, or in lines for a person.

Lines are `name : value`. On a terminal they are a grid, with what each name means beside it.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from aionvme.cli import console
from aionvme.cli.nvme.document import Document
from aionvme.cli.nvme.options import Output
from aionvme.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from aionvme.cli.nvme.document import Note

__all__ = ["hex_dump", "print_bytes", "print_document", "print_json"]

# Name and value, what it means, and how deep it lies.
_Line = tuple[int, str, str, str]


def print_json(value: Any) -> None:
    """JSON, spaced as nvme-cli spaces it; what the encoding of standard output lacks is escaped."""
    text = json.dumps(value, indent=2, separators=(",", ":"), ensure_ascii=False)
    try:
        # A stream that is none of the process's may take any character, and have no encoding.
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2, separators=(",", ":"))
    sys.stdout.write(text + "\n")


def print_bytes(data: bytes) -> None:
    """Bytes as they are.

    Raises:
        UsageError: Standard output is a terminal, which they would confuse.
    """
    if sys.stdout.isatty():
        raise UsageError("binary output is not for a terminal: send it to a file (> FILE) or a pipe")
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def print_document(
    value: Any, output: Output, *, raw: bytes | None = None, title: str = "", detail: bool = False
) -> None:
    """Prints a document.

    Args:
        value: A `Document`, or any object of JSON.
        output: How.
        raw: The bytes that it was made of; None where there are none.
        title: What it is, for a person.
        detail: Whether a person is told of each bit.

    Raises:
        UsageError: Bytes are wanted and there are none.
    """
    if output == Output.JSON:
        print_json(value)
        return
    if output == Output.BINARY:
        if raw is None:
            raise UsageError("this has no binary form: use -o json or -o normal")
        print_bytes(raw)
        return
    if title:
        console.result(f"{title}:", "bold")
    _print_lines(list(_lines(value, detail, 0)))


def hex_dump(data: bytes) -> str:
    """Bytes as nvme-cli dumps them: 16 a line, in hexadecimal digits and as text."""
    lines = ["       0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f"]
    for at in range(0, len(data), 16):
        part = data[at : at + 16]
        shown = "".join(chr(byte) if 0x20 <= byte <= 0x7E else "." for byte in part)
        # nvme-cli has a space for each byte that is missing, and one more.
        lines.append(f'{at:04x}: {part.hex(" "):<{47 if len(part) == 16 else 48}} "{shown}"')
    return "\n".join(lines)


def _lines(value: Any, detail: bool, depth: int) -> Iterator[_Line]:
    if isinstance(value, list):
        for at, item in enumerate(value):
            yield from _item(str(at), item, detail, depth)
        return
    if not isinstance(value, dict):
        yield depth, "value", _shown(value, None), ""
        return
    for name, item in value.items():
        note = value.note(name) if isinstance(value, Document) else None
        if isinstance(item, dict | list):
            yield from _nested(name, item, detail, depth, note)
            continue
        yield depth, name, _shown(item, note), note.meaning if note else ""
        if detail and note is not None and note.bits is not None:
            yield from _bits(item, note.bits, depth + 1)


def _nested(
    name: str, item: Mapping[str, Any] | Sequence[Any], detail: bool, depth: int, note: Note | None
) -> Iterator[_Line]:
    if isinstance(item, dict):
        yield depth, name, "", note.meaning if note else ""
        yield from _lines(item, detail, depth + 1)
        return
    for at, each in enumerate(item):
        yield from _item(f"{name} {at}", each, detail, depth)


def _item(name: str, item: Any, detail: bool, depth: int) -> Iterator[_Line]:
    flat = isinstance(item, dict) and not any(isinstance(each, dict | list) for each in item.values())
    if flat and (len(item) <= 8 and not detail):
        yield depth, name, " ".join(f"{key}:{_shown(each, None)}" for key, each in item.items()), ""
    elif isinstance(item, dict | list):
        yield depth, name, "", ""
        yield from _lines(item, detail, depth + 1)
    else:
        yield depth, name, _shown(item, None), ""


def _bits(value: int, table: Any, depth: int) -> Iterator[_Line]:
    for name, field in table.FIELDS.items():
        high = field.low + field.width - 1
        yield depth, f"[{high}:{field.low}] {name}", f"{value >> field.low & field.mask:#x}", field.doc


def _shown(value: Any, note: Note | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and note is not None and note.hexadecimal:
        return f"{value:#x}" if value else "0"
    return str(value)


def _print_lines(lines: Sequence[_Line]) -> None:
    if sys.stdout.isatty():
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_column(style="dim")
        for depth, name, value, meaning in lines:
            grid.add_row(Text("  " * depth + name), Text(value, "bold"), Text(meaning))
        console.print_grid(grid)
        return
    width = max((2 * depth + len(name) for depth, name, *_ in lines), default=0)
    for depth, name, value, _meaning in lines:
        sys.stdout.write(f"{'  ' * depth + name:<{width}} : {value}".rstrip() + "\n")
