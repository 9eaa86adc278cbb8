"""Owns the record of what tests in the guest wrote to a drive, and its comparison with the raw images.

The guest appends to a folder that it shares with the host; after power-off the host compares. So a driver
that believes its own reads is caught: the bytes are looked for where no part of ours has been.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

INDEX = "written.jsonl"


@dataclass(frozen=True)
class Record:
    """Data that a drive acknowledged: `data` from byte `offset` of drive `serial` on, written by `test`."""

    serial: str
    offset: int
    data: bytes
    test: str


class Manifest:
    """The records in one shared folder, in the order in which they were made."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`; nothing is written before the first record."""
        self._folder = folder

    def add(self, record: Record) -> None:
        """Append a record; it is on the host's side when this returns.

        Raises:
            ValueError: it has no data, and so would prove nothing.
        """
        if not record.data:
            raise ValueError("a record needs at least one byte of data")
        number = len(self._lines())
        (self._folder / f"written-{number}.bin").write_bytes(record.data)
        entry = {"serial": record.serial, "offset": record.offset, "test": record.test, "number": number}
        with (self._folder / INDEX).open("a") as index:
            index.write(json.dumps(entry) + "\n")
            index.flush()
            os.fsync(index.fileno())

    def read(self) -> list[Record]:
        """Return all records, oldest first."""
        return [self._record(json.loads(line)) for line in self._lines()]

    def _record(self, entry: dict[str, str]) -> Record:
        data = (self._folder / f"written-{entry['number']}.bin").read_bytes()
        return Record(entry["serial"], int(entry["offset"]), data, entry["test"])

    def _lines(self) -> list[str]:
        index = self._folder / INDEX
        return index.read_text().splitlines() if index.exists() else []


def mismatches(records: Sequence[Record], images: dict[str, Path]) -> list[str]:
    """Compare records with raw images; return one sentence for each that does not agree.

    A record is expected to be there but for what later records wrote over it.

    Args:
        records: oldest first.
        images: the raw image of each serial number.
    """
    found = []
    for number, record in enumerate(records):
        expected = _after(record, records[number + 1 :])
        with images[record.serial].open("rb") as image:
            image.seek(record.offset)
            actual = image.read(len(expected))
        if actual != expected:
            found.append(_difference(record, expected, actual))
    return found


def _after(record: Record, later: Sequence[Record]) -> bytes:
    """What should be in the place of `record` once the `later` ones are written."""
    data = bytearray(record.data)
    for other in later:
        begin = max(record.offset, other.offset)
        end = min(record.offset + len(record.data), other.offset + len(other.data))
        if other.serial == record.serial and begin < end:
            data[begin - record.offset : end - record.offset] = other.data[
                begin - other.offset : end - other.offset
            ]
    return bytes(data)


def _difference(record: Record, expected: bytes, actual: bytes) -> str:
    where = f"{record.serial}, written by {record.test} at byte {record.offset} ({len(expected)} bytes)"
    if len(actual) < len(expected):
        return f"{where}: the image ends after {len(actual)} bytes of it"
    first = next(at for at in range(len(expected)) if expected[at] != actual[at])
    found, wanted = actual[first : first + 16].hex(" "), expected[first : first + 16].hex(" ")
    return f"{where}: from byte {record.offset + first} on the image has {found}, not {wanted}"
