"""Owns what is written before a workload is verified, and whether the device keeps data at all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aionvme.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aionvme.admin.controller import Controller
    from aionvme.perf.pattern import Pattern
    from aionvme.perf.workload import Region
    from aionvme.qpair.io import IoQueuePair
    from aionvme.qpair.namespace import Namespace

__all__ = ["fill", "refuse_a_device_without_data"]

_PIECE_BYTES = 1 << 20
_AT_ONCE = 4


async def refuse_a_device_without_data(
    ctrlr: Controller, qp: IoQueuePair, ns: Namespace, pattern: Pattern, lba: int
) -> None:
    """Writes a block and reads it.

    Raises:
        UsageError: The read moved nothing into memory.
    """
    with ctrlr.dma_alloc(ns.block_size) as buf:
        pattern.fill(buf, lba)
        await qp.write(ns, buf, lba, 1)
        pattern.spoil(buf)
        before = bytes(buf)
        await qp.read(ns, buf, lba, 1)
        if bytes(buf) == before:
            raise UsageError(
                f"{ctrlr.pci_dev}: a read moves no data into memory, so that there is nothing to verify. "
                "Leave --verify out, or take a device that has data"
            )


async def fill(
    ctrlr: Controller, qp: IoQueuePair, ns: Namespace, pattern: Pattern, region: Region
) -> AsyncIterator[float]:
    """Writes every block of a region; gives, again and again, what part of it is written."""
    nblocks = max(_PIECE_BYTES // ns.block_size, 1)
    end = region.first + region.nblocks
    bufs = [ctrlr.dma_alloc(nblocks * ns.block_size) for _ in range(_AT_ONCE)]
    try:
        for first in range(region.first, end, nblocks * _AT_ONCE):
            pieces = []
            for buf, lba in zip(bufs, range(first, end, nblocks), strict=False):
                pattern.fill(buf, lba)
                pieces.append(qp.write(ns, buf, lba, min(nblocks, end - lba)))
            await asyncio.gather(*pieces)
            yield min(first + nblocks * _AT_ONCE - region.first, region.nblocks) / region.nblocks
    finally:
        for buf in bufs:
            buf.close()
