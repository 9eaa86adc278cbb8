"""Keep alive: sent in time and only where needed; a controller that does not answer, and a host that is silent."""

from __future__ import annotations

import asyncio
import time

import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.spec.opcodes import AdminOpcode, FeatureId
from aionvme.spec.status import StatusCode
from aionvme.tests.flow.support import kinds, rig, until

pytestmark = [pytest.mark.anyloop, pytest.mark.usefixtures("no_leaks")]

KEEP_ALIVE, CSTS, CFS = 0x18, 0x1C, 2
RESET = aionvme.ControllerResetError


def sent(mock: MockController) -> int:
    """Keep Alive commands that the mock took."""
    return mock.queue(0).opcodes.get(KEEP_ALIVE, 0)


async def test_it_keeps_the_controller_alive() -> None:
    """The time is rounded up to the granularity; the commands come, and the controller's timer does not run out."""
    async with rig(MockController(timeout=0.5, kas=2), keep_alive_timeout=0.3) as r:
        assert r.ctrlr.opts.keep_alive_timeout == 0.4
        assert (await r.ctrlr.get_feature(FeatureId.KEEP_ALIVE_TIMER)).dw0 == 400
        begun = time.monotonic()
        await until(lambda: sent(r.mock) >= 5)
        assert time.monotonic() - begun >= 4 * 0.2
        assert r.ctrlr._core.function.read32(CSTS) & CFS == 0
        assert r.ctrlr._core.epoch == 0


async def test_none_is_sent_unless_it_is_asked_for() -> None:
    """By default the timer of the controller is off, as it is after a reset."""
    async with rig() as r:
        assert (await r.ctrlr.get_feature(FeatureId.KEEP_ALIVE_TIMER)).dw0 == 0
        await r.ctrlr.reset()
        assert sent(r.mock) == 0


async def test_set_again_after_a_reset() -> None:
    """And the commands go on."""
    async with rig(keep_alive_timeout=0.2) as r:
        await r.ctrlr.reset()
        assert (await r.ctrlr.get_feature(FeatureId.KEEP_ALIVE_TIMER)).dw0 == 200
        before = sent(r.mock)
        await until(lambda: sent(r.mock) >= before + 2)


async def test_controller_without_it() -> None:
    """One that was asked for it is refused by connect, which says why; nothing is left open."""
    with MockController(timeout=0.5, kas=0) as mock:
        with pytest.raises(aionvme.UsageError, match=r"keep_alive_timeout.*KAS"):
            await aionvme.connect(mock, aionvme.ControllerOptions(keep_alive_timeout=1))
        async with aionvme.connect(mock) as ctrlr:
            with pytest.raises(aionvme.NvmeError):
                await ctrlr.set_feature(FeatureId.KEEP_ALIVE_TIMER, cdw11=1000)
    with pytest.raises(aionvme.UsageError, match="keep_alive_timeout"):
        aionvme.ControllerOptions(keep_alive_timeout=-1)


async def test_traffic_counts() -> None:
    """With traffic based keep alive (CTRATT) none is sent while commands complete; when they stop, it is."""
    async with rig(MockController(timeout=0.5, tbkas=1), keep_alive_timeout=0.4) as r:
        before, begun = sent(r.mock), time.monotonic()
        while time.monotonic() - begun < 0.8:
            await r.read()
        assert sent(r.mock) <= before + 1
        await until(lambda: sent(r.mock) >= before + 3)
        assert r.ctrlr._core.function.read32(CSTS) & CFS == 0


async def test_controller_that_does_not_answer() -> None:
    """A Keep Alive that is late is aborted, and when that is late too the controller is reset, as for any command."""
    async with rig(keep_alive_timeout=0.2, abort_timeout=0.1) as r:
        # No more than these are kept: the commands of the reset must not be among them.
        with (
            r.mock.hold(qid=1, count=1),
            r.mock.hold(qid=0, opcode=KEEP_ALIVE, count=1),
            r.mock.hold(qid=0, opcode=AdminOpcode.ABORT, count=1),
        ):
            request = r.read(timeout=0)
            assert await kinds([request]) == [RESET]
        assert r.ctrlr._core.epoch == 1
        await r.works()


async def test_keep_alive_that_fails() -> None:
    """A status that says no is no sign of life: the controller is reset."""
    async with rig(keep_alive_timeout=0.2) as r:
        r.mock.fail(StatusCode.INTERNAL_ERROR, qid=0, opcode=KEEP_ALIVE)
        await until(lambda: r.ctrlr._core.epoch == 1)
        await r.works()


async def test_host_that_is_silent_for_too_long() -> None:
    """A loop that is blocked for longer than the time meets a fatal status, and resets the controller."""
    async with rig(keep_alive_timeout=0.1) as r:
        time.sleep(0.3)  # noqa: ASYNC251 — the loop is blocked on purpose
        assert r.ctrlr._core.function.read32(CSTS) & CFS
        await until(lambda: r.ctrlr._core.epoch == 1)
        await r.works()
        log = await r.ctrlr.get_log_page(1)
        assert log is not None


async def test_close_with_keep_alive() -> None:
    """No command comes after the close has begun its end, and no timer is left."""
    async with rig(keep_alive_timeout=0.1) as r:
        await until(lambda: sent(r.mock) >= 1)
        await r.ctrlr.close()
        before = sent(r.mock)
        await asyncio.sleep(0.15)
        assert sent(r.mock) == before
