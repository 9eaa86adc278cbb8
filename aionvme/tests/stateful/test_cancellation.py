"""Random programs of commands, cancellations, time limits, resets and faults, at whatever moment (DESIGN 4).

Device, driver and loop go by one virtual clock, and the device takes as many commands as the program says: a program
goes the same way each time, and hypothesis shrinks one that fails. How many are run is in AIONVME_STATEFUL_EXAMPLES;
they are the same in each run without AIONVME_STATEFUL_RANDOM, and not shrunk with AIONVME_STATEFUL_AS_FOUND.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from aionvme.mock import Fault
from aionvme.testing import VirtualLoop
from aionvme.tests.flow.support import quiet
from aionvme.tests.stateful.world import FAULTS, World

EXAMPLES = int(os.environ.get("AIONVME_STATEFUL_EXAMPLES", "2000"))
# As many processes may share them.
PARTS = 4
STEPS = 16
PHASES = [Phase.generate] if "AIONVME_STATEFUL_AS_FOUND" in os.environ else list(Phase)

numbers = st.integers(0, 30)
one = st.fixed_dictionaries(
    {
        "nblocks": st.sampled_from((1, 1, 8, 32)),
        "write": st.booleans(),
        "timeout": st.sampled_from((0, 0, 0.001, 2)),
        "how": st.sampled_from(("task", "task", "callback", "future")),
    }
)
some = st.lists(one, min_size=1, max_size=6)
waits = st.sampled_from((1e-6, 0.001, 0.6, 3))


def _fault(kind: str, nth: int, delay: float) -> Fault:
    more = {"status": 0x281} if kind == "status" else {}
    return Fault(kind, qid=1, nth=nth, delay=delay, **more)


faults = st.builds(
    _fault, st.sampled_from(FAULTS), nth=st.sampled_from((1, 1, 2, 3)), delay=st.sampled_from((0.0, 0.5, 5.0))
)


class Program(RuleBasedStateMachine):
    """Each rule is a step of the program, the device, or time."""

    def __init__(self) -> None:
        super().__init__()
        quiet()
        self.loop = VirtualLoop()

    def run(self, coro: Coroutine[Any, Any, Any]) -> None:
        """Runs a short coroutine in the loop."""
        self.loop.run_until_complete(coro)

    def call(self, call: Any, *args: Any, **keywords: Any) -> Any:
        """Calls something in the loop."""

        async def calls() -> Any:
            return call(*args, **keywords)

        return self.loop.run_until_complete(calls())

    @initialize(plan=st.lists(faults, max_size=3), some=some, count=st.integers(0, 6))
    def begin(self, plan: list[Fault], some: list[dict[str, Any]], count: int) -> None:
        """The controller is connected, has faults or none, and gets commands; it keeps what it fetches until told."""
        self.world: World = self.loop.run_until_complete(World.make())
        for fault in plan:
            self.call(self.world.place, fault)
        self.world.keep(True)
        self.submit_some(some, count, together=False)

    # -- the program -----------------------------------------------------------------------------------------

    @rule(some=some, count=st.integers(0, 6), together=st.booleans())
    def submit(self, some: list[dict[str, Any]], count: int, together: bool) -> None:
        """Commands, of which the device takes some; those with tasks are awaited together, or not."""
        self.submit_some(some, count, together=together)

    def submit_some(self, some: list[dict[str, Any]], count: int, *, together: bool) -> None:
        """As the rule."""

        async def submit() -> None:
            commands = [self.world.submit(**each) for each in some]
            if together:
                self.world.gather([command for command in commands if command is not None])
            await asyncio.sleep(0)

        self.run(submit())
        self.world.mock.step(count)

    @rule(number=numbers, by_task=st.booleans())
    def cancel(self, number: int, by_task: bool) -> None:
        """One of the commands, wherever it is."""
        if self.world.commands:
            command = self.world.commands[-1 - number % len(self.world.commands)]
            self.call(self.world.cancel, command, by_task=by_task)

    @rule(number=numbers)
    def cancel_task(self, number: int) -> None:
        """A gather, a reset, or a close."""
        if self.world.tasks:
            self.call(self.world.tasks[number % len(self.world.tasks)].cancel)

    @rule(number=numbers)
    def drop(self, number: int) -> None:
        """Closes the memory of a command."""
        if self.world.commands:
            self.call(self.world.drop, self.world.commands[-1 - number % len(self.world.commands)])

    @rule()
    def reset(self) -> None:
        """Resets the controller."""
        self.call(self.world.begin, self.world.ctrlr.reset())

    @rule()
    def close_or_open(self) -> None:
        """Closes the queue pair, or allocates one where there is none."""
        self.run(self.world.open() if self.world.qp is None else self.world.close_qpair())

    # -- the device ------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 4))
    def fetch(self, count: int) -> None:
        """The device takes some commands."""
        self.world.mock.step(count)

    @rule(count=st.integers(1, 4))
    def complete(self, count: int) -> None:
        """The device completes some that it keeps."""
        self.world.release(count)

    @rule()
    def keep_or_not(self) -> None:
        """From now on the device completes commands as it takes them, or keeps them."""
        self.world.keep(not self.world.keeps)

    @rule(fault=faults)
    def fault(self, fault: Fault) -> None:
        """Something goes wrong with a command to come."""
        self.call(self.world.place, fault)

    # -- time ------------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 3))
    def turn(self, count: int) -> None:
        """The loop turns; the device does nothing."""

        async def turns() -> None:
            for _ in range(count):
                await asyncio.sleep(0)

        self.run(turns())

    @rule(seconds=waits)
    def wait(self, seconds: float) -> None:
        """Time goes on, for all."""
        self.run(asyncio.sleep(seconds))

    # -- what must hold --------------------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        """After each step."""
        if hasattr(self, "world"):
            self.call(self.world.check)

    def teardown(self) -> None:
        """The program ends, and everything with it."""
        try:
            if hasattr(self, "world"):
                self.run(self.world.finish())
        finally:
            self.loop.close()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", range(PARTS))
def test_random_programs(part: int) -> None:
    """Of all of them no identifier or memory is used again too early, every await ends once, and nothing leaks."""
    # By its name each part has other programs.
    run_state_machine_as_test(
        type(f"{Program.__name__}{part}", (Program,), {}),
        settings=settings(
            max_examples=-(-EXAMPLES // PARTS),
            stateful_step_count=STEPS,
            deadline=None,
            report_multiple_bugs=False,
            phases=PHASES,
            derandomize="AIONVME_STATEFUL_RANDOM" not in os.environ,
            suppress_health_check=list(HealthCheck),
        ),
    )
