"""Owns what is done to the controller under load: faults that a driver can notice, and resets, in a random order."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import attrs

import aionvme
from aionvme.mock import Fault, FaultKind, FaultPlan, MockController
from aionvme.spec.opcodes import AdminOpcode
from aionvme.spec.status import StatusCode

NUM_IO_QUEUES = 4
# Seconds from one trouble to the next, and from one reset to the next, at most; a machine that lags makes up for it.
LONGEST_PAUSE, LONGEST_PEACE = 0.6, 0.7
LEAST_PEACE = 0.02
CANCELLED_AT_ONCE = 16  # of the workers' commands, while some are held
STATUSES = (
    StatusCode.NAMESPACE_NOT_READY, StatusCode.INTERNAL_ERROR, StatusCode.UNRECOVERED_READ_ERROR,
    StatusCode.WRITE_FAULT, StatusCode.DATA_TRANSFER_ERROR,
)  # fmt: skip
# What an I/O command may have, and with which chance. Not here: what no driver can know (docs/faults.md).
FAULTS = (
    *(Fault("status", status=status, chance=2e-4, count=None) for status in STATUSES),
    # Slow, so that what is cancelled is with the device; and too slow for its time limit.
    Fault("delay", delay=0.03, chance=0.05, count=None),
    Fault("delay", delay=2.0, chance=1e-3, count=None),
    Fault("reordered", value=3, delay=0.05, chance=5e-3, count=None),
    # An end that nothing but a reset brings.
    Fault("lost", chance=1e-4, count=None),
    Fault("stale_phase", chance=2e-5, count=None),
    Fault("cq_overrun", chance=1e-5, count=None),
    Fault("fatal_status", chance=1e-5, count=None),
    # A queue pair that breaks.
    *(
        Fault(kind, chance=2e-5, count=None)
        for kind in ("doubled", "foreign_cid", "free_cid", "wrong_sqid", "bad_head", "phase_garbage")
    ),
    Fault("torn_cqe", delay=0.002, chance=2e-5, count=None),
    Fault("completion_after_reset", chance=2e-5, count=None),
    Fault("lost_interrupt", chance=1e-3, count=None),
)
# And what Aborts may: the commands of bring-up have nothing, as one that is lost there is the controller's end.
LOST_ABORT = Fault("lost", qid=0, opcode=AdminOpcode.ABORT, chance=5e-3, count=None)


def plan(seed: int, latency: float) -> FaultPlan:
    """All that goes wrong with commands: the faults, on every I/O queue; and how long other commands take."""
    queues = range(1, NUM_IO_QUEUES + 1)
    usual = (Fault("delay", delay=latency, count=None),) if latency else ()
    faults = [attrs.evolve(fault, qid=qid) for fault in (*FAULTS, *usual) for qid in queues]
    return FaultPlan(faults=[LOST_ABORT, *faults], seed=seed)


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
        cancels: Sequence[Callable[[], None]],
        seed: int,
    ) -> None:
        self.survived: Counter[str] = Counter()
        self._mock = mock
        self._ctrlr = ctrlr
        self._renew = renew
        self._qids = qids
        self._cancels = cancels
        self._seed = seed
        self._random = random.Random(seed)
        self._resets: dict[str, tuple[int, Callable[[], Awaitable[None]]]] = {
            "controller reset": (30, lambda: ctrlr.reset()),
            "function reset": (5, lambda: ctrlr.reset("function")),
            "subsystem reset": (5, self._subsystem),
        }
        self._others: dict[str, tuple[int, Callable[[], Awaitable[None]]]] = {
            "commands that are held": (30, self._hold),
            "a device that completes no I/O": (2, self._hold_all),
            "a storm of events": (5, self._events),
            "a queue pair closed and allocated again": (6, self._reallocate),
        }

    async def run(self, stop: asyncio.Event) -> None:
        """One after the other, and resets beside them."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._run(self._resets, LONGEST_PEACE, random.Random(self._seed + 1), stop))
            group.create_task(self._run(self._others, LONGEST_PAUSE, random.Random(self._seed + 2), stop))

    async def _run(
        self,
        kinds: dict[str, tuple[int, Callable[[], Awaitable[None]]]],
        pause: float,
        chance: random.Random,
        stop: asyncio.Event,
    ) -> None:
        weights = [weight for weight, _ in kinds.values()]
        now = asyncio.get_running_loop().time
        due = now()
        while not stop.is_set():
            [name] = chance.choices(list(kinds), weights)
            # Another trouble may come in between.
            with contextlib.suppress(aionvme.ControllerResetError, aionvme.CommandTimeoutError):
                await kinds[name][1]()
            self.survived[name] += 1
            due += chance.random() * pause
            await asyncio.sleep(max(due - now(), LEAST_PEACE))

    def struck(self) -> Counter[str]:
        """How often each kind of fault of the plan happened."""
        kinds: Counter[str] = Counter()
        for fault, times in zip(plan(self._seed, 0).faults, self._mock.strikes, strict=False):
            kinds[_name(fault)] += times
        return +kinds

    async def _subsystem(self) -> None:
        if self._ctrlr.has_subsystem_reset:
            await self._ctrlr.subsystem_reset()

    async def _hold(self) -> None:
        with self._mock.hold(qid=self._random.choice(self._qids()), count=self._random.randint(1, 128)):
            await asyncio.sleep(self._random.random() * 0.1)
            for cancel in self._random.sample(self._cancels, CANCELLED_AT_ONCE):
                cancel()
            await asyncio.sleep(self._random.random() * 0.3)

    async def _hold_all(self) -> None:
        with contextlib.ExitStack() as held:
            for qid in self._qids():
                held.enter_context(self._mock.hold(qid=qid))
            await asyncio.sleep(self._random.random() * 0.5)

    async def _events(self) -> None:
        for _ in range(20):
            self._mock.event(2, 0, 2)
            await asyncio.sleep(0)

    async def _reallocate(self) -> None:
        await self._renew(1)


def _name(fault: Fault) -> str:
    late = fault.kind is FaultKind.DELAY and fault.delay >= 1
    return "fault: delay beyond the time limit" if late else f"fault: {fault.kind}"
