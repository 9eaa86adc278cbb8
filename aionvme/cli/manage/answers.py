"""Owns where answers come from: a person at a terminal, or lines of a file or pipe."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, TextIO, TypeVar

from aionvme.cli import console
from aionvme.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

__all__ = ["Answers", "EndOfAnswers", "WrongAnswer"]


class EndOfAnswers(Exception):
    """The input has ended: the tool is left."""


class WrongAnswer(Exception):
    """An answer from a script that can't be; a person is asked again instead."""


class Answers:
    """Lines, one for each question. An empty one means the default; in a script, one that begins with # is none.

    Attributes:
        scripted: Nobody sits there: what is wrong ends the tool.
        line: Number of the last line read.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file if file is not None else sys.stdin
        self.scripted = not self._file.isatty()
        self.line = 0

    async def ask(self, question: str, default: str = "") -> str:
        """Asks, and gives the answer, or the default for an empty one.

        Raises:
            EndOfAnswers: There are no more.
        """
        console.prompt(f"{question} [{default}]: " if default else f"{question}: ")
        text = await self._next()
        if self.scripted:
            # What was typed at a terminal stands there already; of a script it makes the transcript.
            console.note(text)
        return text or default

    async def number(
        self, question: str, default: int | None = None, *, low: int = 0, high: int | None = None
    ) -> int:
        """Asks for a number, decimal or with 0x, and again while the answer is none or out of range."""

        def read(text: str) -> int:
            value = int(text, 0)
            if value < low or (high is not None and value > high):
                raise ValueError
            return value

        limits = f"from {low}" if high is None else f"{low} to {high}"
        return await self._until(question, default, read, f"a number, {limits}")

    async def choice(self, question: str, choices: dict[str, str], default: str | None = None) -> str:
        """Shows choices with what they mean, and asks for one of them."""
        console.facts(choices.items(), aside=True)

        def read(text: str) -> str:
            if text not in choices:
                raise ValueError
            return text

        return await self._until(question, default, read, f"one of {', '.join(choices)}")

    async def _until(self, question: str, default: T | None, read: Callable[[str], T], wanted: str) -> T:
        while True:
            text = await self.ask(question, "" if default is None else str(default))
            try:
                return read(text)
            except ValueError:
                problem = f"{question}: {wanted}, please, not {text!r}"
            if self.scripted:
                raise WrongAnswer(f"line {self.line}: {problem}")
            console.note(problem)

    async def _next(self) -> str:
        while True:
            line = await self._read()
            if not line:
                console.note("")
                raise EndOfAnswers
            self.line += 1
            if not (self.scripted and line.startswith("#")):
                return line.strip()

    async def _read(self) -> str:
        # Not in a thread, for which the loop waits at its end. A terminal is readable once it has a whole line; what
        # is not watched by an epoll, such as a file, never keeps one waiting.
        if not self.scripted:
            loop = asyncio.get_running_loop()
            readable = asyncio.Event()
            loop.add_reader(self._file.fileno(), readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(self._file.fileno())
        try:
            return self._file.readline()
        except OSError as error:
            raise UsageError(f"the answers can't be read: {error.strerror or error}") from error
