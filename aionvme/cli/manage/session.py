"""Owns what the entries of the menu share: the controllers, and the questions that several of them ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aionvme
from aionvme.cli import console
from aionvme.errors import UsageError

if TYPE_CHECKING:
    from aionvme.cli.manage.answers import Answers

__all__ = ["Session"]


class Session:
    """The controllers that are managed, by address, and how to ask."""

    def __init__(self, answers: Answers, *, yes: bool) -> None:
        self.answers = answers
        self.controllers: dict[str, aionvme.Controller] = {}
        self._yes = yes

    def add(self, address: str, ctrlr: aionvme.Controller) -> None:
        """One more."""
        self.controllers[address] = ctrlr

    async def controller(self) -> aionvme.Controller:
        """Which one; not asked where there is one only."""
        addresses = list(self.controllers)
        if len(addresses) == 1:
            return self.controllers[addresses[0]]
        number = await self.answers.choice(
            "controller", {str(n): address for n, address in enumerate(addresses)}, "0"
        )
        return self.controllers[addresses[int(number)]]

    async def nsid(self, nsids: tuple[int, ...], what: str) -> int:
        """Which namespace, of those that will do."""
        if not nsids:
            raise UsageError(f"there is no namespace {what}")
        console.note(f"namespaces {what}: {', '.join(map(str, nsids))}")
        number = await self.answers.number("namespace", nsids[0], low=1)
        if number not in nsids:
            raise UsageError(f"namespace {number} is none of those {what}: {', '.join(map(str, nsids))}")
        return number

    async def may_destroy(self, ctrlr: aionvme.Controller, what: str) -> bool:
        """Asks before data is lost; the serial number has to be typed."""
        serial = ctrlr.data.sn.strip()
        console.note(f"{what}: the data is LOST. Controller {serial}, {ctrlr.data.mn.strip()}")
        if self._yes:
            return True
        answer = await self.answers.ask(f"type the serial number {serial} to go on")
        if answer == serial:
            return True
        if self.answers.scripted:
            raise UsageError(f"not confirmed: {answer!r} is not the serial number {serial}")
        console.note("Nothing was done.")
        return False

    async def follow(self, operation: aionvme.Operation[Any], label: str) -> Any:
        """Shows an operation's progress until it ends, and gives its result."""
        with console.progress(label) as show:
            try:
                async for progress in operation:
                    show(progress.fraction)
            except BaseException:
                operation.cancel()
                raise
            return await operation
