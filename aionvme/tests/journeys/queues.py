"""Owns the journeys of queue pairs: depth, several at once, every way to learn of completions, callbacks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

import aionvme
from aionvme.tests.journeys.device import Device, MiB, fill, pattern, stale


async def more_than_the_depth(device: Device) -> None:
    """Many more commands than the queue pair has slots all complete, each with its own data."""
    async with device.connect() as ctrlr, ctrlr.alloc_io_qpair(depth=4) as qp:
        await _write_and_read_one_by_one(device, ctrlr, qp, device.blocks(11 * MiB))


async def _write_and_read_one_by_one(
    device: Device, ctrlr: aionvme.Controller, qp: aionvme.IoQueuePair, lba: int
) -> None:
    """`device.many` writes of a block each, all at once; then their reads."""
    ns, size, many = ctrlr.namespaces[1], device.block_size, device.many
    data = pattern(6000 + lba, many * size)
    with ctrlr.dma_alloc(len(data)) as out, stale(ctrlr, len(data)) as back:
        fill(out, data)
        order = [(n * 7919) % many for n in range(many)]
        await asyncio.gather(*(qp.write(ns, memoryview(out)[n * size :], lba + n, 1) for n in order))
        await asyncio.gather(*(qp.read(ns, memoryview(back)[n * size :], lba + n, 1) for n in order))
        assert bytes(back) == data
    device.record_blocks(lba, data)


async def full_is_an_error_on_request(device: Device) -> None:
    """`when_full="error"` raises when no slot is free, and takes a command again when one is."""
    async with device.connect() as ctrlr, ctrlr.alloc_io_qpair(depth=2) as qp:
        buf = ctrlr.dma_alloc(4096)
        ns = ctrlr.namespaces[1]
        taken = [qp.submit_read(ns, buf, 0, 1, when_full="error") for _ in range(2)]
        with pytest.raises(aionvme.QueueFullError):
            qp.submit_read(ns, buf, 0, 1, when_full="error")
        await asyncio.gather(*taken)
        await qp.submit_read(ns, buf, 0, 1, when_full="error")


async def several_queue_pairs(device: Device) -> None:
    """Queue pairs work side by side: what one writes another reads, and closing one leaves the others alone."""
    modes = ("poll", "interrupt", "adaptive", "poll")
    async with device.connect() as ctrlr:
        ns, size = ctrlr.namespaces[1], device.block_size
        pairs = [await ctrlr.alloc_io_qpair(depth=8, completion=mode) for mode in modes]
        assert sorted(qp.qid for qp in pairs) == [1, 2, 3, 4]
        per = max(device.many // 8, 8)
        total = per * len(pairs)
        lba = device.blocks(12 * MiB)
        data = pattern(7000, total * size)
        out, back = fill(ctrlr.dma_alloc(len(data)), data), stale(ctrlr, len(data))

        async def each(write: bool) -> None:
            await asyncio.gather(
                *(
                    pairs[n % len(pairs)].write(ns, memoryview(out)[n * size :], lba + n, 1)
                    if write
                    else pairs[(n + 1) % len(pairs)].read(ns, memoryview(back)[n * size :], lba + n, 1)
                    for n in range(total)
                )
            )

        await each(write=True)
        await each(write=False)
        assert bytes(back) == data
        assert [qp.counters["completions"] for qp in pairs] == [2 * per] * len(pairs)
        await pairs.pop(1).close()
        fill(back, bytes(len(data)))
        await each(write=False)
        assert bytes(back) == data
        for qp in pairs:
            await qp.close()
        async with ctrlr.alloc_io_qpair() as again:
            assert again.qid == 1
    device.record_blocks(lba, data)


async def two_loops_in_two_threads(device: Device) -> None:
    """Each loop has its own queue pair, and reads what the other wrote, before and after a reset."""
    async with device.connect() as ctrlr:
        ns, size = ctrlr.namespaces[1], device.block_size
        half = max(device.many // 4, 16)
        lba = device.blocks(31 * MiB)
        data = pattern(7500, 2 * half * size)
        out, back = fill(ctrlr.dma_alloc(len(data)), data), stale(ctrlr, len(data))

        async def move(qp: aionvme.IoQueuePair, first: int, write: bool) -> None:
            move_one = qp.write if write else qp.read
            buf = memoryview(out if write else back)
            await asyncio.gather(
                *(move_one(ns, buf[n * size :], lba + n, 1) for n in range(first, first + half))
            )

        async def away(first: int, write: bool) -> int:
            async with ctrlr.alloc_io_qpair(depth=8) as qp:
                assert qp.get_loop() is asyncio.get_running_loop()
                await move(qp, first, write)
                return qp.counters["completions"]

        async def stay(qp: aionvme.IoQueuePair) -> None:
            await move(qp, half, True)
            await qp.flush(ns)

        async with ctrlr.alloc_io_qpair(depth=8) as qp:
            completions, _ = await asyncio.gather(_in_another_loop(away(0, True)), stay(qp))
            assert completions == half
            await ctrlr.reset()
            completions, _ = await asyncio.gather(_in_another_loop(away(half, False)), move(qp, 0, False))
            assert completions == half
        assert bytes(back) == data
    device.record_blocks(lba, data)


async def _in_another_loop(coro: Coroutine[Any, Any, int]) -> int:
    """What a coroutine gives that runs in a loop of its own, of the same kind, in a thread of its own."""
    kind = type(asyncio.get_running_loop())

    def live() -> int:
        with asyncio.Runner(loop_factory=kind) as runner:
            return runner.run(coro)

    return await asyncio.to_thread(live)


async def polled(device: Device) -> None:
    """A queue pair that polls sees many commands through."""
    await _by_completion(device, "poll", device.blocks(13 * MiB))


async def by_interrupt(device: Device) -> None:
    """A queue pair that waits for interrupts gets them: hardly one completion is found by looking."""
    counters = await _by_completion(device, "interrupt", device.blocks(13 * MiB + MiB // 2))
    assert counters["missed_interrupts"] <= 1, counters


async def adaptive(device: Device) -> None:
    """A queue pair that polls, then waits for the interrupt, sees bursts and lone commands through."""
    await _by_completion(device, "adaptive", device.blocks(14 * MiB))


async def _by_completion(device: Device, completion: str, lba: int) -> dict[str, int]:
    async with device.connect() as ctrlr, ctrlr.alloc_io_qpair(depth=16, completion=completion) as qp:
        assert qp.completion == completion
        ns = ctrlr.namespaces[1]
        with ctrlr.dma_alloc(4096) as buf:
            for _ in range(device.many // 8):
                await qp.read(ns, buf, 0, 1)
        await _write_and_read_one_by_one(device, ctrlr, qp, lba)
        counters: dict[str, int] = qp.counters
        return counters


async def manual(device: Device) -> None:
    """A queue pair that is reaped by hand completes nothing by itself, and all by `process_completions`."""
    async with device.connect() as ctrlr, ctrlr.alloc_io_qpair(depth=8, completion="manual") as qp:
        ns, size = ctrlr.namespaces[1], device.block_size
        lba, count = device.blocks(14 * MiB + MiB // 2), max(device.many // 8, 20)
        data = pattern(8000, count * size)
        told: list[int] = []

        def on_done(number: int, cpl: aionvme.Completion) -> None:
            assert not cpl.status
            told.append(number)

        def reap() -> None:
            reaped = 0
            while reaped < count:
                reaped += qp.process_completions()

        with ctrlr.dma_alloc(len(data)) as out, stale(ctrlr, len(data)) as back:
            fill(out, data)
            for n in range(count):
                qp.submit_write(ns, memoryview(out)[n * size :], lba + n, 1, on_done, n)
            await asyncio.sleep(0)
            assert told == []
            # As a callback of the loop, and within a task.
            asyncio.get_running_loop().call_soon(reap)
            await asyncio.sleep(0)
            assert sorted(told) == list(range(count))
            for n in range(count):
                qp.submit_read(ns, memoryview(back)[n * size :], lba + n, 1, on_done, count + n)
            reap()
            # What was reaped within a task is told in the next turn of the loop.
            await asyncio.sleep(0)
            assert sorted(told) == list(range(2 * count))
            assert bytes(back) == data
    device.record_blocks(lba, data)


async def callbacks(device: Device) -> None:
    """Every callback is called once with its argument and completion, though another one raises."""
    async with device.connect() as ctrlr, ctrlr.alloc_io_qpair(depth=8) as qp:
        ns, size = ctrlr.namespaces[1], device.block_size
        lba, count = device.blocks(15 * MiB), max(device.many // 8, 20)
        data = pattern(9000, count * size)
        reported: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: reported.append(context))
        told: list[tuple[int, int]] = []

        def on_done(number: int, cpl: aionvme.Completion) -> None:
            told.append((number, cpl.cid))
            if number == 5:
                raise LookupError("on purpose")

        with ctrlr.dma_alloc(len(data)) as buf:
            fill(buf, data)
            requests = [
                qp.submit_write(ns, memoryview(buf)[n * size :], lba + n, 1, on_done, n) for n in range(count)
            ]
            requests.append(qp.submit_flush(ns, on_done, count))
            await asyncio.gather(*requests)
            assert sorted(number for number, _ in told) == list(range(count + 1))
            assert all(requests[number].cid == cid for number, cid in told)
            assert [type(context["exception"]) for context in reported] == [LookupError]
        loop.set_exception_handler(None)
    device.record_blocks(lba, data)


async def a_callback_submits_the_next(device: Device) -> None:
    """A chain of commands, each submitted by the callback of the one before, runs to its end."""
    async with device.connect() as ctrlr, ctrlr.alloc_io_qpair() as qp:
        buf = ctrlr.dma_alloc(4096)
        ns = ctrlr.namespaces[1]
        done = asyncio.get_running_loop().create_future()

        def on_done(left: int, cpl: aionvme.Completion) -> None:
            if cpl.status or not left:
                done.set_result(cpl.status)
            else:
                qp.submit_read(ns, buf, left, 1, on_done, left - 1)

        qp.submit_read(ns, buf, 0, 1, on_done, device.many)
        assert not await done
        assert qp.counters["completions"] == device.many + 1


WRITING = (
    more_than_the_depth,
    several_queue_pairs,
    two_loops_in_two_threads,
    polled,
    by_interrupt,
    adaptive,
    manual,
    callbacks,
)
OTHERS = (full_is_an_error_on_request, a_callback_submits_the_next)
