"""Owns waits that an event cuts short: what is looked at from time to time is looked at when the controller says so."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aionvme.admin.event_stream import AsyncEvent


class Nudges:
    """Who waits for news of which log page."""

    def __init__(self) -> None:
        self._waiting: dict[int, set[asyncio.Event]] = {}

    async def wait(self, lid: int, seconds: float) -> None:
        """So long, or until an event that belongs to the log page."""
        event = asyncio.Event()
        waiting = self._waiting.setdefault(lid, set())
        waiting.add(event)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await event.wait()
        finally:
            waiting.discard(event)

    async def hear(self, event: AsyncEvent) -> None:
        """For `Events.add_hook`."""
        for each in self._waiting.get(event.log_page, ()) if event.log_page is not None else ():
            each.set()
