"""How often the doorbell is rung: once for all that a turn of the loop posted, or at once with each command."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.qpair import poller
from aionvme.tests.flow.support import fetched, rig, until

pytestmark = [pytest.mark.anyloop, pytest.mark.usefixtures("no_leaks")]


@pytest.mark.parametrize(
    ("completion", "batching", "rung"),
    [
        ("poll", True, 1),
        ("poll", False, 8),
        ("poll", None, 1),
        ("interrupt", True, 1),
        ("interrupt", False, 8),
        ("adaptive", None, 1),
        ("manual", True, 0),
        ("manual", False, 8),
        ("manual", None, 8),
    ],
)
async def test_doorbells_of_eight_commands(completion: str, batching: bool | None, rung: int) -> None:
    """Eight commands that were submitted in one turn ring once by the next one, or eight times before it."""
    async with rig() as r, r.ctrlr.alloc_io_qpair(completion=completion, batching=batching) as qp:
        with r.mock.hold(qid=2):
            requests = [qp.submit_read(r.ns, r.buf, lba, 1) for lba in range(8)]
            assert qp.counters["doorbells"] == (8 if rung == 8 else 0)
            await asyncio.sleep(0)
            assert qp.counters["doorbells"] == rung
            qp.process_completions()
            assert qp.counters["doorbells"] == max(rung, 1)
            await fetched(r.mock, 8, qid=2)
        await until(lambda: qp.process_completions() >= 0 and all(request.done() for request in requests))


async def test_one_by_one_a_lone_command_rings_once() -> None:
    """Awaited one by one, commands ring once each, batched or not."""
    for batching in (True, False):
        async with rig() as r, r.ctrlr.alloc_io_qpair(batching=batching) as qp:
            for _ in range(20):
                await qp.read(r.ns, r.buf, 0, 1)
            assert qp.counters["doorbells"] == 20


@pytest.mark.parametrize("batching", [True, False])
async def test_fused_pair_is_under_one_doorbell(batching: bool) -> None:
    """The halves of a fused pair are announced together in either case: apart they would be refused."""
    async with (
        rig(MockController(timeout=0.5, size=1 << 20)) as r,
        r.ctrlr.alloc_io_qpair(batching=batching) as qp,
    ):
        await asyncio.gather(
            *(qp.compare_and_write(r.ns, r.buf, r.buf, lba, 1) for lba in range(8)),
        )
        assert qp.counters["completions"] == 16
        assert qp.counters["doorbells"] == (1 if batching else 8)


async def test_what_waited_for_a_slot_rings_with_the_turn() -> None:
    """Without batching, too, commands that get their slots from completions are announced together."""
    async with rig() as r, r.ctrlr.alloc_io_qpair(depth=4, batching=False) as qp:
        with r.mock.hold(qid=2):
            requests = [qp.read(r.ns, r.buf, lba, 1) for lba in range(8)]
            await fetched(r.mock, 4, qid=2)
        await asyncio.gather(*requests)
        assert 5 <= qp.counters["doorbells"] <= 8


@pytest.mark.parametrize("batching", [2, "yes"])
async def test_batching_that_cannot_be(batching: object) -> None:
    """Anything but True, False and None is refused, and takes no identifier."""
    async with rig() as r:
        with pytest.raises(aionvme.UsageError, match="batching is True, False or None"):
            await r.ctrlr.alloc_io_qpair(batching=batching)  # type: ignore[arg-type]
        async with r.ctrlr.alloc_io_qpair() as qp:
            assert qp.qid == 2


# -- "manual" where nobody polls ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("debug", "polled", "told"), [(True, False, 1), (True, True, 0), (False, False, 0)])
async def test_commands_where_nobody_polls(
    debug: bool, polled: bool, told: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In the loop's debug mode it is said, once, that a "manual" queue pair has commands and is not polled."""
    monkeypatch.setattr(poller, "UNPOLLED_SECONDS", 0.02)
    caplog.set_level(logging.WARNING, "aionvme")
    loop = asyncio.get_running_loop()
    loop.set_debug(debug)
    async with rig() as r, r.ctrlr.alloc_io_qpair(completion="manual") as qp:
        loop.set_debug(False)
        waiting: asyncio.Future[Any] = asyncio.gather(*(qp.read(r.ns, r.buf, lba, 1) for lba in range(2)))
        later = loop.create_future()
        loop.call_later(0.06, later.set_result, None)
        while not later.done():
            if polled:
                qp.process_completions()
            await asyncio.sleep(0)
        assert waiting.done() == polled
        assert [record.message for record in caplog.records] == [
            "<IoQueuePair 2, depth 256, manual>: has had a command for 0.02 s, "
            "and nobody calls process_completions()"
        ] * told
        await until(lambda: qp.process_completions() >= 0 and waiting.done())
        await waiting
