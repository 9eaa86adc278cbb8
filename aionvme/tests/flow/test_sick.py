"""A controller that never gets ready, one with a fatal status, and one that drops every admin command.

Each ends in bounded time with the right error, and costs another controller on the same loop nothing: that completes as
many commands in a turn of the loop as it does alone. The healthy one is a task of the loop too, so that what it
completes in a turn does not depend on threads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.tests.flow.support import BLOCK, kinds

pytestmark = [pytest.mark.anyloop, pytest.mark.spread("loop"), pytest.mark.usefixtures("no_leaks")]

FAILED = aionvme.ControllerFailedError
DEPTH = 32
# Turns that the healthy one is watched for; the sick ones are at it all that time, but for the last moment.
TURNS = 1000
SLACK = 20.0  # what hangs does so for ever

Sick = Callable[[], Awaitable[None]]


async def _count(sick: Sick | None) -> tuple[int, int, bool]:
    """Commands that a healthy controller completes, and turns of the loop in which, while a sick one is at it."""
    loop = asyncio.get_running_loop()
    with MockController(drive="loop") as mock:
        async with aionvme.connect(mock) as ctrlr, ctrlr.alloc_io_qpair(depth=DEPTH) as qp:
            ns, buf = ctrlr.namespaces[1], ctrlr.dma_alloc(BLOCK)
            done, stopped = 0, False

            def again(_arg: Any, cpl: aionvme.Completion) -> None:
                nonlocal done
                assert not cpl.status
                done += 1
                if not stopped:
                    qp.submit_read(ns, buf, 0, 1, again)

            for _ in range(DEPTH):
                qp.submit_read(ns, buf, 0, 1, again)
            ailing = None if sick is None else loop.create_task(_only_await(sick))
            for _ in range(100):  # until it has begun
                await asyncio.sleep(0)
            before = done
            for _ in range(TURNS):
                await asyncio.sleep(0)
            counted, was_sick = done - before, ailing is not None and not ailing.done()
            if ailing is not None:
                await ailing
            stopped = True
        return counted, TURNS, was_sick


async def _only_await(sick: Sick) -> None:
    await sick()


async def never_ready() -> None:
    """RDY does not follow EN: the bring-up has CAP.TO."""
    with MockController(timeout=2) as mock:
        mock.stuck = True
        await _ends(mock, 2.0, "CSTS.RDY did not become 1")


async def fatal() -> None:
    """CFS is set as soon as it is enabled, again and again, by a controller that took its time."""
    with MockController(timeout=2) as mock:
        mock.fatal(lasting=True)
        for _ in range(600):
            await _ends(mock, 0.5, "fatal status")


async def drops_admin_commands() -> None:
    """Nothing is completed, Abort neither: a command has its time, then Abort has its time."""
    with MockController(timeout=0.5) as mock:
        mock.silent = True
        opts = aionvme.ControllerOptions(admin_timeout=1.0, abort_timeout=0.5)
        await _ends(mock, 1.5, "command not completed in 1 s", opts)


async def _ends(
    mock: MockController, seconds: float, why: str, opts: aionvme.ControllerOptions | None = None
) -> None:
    begun = time.monotonic()
    with pytest.raises((FAILED, aionvme.CommandTimeoutError), match=why):
        await aionvme.connect(mock, opts)
    assert time.monotonic() - begun < seconds + SLACK


@pytest.mark.parametrize("sick", [never_ready, fatal, drops_admin_commands])
async def test_sick_controller_ends_in_bounded_time(sick: Sick) -> None:
    """By itself: the error says what is wrong, and nothing is left of it."""
    await sick()


@pytest.mark.parametrize("sick", [never_ready, fatal, drops_admin_commands])
async def test_sick_controller_costs_the_others_nothing(sick: Sick) -> None:
    """The commands per turn of a healthy controller are the same beside a sick one as alone."""
    alone, turns, _ = await _count(None)
    beside, _, was_sick = await _count(sick)
    assert was_sick
    assert alone / turns >= 1
    # The same but for where in the loop's turn the count begins and ends.
    assert abs(beside - alone) <= 2 * DEPTH


async def test_sick_controllers_in_use() -> None:
    """Those that get sick when they are in use end, and what waits for them; all of them beside a healthy one."""

    async def use(make_sick: Callable[[MockController], None]) -> list[type[BaseException] | None]:
        opts = aionvme.ControllerOptions(admin_timeout=0.3, abort_timeout=0.2, io_timeout=0.3)
        # Of this loop as well: a thread of a busy machine may get to a command later than that, before it is sick.
        with MockController(timeout=0.5, drive="loop") as mock:
            async with aionvme.connect(mock, opts) as ctrlr, ctrlr.alloc_io_qpair() as qp:
                buf = ctrlr.dma_alloc(BLOCK)
                make_sick(mock)
                requests = [ctrlr.identify(1), qp.read(ctrlr.namespaces[1], buf, 0, 1)]
                ends = await kinds(requests)
                await kinds([ctrlr.reset()])
                assert ctrlr.closed
                with pytest.raises(FAILED):
                    await ctrlr.identify(1)
                return ends

    def stuck(mock: MockController) -> None:
        mock.silent = mock.stuck = True

    def silent(mock: MockController) -> None:
        mock.silent = True

    def broken(mock: MockController) -> None:
        mock.fatal(lasting=True)

    begun = time.monotonic()
    ends = await asyncio.gather(use(stuck), use(silent), use(broken), _count(None))
    assert time.monotonic() - begun < 3 * SLACK
    for each in ends[:3]:
        assert isinstance(each, list)
        assert set(each) <= {aionvme.CommandTimeoutError, aionvme.ControllerResetError, FAILED}
