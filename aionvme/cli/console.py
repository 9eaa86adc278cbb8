"""Owns how the command speaks: results on standard output, all else on standard error, an error in a line."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.padding import Padding
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from aionvme.cli.ending import ERROR, INTERRUPTED, USAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.console import RenderableType

__all__ = [
    "ERROR",
    "INTERRUPTED",
    "USAGE",
    "about",
    "error",
    "facts",
    "interrupted",
    "named",
    "note",
    "print_grid",
    "print_json",
    "progress",
    "prompt",
    "result",
    "size",
    "table",
]

# No terminal has a width of its own: what is piped is neither folded nor cut.
_UNFOLDED = 100_000


def _console(aside: bool = False) -> Console:
    # Made anew each time, since tests put other files in the place of sys.stdout.
    stream = sys.stderr if aside else sys.stdout
    return Console(width=None if stream.isatty() else _UNFOLDED, stderr=aside, highlight=False)


def named(address: str) -> str:
    """An address as the beginning of a sentence, to which a colon is added: "mock:" has one of its own."""
    return address.removesuffix(":")


def about(address: str, text: str) -> str:
    """A message with the address in front, unless it begins with it: what the driver says of a function does."""
    # The driver writes a PCI address with its domain, and one of vfio-user without its options.
    said = text.partition(": ")[0]
    place = address.partition("?")[0]
    if said in (named(address), named(place)) or said.endswith(f":{place}"):
        return text
    return f"{named(address)}: {text}"


def result(text: str = "", style: str = "") -> None:
    """One line of the result."""
    _console().print(Text(text, style), soft_wrap=True)


def note(text: str) -> None:
    """Something beside the result: a warning, or what to do next. On standard error."""
    _say(Text(text))


def error(text: str) -> None:
    """Why it did not work, and what to run. On standard error."""
    _say(Text.assemble(("error: ", "bold red"), text))


def _say(text: Text) -> None:
    # Not folded here: a terminal folds by itself, and a command that is copied from it is still one line.
    Console(stderr=True).print(text, soft_wrap=True)


def interrupted() -> None:
    """Ctrl-C was typed. A terminal has shown that, and left the cursor behind it."""
    note(("\n" if sys.stderr.isatty() else "") + "interrupted")


def prompt(question: str) -> None:
    """A question, with the cursor left behind it. On standard error."""
    print(question, end="", file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """The result for programs."""
    print(json.dumps(value, indent=2))


def facts(rows: Iterable[tuple[str, str]], *, aside: bool = False) -> None:
    """Names and values, one below the other; a value that is too long for the terminal goes on below itself.

    Args:
        rows: The names, each with its value.
        aside: On standard error.
    """
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(Text(name, "dim"), Text(value))
    _print_trimmed(_console(aside), Padding(grid, (0, 0, 0, 2), expand=False))


def size(nbytes: int) -> str:
    """Bytes, in the largest unit that leaves a number of 1 or more."""
    amount, unit = float(nbytes), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.4g} {unit}"


@contextmanager
def progress(label: str) -> Iterator[Callable[[float], None]]:
    """A bar on a terminal, a line for each tenth elsewhere: call what it gives with a fraction. On standard error."""
    out = _console(aside=True)
    if out.is_terminal:
        with Progress(console=out, transient=True) as bar:
            task = bar.add_task(label, total=1.0)
            yield lambda fraction: bar.update(task, completed=fraction)
        return
    shown = -1

    def show(fraction: float) -> None:
        nonlocal shown
        if int(fraction * 10) > shown:
            shown = int(fraction * 10)
            note(f"{label}: {fraction:.0%}")

    yield show


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table; where it is wider than the terminal, each row as a heading with its facts below."""
    out = _console()
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        grid.add_column(heading, no_wrap=True)
    for row in rows:
        grid.add_row(*(Text(value) for value in row))
    if out.measure(grid, options=out.options.update(width=_UNFOLDED)).maximum <= out.width:
        _print_trimmed(out, grid)
        return
    for number, row in enumerate(rows):
        if number:
            out.print()
        out.print(Text(row[0], "bold"))
        facts(zip(headings[1:], row[1:], strict=True))


def print_grid(grid: Table) -> None:
    """A table that somebody else made, without the spaces that fill its last column."""
    _print_trimmed(_console(), grid)


def _print_trimmed(console: Console, what: RenderableType) -> None:
    # A table fills its last column with spaces.
    with console.capture() as captured:
        console.print(what)
    for line in captured.get().splitlines():
        console.file.write(line.rstrip() + "\n")
