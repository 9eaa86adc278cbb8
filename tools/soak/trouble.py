"""Owns what is done to the controller under load: faults that a driver can notice, and resets, in a random order."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import aionvme
from aionvme.mock import MockController
from aionvme.spec.status import StatusCode

LONGEST_PAUSE = 0.25  # seconds between two of them
STATUSES = (
    StatusCode.NAMESPACE_NOT_READY, StatusCode.INTERNAL_ERROR, StatusCode.UNRECOVERED_READ_ERROR,
    StatusCode.WRITE_FAULT, StatusCode.DATA_TRANSFER_ERROR,
)  # fmt: skip


class Trouble:
    """Makes trouble until it is told to stop.

    Attributes:
        survived: How often each kind was made, and the controller went on.
    """

    def __init__(
        self,
        mock: MockController,
        ctrlr: aionvme.Controller,
        renew: Callable[[int], Awaitable[None]],
        qids: Callable[[], list[int]],
        seed: int,
    ) -> None:
        self.survived: Counter[str] = Counter()
        self._mock = mock
        self._ctrlr = ctrlr
        self._renew = renew
        self._qids = qids
        self._random = random.Random(seed)
        self._kinds: dict[str, tuple[int, Callable[[], Awaitable[None]]]] = {
            "controller reset": (30, lambda: ctrlr.reset()),
            "function reset": (5, lambda: ctrlr.reset("function")),
            "subsystem reset": (5, self._subsystem),
            "commands that do not end": (30, self._hold),
            "commands that fail": (30, self._fail),
            "a controller that completes nothing": (3, self._silence),
            "controller fatal status": (2, self._fatal),
            "a completion for no command": (4, self._foreign),
            "a storm of events": (5, self._events),
            "a queue pair closed and allocated again": (6, self._reallocate),
        }

    async def run(self, stop: asyncio.Event) -> None:
        """One after the other."""
        weights = [weight for weight, _ in self._kinds.values()]
        while not stop.is_set():
            [name] = self._random.choices(list(self._kinds), weights)
            # Another trouble may come in between.
            with contextlib.suppress(aionvme.ControllerResetError, aionvme.CommandTimeoutError):
                await self._kinds[name][1]()
            self.survived[name] += 1
            await asyncio.sleep(self._random.random() * LONGEST_PAUSE)

    async def _subsystem(self) -> None:
        if self._ctrlr.has_subsystem_reset:
            await self._ctrlr.subsystem_reset()

    async def _hold(self) -> None:
        with self._mock.hold(qid=self._random.choice(self._qids()), count=self._random.randint(1, 16)):
            await asyncio.sleep(self._random.random() * 0.4)

    async def _fail(self) -> None:
        self._mock.fail(
            self._random.choice(STATUSES),
            qid=self._random.choice(self._qids()),
            count=self._random.randint(1, 8),
        )

    async def _silence(self) -> None:
        self._mock.silent = True
        await asyncio.sleep(self._random.random() * 0.5)
        self._mock.silent = False

    async def _fatal(self) -> None:
        # The driver looks for that once in a second.
        self._mock.fatal()
        await asyncio.sleep(1.2)

    async def _foreign(self) -> None:
        qid = self._random.choice(self._qids())
        try:
            self._mock.inject_cqe(
                qid, cid=self._random.randrange(1 << 16), sqid=self._random.choice((qid, 0x7FFF))
            )
        except aionvme.UsageError:
            return  # It is being reset, and has no such queue now.
        await asyncio.sleep(0.05)

    async def _events(self) -> None:
        for _ in range(20):
            self._mock.event(2, 0, 2)
            await asyncio.sleep(0)

    async def _reallocate(self) -> None:
        await self._renew(1)
