"""Owns how a structure of the specification becomes a JSON object with nvme-cli's keys: by a table of keys.

    _SLOTS = Keys(FirmwareSlots, "afi", ...)
    _SLOTS.document(page)

A table is words: `vid`, or `entry_lat=enlat` where nvme-cli calls a field otherwise, or `max_power_scale=flags.mxps`
for a bit field of it; `:x` has a person see it in hexadecimal. What is no field is a `Key` with a function.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from aionvme.spec.bits import Bits
    from aionvme.spec.structure import Buffer, Row, Structure

__all__ = ["Document", "Key", "Keys", "Note", "hex_text", "text_dump", "uuid_text", "when"]


@attrs.frozen
class Note:
    """What a person is told of a key.

    Attributes:
        meaning: What it is.
        hexadecimal: How its number is shown.
        bits: The table of its bits, where it has one.
    """

    meaning: str = ""
    hexadecimal: bool = False
    bits: type[Bits] | None = None


class Document(dict[str, Any]):
    """A JSON object, and `notes` of its keys for a person."""

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        self.notes: dict[str, Note] = {}

    def note(self, name: str) -> Note:
        """What is noted of a key; an empty note where nothing is."""
        return self.notes.get(name, _NOTHING)


_NOTHING = Note()


@attrs.frozen
class Key:
    """One key of a document.

    Attributes:
        name: As nvme-cli has it.
        read: Its value, from the structure and its bytes.
        note: For a person.
        when: Whether the structure has it.
    """

    name: str
    read: Callable[[Any, bytes], Any]
    note: Note = _NOTHING
    when: Callable[[Any], object] | None = None


def when(condition: Callable[[Any], object], words: str) -> tuple[Callable[[Any], object], str]:
    """Words of a table that count where the structure says so."""
    return condition, words


class Keys:
    """The keys of a structure, in nvme-cli's order.

    Args:
        kind: The structure.
        parts: Words, `when` for words under a condition, and `Key`.

    Raises:
        TypeError: A word names no field, or a key is there twice.
    """

    def __init__(
        self, kind: type[Structure], *parts: str | Key | tuple[Callable[[Any], object], str]
    ) -> None:
        self.kind = kind
        self.keys = tuple(self._all(parts))
        names = [key.name for key in self.keys]
        if len(set(names)) != len(names):
            raise TypeError(f"{kind.__name__}: a key is declared twice")

    def document(self, raw: Buffer) -> Document:
        """The object for a structure that comes as bytes."""
        return self.of(self.kind.decode(raw), bytes(raw))

    def of(self, structure: Any, raw: bytes | None = None) -> Document:
        """The object for a structure; `raw` are its bytes, where they are at hand."""
        if raw is None:
            raw = structure.encode()
        found = Document()
        for key in self.keys:
            if key.when is None or key.when(structure):
                found[key.name] = key.read(structure, raw)
                found.notes[key.name] = key.note
        return found

    def _all(self, parts: Iterable[Any]) -> Iterator[Key]:
        for part in parts:
            if isinstance(part, Key):
                yield part
                continue
            condition, words = (None, part) if isinstance(part, str) else part
            for word in words.split():
                yield _key(self.kind, word, condition)


def _key(kind: type[Structure], word: str, condition: Callable[[Any], object] | None) -> Key:
    word, _, form = word.partition(":")
    name, _, place = word.partition("=")
    field, _, bit = (place or name).partition(".")
    row = kind.ROWS.get(field)
    if row is None or form not in ("", "x"):
        raise TypeError(f"{kind.__name__} has no field {field}, or {form!r} is no form")
    if bit:
        if row.bits is None or bit not in row.bits.FIELDS:
            raise TypeError(f"{kind.__name__}.{field} has no bits {bit}")
        low, mask = row.bits.FIELDS[bit].low, row.bits.FIELDS[bit].mask
        note = Note(row.bits.FIELDS[bit].doc, form == "x")
        return Key(name, lambda structure, _raw: getattr(structure, field) >> low & mask, note, condition)
    return Key(name, _reader(row), Note(row.doc, form == "x", row.bits), condition)


def _reader(row: Row) -> Callable[[Any, bytes], Any]:
    if isinstance(row.default, str):
        # Fields of text are shown with the spaces that pad them, up to a null.
        return lambda _structure, raw: raw[row.offset : row.end].partition(b"\0")[0].decode("latin-1")
    plain = row.plain
    if plain is None:
        return lambda structure, _raw: getattr(structure, row.name)
    return lambda structure, _raw: plain(getattr(structure, row.name))


def uuid_text(field: str) -> Callable[[Any, bytes], str]:
    """Reads 16 bytes as a UUID's text."""
    return lambda structure, _raw: str(uuid.UUID(bytes=getattr(structure, field)))


def hex_text(value: int, width: int = 0) -> str:
    """A number as C's %#x prints it: 0 is "0", all others have 0x."""
    return f"{value:#0{width}x}" if value else "0".rjust(width, "0")


def text_dump(data: bytes) -> list[str]:
    """Bytes as text in pieces of 16, with a point for each that is no visible character."""
    shown = "".join(chr(byte) if 0x21 <= byte <= 0x7E else "." for byte in data)
    return [shown[at : at + 16] for at in range(0, len(shown), 16)]
