"""A controller that comes back from a reset with other limits, as after an update of its firmware."""

from __future__ import annotations

import asyncio

import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.tests.flow.support import IDENTIFY, READ, fetched, rig, until
from aionvme.tests.flow.threads.elsewhere import elsewhere, there

pytestmark = [pytest.mark.anyloop, pytest.mark.spread("loop"), pytest.mark.usefixtures("no_leaks")]

KiB = 1 << 10


def _mock(**options: int) -> MockController:
    return MockController(timeout=0.5, size=1 << 20, **options)  # type: ignore[arg-type]


async def test_smaller_transfers() -> None:
    """Transfers that are called after the reset, and those that waited through it, are split at the new limit."""
    async with rig(_mock(mdts=128 * KiB), depth=2) as r:
        buf = r.ctrlr.dma_alloc(128 * KiB)
        await r.qp.read(r.ns, buf, 0, 256)
        assert r.mock.queue(1).opcodes[READ] == 1
        held = r.mock.hold(qid=1)
        taken = r.reads(2)
        await fetched(r.mock, 3)
        waiting = r.qp.read(r.ns, buf, 0, 256)
        held.stop()
        r.mock.change(mdts=16 * KiB)
        await r.ctrlr.reset()
        await asyncio.gather(*taken, return_exceptions=True)
        assert not (await waiting).status
        assert r.mock.queue(1).opcodes[READ] == 3 + 8
        assert not (await r.qp.read(r.ns, buf, 0, 256)).status
        assert r.mock.queue(1).opcodes[READ] == 3 + 16
        assert r.ctrlr.max_transfer == 16 * KiB


async def test_larger_transfers() -> None:
    """A larger limit is used as far as there is room for the lists of pages, and wholly by a new queue pair."""
    async with rig(_mock(mdts=16 * KiB, sgls=0), depth=2) as r:
        buf = r.ctrlr.dma_alloc(288 * KiB)
        r.mock.change(mdts=512 * KiB)
        await r.ctrlr.reset()
        await r.qp.read(r.ns, buf, 0, 576)
        # A list has 64 bytes at least, which name eight pages.
        assert r.mock.queue(1).opcodes[READ] == 9
        async with r.ctrlr.alloc_io_qpair() as qp:
            await qp.read(r.ns, buf, 0, 576)
            assert r.mock.queue(2).opcodes[READ] == 1


async def test_other_sgls() -> None:
    """SGLs that had to be of whole dwords may be of any bytes when the controller says so after the reset."""
    async with rig(_mock(sgls=2)) as r:
        parts = [memoryview(r.buf)[:254], memoryview(r.buf)[256:510], memoryview(r.buf)[510:512]]
        parts += [memoryview(r.ctrlr.dma_alloc(2))]
        with pytest.raises(aionvme.UsageError, match="segment"):
            r.qp.readv(r.ns, parts, 0, 1, sgl=True)
        r.mock.change(sgls=1)
        await r.ctrlr.reset()
        assert not (await r.qp.readv(r.ns, parts, 0, 1, sgl=True)).status


async def test_other_commands() -> None:
    """A command that went is refused by the call after the reset; one that came is taken; limits are the new ones."""
    async with rig(_mock(oncs=1 << 3, wzsl=0)) as r, elsewhere() as other:
        o = await other.run(there(r))
        await r.qp.write_zeroes(r.ns, 0, 64)
        with pytest.raises(aionvme.UsageError, match="does not have the verify command"):
            r.qp.verify(r.ns, 0, 8)
        r.mock.change(oncs=1 << 7, vsl=1, sgls=0)
        await r.ctrlr.reset()
        with pytest.raises(aionvme.UsageError, match="does not have the write zeroes command"):
            r.qp.write_zeroes(r.ns, 0, 64)
        with pytest.raises(aionvme.UsageError, match="has no SGLs"):
            r.read(sgl=True)
        await r.qp.verify(r.ns, 0, 64)
        assert r.mock.queue(1).opcodes[0x0C] == 4  # of 8 KiB

        async def verify() -> None:
            await o.qp.verify(r.ns, 0, 64)
            await o.qp.close()

        await other.run(verify())
        assert r.mock.queue(2).opcodes[0x0C] == 4


async def test_limits_that_change_while_it_is_brought_up_again() -> None:
    """A command that is called during the reset waits, and is split at the new limit."""
    async with rig(_mock(mdts=128 * KiB)) as r:
        buf = r.ctrlr.dma_alloc(128 * KiB)
        r.mock.change(mdts=32 * KiB)
        held = r.mock.hold(qid=0, opcode=IDENTIFY, count=1)
        resetting = asyncio.create_task(r.ctrlr.reset())
        await until(lambda: held.commands)
        waiting = r.qp.read(r.ns, buf, 0, 256)
        held.release()
        await resetting
        assert not (await waiting).status
        assert r.mock.queue(1).opcodes[READ] == 4


async def test_other_doorbells() -> None:
    """A controller that comes back with its doorbells elsewhere has failed: it has to be connected to anew."""
    async with rig(_mock()) as r:
        cap = r.mock._machine.get64(0)
        r.mock._machine.set64(0, cap | 1 << 32)  # CAP.DSTRD
        with pytest.raises(aionvme.ControllerFailedError, match=r"other doorbells .*connect to it anew"):
            await r.ctrlr.reset()
        with pytest.raises(aionvme.ControllerFailedError):
            r.read()
