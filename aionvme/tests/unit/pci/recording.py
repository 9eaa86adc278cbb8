"""A function that records what is mapped, and refuses what an IOMMU would refuse; and memory to map."""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from aionvme.pci.backing import PAGE
from aionvme.pci.device import PciDevice
from aionvme.pci.function import Function

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20


class RecordingFunction(Function):
    """Keeps the mappings as an IOMMU would: whole pages, within the ranges, none over another."""

    def __init__(self, ranges: list[tuple[int, int]] | None = None, limit: int = 1 << 62) -> None:
        super().__init__(PciDevice("fake"))
        self.ranges = ranges or [(0, (1 << 39) - 1)]
        self.limit = limit
        self.mapped: dict[int, tuple[int, int]] = {}
        self.calls = 0
        self.refuse_unmap = False
        self.on_map: Callable[[], object] = int

    def iova_ranges(self) -> list[tuple[int, int]]:
        return self.ranges

    def map_dma(self, address: int, nbytes: int, iova: int, *, fd: int = -1, offset: int = 0) -> None:
        assert nbytes > 0 and not any(value % PAGE for value in (address, nbytes, iova, offset))
        assert iova != 0
        assert any(first <= iova and iova + nbytes - 1 <= last for first, last in self.ranges)
        for other, (_, length) in self.mapped.items():
            assert iova + nbytes <= other or other + length <= iova
        if fd >= 0:
            assert os.fstat(fd).st_size >= offset + nbytes
        if sum(length for _, length in self.mapped.values()) + nbytes > self.limit:
            raise OSError(12, "memlock")
        self.on_map()
        self.calls += 1
        self.mapped[iova] = (address, nbytes)

    def unmap_dma(self, iova: int, nbytes: int) -> None:
        if self.refuse_unmap:
            raise OSError(5, "refused")
        assert self.mapped.pop(iova)[1] == nbytes


def address_of(memory: Any) -> int:
    return int(np.frombuffer(memory, np.uint8).ctypes.data)


def pages(count: int) -> mmap.mmap:
    return mmap.mmap(-1, count * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
