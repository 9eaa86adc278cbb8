"""Owns a measurement: what is opened, in what order it goes, and the moments at which it is counted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import TYPE_CHECKING

import attrs

from aionvme.errors import UsageError
from aionvme.histogram import Histogram
from aionvme.perf.modes import Lane, drive
from aionvme.perf.pace import Pace
from aionvme.perf.pattern import Pattern
from aionvme.perf.report import Facts, Report, Window
from aionvme.perf.tally import Pacer, Tally
from aionvme.perf.verified import fill, refuse_a_device_without_data
from aionvme.perf.walk import Walk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator

    from aionvme.admin.controller import Controller
    from aionvme.perf.workload import Workload
    from aionvme.qpair.io import IoQueuePair
    from aionvme.qpair.namespace import Namespace

__all__ = ["Measurement"]


@attrs.frozen
class _Moment:
    """What is read off at either end of what is measured."""

    seconds: float
    submitted: int
    completed: int
    failed: int
    in_flight: int
    process_ns: int
    thread_ns: int
    turns: int
    doorbells: int


class Measurement:
    """One run of a workload on a controller.

    Args:
        ctrlr, ns: On what.
        load: What.
        cpus: The processors that this thread may use meanwhile; None for those that it has. The other threads of the
            process, the mock's among them, keep theirs.
        on_phase: Told, in a word or two, what is done before anything is measured, and how far it is, from 0 to 1.
        on_second: Told after each second how many commands have completed in it, and what part of a second it was.
    """

    def __init__(
        self,
        ctrlr: Controller,
        ns: Namespace,
        load: Workload,
        *,
        cpus: Collection[int] | None = None,
        on_phase: Callable[[str, float], object] = lambda _phase, _part: None,
        on_second: Callable[[int, float], object] = lambda _completed, _seconds: None,
    ) -> None:
        self._ctrlr = ctrlr
        self._ns = ns
        self._load = load
        self._cpus = cpus
        self._on_phase = on_phase
        self._on_second = on_second
        self._nblocks = load.nblocks_in(ns)
        self._region = load.region_in(ns)
        self._tally = Tally(latency=load.times_commands)
        self._pacer = Pacer() if load.rate is not None else None
        self._pattern = Pattern(ns.block_size, load.seed) if load.verify else None
        self._begin: _Moment | None = None
        self._end: _Moment | None = None
        self._per_second: list[float] = []
        self._latency: Histogram | None = None
        self._driving: asyncio.Future[None] | None = None
        self._stopped = False

    def stop(self) -> None:
        """Ends it before its time; the report is of what was measured by then."""
        self._stopped = True
        self._tally.stop()

    async def run(self) -> Report:
        """Runs the workload and measures it.

        Raises:
            UsageError: The device moves no data, and the workload is to be verified; or no such processor.
            NvmeError: A queue pair can't be had, or the blocks could not be written beforehand.
        """
        with self._on_cpus():
            async with self._open() as lanes:
                await self._prepare(lanes)
                if not self._stopped:
                    await self._drive(lanes)
        return self._report()

    # -- before --------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _on_cpus(self) -> Iterator[None]:
        if self._cpus is None:
            yield
            return
        # Of this thread alone (sched_setaffinity(2): a pid of 0 is the calling thread).
        before = os.sched_getaffinity(0)
        try:
            os.sched_setaffinity(0, self._cpus)
        except OSError as error:
            there = ", ".join(str(cpu) for cpu in sorted(before))
            raise UsageError(
                f"this thread can't have the processors {sorted(self._cpus)}: it has {there}"
            ) from error
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[list[Lane]]:
        load = self._load
        async with contextlib.AsyncExitStack() as stack:
            lanes = []
            for part in range(load.queue_pairs):
                qp: IoQueuePair = await stack.enter_async_context(
                    self._ctrlr.alloc_io_qpair(depth=load.depth, completion=load.completion)
                )
                lane = Lane(
                    load,
                    self._ns,
                    self._tally,
                    qp,
                    self._walk(part),
                    self._nblocks,
                    self._pattern,
                    self._pacer,
                )
                for nbytes in lane.buffer_sizes():
                    lane.bufs.append(stack.enter_context(self._ctrlr.dma_alloc(nbytes)))
                lanes.append(lane)
            yield lanes

    def _walk(self, part: int) -> Walk:
        load = self._load
        return Walk(
            self._region.first,
            self._region.nblocks,
            self._nblocks,
            random=load.random,
            read_percent=load.reads,
            seed=load.seed * load.queue_pairs + part,
            part=part,
            parts=load.queue_pairs,
        )

    async def _prepare(self, lanes: list[Lane]) -> None:
        if self._pattern is None:
            return
        qp = lanes[0].qp
        await refuse_a_device_without_data(self._ctrlr, qp, self._ns, self._pattern, self._region.first)
        async for part in fill(self._ctrlr, qp, self._ns, self._pattern, self._region):
            self._on_phase("writing what is verified", part)
            if self._stopped:
                return

    # -- what is measured ----------------------------------------------------------------------------------------------

    async def _drive(self, lanes: list[Lane]) -> None:
        loop = asyncio.get_running_loop()
        pace = None
        if self._pacer is not None and self._load.rate is not None:
            pace = Pace(loop, self._load.rate, self._pacer, self._tally)
        self._driving = loop.create_task(drive(lanes))
        try:
            if pace is not None:
                pace.start()
            self._on_phase("warming up", 0.0)
            await self._wait(self._load.warmup)
            if not self._driving.done() and not self._stopped:
                await self._watch(lanes)
        finally:
            self._tally.stop()
            if pace is not None:
                pace.stop()
            await self._driving

    async def _wait(self, seconds: float) -> None:
        """For so long, or until the workload has ended."""
        assert self._driving is not None
        await asyncio.wait([self._driving], timeout=seconds)

    async def _watch(self, lanes: list[Lane]) -> None:
        """From the one moment to the other, second by second."""
        assert self._driving is not None
        self._tally.reset()
        begin = self._begin = last = self._moment(lanes)
        ends = begin.seconds + self._load.seconds
        while not self._driving.done() and not self._stopped and last.seconds < ends:
            await self._wait(min(1.0, ends - last.seconds))
            moment = self._moment(lanes)
            completed, seconds = moment.completed - last.completed, moment.seconds - last.seconds
            self._per_second.append(completed / seconds)
            self._on_second(completed, seconds)
            self._end = last = moment
        if self._tally.latency is not None:
            # What is still in flight ends after the last moment, and is not of this measurement.
            self._latency = Histogram()
            self._latency.merge(self._tally.latency)

    def _moment(self, lanes: list[Lane]) -> _Moment:
        tally, counters = self._tally, [lane.qp.counters for lane in lanes]
        return _Moment(
            seconds=time.perf_counter(),
            submitted=tally.submitted,
            completed=tally.completed,
            failed=tally.failed,
            in_flight=tally.in_flight,
            process_ns=time.process_time_ns(),
            thread_ns=time.thread_time_ns(),
            turns=sum(each["turns"] for each in counters),
            doorbells=sum(each["doorbells"] for each in counters),
        )

    # -- after ---------------------------------------------------------------------------------------------------------

    def _report(self) -> Report:
        return Report(
            load=self._load,
            facts=Facts.of(self._ctrlr, self._ns, self._region),
            window=self._window(),
            blocks_verified=self._tally.blocks_verified,
            mismatched=self._tally.mismatched,
            failed=self._tally.failed,
            failures=tuple(self._tally.failures),
            interrupted=self._stopped,
        )

    def _window(self) -> Window | None:
        begin, end = self._begin, self._end
        if begin is None or end is None:
            return None
        return Window(
            seconds=end.seconds - begin.seconds,
            submitted=end.submitted,
            completed=end.completed,
            failed=end.failed - begin.failed,
            in_flight_at_start=begin.in_flight,
            in_flight_at_end=end.in_flight,
            latency=self._latency,
            process_ns=end.process_ns - begin.process_ns,
            thread_ns=end.thread_ns - begin.thread_ns,
            turns=end.turns - begin.turns,
            doorbells=end.doorbells - begin.doorbells,
            per_second=tuple(self._per_second),
        )
