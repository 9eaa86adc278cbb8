"""Measurements on the mock: what is counted is what the device saw, and what goes wrong is found."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

import pytest

import aionvme
from aionvme.errors import UsageError
from aionvme.mock import MockController
from aionvme.perf.measure import Measurement
from aionvme.perf.report import Report
from aionvme.perf.workload import Workload
from aionvme.tests.flow.support import READ, WRITE

pytestmark = pytest.mark.usefixtures("no_leaks")

MODES = ("await", "callback", "batch")
SHORT: dict[str, Any] = {"seconds": 0.2, "warmup": 0.02, "io_size": 512}
MiB = 1 << 20


async def measured(mock: MockController, on_phase: Any = None, **words: Any) -> Report:
    """A measurement of a mock; `on_phase` is told what comes before it."""
    async with aionvme.connect(mock) as ctrlr:
        keywords = {} if on_phase is None else {"on_phase": on_phase}
        load = Workload(**SHORT | words)
        return await Measurement(ctrlr, ctrlr.namespaces[1], load, **keywords).run()


@pytest.mark.anyloop
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("queue_pairs", [1, 3])
async def test_what_is_counted_is_what_the_device_did(mode: str, queue_pairs: int) -> None:
    """As many commands completed as the device executed, the warm-up's and the last ones apart; on each queue pair."""
    with MockController() as mock:
        report = await measured(mock, mode=mode, queue_pairs=queue_pairs, depth=8)
        queues = [mock.queue(qid) for qid in range(1, queue_pairs + 1)]
        fetched = sum(queue.opcodes[READ] for queue in queues)
    window = report.window
    assert window is not None
    assert report.good
    assert all(queue.opcodes[READ] > 0 for queue in queues)
    assert 0 < window.completed <= fetched
    assert window.seconds >= 0.2
    if mode == "batch":
        assert window.latency is None
        return
    assert max(window.in_flight_at_start, window.in_flight_at_end) <= 8 * queue_pairs
    assert window.latency is not None
    assert window.latency.count == window.completed


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("completion", ["poll", "interrupt", "adaptive"])
async def test_by_each_completion(mode: str, completion: str) -> None:
    """However completions are learnt of, commands complete, without latency being measured too."""
    with MockController() as mock:
        report = await measured(mock, mode=mode, completion=completion, latency=False)
    assert report.good
    assert report.window is not None
    assert report.window.completed > 0
    assert report.as_json()["latency_us"] is None


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", MODES)
async def test_reads_and_writes(mode: str) -> None:
    """A mix reads and writes, with the share that was asked for, and the data stays right."""
    with MockController(size=MiB) as mock:
        report = await measured(mock, mode=mode, pattern="randrw", read_percent=80, verify=True)
        opcodes = mock.queue(1).opcodes
        filled = mock.options.namespaces[0].size // MiB + 1
    assert report.good
    assert report.blocks_verified > 0
    assert 0.7 < opcodes[READ] / (opcodes[READ] + opcodes[WRITE] - filled) < 0.9


def _corrupt(mock: MockController, lba: int, data: bytes) -> Any:
    """Changes what is stored, once all of it was written."""

    def on_phase(phase: str, _part: float) -> None:
        if phase == "warming up":
            mock.poke(1, lba, data)

    return on_phase


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("pattern", ["read", "randread"])
async def test_a_planted_corruption_is_found(mode: str, pattern: str) -> None:
    """One changed block among many ends the run, by its LBA and in words."""
    with MockController(size=64 << 10) as mock:
        spoilt = _corrupt(mock, 77, bytes(range(256)) * 2)
        report = await measured(
            mock, spoilt, mode=mode, pattern=pattern, io_size=1024, verify=True, seconds=30, warmup=0
        )
    assert (report.good, report.mismatched >= 1, report.failed) == (False, True, 0)
    assert report.failures[0] == "LBA 77 holds data that this run did not write"


@pytest.mark.asyncio
async def test_swapped_blocks_are_found() -> None:
    """Blocks with good checksums in each other's places are wrong."""
    with MockController(size=64 << 10) as mock:

        def swap(phase: str, _part: float) -> None:
            if phase == "warming up":
                one, other = mock.peek(1, 3), mock.peek(1, 90)
                mock.poke(1, 3, other)
                mock.poke(1, 90, one)

        report = await measured(mock, swap, pattern="read", verify=True, seconds=30, warmup=0)
    assert report.failures[0] == "LBA 3 holds the data of LBA 90"


@pytest.mark.asyncio
async def test_a_device_without_data_is_not_verified() -> None:
    """Where reads move nothing there is nothing to compare: that is said before anything is measured."""
    with MockController(no_data=True) as mock, pytest.raises(UsageError, match="a read moves no data"):
        await measured(mock, verify=True)


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", MODES)
async def test_a_device_without_data_is_measured(mode: str) -> None:
    """What it does is counted as ever."""
    with MockController(no_data=True) as mock:
        report = await measured(mock, mode=mode, pattern="randrw")
        counters = mock.counters
    assert report.good
    assert report.window is not None
    assert report.window.completed > 0
    assert min(counters.reads, counters.writes) > 0


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", MODES)
async def test_a_command_that_fails_ends_it(mode: str) -> None:
    """The first error ends the run in good order, and is in the report; others may have failed with it."""
    with MockController() as mock:
        mock.fail(aionvme.StatusCode.UNRECOVERED_READ_ERROR, opcode=READ, nth=100, count=1)
        report = await measured(mock, mode=mode, seconds=30, warmup=0)
    assert (report.good, report.failed) == (False, 1)
    assert "UNRECOVERED_READ_ERROR" in report.failures[0]
    window = report.window
    assert window is not None
    assert window.seconds < 20


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", MODES)
async def test_a_rate_is_kept(mode: str) -> None:
    """Commands go at the rate that was asked for, and the device gets no more than that."""
    with MockController() as mock:
        report = await measured(mock, mode=mode, rate=2000, seconds=0.5, warmup=0, depth=64)
        fetched = mock.queue(1).opcodes[READ]
    figures = report.as_json()
    # A machine that others use may do less, and says so; never more.
    assert 200 < figures["rates"]["commands_per_second"] < 2000 * 1.2
    assert fetched <= 2000 * 0.5 * 1.2


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rate", [None, 100.0])
async def test_it_can_be_stopped(mode: str, rate: float | None) -> None:
    """Stopped in the middle it ends at once, in good order, with what was measured by then."""
    with MockController() as mock:
        async with aionvme.connect(mock) as ctrlr:
            load = Workload(**SHORT | {"seconds": 60, "mode": mode, "rate": rate})
            measurement = Measurement(ctrlr, ctrlr.namespaces[1], load)
            loop = asyncio.get_running_loop()
            loop.call_later(0.3, measurement.stop)
            report = await asyncio.wait_for(measurement.run(), 20)
    assert (report.interrupted, report.good) == (True, True)
    assert report.window is not None
    assert report.window.completed > 0


@pytest.mark.asyncio
async def test_stopped_in_its_warm_up_nothing_is_told() -> None:
    """There are no figures of what was not measured."""
    with MockController() as mock:
        async with aionvme.connect(mock) as ctrlr:
            measurement = Measurement(ctrlr, ctrlr.namespaces[1], Workload(warmup=60))
            asyncio.get_running_loop().call_later(0.1, measurement.stop)
            report = await asyncio.wait_for(measurement.run(), 20)
    assert (report.window, report.interrupted) == (None, True)
    assert "before anything was measured" in report.absent["rates"]


@pytest.mark.asyncio
async def test_a_lost_controller_ends_it() -> None:
    """A drive that is pulled out ends the run with its error, not for ever."""
    with MockController() as mock:
        async with aionvme.connect(mock) as ctrlr:
            measurement = Measurement(ctrlr, ctrlr.namespaces[1], Workload(seconds=60, warmup=0))
            asyncio.get_running_loop().call_later(0.2, mock.remove)
            report = await asyncio.wait_for(measurement.run(), 30)
    assert not report.good
    assert report.failed > 0


@pytest.mark.asyncio
async def test_the_thread_has_its_processors_back() -> None:
    """The driving thread has the processors that it was given, and before and after those of its own."""
    before = os.sched_getaffinity(0)
    seen: list[set[int]] = []
    others: list[set[int]] = []

    def on_second(_completed: int, _seconds: float) -> None:
        seen.append(os.sched_getaffinity(0))
        ids = [thread.native_id for thread in threading.enumerate() if thread.name.startswith("aionvme mock")]
        others.extend(os.sched_getaffinity(number) for number in ids if number)

    with MockController() as mock:
        async with aionvme.connect(mock) as ctrlr:
            one = min(before)
            load = Workload(**SHORT)
            await Measurement(ctrlr, ctrlr.namespaces[1], load, cpus={one}, on_second=on_second).run()
            with pytest.raises(UsageError, match="can't have the processors"):
                await Measurement(ctrlr, ctrlr.namespaces[1], load, cpus={4095}).run()
    assert seen == [{one}]
    assert others == [before]
    assert os.sched_getaffinity(0) == before
