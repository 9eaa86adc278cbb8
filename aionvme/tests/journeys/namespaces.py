"""Owns the journeys of namespaces that come and go: two controllers of one subsystem, and the namespace they share.

Each leaves the namespace as it found it: number 1, in blocks of 512 bytes, attached to both.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import aionvme
from aionvme.tests.journeys.device import fill, pattern, refused

SECONDS = 60.0  # what does not happen in this time, on any tier, does not happen
LID = 4  # changed namespaces


async def _told(events: Any) -> None:
    """The next event for the changed namespaces page."""
    async with asyncio.timeout(SECONDS):
        while (await anext(events)).log_page != LID:
            pass


async def attach_and_detach(first_address: Any, second_address: Any) -> None:
    """What one host detaches and attaches, the other's controller tells, and its namespaces follow; I/O goes on."""
    async with aionvme.connect(first_address) as first, aionvme.connect(second_address) as second:
        assert await first.subsystem_controllers() == tuple(sorted({first.data.cntlid, second.data.cntlid}))
        events, before = second.events(), second.namespaces[1]
        async with second.alloc_io_qpair() as qp:
            buf = fill(second.dma_alloc(4096), pattern(1, 4096))
            await qp.write(before, buf, 0, 8)
            await first.detach_ns(1, second.data.cntlid)
            await _told(events)
            assert not before.active
            assert dict(second.namespaces) == {}
            with pytest.raises(aionvme.UsageError, match="not attached"):
                qp.submit_flush(before)
            assert await first.attached_controllers(1) == (first.data.cntlid,)
            await refused(first.detach_ns(1, second.data.cntlid), aionvme.StatusCode.NAMESPACE_NOT_ATTACHED)
            await first.attach_ns(1, second.data.cntlid)
            await _told(events)
            await refused(
                first.attach_ns(1, second.data.cntlid), aionvme.StatusCode.NAMESPACE_ALREADY_ATTACHED
            )
            await qp.read(second.namespaces[1], fill(buf, bytes(4096)), 0, 8)
            assert bytes(buf) == pattern(1, 4096)


async def detach_itself(address: Any, _other: Any) -> None:
    """A controller that detaches its own namespace has none, and has it again once it is attached."""
    async with aionvme.connect(address) as ctrlr:
        ns = ctrlr.namespaces[1]
        await ctrlr.detach_ns(1)
        assert (ns.active, dict(ctrlr.namespaces)) == (False, {})
        assert await ctrlr.allocated_nsids() == (1,)
        assert await ctrlr.active_nsids() == ()
        await ctrlr.attach_ns(1)
        async with ctrlr.alloc_io_qpair() as qp:
            await qp.flush(ctrlr.namespaces[1])


async def format_and_on(address: Any, _other: Any) -> None:
    """From 512 bytes to 4096 and back: the namespace follows before the await returns, and I/O goes on."""
    async with aionvme.connect(address) as ctrlr, ctrlr.alloc_io_qpair() as qp:
        buf = ctrlr.dma_alloc(8192)
        nbytes = ctrlr.namespaces[1].nbytes
        for block_size in (4096, 512):
            old = ctrlr.namespaces[1]
            lbaf = next(
                index
                for index, form in enumerate(old.data.lba_formats)
                if (form.block_size, form.ms) == (block_size, 0)
            )
            await ctrlr.format_nvm(1, lbaf=lbaf)
            ns = ctrlr.namespaces[1]
            assert (ns.block_size, ns.nbytes) == (block_size, nbytes)
            with pytest.raises(aionvme.UsageError, match="was formatted"):
                qp.submit_read(old, buf, 0, 1)
            last = ns.nblocks - 1
            await qp.write(ns, fill(buf, pattern(block_size, block_size)), last, 1)
            await qp.read(ns, fill(buf, bytes(block_size)), last, 1)
            assert bytes(buf)[:block_size] == pattern(block_size, block_size)
            await qp.read(ns, fill(buf, b"\xff" * block_size), 0, 1)
            assert bytes(buf)[:block_size] == bytes(block_size)


NAMESPACES = (attach_and_detach, detach_itself, format_and_on)
