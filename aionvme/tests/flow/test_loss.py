"""A controller that fails, breaks the protocol, or goes away.

Everything ends, in bounded time, and is told why.
"""

from __future__ import annotations

import asyncio
import time

import pytest

import aionvme
from aionvme.admin.recovery import STORM_RESETS
from aionvme.mock import MockController
from aionvme.tests.flow.support import CREATE_SQ, IDENTIFY, Recorder, Rig, fetched, kinds, rig, turns, until

pytestmark = [pytest.mark.anyloop, pytest.mark.usefixtures("no_leaks")]

FAILED = aionvme.ControllerFailedError
LOST = aionvme.ControllerLostError
RESET = aionvme.ControllerResetError

# How often the driver looks at the device when nothing else tells it, and what a busy machine adds.
LOOK = 1.0
SLACK = 3.0


async def test_fatal_status_leads_to_a_reset() -> None:
    """CFS is noticed without any command's time running out.

    What was in flight ends, and I/O goes on afterwards.
    """
    async with rig(depth=2) as r:
        r.mock.hold(qid=1)
        inside, queued = r.reads(2, timeout=0), r.read(0)
        await fetched(r.mock, 2)
        begun = time.monotonic()
        r.mock.fatal()
        assert await kinds(inside) == [RESET, RESET]
        assert time.monotonic() - begun < LOOK + SLACK
        queued.cancel()
        assert await kinds([queued]) == [asyncio.CancelledError]


async def test_fatal_status_during_admin_commands() -> None:
    """An admin command without a time limit ends by the reset as well."""
    async with rig() as r:
        held = r.mock.hold(qid=0, opcode=IDENTIFY, count=1)
        request = r.ctrlr.identify(1, timeout=0)
        await until(lambda: held.commands)
        r.mock.fatal()
        assert await kinds([request]) == [RESET]
        await r.works()


async def test_removal_ends_everything() -> None:
    """Surprise removal: every command, queued ones too, ends in ControllerLostError.

    So does every later call.
    """
    async with rig(depth=2) as r:
        r.mock.hold()
        requests = [*r.reads(4, timeout=0), r.ctrlr.identify(1, timeout=0)]
        await fetched(r.mock, 2)
        begun = time.monotonic()
        r.mock.remove()
        assert await kinds(requests) == [LOST] * 5
        assert time.monotonic() - begun < LOOK + SLACK
        with pytest.raises(LOST, match="gone"):
            r.read()
        with pytest.raises(LOST, match="gone"):
            r.qp.submit_flush(r.ns)
        with pytest.raises(LOST, match="gone"):
            await r.ctrlr.identify(1)
        with pytest.raises(LOST, match="gone"):
            r.ctrlr.dma_alloc(512)
        with pytest.raises(LOST, match="gone"):
            await r.ctrlr.reset()


async def test_removal_is_noticed_when_a_command_is_late() -> None:
    """A command that is over its time on a device that is gone ends as late, the others as lost."""
    async with rig(abort_timeout=0.05) as r:
        held = r.mock.hold()
        requests = [r.read(timeout=0.01), r.read(timeout=0)]
        await fetched(r.mock, 2)
        assert held.commands
        r.mock.remove()
        assert await kinds(requests) == [aionvme.CommandTimeoutError, LOST]


async def test_removal_while_closing() -> None:
    """A close that waits for a command without a time limit ends when the device is gone."""
    async with rig() as r:
        r.mock.hold(qid=1)
        request = r.read(timeout=0)
        await fetched(r.mock, 1)
        closing = asyncio.create_task(r.ctrlr.close())
        await turns()
        assert not closing.done()
        begun = time.monotonic()
        r.mock.remove()
        assert await kinds([request]) == [LOST]
        await closing
        assert time.monotonic() - begun < LOOK + SLACK


async def test_removal_during_a_reset() -> None:
    """A reset of a device that goes away meanwhile raises ControllerLostError, also without a time limit."""
    async with rig(admin_timeout=0) as r:
        held = r.mock.hold(qid=0, opcode=IDENTIFY)
        waiting = r.read()
        resetting = asyncio.create_task(r.ctrlr.reset())
        await until(lambda: held.commands)
        r.mock.remove()
        [ended] = await asyncio.gather(resetting, return_exceptions=True)
        assert isinstance(ended, LOST)
        assert (await kinds([waiting]))[0] in (None, RESET, LOST)


async def test_removal_during_bring_up(no_leaks: None) -> None:
    """A device that goes away while it is connected to raises ControllerLostError.

    Also without a time limit.
    """
    with MockController() as mock:
        held = mock.hold(qid=0, opcode=IDENTIFY)
        connecting = asyncio.ensure_future(_connect(mock, admin_timeout=0))
        await until(lambda: held.commands)
        mock.remove()
        [ended] = await asyncio.gather(connecting, return_exceptions=True)
        assert isinstance(ended, LOST)


async def _connect(mock: MockController, **opts: float) -> aionvme.Controller:
    return await aionvme.connect(mock, aionvme.ControllerOptions(**opts))  # type: ignore[arg-type]


async def _others(r: Rig) -> aionvme.IoQueuePair:
    return await r.ctrlr.alloc_io_qpair(depth=4)


FOREIGN = [
    pytest.param({"cid": 0x3F7F}, "no command that is outstanding", id="cid that was never used"),
    pytest.param({"cid": "done"}, "no command that is outstanding", id="completed twice"),
    pytest.param({"cid": "held", "sqid": 2}, "another submission queue", id="another queue's"),
    pytest.param({"cid": "held", "sqhd": 999}, "an impossible queue head", id="head outside the queue"),
]


@pytest.mark.parametrize(("entry", "text"), FOREIGN)
async def test_foreign_completion_fails_the_queue_pair(entry: dict[str, object], text: str) -> None:
    """A completion that cannot be is reported and ends its queue pair by a reset; other queue pairs go on."""
    async with rig(depth=2) as r:
        other = await _others(r)
        done = r.read()
        await done
        held = r.mock.hold(qid=1)
        requests = r.reads(4)
        await fetched(r.mock, 3)
        cids = {"done": done.cid, "held": requests[0].cid}
        injected = {key: cids.get(value, value) for key, value in entry.items()}  # type: ignore[call-overload]
        with Recorder() as recorder:
            r.mock.inject_cqe(1, **injected)
            assert await kinds(requests) == [RESET, RESET, FAILED, FAILED]
        held.stop()
        assert any(text in message for message in recorder.messages), recorder.messages
        assert r.qp.counters["foreign"] == 1
        with pytest.raises(FAILED, match=f"{text}.*allocate another"):
            r.read()
        with pytest.raises(FAILED, match="allocate another"):
            r.qp.submit_read(r.ns, r.buf, 0, 1)
        assert not (await other.read(r.ns, r.buf, 0, 1)).status
        await r.qp.close()
        again = await r.ctrlr.alloc_io_qpair()
        assert again.qid == 1


async def test_foreign_completion_of_an_idle_queue_pair_is_seen_at_the_next_command() -> None:
    """An idle queue pair does not poll.

    The stray entry is found by the next command, which ends by the reset.
    """
    async with rig() as r:
        other = await _others(r)
        with Recorder() as recorder:
            r.mock.inject_cqe(1, cid=0x1234)
            assert await kinds([r.read()]) == [RESET]
        assert len(recorder.messages) == 1
        assert not (await other.read(r.ns, r.buf, 0, 1)).status


async def test_foreign_admin_completion() -> None:
    """What the admin queue says cannot be believed any more: a reset makes it new, and everything goes on."""
    async with rig(admin_timeout=0) as r:
        held = r.mock.hold(qid=0, opcode=IDENTIFY, count=1)
        request, read = r.ctrlr.identify(1), r.read()
        await read
        await until(lambda: held.commands)
        with Recorder() as recorder:
            r.mock.inject_cqe(0, cid=0x7777)
            assert await kinds([request]) == [RESET]
        assert recorder.messages
        await r.ctrlr.identify(1)
        await r.works()


async def _reset_by_itself(r: Rig) -> None:
    with Recorder():
        r.mock.inject_cqe(0, cid=0x7777)
        await kinds([r.ctrlr.identify(1)])
    await r.ctrlr._recovery.settled()


async def test_storm_of_resets() -> None:
    """A controller that is reset again and again and does no I/O has failed; each command ended, and it is said why."""
    async with rig() as r:
        await r.works()
        for _ in range(STORM_RESETS):
            await _reset_by_itself(r)
        assert not r.ctrlr.closed
        await _reset_by_itself(r)
        with pytest.raises(FAILED, match="resets within"):
            r.read()


async def test_resets_that_help_are_no_storm() -> None:
    """A controller that does I/O between its resets goes on, however many there are."""
    async with rig() as r:
        for _ in range(STORM_RESETS + 2):
            await _reset_by_itself(r)
            await r.works()
        for _ in range(STORM_RESETS + 2):
            await _reset_by_itself(r)
            async with r.ctrlr.alloc_io_qpair() as other:
                await other.read(r.ns, r.buf, 0, 1)
        await r.works()


async def test_resets_that_are_asked_for_are_no_storm() -> None:
    """A user may reset as often as he likes."""
    async with rig() as r:
        for _ in range(STORM_RESETS + 2):
            await r.ctrlr.reset()
        await r.works()


async def test_queue_pair_that_is_refused_after_a_reset_ends_the_controller() -> None:
    """A controller that does not create a queue again has failed; who waits is told."""
    async with rig() as r:
        r.mock.fail(0x0101, qid=0, opcode=CREATE_SQ)
        held = r.mock.hold(qid=1)
        requests = r.reads(2)
        await fetched(r.mock, 2)
        with pytest.raises(FAILED, match="could not be reset"):
            await r.ctrlr.reset()
        assert await kinds(requests) == [RESET, RESET]
        assert held.commands == []
        with pytest.raises(FAILED):
            r.read()
