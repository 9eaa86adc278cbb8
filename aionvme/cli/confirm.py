"""Owns when data is somebody's, and asking a person before it is destroyed."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from aionvme.cli import console
from aionvme.pci.address import MockAddress, parse_address

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["can_ask", "confirmed", "is_disposable"]


def is_disposable(address: str) -> bool:
    """Whether what is stored there is gone afterwards anyhow, so that nobody has to be asked.

    Raises:
        UsageError: It is not an address.
    """
    parsed = parse_address(address)
    # With a file behind it a mock has what somebody stored there.
    return isinstance(parsed, MockAddress) and "storage" not in parsed.options


def can_ask() -> bool:
    """Whether somebody sits there who could answer."""
    return sys.stdin is not None and sys.stdin.isatty()


async def confirmed(question: str, accepted: Iterable[str]) -> bool:
    """Asks, and says whether the answer is one of those that are accepted.

    Args:
        question: What is asked, without a line feed.
        accepted: Answers that mean yes; an empty one never does.
    """
    console.prompt(question)
    line = await _line()
    if not line.endswith("\n"):
        # The end of input leaves the cursor behind the question.
        console.note("")
    answer = line.strip()
    return answer != "" and answer in {text.strip() for text in accepted}


async def _line() -> str:
    # Not input(), which would hold up the loop, and with it Ctrl-C, until a line was typed; nor in a thread,
    # for which the loop waits at its end. A terminal is readable once it has a whole line.
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    fd = sys.stdin.fileno()
    loop.add_reader(fd, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(fd)
    return sys.stdin.readline()
