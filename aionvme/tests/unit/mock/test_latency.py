"""A mock whose commands take their time: each is late by as much, beside the others, and none is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

import aionvme
from aionvme.errors import AddressError, UsageError
from aionvme.mock import MockController
from aionvme.tests.unit.mock.raw import CC, Raw

Make = Callable[..., Raw]
FLUSH, READ = 0x00, 0x02
LONG = 1000.0


def test_commands_are_late_beside_one_another(make: Make) -> None:
    """All are fetched at once, none before its time, each after it, and in their order."""
    raw = make(latency=0.05)
    queue = raw.create(1, 32)
    began = time.monotonic()
    for cid in range(20):
        queue.post(READ, cid=cid, nsid=1, prp1=raw.page_iova)
    queue.ring()
    assert raw.mock.step() == 20
    assert time.monotonic() - began > 0.05 or queue.reap() == []
    found = queue.wait(20)
    took = time.monotonic() - began
    assert [cqe.cid for cqe in found] == list(range(20))
    assert not any(cqe.status for cqe in found)
    # Far less than one after another would take.
    assert 0.05 <= took < 20 * 0.05


def test_what_is_read_is_what_is_there_when_it_is_due(make: Make) -> None:
    """A command is executed at the end of its time, and not a moment before it."""
    raw = make(latency=0.05, lba=512)
    queue = raw.create(1)
    queue.post(READ, cid=1, nsid=1, prp1=raw.page_iova)
    queue.ring()
    raw.mock.step()
    raw.mock.poke(1, 0, b"late" * 128)
    queue.wait()
    assert raw.data(4) == b"late"


def test_admin_commands_are_in_time(make: Make) -> None:
    """The controller is managed as ever: nothing on the admin queue is late."""
    raw = make(latency=LONG)
    raw.create(1)
    began = time.monotonic()
    assert raw.identify(1)[0].status == 0
    assert time.monotonic() - began < LONG / 2


def test_rules_come_first(make: Make) -> None:
    """What is held or failed by a rule is not late as well."""
    raw = make(latency=LONG)
    queue = raw.create(1)
    raw.mock.fail(0x06, opcode=FLUSH)
    assert queue.run(FLUSH, nsid=1).status == 0x06
    with raw.mock.hold(opcode=READ) as held:
        queue.post(READ, cid=3, nsid=1, prp1=raw.page_iova)
        queue.ring()
        raw.mock.step()
        assert held.commands == [(1, 3, READ)]
    assert queue.wait()[0].cid == 3


def test_a_late_command_can_be_aborted(make: Make) -> None:
    """Abort takes it out, and it is not executed afterwards."""
    raw = make(latency=LONG)
    queue = raw.create(1)
    queue.post(READ, cid=7, nsid=1, prp1=raw.page_iova)
    queue.ring()
    raw.mock.step()
    assert raw.admin.run(0x08, cdw10=1 | 7 << 16).status == 0
    assert (queue.wait()[0].code, raw.mock.counters.reads) == (0x07, 0)


def test_a_reset_forgets_what_is_late(make: Make) -> None:
    """A controller that is enabled anew completes nothing of before, and is late again."""
    raw = make(latency=0.01)
    queue = raw.create(1)
    queue.post(READ, cid=7, nsid=1, prp1=raw.page_iova)
    queue.ring()
    raw.mock.step()
    raw.function.write32(CC, 0)
    raw.enable()
    queue = raw.create(1)
    time.sleep(0.02)
    raw.mock.step()
    assert queue.reap() == []
    assert queue.run(READ, nsid=1, prp1=raw.page_iova).status == 0


@pytest.mark.parametrize("drive", ["thread", "loop"])
def test_nobody_has_to_ring_for_it(drive: str) -> None:
    """What drives the mock stays awake until it is done, though no doorbell rings again."""

    async def main() -> float:
        with MockController(drive=drive, latency=0.02) as mock:
            async with aionvme.connect(mock) as ctrlr, ctrlr.alloc_io_qpair(completion="interrupt") as qp:
                with ctrlr.dma_alloc(512) as buf:
                    began = time.monotonic()
                    await asyncio.wait_for(qp.read(ctrlr.namespaces[1], buf, 0, 1), 20)
                    return time.monotonic() - began

    assert 0.02 <= asyncio.run(main()) < 10


def test_the_option() -> None:
    """It is seconds, in an address as well; what is no time is refused."""
    with MockController.from_options({"latency": "0.00008"}) as mock:
        assert mock.options.media.latency == 80e-6
    with pytest.raises(UsageError, match="latency must be from 0"):
        MockController(latency=-1)
    with pytest.raises(AddressError, match="latency"):
        MockController.from_options({"latency": "soon"})
