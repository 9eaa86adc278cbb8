"""Owns the recording as it is read: commands with what came of them, whole or cut short."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import attrs

from aionvme.errors import UsageError
from aionvme.trace.entries import Command
from aionvme.trace.writing import FORMAT, VERSION

__all__ = ["Event", "Trace", "read_trace"]


@attrs.frozen
class Event:
    """A moment of a recording: a command was posted, completed, or given up (`kind`)."""

    kind: str
    command: Command


@attrs.define(eq=False)
class Trace:
    """A recording.

    Attributes:
        header: What its first line says: "began", "data", "device" and "namespaces".
        commands: In the order in which they were posted.
        events: All moments, in order.
        is_whole: The recording was ended in order; else the process was killed, or the disk was full.
        strays: Completions of commands that were posted before it began.
    """

    header: dict[str, Any]
    commands: list[Command] = attrs.field(factory=list, repr=False)
    events: list[Event] = attrs.field(factory=list, repr=False)
    is_whole: bool = False
    strays: int = 0


def read_trace(path: str | Path) -> Trace:
    """Reads a recording. One that was cut short is read up to its last whole line.

    Raises:
        UsageError: It is none, is of a later version, or is damaged; the message has the line.
        OSError: It can't be read.
    """
    lines = Path(path).read_bytes().split(b"\n")
    # What follows the last line feed is nothing, or a line that was cut short.
    lines.pop()
    if not lines:
        raise UsageError(f"{path} is no recording: it has no header. Record one by ctrlr.record(path)")
    reader = _Reader(_header(path, lines[0]))
    for number, text in enumerate(lines[1:], 2):
        try:
            reader.take(json.loads(text))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise UsageError(
                f"{path}, line {number} is damaged ({error}): what is before it can be cut out"
            ) from error
    return reader.trace


def _header(path: str | Path, text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except ValueError:
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise UsageError(
            f"{path} is no recording: its first line is no header. Record one by ctrlr.record(path)"
        )
    if header.get("version") != VERSION:
        raise UsageError(
            f"{path} has version {header.get('version')} of the format, and this is aionvme for version {VERSION}: "
            "read it with the aionvme that wrote it, or a later one"
        )
    return header


class _Reader:
    """Puts completions to their commands."""

    def __init__(self, header: dict[str, Any]) -> None:
        self.trace = Trace(header)
        self._outstanding: dict[tuple[int, int], Command] = {}

    def take(self, fields: dict[str, Any]) -> None:
        """One line."""
        kind = fields["e"]
        if kind == "end":
            self.trace.is_whole = True
            return
        when, qid = int(fields["t"]), int(fields["q"])
        if kind == "posted":
            command = self._begin(qid, when, bytes.fromhex(fields["sqe"]), fields)
        elif kind in ("completed", "dropped"):
            found = self._finish(qid, when, fields)
            if found is None:
                self.trace.strays += 1
                return
            command = found
        else:
            raise ValueError(f"no such event: {kind!r}")
        self.trace.events.append(Event(kind, command))

    def _begin(self, qid: int, when: int, sqe: bytes, fields: dict[str, Any]) -> Command:
        if len(sqe) != 64:
            raise ValueError(f"an entry of {len(sqe)} bytes")
        command = Command(qid, sqe, when)
        _add_data(command, fields)
        self._outstanding[qid, command.cid] = command
        self.trace.commands.append(command)
        return command

    def _finish(self, qid: int, when: int, fields: dict[str, Any]) -> Command | None:
        cqe = bytes.fromhex(fields["cqe"]) if "cqe" in fields else None
        if cqe is not None and len(cqe) != 16:
            raise ValueError(f"a completion of {len(cqe)} bytes")
        cid = int(fields["cid"]) if cqe is None else int.from_bytes(cqe[12:14], "little")
        command = self._outstanding.pop((qid, cid), None)
        if command is None:
            return None
        command.ended_ns, command.cqe, command.given_up = when, cqe, cqe is None
        _add_data(command, fields)
        return command


def _add_data(command: Command, fields: dict[str, Any]) -> None:
    if "data" in fields:
        command.data = base64.b64decode(fields["data"], validate=True)
    if "sha256" in fields:
        command.digest = str(fields["sha256"])
