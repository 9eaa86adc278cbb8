"""The virtual clock: hours pass at once, the same way each time, and what keeps real time is refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import uvloop

import aionvme
from aionvme.mock import Fault, FaultPlan, MockController
from aionvme.spec.opcodes import AdminOpcode
from aionvme.testing import VirtualLoop, run
from aionvme.tests.flow.support import kinds

HOUR = 3600.0
virtual = [pytest.mark.virtual, pytest.mark.usefixtures("no_leaks")]
TIMEOUT = aionvme.CommandTimeoutError


def now() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


class TestHours:
    """What takes hours."""

    pytestmark = virtual

    async def test_time_limits(self) -> None:
        """A command ends as late at its time, and the Abort and the reset have theirs."""
        faults = [Fault("lost", qid=1)]
        opts = aionvme.ControllerOptions(io_timeout=HOUR, abort_timeout=HOUR / 2)
        with MockController(drive="step", faults=faults) as mock:
            async with aionvme.connect(mock, opts) as ctrlr, ctrlr.alloc_io_qpair() as qp:
                buf, begun = ctrlr.dma_alloc(512), now()
                with pytest.raises(TIMEOUT, match="3600 s"):
                    await qp.read(ctrlr.namespaces[1], buf, 0, 1)
                assert 1.5 * HOUR <= now() - begun < 1.5 * HOUR + 2
                await qp.read(ctrlr.namespaces[1], buf, 0, 1)

    async def test_delays(self) -> None:
        """The mock's commands that take their time are done when it has passed, and no later."""
        faults = [Fault("delay", qid=1, delay=HOUR), Fault("delay", qid=1, delay=2 * HOUR)]
        with MockController(drive="step", faults=faults) as mock:
            async with aionvme.connect(mock) as ctrlr, ctrlr.alloc_io_qpair() as qp:
                ns, buf, begun = ctrlr.namespaces[1], ctrlr.dma_alloc(512), now()
                reads = [qp.read(ns, buf, lba, 1, timeout=0) for lba in range(3)]
                ended = []
                for read in reversed(reads):
                    await read
                    ended.append(round(now() - begun, 3))
                assert ended == [0.0, 2 * HOUR, 2 * HOUR]

    async def test_a_controller_that_stands_still(self) -> None:
        """With CSTS.CFS set a command whose time has come waits for the reset, and the clock goes on."""
        with MockController(drive="step", faults=[Fault("delay", qid=1, delay=0.5)]) as mock:
            async with aionvme.connect(mock) as ctrlr, ctrlr.alloc_io_qpair() as qp:
                read = qp.submit_read(ctrlr.namespaces[1], ctrlr.dma_alloc(512), 0, 1, timeout=0)
                await asyncio.sleep(0.1)
                mock.fatal()
                assert await kinds([read]) == [aionvme.ControllerResetError]

    async def test_keep_alive(self) -> None:
        """In two hours of idleness it is sent as often as it has to, and the controller stays."""
        with MockController(drive="step") as mock:
            opts = aionvme.ControllerOptions(keep_alive_timeout=60)
            async with aionvme.connect(mock, opts) as ctrlr:
                await asyncio.sleep(2 * HOUR)
                assert mock.queue(0).opcodes[AdminOpcode.KEEP_ALIVE] >= 2 * HOUR / 60
                assert ctrlr._core.epoch == 0

    async def test_controller_that_was_not_kept_alive(self) -> None:
        """Its timer runs out by the same clock."""
        with MockController(drive="step") as mock:
            async with aionvme.connect(mock, aionvme.ControllerOptions(keep_alive_timeout=HOUR)) as ctrlr:
                ctrlr._core.keep_alive.stop()
                await asyncio.sleep(HOUR - 10)
                assert ctrlr._core.epoch == 0
                await asyncio.sleep(20)
                assert ctrlr._core.epoch == 1

    async def test_long_operations(self) -> None:
        """Sanitize, format and self-test take their hours."""
        slow = {"sanitize_time": 3 * HOUR, "format_time": 2 * HOUR, "self_test_time": HOUR}
        with MockController(drive="step", **slow) as mock:  # type: ignore[arg-type]
            async with aionvme.connect(mock, aionvme.ControllerOptions(admin_timeout=0)) as ctrlr:
                for operation, hours in (
                    (lambda: ctrlr.sanitize(aionvme.SanitizeAction.BLOCK_ERASE, interval=60), 3),
                    (lambda: ctrlr.device_self_test(aionvme.SelfTestCode.SHORT, interval=60), 1),
                    (lambda: ctrlr.format_nvm(1, lbaf=0, interval=60, timeout=0), 2),
                ):
                    begun = now()
                    await operation()
                    assert hours * HOUR <= now() - begun < hours * HOUR + 120

    async def test_ready_timeouts(self) -> None:
        """CAP.TO of two minutes passes at once, and a controller that takes a minute is waited for."""
        with MockController(drive="step", timeout=120, faults=[Fault("stuck_ready", at="enable")]) as mock:
            begun = now()
            with pytest.raises(aionvme.ControllerFailedError, match="120 s"):
                await aionvme.connect(mock)
            assert 120 <= now() - begun < 122
        with MockController(drive="step", ready_delay=60, timeout=120) as mock:
            begun = now()
            async with aionvme.connect(mock):
                assert 60 <= now() - begun < 62


@pytest.mark.parametrize("completion", ["poll", "interrupt", "adaptive", "manual"])
@pytest.mark.parametrize("drive", ["step", "loop"])
def test_every_way_to_complete(completion: Any, drive: str) -> None:
    """Commands, transfers and batches complete in each mode, in no time."""

    async def main() -> float:
        begun = now()
        with MockController(drive=drive) as mock:
            async with (
                aionvme.connect(mock) as ctrlr,
                ctrlr.alloc_io_qpair(depth=4, completion=completion) as qp,
            ):
                ns, buf = ctrlr.namespaces[1], ctrlr.dma_alloc(1 << 20)
                poller = asyncio.create_task(_polls(qp, completion == "manual"))
                await asyncio.gather(*(qp.read(ns, buf, lba, 8) for lba in range(16)))
                await qp.write(ns, buf, 0, 2048)
                if completion != "manual":
                    result = await qp.read_batch(ns, buf, np.arange(100), 1)
                    assert result.nfailed == 0
                poller.cancel()
        return now() - begun

    assert run(main()) < 1


async def _polls(qp: aionvme.IoQueuePair, wanted: bool) -> None:
    while wanted:
        qp.process_completions()
        await asyncio.sleep(1e-6)


def test_the_same_each_time() -> None:
    """Faults, time limits and tasks of one program come in the same order at the same times in each run."""

    async def main() -> list[tuple[float, int, str]]:
        plan = FaultPlan(
            seed=3,
            faults=[
                Fault("lost", qid=1, nth=5, every=40, count=4),
                Fault("delay", qid=1, chance=0.3, count=None, delay=2.5),
                Fault("status", qid=1, chance=0.1, count=None, status=0x281),
            ],
        )
        log: list[tuple[float, int, str]] = []
        with MockController(drive="step", faults=plan) as mock:
            opts = aionvme.ControllerOptions(io_timeout=10, abort_timeout=1)
            async with aionvme.connect(mock, opts) as ctrlr, ctrlr.alloc_io_qpair(depth=8) as qp:
                ns, buf = ctrlr.namespaces[1], ctrlr.dma_alloc(512)

                async def user(number: int) -> None:
                    for turn in range(8):
                        [kind] = await kinds([qp.read(ns, buf, turn, 1)])
                        log.append((now(), number, kind.__name__ if kind else "ok"))
                        await asyncio.sleep(0.1 * number)

                await asyncio.gather(*(user(number) for number in range(16)))
        return log

    first = run(main())
    assert {kind for _, _, kind in first} == {
        "ok",
        "MediaError",
        "CommandTimeoutError",
        "ControllerResetError",
    }
    assert run(main()) == first


# -- what keeps real time ------------------------------------------------------------------------------------


async def _connects(drive: str = "step") -> None:
    with MockController(drive=drive) as mock:
        async with aionvme.connect(mock):
            pass


@pytest.mark.parametrize("factory", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_another_loop_is_refused(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """While there is a virtual loop no other is driven on; afterwards the time is real again."""
    loop = VirtualLoop()
    try:
        with (
            asyncio.Runner(loop_factory=factory) as runner,
            pytest.raises(aionvme.UsageError, match="VirtualLoop"),
        ):
            runner.run(_connects())
        with pytest.raises(aionvme.UsageError, match="one in a process"):
            VirtualLoop()
    finally:
        loop.close()
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_connects("loop"))
        runner.run(_connects("thread"))


def test_a_mock_with_a_thread_is_refused() -> None:
    """Made before the clock was virtual, or after."""
    with pytest.raises(aionvme.UsageError, match='drive="step"'):
        run(_connects("thread"))
    with MockController() as mock, pytest.raises(aionvme.UsageError, match='drive="step"'):
        run(_open(mock))


async def _open(mock: MockController) -> None:
    await aionvme.connect(mock)


def test_a_program_that_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can happen any more that is an error, not a hang; other threads have a moment to bring it."""

    async def main(event: asyncio.Event) -> None:
        await event.wait()

    async def woken() -> None:
        loop, event = asyncio.get_running_loop(), asyncio.Event()
        threading.Timer(0.01, loop.call_soon_threadsafe, [event.set]).start()
        await main(event)

    run(woken())
    monkeypatch.setattr("aionvme.testing._PATIENCE", 0.01)
    with pytest.raises(RuntimeError, match="nothing can happen any more"):
        run(main(asyncio.Event()))
