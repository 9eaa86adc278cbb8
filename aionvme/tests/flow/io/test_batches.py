"""Batches: what was written is what is read, whatever the mode, the depth, the size and the thread."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

import aionvme
from aionvme.mock import MockController, NamespaceConfig
from aionvme.spec.status import StatusCode
from aionvme.tests.flow.support import READ, Rig, rig
from aionvme.tests.flow.threads.elsewhere import elsewhere

pytestmark = [pytest.mark.anyloop, pytest.mark.spread("loop"), pytest.mark.usefixtures("no_leaks")]

MiB = 1 << 20
MODES = ["poll", "interrupt", "adaptive"]
FAILED = StatusCode.UNRECOVERED_READ_ERROR


def noise(nbytes: int, seed: int = 1) -> np.ndarray[Any, Any]:
    """Bytes that no other seed has."""
    return np.random.default_rng(seed).integers(0, 256, nbytes, np.uint8)


def filled(r: Rig, data: np.ndarray[Any, Any]) -> aionvme.DmaBuffer:
    """DMA memory with these bytes in it."""
    buf = r.ctrlr.dma_alloc(data.nbytes)
    buf.array()[:] = data.view(np.uint8)
    return buf


async def scattered(
    r: Rig, qp: aionvme.IoQueuePair, count: int, nblocks: int, seed: int, **keywords: Any
) -> None:
    """Writes all of the namespace in a random order by one batch, and reads it in another by another."""
    size = 512 * nblocks
    data = noise(count * size, seed)
    order = np.random.default_rng(seed).permutation(count)
    with filled(r, data) as out, r.ctrlr.dma_alloc(data.nbytes) as back:
        result = await qp.write_batch(r.ns, out, order * nblocks, nblocks, **keywords)
        assert (result.nfailed, len(result)) == (0, count)
        again = np.random.default_rng(seed + 1).permutation(count)
        result = await qp.read_batch(r.ns, back, again * nblocks, nblocks, **keywords)
        assert result.nfailed == np.count_nonzero(result.statuses) == 0
        stored = np.empty((count, size), np.uint8)
        stored[order] = data.reshape(count, size)
        assert np.array_equal(back.array().reshape(count, size), stored[again])
        assert r.mock.peek(1, 0, count * nblocks) == stored.tobytes()


@pytest.mark.parametrize("completion", MODES)
@pytest.mark.parametrize("queue_depth", [None, 1, 7])
async def test_data(completion: str, queue_depth: int | None) -> None:
    """Every block is written and read where it belongs, however completions are noticed."""
    async with rig(MockController(timeout=0.5, size=MiB), depth=16, completion=completion) as r:
        await scattered(r, r.qp, 500, 1, 1, queue_depth=queue_depth)


@pytest.mark.parametrize("options", [{}, {"mdts": 1}, {"noiob": 24}, {"mdts": 0, "sgls": 1}])
async def test_commands_of_many_blocks(options: dict[str, Any]) -> None:
    """Commands longer than a page, than MDTS, or over boundaries, are all there."""
    async with rig(MockController(timeout=0.5, size=4 * MiB, **options), depth=16) as r:
        await scattered(r, r.qp, 60, 131, 2)


async def test_many_commands() -> None:
    """A hundred thousand reads by one call, each of a block of its own choice, bring what is there."""
    async with rig(MockController(timeout=0.5, size=8 * MiB)) as r:
        nblocks = r.ns.nblocks
        data = np.arange(nblocks, dtype=np.uint32).repeat(128)
        r.mock.poke(1, 0, data.tobytes())
        count = 100_000
        lbas = np.random.default_rng(3).integers(0, nblocks, count, np.uint32)
        with r.ctrlr.dma_alloc(count * 512) as back:
            before = r.mock.queue(1).doorbells
            result = await r.qp.read_batch(r.ns, back, lbas, 1)
            assert (len(result), result.nfailed) == (count, 0)
            assert np.array_equal(
                back.array(np.uint32).reshape(count, 128), lbas.repeat(128).reshape(count, 128)
            )
            assert r.mock.queue(1).opcodes == {READ: count}
            assert r.mock.queue(1).doorbells - before <= count


async def test_a_smaller_buffer_is_used_cyclically() -> None:
    """Commands beyond the buffer's end use it from its beginning; what is left of a command's length is not used."""
    async with rig(MockController(timeout=0.5, size=MiB)) as r:
        data = noise(4 * 1024)
        with filled(r, data) as out:
            await r.qp.write_batch(r.ns, memoryview(out)[: 3 * 1024 + 512], np.arange(0, 20, 2), 2)
        rows = data.reshape(4, 1024)
        assert r.mock.peek(1, 0, 20) == b"".join(rows[number % 3].tobytes() for number in range(10))


async def test_memory_of_the_callers() -> None:
    """Registered numpy memory is written from and read into where it is; unregistered, it is refused."""
    async with rig(MockController(timeout=0.5, size=MiB)) as r:
        data, back = noise(64 * 512), np.zeros(64 * 512, np.uint8)
        with pytest.raises(aionvme.UsageError, match="dma_register"):
            r.qp.write_batch(r.ns, data, np.arange(64), 1)
        async with r.ctrlr.dma_register(data), r.ctrlr.dma_register(back) as registration:
            await r.qp.write_batch(r.ns, data, np.arange(64), 1)
            batch = r.qp.read_batch(r.ns, back, np.arange(64), 1)
            registration.close()
            await batch
        assert np.array_equal(data, back)


async def test_one_that_fails() -> None:
    """A status is its command's alone: the others are executed, and the error has the result."""
    async with rig(MockController(timeout=0.5, size=MiB), depth=8) as r:
        r.mock.fail(FAILED, opcode=READ, nth=50)
        with pytest.raises(aionvme.MediaError, match="UNRECOVERED_READ_ERROR") as caught:
            await r.qp.read_batch(r.ns, r.buf, np.arange(100), 1)
        result = caught.value.result
        assert isinstance(result, aionvme.BatchResult)
        assert np.flatnonzero(result.statuses).tolist() == [49]
        assert aionvme.Status.from_field(int(result.statuses[49])).name == "UNRECOVERED_READ_ERROR"
        assert (result.nfailed, repr(result)) == (1, "BatchResult(nfailed=1)")
        r.mock.fail(FAILED, opcode=READ, nth=3, count=2)
        result = await r.qp.read_batch(r.ns, r.buf, np.arange(100), 1, check=False)
        assert (result.nfailed, result.statuses.nonzero()[0].tolist()) == (2, [2, 3])
        await r.works()


async def test_a_failure_that_nobody_awaits_is_reported() -> None:
    """A batch that failed and was dropped is told to the loop's exception handler, as any command is."""
    told: list[dict[str, Any]] = []
    async with rig() as r:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: told.append(context))
        try:
            r.mock.fail(FAILED, opcode=READ)
            r.qp.read_batch(r.ns, r.buf, np.arange(3), 1)
            await r.qp.wait_idle()
        finally:
            loop.set_exception_handler(None)
    assert [type(context["exception"]) for context in told] == [aionvme.MediaError]


async def test_others_are_not_kept_waiting() -> None:
    """While a batch takes all slots, single reads and timers of the same loop come to their end."""
    async with rig(MockController(timeout=0.5, size=MiB), depth=8) as r:
        lbas = np.random.default_rng(4).integers(0, r.ns.nblocks, 1_000_000)
        batch = r.qp.read_batch(r.ns, r.buf, lbas, 1)
        for _ in range(20):
            await r.read()
            await asyncio.sleep(0.001)
        assert not batch.done()
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch


async def test_it_is_awaited_like_any_command() -> None:
    """`gather`, `create_task`, `wait_for` and several awaits take it."""
    async with rig(MockController(timeout=0.5, size=MiB)) as r:
        lbas = np.arange(500)
        one = r.qp.read_batch(r.ns, r.buf, lbas, 1)
        two: asyncio.Task[Any] = asyncio.create_task(r.qp.write_batch(r.ns, r.buf, lbas, 1))
        results: list[Any] = [
            *await asyncio.gather(one, two, r.read(), r.qp.read_batch(r.ns, r.buf, lbas, 1))
        ]
        assert [type(result).__name__ for result in results] == [
            "BatchResult", "BatchResult", "Completion", "BatchResult",
        ]  # fmt: skip
        assert await asyncio.wait_for(one, 5) is one.result() is results[0]


async def test_manual() -> None:
    """On a manual queue pair a batch goes on whenever completions are processed."""
    async with rig(completion="manual", depth=4) as r:
        batch = r.qp.read_batch(r.ns, r.buf, np.arange(100), 1)
        while not batch.done():
            r.qp.process_completions()
        assert batch.result().nfailed == 0


async def test_two_queue_pairs_in_two_threads() -> None:
    """Batches on queue pairs of two loops in two threads write and read their own blocks at once."""
    namespaces = [NamespaceConfig(size=MiB), NamespaceConfig(size=MiB)]
    async with rig(MockController(timeout=0.5, namespaces=namespaces)) as r, elsewhere() as other:
        second = Rig(r.mock, r.ctrlr, r.qp, r.ctrlr.namespaces[2], r.buf)

        async def there() -> None:
            async with r.ctrlr.alloc_io_qpair(depth=16) as qp:
                data = noise(MiB, 7)
                with filled(r, data) as out, r.ctrlr.dma_alloc(MiB) as back:
                    await qp.write_batch(second.ns, out, np.arange(2048), 1)
                    await qp.read_batch(second.ns, back, np.arange(2048), 1)
                    assert np.array_equal(back.array(), data)

        await asyncio.gather(other.run(there()), scattered(r, r.qp, 2048, 1, 6))
        with pytest.raises(aionvme.WrongLoopError):
            await other.call(lambda: r.qp.read_batch(r.ns, r.buf, np.arange(3), 1))
