"""Owns the ways to drive a workload: a task for each slot, callbacks, or batches; each as a program would do it."""

from __future__ import annotations

import asyncio
from functools import partial
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import attrs

from aionvme.errors import NvmeError
from aionvme.perf.slot import Slot

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from aionvme.pci.dma import DmaBuffer
    from aionvme.perf.pattern import Pattern
    from aionvme.perf.tally import Pacer, Tally
    from aionvme.perf.walk import Walk
    from aionvme.perf.workload import Workload
    from aionvme.qpair.io import IoQueuePair
    from aionvme.qpair.namespace import Namespace

__all__ = ["Lane", "drive"]

# A batch takes about so long, so that what is under way at either end of a measurement does not count for much.
_BATCH_NS = 10_000_000
_BATCH_MOST = 1 << 16
# A batch that is verified has memory of its own for each command. Two take turns, so that the device reads one while
# the other is compared, a part at a time, as the loop has to turn for the device to go on.
_VERIFIED_BYTES = 2 << 20
_VERIFIED_TOGETHER = 2
_COMPARED_BYTES = 256 << 10


@attrs.define(eq=False)
class Lane:
    """One queue pair and what is sent on it.

    Attributes:
        workload, ns, tally: Of the run.
        qp, walk: Of its own.
        nblocks: Blocks of one command.
        pattern, pacer: Of the run, or None.
        bufs: A buffer for each slot; for each of the batches that are under way together one for what is read, and one
            for what is written.
        sending: Held while the device has a batch: the other one is compared, or waits.
    """

    workload: Workload
    ns: Namespace
    tally: Tally
    qp: IoQueuePair
    walk: Walk
    nblocks: int
    pattern: Pattern | None
    pacer: Pacer | None
    bufs: list[DmaBuffer] = attrs.field(factory=list)
    sending: asyncio.Lock = attrs.field(factory=asyncio.Lock, init=False)

    def buffer_sizes(self) -> list[int]:
        """Bytes of the buffers that it needs."""
        load = self.workload
        if load.mode != "batch":
            return [load.io_size] * load.depth
        commands = load.depth if self.pattern is None else self.verified_batch
        return [commands * load.io_size] * 2 * self.batches

    @property
    def batches(self) -> int:
        """How many are under way together."""
        return 1 if self.pattern is None else _VERIFIED_TOGETHER

    @property
    def verified_batch(self) -> int:
        """Commands of a batch that is verified."""
        load = self.workload
        return max(2 * load.depth, _VERIFIED_BYTES // load.io_size)

    def slots(self) -> Iterator[Slot]:
        """A slot for each command that is under way at once."""
        for buf in self.bufs:
            yield Slot(
                self.tally,
                self.walk,
                self.qp,
                self.ns,
                buf,
                self.nblocks,
                mixed=self.workload.mixed,
                pattern=self.pattern,
                pacer=self.pacer,
            )


async def drive(lanes: list[Lane]) -> None:
    """Drives a workload until its tally is stopped; ends when nothing is under way."""
    mode = lanes[0].workload.mode
    if mode == "batch":
        await _all([_batches(lane, number) for lane in lanes for number in range(lane.batches)])
        return
    slots = [(slot, lane) for lane in lanes for slot in lane.slots()]
    try:
        if mode == "callback":
            await _callbacks([slot for slot, _ in slots], lanes[0].tally)
        else:
            bufs = [buf for lane in lanes for buf in lane.bufs]
            task = _task_for(lanes[0])
            await _all([task(slot, lane, buf) for (slot, lane), buf in zip(slots, bufs, strict=True)])
    finally:
        for slot, _ in slots:
            slot.release()


async def _all(coros: list[Any]) -> None:
    async with asyncio.TaskGroup() as group:
        for coro in coros:
            group.create_task(coro)


async def _callbacks(slots: list[Slot], tally: Tally) -> None:
    ended = tally.when_ended(asyncio.get_running_loop())
    for slot in slots:
        slot.start()
    await ended


# -- a task for each slot ----------------------------------------------------------------------------------------------


def _task_for(lane: Lane) -> Any:
    if lane.pacer is not None:
        return _paced
    return _mixed if lane.workload.mixed else _alike


async def _alike(slot: Slot, lane: Lane, buf: DmaBuffer) -> None:
    ns, nblocks = lane.ns, lane.nblocks
    command = lane.qp.write if slot.writing else lane.qp.read
    try:
        for lba in slot:
            await command(ns, buf, lba, nblocks)
    except NvmeError as error:
        slot.failed(error)


async def _mixed(slot: Slot, lane: Lane, buf: DmaBuffer) -> None:
    ns, nblocks, read, write = lane.ns, lane.nblocks, lane.qp.read, lane.qp.write
    try:
        for lba in slot:
            await (write if slot.writing else read)(ns, buf, lba, nblocks)
    except NvmeError as error:
        slot.failed(error)


async def _paced(slot: Slot, lane: Lane, buf: DmaBuffer) -> None:
    ns, nblocks, read, write = lane.ns, lane.nblocks, lane.qp.read, lane.qp.write
    assert lane.pacer is not None
    try:
        while True:
            await _due(lane.pacer)
            lba = next(slot, None)
            if lba is None:
                return
            await (write if slot.writing else read)(ns, buf, lba, nblocks)
            slot.finish()
    except NvmeError as error:
        slot.failed(error)


async def _due(pacer: Pacer) -> None:
    due = asyncio.get_running_loop().create_future()
    if not pacer.wait(partial(due.set_result, None)):
        await due


# -- batches -----------------------------------------------------------------------------------------------------------


async def _batches(lane: Lane, number: int) -> None:
    """One batch after another, each as long as one that takes some milliseconds."""
    bufs = lane.bufs[2 * number : 2 * number + 2]
    tally, count = lane.tally, min(4 * lane.workload.depth, _BATCH_MOST)
    if lane.pattern is not None:
        count = lane.verified_batch
    while tally.running:
        if lane.pacer is not None:
            await _due(lane.pacer)
            count = 1 + lane.pacer.take_more(
                _BATCH_MOST - 1 if lane.pattern is None else lane.verified_batch - 1
            )
        began = perf_counter_ns()
        if not await _batch(lane, bufs, count):
            return
        if lane.pacer is None and lane.pattern is None:
            took = max(perf_counter_ns() - began, 1)
            count = max(lane.workload.depth, min(2 * count, count * _BATCH_NS // took, _BATCH_MOST))


async def _batch(lane: Lane, bufs: list[DmaBuffer], count: int) -> bool:
    """One batch, of which some commands may read and some write; whether it went well."""
    if lane.workload.mixed:
        reads, writes = lane.walk.take_mixed(count)
    else:
        lbas = lane.walk.take(count)
        reads, writes = (lbas, lbas[:0]) if lane.workload.reads else (lbas[:0], lbas)
    halves = []
    if len(reads):
        halves.append(_read(lane, bufs[0], reads))
    if len(writes):
        halves.append(_write(lane, bufs[1], writes))
    if len(halves) == 1:
        await halves[0]
    else:
        await _all(halves)
    return lane.tally.failed == 0


async def _read(lane: Lane, buf: DmaBuffer, lbas: NDArray[np.uint64]) -> None:
    if lane.pattern is not None:
        lane.pattern.spoil(buf)
    async with lane.sending:
        good = await _send(lane, lane.qp.read_batch, buf, lbas)
    if good and lane.pattern is not None:
        await _compare(lane, lane.pattern, memoryview(buf), lbas)


async def _compare(lane: Lane, pattern: Pattern, data: memoryview, lbas: NDArray[np.uint64]) -> None:
    size = lane.workload.io_size
    # No more than what the device has to do meanwhile.
    count = max(min(_COMPARED_BYTES // size, lane.workload.depth), 1)
    with data:
        for first in range(0, len(lbas), count):
            part = lbas[first : first + count]
            with data[first * size : (first + count) * size] as there:
                wrong = pattern.wrong_of(there, part, lane.nblocks)
            lane.tally.note_verified(len(part) * lane.nblocks, wrong)
            await asyncio.sleep(0)


async def _write(lane: Lane, buf: DmaBuffer, lbas: NDArray[np.uint64]) -> None:
    if lane.pattern is not None:
        lane.pattern.fill_of(buf, lbas, lane.nblocks)
    await _send(lane, lane.qp.write_batch, buf, lbas)


async def _send(lane: Lane, command: Any, buf: DmaBuffer, lbas: NDArray[np.uint64]) -> bool:
    """Sends a batch and counts it; whether all of it went well."""
    tally, count = lane.tally, len(lbas)
    tally.note_submitted(count)
    try:
        await command(lane.ns, buf, lbas, lane.nblocks, queue_depth=lane.workload.depth)
    except NvmeError as error:
        result = getattr(error, "result", None)
        failed = count if result is None else result.nfailed
        tally.note_ended(count - failed, failed, error)
        return False
    tally.note_ended(count)
    return True
