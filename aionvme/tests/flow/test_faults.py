"""What the driver does with each fault that the mock has: docs/faults.md in tests.

The clock is virtual, and the mock is stepped by the loop: each case goes the same way each time, and nobody waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import aionvme
from aionvme.mock import Fault, FaultPlan, MockController
from aionvme.tests.flow.support import (
    CREATE_CQ,
    CREATE_SQ,
    IDENTIFY,
    READ,
    WRITE,
    Recorder,
    kinds,
    quiet,
    rig,
)

pytestmark = [pytest.mark.virtual, pytest.mark.usefixtures("no_leaks")]

FAILED = aionvme.ControllerFailedError
LOST = aionvme.ControllerLostError
RESET = aionvme.ControllerResetError
TIMEOUT = aionvme.CommandTimeoutError
MEDIA = aionvme.MediaError
UNRECOVERED_READ_ERROR = 0x281

LIMITS: dict[str, Any] = {"io_timeout": 0.05, "abort_timeout": 0.05, "admin_timeout": 0.5}


def mock_with(*faults: Fault, **options: Any) -> MockController:
    """A mock in which these go wrong."""
    return MockController(drive="step", timeout=0.5, faults=FaultPlan(faults=faults, seed=7), **options)


async def until(condition: Callable[[], object]) -> None:
    """Lets time go on until a condition holds."""
    # There is nothing to await: the mock tells nobody what it has fetched.
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(1e-5)


def of_reads(kind: str, **more: Any) -> Fault:
    """A fault of the second read, unless it is said otherwise."""
    return Fault(kind, **{"qid": 1, "opcode": READ, "nth": 2} | more)


# How four reads end that are submitted at once, and whether their queue pair can be used afterwards.
OF_COMPLETIONS = [
    (of_reads("status", status=UNRECOVERED_READ_ERROR), [None, MEDIA, None, None], True),
    (of_reads("delay", delay=0.002), [None] * 4, True),
    (of_reads("delay", delay=60), [None, TIMEOUT, None, None], True),
    (of_reads("reordered"), [None] * 4, True),
    (of_reads("lost"), [None, TIMEOUT, None, None], True),
    (of_reads("stale_phase"), [None, TIMEOUT, TIMEOUT, TIMEOUT], True),
    (of_reads("cq_overrun"), [TIMEOUT] * 4, True),
    (of_reads("cq_overrun", value=3), [None, None, RESET, RESET], False),
    (of_reads("doubled"), [None, None, RESET, RESET], False),
    (of_reads("foreign_cid"), [None, RESET, RESET, RESET], False),
    (of_reads("free_cid"), [None, RESET, RESET, RESET], False),
    (of_reads("wrong_sqid"), [None, RESET, RESET, RESET], False),
    (of_reads("bad_head"), [None, RESET, RESET, RESET], False),
    (of_reads("phase_garbage"), [None, RESET, RESET, RESET], False),
    (of_reads("torn_cqe"), [None, RESET, RESET, RESET], False),
]


def _id(value: object) -> str | None:
    return (
        f"{value.kind}{'' if value.value is None else '-' + str(value.value)}"
        if isinstance(value, Fault)
        else ""
    )


@pytest.mark.parametrize(("fault", "ends", "usable"), OF_COMPLETIONS, ids=_id)
async def test_faults_of_one_completion(fault: Fault, ends: list[Any], usable: bool) -> None:
    """The command that it happens to ends as the table says, no other in success that it had not, and I/O goes on."""
    quiet()
    async with rig(mock_with(fault), depth=8, **LIMITS) as r:
        other = await r.ctrlr.alloc_io_qpair(depth=4)
        with Recorder() as recorder:
            assert await kinds(r.reads(4)) == ends
            await r.ctrlr._recovery.settled()
        assert r.mock.strikes == [1]
        assert bool(recorder.messages) != usable
        await other.read(r.ns, r.buf, 0, 1)
        if usable:
            await r.works()
        else:
            with pytest.raises(FAILED, match="allocate another"):
                r.read()


async def test_torn_completion_of_a_later_pass_is_believed() -> None:
    """What was there before fits: success, with dword 0 of the entry before; nothing can be known of it."""
    async with rig(mock_with(of_reads("torn_cqe", nth=40, delay=0.01)), depth=8, **LIMITS) as r:
        for _ in range(48):
            await r.works()
        assert r.mock.strikes == [1]


async def test_identifier_of_another_command_is_believed() -> None:
    """The first of two ends in success in the other's place; that one's own completion then has no command."""
    quiet()
    async with rig(mock_with(), depth=8, **LIMITS) as r:
        held = r.mock.hold(qid=1, count=1)
        other = r.read()
        await until(lambda: held.commands)
        assert other.cid is not None
        r.mock.add_faults([Fault("foreign_cid", qid=1, value=other.cid)])
        own = r.read()
        assert await kinds([other]) == [None]
        assert await kinds([own]) == [TIMEOUT]
        held.stop()
        await r.ctrlr._recovery.settled()
        await r.works()


# The first and the second time that the controller is enabled, used and reset: what the connect, or a read and a reset
# asked for afterwards, end with. None: in success.
STEPS = [
    (Fault("stuck_ready", at="enable"), FAILED, None),
    (Fault("fatal_status", at="enable"), FAILED, None),
    (Fault("fatal_status", at="ready"), FAILED, None),
    (Fault("all_ones", at="enable"), LOST, None),
    (Fault("all_ones", at="ready"), LOST, None),
    (Fault("stuck_ready", at="disable"), None, None),
    (Fault("fatal_status", at="disable"), None, None),
    (Fault("all_ones", at="disable"), None, LOST),
    (Fault("stuck_ready", at="enable", nth=2), None, FAILED),
    (Fault("fatal_status", at="enable", nth=2), None, FAILED),
    (Fault("all_ones", at="enable", nth=2), None, LOST),
]


def _step(value: object) -> str | None:
    return f"{value.kind}-{value.at}-{value.nth}" if isinstance(value, Fault) else ""


@pytest.mark.parametrize(("fault", "connecting", "resetting"), STEPS, ids=_step)
async def test_faults_of_registers(
    fault: Fault, connecting: type[BaseException] | None, resetting: type[BaseException] | None
) -> None:
    """Bring-up and reset end, in success or with what went wrong; then nothing of it is left."""
    quiet()
    with mock_with(fault) as mock:
        if connecting is not None:
            with pytest.raises(connecting):
                await aionvme.connect(mock)
            return
        async with await aionvme.connect(mock) as ctrlr:
            qp = await ctrlr.alloc_io_qpair()
            buf = ctrlr.dma_alloc(512)
            assert await kinds([ctrlr.reset()]) == [resetting]
            assert await kinds([_read(qp, ctrlr, buf)]) == [resetting]
        assert sum(mock.strikes) >= 1


async def _read(qp: aionvme.IoQueuePair, ctrlr: aionvme.Controller, buf: aionvme.DmaBuffer) -> None:
    await qp.read(ctrlr.namespaces[1], buf, 0, 1)


@pytest.mark.parametrize("kind", ["fatal_status", "all_ones"])
@pytest.mark.parametrize("opcode", [IDENTIFY, CREATE_CQ, CREATE_SQ, READ])
async def test_fatal_status_and_loss_at_any_command(kind: str, opcode: int) -> None:
    """Whatever command it comes with: that ends, by a reset or with the loss, and so does all that waits."""
    quiet()
    fault = Fault(kind, opcode=opcode, qid=int(opcode == READ))
    with mock_with(fault) as mock:
        ended: list[type[BaseException] | None] = []
        try:
            async with await aionvme.connect(mock, aionvme.ControllerOptions(admin_timeout=5)) as ctrlr:
                qp = await ctrlr.alloc_io_qpair()
                ended = await kinds(_read(qp, ctrlr, ctrlr.dma_alloc(512)) for _ in range(2))
        except (FAILED, LOST, RESET) as error:
            ended = [type(error)]
        assert mock.strikes == [1]
        assert set(ended) <= {LOST} if kind == "all_ones" else set(ended) <= {FAILED, RESET}, ended
        assert ended


async def test_stuck_ready_from_a_command_on() -> None:
    """RDY that does not follow when a reset is needed: the function is reset, and all goes on."""
    quiet()
    async with rig(
        mock_with(Fault("lost", qid=1), Fault("stuck_ready", opcode=0x08)), depth=4, **LIMITS
    ) as r:
        assert await kinds([r.read()]) == [TIMEOUT]
        await r.ctrlr._recovery.settled()
        await r.works()
        assert r.mock.strikes == [1, 1]


@pytest.mark.parametrize("completion", ["interrupt", "adaptive", "poll"])
async def test_lost_interrupt(completion: str) -> None:
    """The completion is found all the same; who polls needs no interrupt."""
    async with rig(mock_with(of_reads("lost_interrupt", nth=1)), completion=completion) as r:
        await r.works()
        assert r.mock.strikes == [1]
        await r.works()


def test_lost_interrupt_is_counted() -> None:
    """By the machine's clock it is found by a timer, and counted."""

    async def main() -> None:
        mock = MockController(drive="loop", faults=[of_reads("lost_interrupt", nth=1)])
        async with rig(mock, completion="interrupt") as r:
            await r.works()
            assert r.mock.strikes == [1]
            assert r.qp.counters["missed_interrupts"] == 1

    asyncio.run(main())


async def test_event_storm() -> None:
    """Events that come without end cost ever less: I/O goes on, the events are told, and the controller lives."""
    fault = Fault("event_storm", opcode=IDENTIFY, nth=20, value=10_000)
    async with rig(mock_with(fault), depth=4, **LIMITS) as r:
        events = r.ctrlr.events()
        while not r.mock.strikes[0]:
            await r.ctrlr.identify(1)
        for _ in range(50):
            await r.works()
        event = await anext(events)
        assert event.log_page == 2


@pytest.mark.parametrize("moved", [0, 200, 512, 700])
async def test_short_data_pass_as_success(moved: int) -> None:
    """A read or write that says success is believed; what it did not move is as it was."""
    async with rig(mock_with(), depth=4, **LIMITS) as r:
        r.mock.poke(1, 0, b"\xaa" * 1024)
        with r.ctrlr.dma_alloc(1024) as buf:
            r.mock.add_faults([of_reads("short_data", nth=1, value=moved)])
            await r.qp.read(r.ns, buf, 0, 2)
            assert bytes(buf) == (b"\xaa" * moved).ljust(1024, b"\0")
            r.mock.add_faults([Fault("short_data", qid=1, opcode=WRITE, value=moved)])
            memoryview(buf)[:] = b"\x55" * 1024
            await r.qp.write(r.ns, buf, 0, 2)
            assert r.mock.peek(1, 0, 2) == (b"\x55" * moved).ljust(1024, b"\xaa")


async def test_short_identify_is_no_crash() -> None:
    """A structure that comes in part is read as zeros beyond: in bring-up that ends in an error that says why."""
    quiet()
    for moved in (0, 16, 4096):
        with mock_with(Fault("short_data", qid=0, opcode=IDENTIFY, value=moved)) as mock:
            try:
                async with await aionvme.connect(mock) as ctrlr:
                    assert ctrlr.data.sn is not None
            except aionvme.NvmeError:
                continue
            assert mock.strikes == [1]


async def test_data_after_abort() -> None:
    """The buffer was given back, as the device said that it had let go of it; that it had not, is not known."""
    fault = of_reads("data_after_abort", nth=1, delay=0.02)
    async with rig(mock_with(fault), depth=4, **LIMITS) as r:
        r.mock.poke(1, 0, b"\xaa" * 512)
        assert await kinds([r.read(timeout=0.01)]) == [TIMEOUT]
        assert bytes(r.buf) == bytes(512)
        await until(lambda: bytes(r.buf) == b"\xaa" * 512)
        await r.works()


async def test_data_after_abort_of_a_buffer_that_is_gone() -> None:
    """Memory that was unmapped meanwhile is not reached."""
    async with rig(mock_with(of_reads("data_after_abort", nth=1, delay=0.01)), depth=4, **LIMITS) as r:
        own = bytearray(4096)
        with r.ctrlr.dma_register(own):
            assert await kinds([r.qp.read(r.ns, own, 0, 1, timeout=0.01)]) == [TIMEOUT]
        await asyncio.sleep(0.05)
        await r.works()


async def test_completion_after_reset() -> None:
    """A completion of before the reset has an identifier of the past: the queue pair fails, the others go on."""
    quiet()
    async with rig(mock_with(of_reads("completion_after_reset", nth=1)), depth=4, **LIMITS) as r:
        other = await r.ctrlr.alloc_io_qpair(depth=4)
        reading = r.read(timeout=0)
        await until(lambda: r.mock.strikes[0])
        with Recorder() as recorder:
            assert await kinds([r.ctrlr.reset()]) == [None]
            assert await kinds([reading]) == [RESET]
            assert set(await kinds([_read(r.qp, r.ctrlr, r.buf)])) <= {RESET, FAILED}
            await r.ctrlr._recovery.settled()
        assert "no command that is outstanding" in recorder.messages[0]
        with pytest.raises(FAILED):
            r.read()
        await other.read(r.ns, r.buf, 0, 1)


async def test_admin_completion_after_reset() -> None:
    """On the admin queue it comes as the controller is brought up again, which fails: nothing is believed."""
    quiet()
    async with rig(mock_with(Fault("completion_after_reset", qid=0, opcode=IDENTIFY, nth=20)), **LIMITS) as r:
        while not r.mock.strikes[0]:
            asking = r.ctrlr.identify(1, timeout=0)
            await asyncio.sleep(0.001)
        with Recorder() as recorder:
            [ended] = await kinds([r.ctrlr.reset()])
            assert await kinds([asking]) == [RESET]
        assert recorder.messages
        assert ended is FAILED
