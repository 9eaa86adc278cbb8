"""What sub-commands share: numbers as they are written, tables of keys, lines for a person, their page."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("typer", reason="the command line is an extra")

import typer

from aionvme.cli.app import FAMILIES
from aionvme.cli.nvme import intel, output
from aionvme.cli.nvme.document import Document, Key, Keys, Note
from aionvme.cli.nvme.options import Output, byte_count, number
from aionvme.errors import UsageError
from aionvme.spec.identify import LbaFormat, PowerState

DOCS = Path(__file__).parents[5] / "docs/command-line.md"


@pytest.mark.parametrize(
    ("text", "value"), [("10", 10), ("0x1f", 31), ("0", 0), ("4k", 4096), ("1M", 1 << 20)]
)
def test_numbers(text: str, value: int) -> None:
    """Decimal, hexadecimal, and sizes with a unit."""
    assert byte_count(text) == value
    if text.isalnum() and text[-1] not in "kM":
        assert number(text) == value


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "k", "0xk", "4kk"])
def test_what_is_no_number(text: str) -> None:
    """All else is refused, with how a number is written."""
    with pytest.raises(typer.BadParameter, match="no number"):
        byte_count(text)


def test_tables_are_checked_when_they_are_made() -> None:
    """A field or a bit that there is not, a form that there is not, and a key declared twice are mistakes."""
    for words in ("nothing", "a=nothing", "rp:y", "mp=flags.nothing", "rp rp"):
        with pytest.raises(TypeError):
            Keys(PowerState if "flags" in words else LbaFormat, words)


def test_keys_of_a_structure() -> None:
    """A field, a field by another name, a bit of one, and a function, in the order of the table."""
    keys = Keys(
        PowerState,
        "mp max=mp:x off=flags.nops",
        Key("twice", lambda state, raw: state.mp * 2, Note("Double")),
    )
    document = keys.of(PowerState(mp=21, flags=2))
    assert list(document.items()) == [("mp", 21), ("max", 21), ("off", 1), ("twice", 42)]
    assert document.note("max").hexadecimal
    assert document.note("twice").meaning == "Double"


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Piped, a document is `name : value` in columns; what lies deeper is indented, short objects are a line."""
    document = Document(a=1, many=[{"x": 1, "y": 2}, 7], deep={"name": "text", "list": []})
    document.notes["a"] = Note("Meaning", hexadecimal=True)
    output.print_document(document, Output.NORMAL, title="Title")
    assert capsys.readouterr().out.splitlines() == [
        "Title:",
        "a      : 0x1",
        "many 0 : x:1 y:2",
        "many 1 : 7",
        "deep   :",
        "  name : text",
    ]


def test_bytes_where_there_are_none() -> None:
    """A document that was not made of bytes has no binary form, and that is said."""
    with pytest.raises(UsageError, match="-o json"):
        output.print_document({}, Output.BINARY)


def test_the_docs_list_every_sub_command() -> None:
    """docs/command-line.md has each sub-command, and each of Intel's."""
    text = DOCS.read_text()
    names = [entry.name for family in FAMILIES for entry in family.entries]
    assert [name for name in names if f"`{name}`" not in text] == []
    assert all(entry.name in text for entry in intel.commands.entries)
