"""Cancellation and timeouts: what is asked of the device, when the caller is told, and how it ends."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from functools import partial
from typing import Any

import pytest

import aionvme
from aionvme.mock import Fault, Held, MockController
from aionvme.tests.flow.support import ABORT, PATIENCE, READ, Recorder, fetched, kinds, rig, turns, until

pytestmark = [pytest.mark.anyloop, pytest.mark.usefixtures("no_leaks")]

CANCELLED = asyncio.CancelledError
TIMEOUT = aionvme.CommandTimeoutError
RESET = aionvme.ControllerResetError
FAILED = aionvme.ControllerFailedError


def aborts(mock: MockController) -> int:
    """Abort commands that the mock has taken."""
    return mock.queue(0).opcodes.get(ABORT, 0)


def lose(mock: MockController, count: int, *, aborts_too: bool = True) -> None:
    """Has the mock complete none of the next commands of queue 1, and keep every Abort that is to end them.

    All else is answered, so that no command of the reset that follows is lost, whenever that may be.
    """
    mock.add_faults([Fault("lost", qid=1, count=count)])
    if aborts_too:
        mock.hold(qid=0, opcode=ABORT)


def _at_least(held: Held, count: int) -> bool:
    return len(held.commands) >= count


async def test_queued_command_never_reaches_the_device() -> None:
    """A command that waits for a slot is taken out: no Abort, and the device never sees it."""
    async with rig(depth=2) as r:
        with r.mock.hold(qid=1) as held:
            first = r.reads(2)
            queued = r.read(2)
            assert queued.cid is None
            assert queued.cancel()
            assert queued.done()
            assert await kinds([queued]) == [CANCELLED]
            await fetched(r.mock, 2)
            held.release()
            assert await kinds(first) == [None, None]
        assert (r.mock.queue(1).fetched, aborts(r.mock)) == (2, 0)
        await r.works()


async def test_command_in_flight_is_aborted() -> None:
    """Abort goes to the device, and its end of the command is the end of the await."""
    async with rig() as r:
        r.mock.hold(qid=1, count=1)
        task: asyncio.Task[Any] = asyncio.create_task(r.read())
        await fetched(r.mock, 1)
        task.cancel()
        assert await kinds([task]) == [CANCELLED]
        assert aborts(r.mock) == 1
        await r.works()


async def test_cancelled_command_is_waited_for() -> None:
    """Until the device has let go the await goes on, the buffer stays.

    Repeated cancels send no second Abort.
    """
    async with rig() as r:
        admin = r.mock.hold(qid=0, opcode=ABORT)
        held = r.mock.hold(qid=1, count=1)
        buf = r.ctrlr.dma_alloc(512)
        iova = buf.iova
        request = r.qp.read(r.ns, buf, 0, 1)
        task = asyncio.ensure_future(request)
        await fetched(r.mock, 1)
        assert task.cancel()
        assert task.cancel()
        assert task.cancel()
        await until(lambda: admin.commands)
        await turns()
        assert not task.done()
        buf.close()
        others = [r.ctrlr.dma_alloc(512) for _ in range(16)]
        assert iova not in {other.iova for other in others}
        held.release()
        assert await kinds([task]) == [CANCELLED]
        assert request.cpl is not None
        assert not request.cpl.status
        assert aborts(r.mock) == 1
        # The device has let go: now its memory is handed out again.
        assert iova in {r.ctrlr.dma_alloc(512).iova for _ in range(16)}
        admin.stop()
        admin.release()


async def test_command_that_was_not_rung_yet_is_rung_before_its_abort() -> None:
    """Cancelled in the turn that posted it, a command is still announced, so that one of two Aborts finds it.

    The mock looks at its admin queue first. Without another Abort the reset would come later than the test waits.
    """
    async with rig(abort_timeout=2 * PATIENCE) as r:
        r.mock.hold(qid=1)
        request = r.read()
        request.cancel()
        assert await kinds([request]) == [CANCELLED]
        assert r.mock.queue(1).fetched == 1
        assert aborts(r.mock) <= 2


async def test_cancelled_wait_for_gives_timeout_error() -> None:
    """Asyncio's own timeouts go by the same way: TimeoutError, once the device has let go."""
    async with rig() as r:
        r.mock.hold(qid=1, count=2)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(r.read(), 0.01)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await r.read()
        assert r.qp.outstanding == 0
        await r.works()


async def test_no_more_aborts_than_the_controller_takes() -> None:
    """With ACL 3 (0's based) never more than four Aborts are outstanding.

    In the end all have been sent.
    """
    async with rig(MockController(abort_limit=4)) as r:
        assert r.ctrlr.data.acl == 3
        held = r.mock.hold(qid=1)
        admin = r.mock.hold(qid=0, opcode=ABORT)
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(r.read(lba)) for lba in range(10)]
        await fetched(r.mock, 10)
        for task in tasks:
            task.cancel()
        seen = []
        for left in range(10, 0, -1):
            await until(partial(_at_least, admin, min(4, left)))
            await turns()
            seen.append(len(admin.commands))
            admin.release(1)
        assert await kinds(tasks) == [CANCELLED] * 10
        assert max(seen) == 4
        assert aborts(r.mock) == 10
        assert held.commands == []
        admin.stop()


async def test_abort_that_came_too_late_is_no_error() -> None:
    """When the command completes and Abort finds nothing, the await still ends in CancelledError.

    I/O goes on.
    """
    async with rig() as r:
        held = r.mock.hold(qid=1, count=1)
        admin = r.mock.hold(qid=0, opcode=ABORT, count=1)
        task: asyncio.Task[Any] = asyncio.create_task(r.read())
        await fetched(r.mock, 1)
        task.cancel()
        await until(lambda: admin.commands)
        held.release()
        assert await kinds([task]) == [CANCELLED]
        admin.release()
        await r.works()
    assert aborts(r.mock) == 1


async def test_timeout_is_raised_when_the_device_has_let_go() -> None:
    """A command over its time is aborted.

    CommandTimeoutError names it, and comes after its completion only.
    """
    async with rig() as r:
        held = r.mock.hold(qid=1, count=1)
        admin = r.mock.hold(qid=0, opcode=ABORT, count=1)
        request = r.read(timeout=0.01)
        await until(lambda: admin.commands)
        await turns()
        assert not request.done()
        admin.release()
        with pytest.raises(TIMEOUT) as caught:
            await request
        assert (caught.value.opcode, caught.value.qid, caught.value.cid) == (READ, 1, request.cid)
        assert caught.value.timeout == 0.01
        assert held.commands == []
        await r.works()


async def test_io_timeout_is_the_default() -> None:
    """`io_timeout` counts where a call says nothing; `timeout=0` is none."""
    async with rig(io_timeout=0.01) as r:
        held = r.mock.hold(qid=1)
        assert await kinds([r.read()]) == [TIMEOUT]
        lasting = r.read(timeout=0)
        assert await kinds([r.read()]) == [TIMEOUT]
        assert not lasting.done()
        held.stop()
        held.release()
        assert await kinds([lasting]) == [None]


async def test_queued_command_times_out_in_the_queue() -> None:
    """The time counts from the call: a command that found no slot in its time ends, unseen by the device."""
    async with rig(depth=1) as r:
        held = r.mock.hold(qid=1)
        first = r.read()
        assert await kinds([r.read(timeout=0.01)]) == [TIMEOUT]
        assert r.mock.queue(1).fetched <= 1
        held.stop()
        await fetched(r.mock, 1)
        held.release()
        assert await kinds([first]) == [None]
        assert r.mock.queue(1).fetched == 1


async def test_callback_of_a_timed_out_command_gets_its_completion() -> None:
    """A command with a callback is told as well, with the status that the abort gave it."""
    async with rig() as r:
        r.mock.hold(qid=1)
        told: asyncio.Future[aionvme.Completion] = asyncio.get_running_loop().create_future()
        r.qp.submit_read(r.ns, r.buf, 0, 1, lambda _arg, cpl: told.set_result(cpl), timeout=0.01)
        assert (await told).status.name == "ABORTED_BY_REQUEST"


async def test_a_split_transfer_is_aborted_whole() -> None:
    """Each piece that the device has is aborted, those that wait are not posted, and there is one end."""
    async with rig(MockController(mdts=8192, timeout=0.5), depth=4) as r:
        buf = r.ctrlr.dma_alloc(16 * 8192)
        r.mock.hold(qid=1)
        task: asyncio.Task[Any] = asyncio.create_task(r.qp.read(r.ns, buf, 0, 256))
        await fetched(r.mock, 4)
        task.cancel()
        assert await kinds([task]) == [CANCELLED]
        assert (r.mock.queue(1).fetched, aborts(r.mock)) == (4, 4)


async def test_abort_without_effect_leads_to_a_reset() -> None:
    """Late and cancelled commands end by the reset as what they are; bystanders by ControllerResetError.

    Queued go on.
    """
    # Long enough for the mock to fetch them before, however busy the machine is; and the reset comes after `late` is.
    async with rig(depth=4, abort_timeout=0.3) as r:
        lose(r.mock, 4)
        late = r.read(timeout=0.2)
        cancelled: asyncio.Task[Any] = asyncio.create_task(r.read())
        bystanders = [r.read(), r.read()]
        queued = r.reads(4)
        await fetched(r.mock, 4)
        cancelled.cancel()
        assert await kinds([late, cancelled, *bystanders]) == [TIMEOUT, CANCELLED, RESET, RESET]
        assert await kinds(queued) == [None] * 4
        await r.works()


@pytest.mark.parametrize("answered", [False, True])
async def test_abort_has_its_time_before_the_reset(answered: bool) -> None:
    """A lost command is reset away after `abort_timeout`, whether Abort is answered or lost as well."""
    async with rig(io_timeout=0, abort_timeout=0.2) as r:
        lose(r.mock, 1, aborts_too=not answered)
        task: asyncio.Task[Any] = asyncio.create_task(r.read())
        await fetched(r.mock, 1)
        begun = time.monotonic()
        task.cancel()
        assert await kinds([task]) == [CANCELLED]
        assert 0.2 <= time.monotonic() - begun < 0.2 + 3
        await r.works()


async def test_reset_error_says_that_the_outcome_is_unknown() -> None:
    """Whoever gets a ControllerResetError reads that its command may or may not have been executed."""
    async with rig(abort_timeout=0.05) as r:
        lose(r.mock, 2)
        late, bystander = r.read(timeout=0.01), r.read()
        assert await kinds([late]) == [TIMEOUT]
        with pytest.raises(RESET, match=r"was reset .* not known"):
            await bystander


async def test_controller_that_cannot_be_reset_has_failed() -> None:
    """RDY stuck: the function is reset, so memory is safe, and the controller is at its end.

    Later calls say so.
    """
    begun = time.monotonic()
    async with rig(depth=3, abort_timeout=0.05) as r:
        r.mock.silent = r.mock.stuck = True
        late = r.read(timeout=0.01)
        cancelled: asyncio.Task[Any] = asyncio.create_task(r.read())
        bystander = r.read()
        queued = r.read()
        await fetched(r.mock, 3)
        cancelled.cancel()
        assert await kinds([late, cancelled, bystander, queued]) == [TIMEOUT, CANCELLED, RESET, FAILED]
        with pytest.raises(FAILED, match="could not be reset"):
            r.read()
        with pytest.raises(FAILED, match="could not be reset"):
            r.qp.submit_read(r.ns, r.buf, 0, 1)
        with pytest.raises(FAILED, match="could not be reset"):
            r.ctrlr.dma_alloc(512)
        with pytest.raises(FAILED, match="could not be reset"):
            await r.ctrlr.identify(1)
        with pytest.raises(FAILED, match="could not be reset"):
            await r.ctrlr.reset()
        with pytest.raises(FAILED, match="could not be reset"):
            await r.ctrlr.alloc_io_qpair()
        assert r.ctrlr.closed
    # Timeout, Abort's time, and twice CAP.TO.
    assert time.monotonic() - begun < 0.06 + 2 * 0.5 + 3


async def test_each_of_many_ends_once() -> None:
    """Of 128 commands of all kinds that end by one reset, each is told once."""
    ends: Counter[str] = Counter()
    # As above: the mock fetches 64 before, and one is late before the reset.
    async with rig(depth=64, abort_timeout=0.3) as r:
        lose(r.mock, 64)

        async def one(number: int) -> None:
            try:
                await r.read(timeout=0.2 if number == 0 else None)
            except BaseException as error:
                ends[type(error).__name__] += 1
                raise
            ends["ok"] += 1

        tasks = [asyncio.create_task(one(number)) for number in range(128)]
        told: Counter[int] = Counter()
        for number in range(32):
            r.qp.submit_read(r.ns, r.buf, 0, 1, lambda arg, _cpl: told.update([arg]), number)
        await fetched(r.mock, 64)
        for task in tasks[32:64]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await until(lambda: len(told) == 32)
        assert ends == {"CommandTimeoutError": 1, "ControllerResetError": 31, "CancelledError": 32, "ok": 64}
        assert set(told.values()) == {1}


async def test_failure_that_nobody_awaits_is_reported() -> None:
    """A timed-out command that was dropped is told to the loop's exception handler, once."""
    async with rig() as r:
        r.mock.hold(qid=1, count=1)
        with Recorder() as recorder:
            r.read(timeout=0.01)
            await until(lambda: recorder.contexts)
        assert ["nobody awaited it" in message for message in recorder.messages] == [True]
        assert isinstance(recorder.contexts[0]["exception"], TIMEOUT)
