"""Owns the log of the last commands, kept in memory at little cost: what a failed test shows."""

from __future__ import annotations

import time
from collections import deque

from aionvme.trace.entries import Command
from aionvme.trace.showing import line

__all__ = ["CommandLog"]


class CommandLog:
    """Listens to a controller, and keeps its last commands.

    Attributes:
        error: What an entry raised that could not be kept; None.
        total: How many commands there were.
    """

    def __init__(self, most: int = 100) -> None:
        self.error: Exception | None = None
        self.total = 0
        self._began = time.monotonic_ns()
        self._commands: deque[Command] = deque(maxlen=most)
        self._outstanding: dict[tuple[int, int], Command] = {}

    def posted(self, when_ns: int, qid: int, sqe: bytes) -> None:
        """A command is about to be the device's."""
        command = Command(qid, sqe, when_ns - self._began)
        self.total += 1
        self._commands.append(command)
        self._outstanding[qid, command.cid] = command

    def completed(self, when_ns: int, qid: int, cqe: bytes) -> None:
        """It completed one."""
        self._end(qid, int.from_bytes(cqe[12:14], "little"), when_ns, cqe)

    def dropped(self, when_ns: int, qid: int, cid: int) -> None:
        """The host gave one up."""
        self._end(qid, cid, when_ns, None)

    def _end(self, qid: int, cid: int, when_ns: int, cqe: bytes | None) -> None:
        command = self._outstanding.pop((qid, cid), None)
        if command is not None:
            command.ended_ns, command.cqe, command.given_up = when_ns - self._began, cqe, cqe is None

    @property
    def outstanding(self) -> list[Command]:
        """Commands that the device has, in the order in which they were posted."""
        return list(self._outstanding.values())

    def lines(self) -> list[str]:
        """A line for each command that is kept, after one that says how many are not."""
        left_out = self.total - len(self._commands)
        return [*([f"({left_out} commands before these)"] if left_out else []), *map(line, self._commands)]
