"""Rings as the device sees them: wrapping, phase, command identifiers, and what is foreign.

The mock is stepped.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import aionvme
from aionvme.mock import MockController
from aionvme.tests.flow.support import fetched, rig

pytestmark = pytest.mark.anyloop


@pytest.mark.parametrize("depth", [1, 2, 3, 7, 8, 9])
async def test_rings_wrap(depth: int) -> None:
    """Many times round, each command completes once, no doorbell is out of range.

    The heads are where they must be.
    """
    async with rig(MockController(timeout=0.5), depth=depth) as r:
        told: Counter[int] = Counter()
        count = 7 * (depth + 1) + 3
        for number in range(count):
            r.qp.submit_read(r.ns, r.buf, number, 1, lambda arg, _cpl: told.update([arg]), number)
        await r.read()
        assert told == Counter(range(count))
        state = r.mock.queue(1)
        assert (state.fetched, state.posted) == (count + 1, count + 1)
        assert (state.head, state.cq_tail) == ((count + 1) % (depth + 1),) * 2


async def test_identifiers_change_with_each_use() -> None:
    """A slot's next command has another identifier.

    All 65535 are used before one comes again, FFFFh never.
    """
    async with rig(depth=1) as r:
        cids = []
        for _ in range(300):
            request = r.read()
            await request
            cids.append(request.cid)
        assert len(set(cids)) == 300


async def test_identifiers_of_a_deep_queue() -> None:
    """Identifiers of commands in flight are unique at any depth.

    The slot's number is below the generation.
    """
    async with rig(depth=300) as r:
        for _ in range(5):
            with r.mock.hold(qid=1):
                before = r.mock.queue(1).fetched
                requests = r.reads(300)
                await fetched(r.mock, before + 300)
                cids = {request.cid for request in requests}
                assert len(cids) == 300
                assert {cid & 0x1FF for cid in cids if cid is not None} == set(range(300))
                assert 0xFFFF not in cids
            for request in requests:
                await request


async def test_completions_in_any_order_find_their_commands() -> None:
    """Completions are told apart by their identifiers: each buffer has the block that its command read."""

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.permutations(range(6)))
    def orders(order: list[int]) -> None:
        found.append(order)

    found: list[list[int]] = []
    orders()
    async with rig(depth=6) as r:
        for lba in range(6):
            r.mock.poke(1, lba, bytes([lba + 1]) * 512)
        for order in found:
            bufs = [r.ctrlr.dma_alloc(512) for _ in range(6)]
            # One rule for each block, so that they can be let go one by one in this order.
            before = r.mock.queue(1).fetched
            helds, requests = [], []
            for lba in range(6):
                held = r.mock.hold(qid=1, count=1)
                requests.append(r.qp.read(r.ns, bufs[lba], lba, 1))
                r.qp.process_completions()
                await fetched(r.mock, before + lba + 1)
                helds.append(held)
            for lba in order:
                helds[lba].release()
                await requests[lba]
                assert bytes(bufs[lba]) == bytes([lba + 1]) * 512
                assert sum(request.done() for request in requests) == order.index(lba) + 1


async def test_completion_of_an_earlier_use_of_a_slot_is_foreign() -> None:
    """Depth 1: the second command has the first one's slot.

    A completion for the first is not taken for the second's.
    """
    async with rig(depth=1) as r:
        first = r.read()
        await first
        held = r.mock.hold(qid=1)
        second = r.read()
        await fetched(r.mock, 2)
        assert first.cid is not None
        r.mock.inject_cqe(1, cid=first.cid)
        with pytest.raises(aionvme.ControllerResetError):
            await second
        assert r.qp.counters["foreign"] == 1
        held.stop()
