"""Compare and Write as one: both or nothing, whatever else the queue does."""

from __future__ import annotations

import asyncio
import itertools

import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.spec.status import StatusCode
from aionvme.tests.flow.io.spoken import OK, alloc, code, noise, say, spelled
from aionvme.tests.flow.support import fetched, rig

pytestmark = [pytest.mark.anyloop, pytest.mark.spread("loop"), pytest.mark.usefixtures("no_leaks")]


@spelled
@pytest.mark.parametrize("nblocks", [1, 8, 40])
async def test_compare_and_write(spelling: str, nblocks: int) -> None:
    """Where the blocks are as expected they are written; where they are not, nothing is, and the status says so."""
    async with rig(MockController(timeout=0.5, size=1 << 20)) as r:
        old, new = noise(512 * nblocks, 1), noise(512 * nblocks, 2)
        r.mock.poke(1, 3, old)
        expected, wanted = alloc(r, old), alloc(r, new)
        assert code(await say(spelling, r.qp, "compare_and_write", r.ns, expected, wanted, 3, nblocks)) == OK
        assert r.mock.peek(1, 3, nblocks) == new
        cpl = await say(spelling, r.qp, "compare_and_write", r.ns, expected, expected, 3, nblocks)
        assert code(cpl) == StatusCode.COMPARE_FAILURE
        assert r.mock.peek(1, 3, nblocks) == new
        await r.works()


@pytest.mark.parametrize("depth", [2, 3, 5])
async def test_pairs_among_others(depth: int) -> None:
    """Pairs and reads in turn through a queue that is always full: each pair is adjacent, else the mock refuses it."""
    async with rig(MockController(timeout=0.5, size=1 << 20), depth=depth) as r:
        steps = [alloc(r, noise(512, n)) for n in range(30)]
        r.mock.poke(1, 9, bytes(steps[0]))
        requests: list[aionvme.Request] = []
        for before, after in itertools.pairwise(steps):
            requests.append(r.qp.compare_and_write(r.ns, before, after, 9, 1))
            requests += r.reads(2)
        await asyncio.gather(*requests)
        assert r.mock.peek(1, 9) == bytes(steps[-1])


async def test_a_pair_that_waits_can_be_cancelled() -> None:
    """With one slot free it waits for two; cancelled then, neither half is sent, and what waited behind it goes on."""
    async with rig(MockController(timeout=0.5, size=1 << 20), depth=2) as r:
        with r.mock.hold(qid=1):
            held = r.read()
            await fetched(r.mock, 1)
            pair = r.qp.compare_and_write(r.ns, r.buf, r.buf, 9, 1)
            after = r.read()
            with pytest.raises(aionvme.QueueFullError):
                r.qp.submit_compare_and_write(r.ns, r.buf, r.buf, 9, 1, when_full="error")
            assert pair.cid is None
            pair.cancel()
            with pytest.raises(asyncio.CancelledError):
                await pair
        await asyncio.gather(held, after)
        assert r.mock.queue(1).fetched == 2


async def test_a_pair_in_flight_can_be_cancelled() -> None:
    """Both halves are given up before the memory goes back, and nothing is written or everything."""
    async with rig(MockController(timeout=0.5, size=1 << 20), depth=8, abort_timeout=2) as r:
        new = noise(512)
        wanted = alloc(r, new)
        with r.mock.hold(qid=1):
            pair = r.qp.compare_and_write(r.ns, r.ctrlr.dma_alloc(512), wanted, 9, 1)
            await fetched(r.mock, 2)
            pair.cancel()
            with pytest.raises(asyncio.CancelledError):
                await pair
        assert r.qp.outstanding == 0
        assert r.mock.peek(1, 9) in (bytes(512), new)
        wanted.close()
        await r.works()


async def test_a_fused_pair_is_not_split() -> None:
    """Longer than a command, over a boundary, or on a queue of depth 1 it is refused by the call."""
    async with rig(MockController(timeout=0.5, size=1 << 20, mdts=1, noiob=10), depth=2) as r:
        buf = r.ctrlr.dma_alloc(1 << 16)
        for lba, nblocks in ((0, 17), (9, 2)):
            with pytest.raises(aionvme.UsageError, match="not split"):
                r.qp.compare_and_write(r.ns, buf, buf, lba, nblocks)
        await r.qp.compare_and_write(r.ns, buf, buf, 0, 10)
    async with rig(depth=1) as r:
        with pytest.raises(aionvme.UsageError, match="depth of 2"):
            r.qp.compare_and_write(r.ns, r.buf, r.buf, 0, 1)
