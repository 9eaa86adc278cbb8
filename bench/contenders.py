"""Owns the ways to read that are compared: the driver's, the floor below it, and what others would do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import aionvme
from aionvme.perf.measure import Measurement
from aionvme.perf.slot import Slot
from aionvme.perf.tally import Tally
from aionvme.perf.walk import Walk
from aionvme.perf.workload import Workload
from bench.build import compiled
from bench.device import BLOCK, Device, Sample, pinned

__all__ = ["CONTENDERS", "VERIFIED", "Contender"]

Contender = Callable[[Device, int, float], Awaitable[Sample]]
_WARMUP = 0.05
#: It needs a device with data.
VERIFIED = "read_batch, verified"


def _walk(device: Device) -> Walk:
    return Walk(0, device.ns.nblocks, 1, random=True, read_percent=100, seed=1)


async def _measured(mode: str, device: Device, depth: int, seconds: float, *, verify: bool = False) -> Sample:
    """By `aionvme perf` itself, without latency."""
    load = Workload(
        mode=mode, depth=depth, seconds=seconds, warmup=_WARMUP, io_size=BLOCK, latency=False, verify=verify
    )
    with device.checked() as reported:
        report = await Measurement(device.ctrlr, device.ns, load, cpus=device.cpus).run()
        if not report.good or (window := report.window) is None:
            raise RuntimeError(f"{mode}: {', '.join(report.failures)}")
        reported.append(window.completed)
    return Sample(window.completed, window.seconds, window.thread_ns)


async def _floor(device: Device, depth: int, seconds: float) -> Sample:
    """A compiled loop on the same rings of the same mock."""
    floor = compiled("floor")
    with device.checked() as reported, device.ctrlr.dma_alloc(depth * BLOCK) as buf, pinned(device.cpus):
        async with device.ctrlr.alloc_io_qpair(depth=depth, completion="manual") as qp:
            walk = _walk(device)
            floor.reads(qp, device.ns, buf, walk, depth, _WARMUP)
            began = time.thread_time_ns()
            commands, nanoseconds = floor.reads(qp, device.ns, buf, walk, depth, seconds)
            took = time.thread_time_ns() - began
        reported.append(commands)
    return Sample(commands, nanoseconds / 1e9, took)


async def _slots(
    send: Callable[[Any, Any, list[Slot], list[Any]], Awaitable[None]],
    device: Device,
    depth: int,
    seconds: float,
) -> Sample:
    """Whatever drives slots in Python; stops them, and counts between two moments as `aionvme perf` does."""
    loop, tally = asyncio.get_running_loop(), Tally(latency=False)
    moments: list[tuple[float, int, int]] = []

    def look() -> None:
        moments.append((time.perf_counter(), tally.completed, time.thread_time_ns()))

    def end() -> None:
        look()
        tally.stop()

    with ExitStack() as stack:
        reported = stack.enter_context(device.checked())
        stack.enter_context(pinned(device.cpus))
        bufs = [stack.enter_context(device.ctrlr.dma_alloc(BLOCK)) for _ in range(depth)]
        async with device.ctrlr.alloc_io_qpair(depth=depth) as qp:
            walk = _walk(device)
            slots = [Slot(tally, walk, qp, device.ns, buf, 1, mixed=False) for buf in bufs]
            loop.call_later(_WARMUP, look)
            loop.call_later(_WARMUP + seconds, end)
            await send(qp, device.ns, slots, bufs)
            for slot in slots:
                slot.release()
        reported.append(tally.completed)
    (began, first, cpu), (ended, last, cpu_end) = moments
    return Sample(last - first, ended - began, cpu_end - cpu)


async def _python_callbacks(qp: Any, ns: Any, slots: list[Slot], bufs: list[Any]) -> None:
    """A callback as a program has it: it looks at the status and sends the next command."""
    submit_read = qp.submit_read
    left = len(slots)
    ended = asyncio.get_running_loop().create_future()

    def done(argument: tuple[Slot, Any], cpl: aionvme.Completion) -> None:
        nonlocal left
        slot, buf = argument
        if cpl.status:
            raise SystemExit(f"a read failed: {cpl.status}")
        for lba in slot:
            submit_read(ns, buf, lba, 1, done, argument)
            return
        left -= 1
        if not left:
            ended.set_result(None)

    for slot, buf in zip(slots, bufs, strict=True):
        submit_read(ns, buf, next(slot), 1, done, (slot, buf))
    await ended


async def _futures(qp: Any, ns: Any, slots: list[Slot], bufs: list[Any]) -> None:
    """The plain design: each command makes a future, which its callback resolves and a task awaits."""
    loop, submit_read = asyncio.get_running_loop(), qp.submit_read

    def resolve(future: asyncio.Future[Any], cpl: aionvme.Completion) -> None:
        if cpl.status:
            future.set_exception(RuntimeError(str(cpl.status)))
        else:
            future.set_result(cpl)

    async def work(slot: Slot, buf: Any) -> None:
        for lba in slot:
            future = loop.create_future()
            submit_read(ns, buf, lba, 1, resolve, future)
            await future

    async with asyncio.TaskGroup() as group:
        for slot, buf in zip(slots, bufs, strict=True):
            group.create_task(work(slot, buf))


#: In the order of the table; the first is what the others are compared with.
CONTENDERS: dict[str, Contender] = {
    "floor": _floor,
    "read_batch": partial(_measured, "batch"),
    VERIFIED: partial(_measured, "batch", verify=True),
    "callback": partial(_measured, "callback"),
    "callback in Python": partial(_slots, _python_callbacks),
    "await": partial(_measured, "await"),
    "future per command": partial(_slots, _futures),
}
