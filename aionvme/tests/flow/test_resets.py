"""The kinds of reset: of the controller, of the function, and of the NVM subsystem, with what they do to others."""

from __future__ import annotations

import asyncio
import time

import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.tests.flow.support import IDENTIFY, Rig, bare_admin, fetched, kinds, rig, until

pytestmark = [pytest.mark.anyloop, pytest.mark.usefixtures("no_leaks")]

RESET = aionvme.ControllerResetError
CC, CSTS, NSSRO = 0x14, 0x1C, 1 << 4
# How often the driver looks at the device when nothing else tells it, and what a busy machine adds.
LOOK, SLACK = 1.0, 3.0


@pytest.mark.parametrize("completion", ["poll", "interrupt"])
@pytest.mark.parametrize("kind", ["controller", "function", "subsystem"])
async def test_kinds_of_reset(kind: str, completion: str) -> None:
    """What is in flight ends, what waits for a slot is done afterwards, events are armed, interrupts come."""
    async with rig(depth=2, completion=completion) as r:
        held = r.mock.hold(qid=1)
        inside, queued = r.reads(2), r.reads(3)
        await fetched(r.mock, 2)
        held.stop()
        await r.ctrlr.reset(kind)
        assert await kinds(inside) == [RESET, RESET]
        assert await kinds(queued) == [None] * 3
        await r.works()
        assert bare_admin(r.ctrlr).standing_requests == 3
        events = r.ctrlr.events()
        r.mock.event(1, 1, 2)
        await anext(events)
        assert r.qp.counters["missed_interrupts"] == 0
        assert r.ctrlr._core.function.read32(CSTS) & NSSRO == 0


async def test_data_outlives_each_reset() -> None:
    """Of the writes that were acknowledged none is lost, by whatever reset and in whatever order."""
    async with rig() as r:
        data = r.ctrlr.dma_alloc(512)
        for number, kind in enumerate(("controller", "function", "subsystem") * 2):
            memoryview(data)[:] = bytes([number + 1]) * 512
            await r.qp.write(r.ns, data, number, 1)
            await r.ctrlr.reset(kind)
        for number in range(6):
            await r.read(number)
            assert bytes(r.buf) == bytes([number + 1]) * 512


async def test_which_reset_there_is() -> None:
    """A kind that is no kind is refused by the call; so is a subsystem reset that the controller does not have."""
    async with rig() as r:
        with pytest.raises(aionvme.UsageError, match="controller, function, subsystem"):
            await r.ctrlr.reset("power")
        r.ctrlr._core.registers.cap.nssrs = 0
        with pytest.raises(aionvme.UsageError, match="NSSRS"):
            await r.ctrlr.subsystem_reset()
        await r.works()


async def test_a_greater_reset_is_not_joined_to_a_lesser() -> None:
    """While the controller is reset, a subsystem reset waits for its turn; a second one joins that."""
    async with rig() as r:
        held = r.mock.hold(qid=0, opcode=IDENTIFY, count=1)
        lesser = asyncio.create_task(r.ctrlr.reset())
        await until(lambda: held.commands)
        epoch = r.ctrlr._core.epoch
        greater = [asyncio.create_task(r.ctrlr.subsystem_reset()) for _ in range(2)]
        held.release()
        await asyncio.gather(lesser, *greater)
        assert r.ctrlr._core.epoch == epoch + 1
        await r.works()


async def test_subsystem_reset_reaches_every_controller() -> None:
    """Another controller of the subsystem notices within a second: its commands end, and it is in use again."""
    async with rig() as r:
        with r.mock.second() as other_mock:
            async with aionvme.connect(other_mock) as other, other.alloc_io_qpair() as qp:
                ns, buf = other.namespaces[1], other.dma_alloc(512)
                held = other_mock.hold(qid=1)
                request = qp.read(ns, buf, 0, 1, timeout=0)
                await fetched(other_mock, 1)
                held.stop()
                begun = time.monotonic()
                await r.ctrlr.subsystem_reset()
                assert await kinds([request]) == [RESET]
                assert time.monotonic() - begun < LOOK + SLACK
                await qp.read(ns, buf, 0, 1)
                await r.works()
                assert other._core.function.read32(CSTS) & NSSRO == 0


async def test_reset_by_somebody_else() -> None:
    """A controller that is disabled behind the driver's back is noticed, and brought up again."""
    async with rig() as r:
        held = r.mock.hold(qid=1)
        request = r.read(timeout=0)
        await fetched(r.mock, 1)
        held.stop()
        function = r.ctrlr._core.function
        function.write32(CC, function.read32(CC) & ~1)
        assert await kinds([request]) == [RESET]
        await r.works()


async def _closing(r: Rig) -> list[type[BaseException] | None]:
    return await kinds([r.ctrlr.close()])


async def test_close_is_bounded() -> None:
    """A command without a time limit, which never completes, is aborted after the close has waited for it."""
    async with rig(shutdown_timeout=0.2) as r:
        r.mock.hold(qid=1)
        request = r.read(timeout=0)
        await fetched(r.mock, 1)
        begun = time.monotonic()
        assert await _closing(r) == [None]
        assert 0.2 <= time.monotonic() - begun < SLACK
        assert await kinds([request]) == [aionvme.CommandTimeoutError]


async def test_close_of_a_controller_that_says_nothing_is_bounded() -> None:
    """Nor does Abort help: the controller has failed, everything ends, and is given back."""
    async with rig(shutdown_timeout=0.1, abort_timeout=0.1, io_timeout=0, admin_timeout=0) as r:
        r.mock.silent = True
        requests = [r.read(), r.ctrlr.identify(1)]
        await fetched(r.mock, 1)
        begun = time.monotonic()
        await _closing(r)
        assert time.monotonic() - begun < SLACK
        for ended in await kinds(requests):
            assert ended in (aionvme.CommandTimeoutError, aionvme.ControllerFailedError)


async def test_close_in_a_reset_that_hangs_is_bounded() -> None:
    """A bring-up without time limits that the controller leaves hanging does not keep a close for ever."""
    async with rig(shutdown_timeout=0.1, abort_timeout=0.1, admin_timeout=0) as r:
        held = r.mock.hold(qid=0, opcode=IDENTIFY)
        resetting = asyncio.create_task(r.ctrlr.reset())
        await until(lambda: held.commands)
        r.mock.silent = True
        begun = time.monotonic()
        await _closing(r)
        assert time.monotonic() - begun < SLACK
        assert await kinds([resetting]) != [None]


async def test_memory_of_a_removed_function() -> None:
    """A reset of the function of a device that is gone ends in the error that says so."""
    async with rig() as r:
        r.mock.remove()
        assert await kinds([r.ctrlr.reset("function")]) == [aionvme.ControllerLostError]
        with pytest.raises(aionvme.ControllerLostError):
            await r.ctrlr.subsystem_reset()


async def test_two_controllers_reset_the_subsystem_at_once() -> None:
    """Neither waits for the other, and both are in use afterwards."""
    with MockController(timeout=0.5) as first, first.second() as second:
        async with aionvme.connect(first) as one, aionvme.connect(second) as two:
            await asyncio.gather(one.subsystem_reset(), two.subsystem_reset(), return_exceptions=True)
            # The one that was done first is reset once more by what the other did, and notices that in its time.
            await until(lambda: not one._recovery._reset and not two._recovery._reset)
            for ctrlr in (one, two):
                await _until_it_answers(ctrlr)


async def _until_it_answers(ctrlr: aionvme.Controller) -> None:
    end = time.monotonic() + LOOK + SLACK
    while await kinds([ctrlr.identify(1)]) != [None]:
        assert time.monotonic() < end
