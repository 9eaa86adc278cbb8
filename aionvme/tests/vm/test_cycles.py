"""A drive that is attached and detached again and again: nothing grows."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import aionvme
from aionvme.tests.journeys.device import fill, pattern
from aionvme.tests.vm.conftest import Machine
from aionvme.tests.vm.kernel import bound_to_vfio

KIB = 1 << 10
MANY = 1000
# Caches are filled after so many.
FIRST = 10
# What the second half of the cycles may keep. Python's blocks and malloc's bytes are counted to the last one, so that
# one small object that each cycle leaves is seen; free lists of Cython's that find their size make some dozen.
BLOCKS = MANY // 2 // 4
HEAP = MANY // 2 * 64
# What is resident depends on where the heaps have holes, by steps: an arena of Python's is 1 MiB, and its table of
# interned strings, which the names of memory files pass through, is made anew once in some thousand cycles. A page that
# each cycle leaves, which no count above would show, makes more.
RESIDENT = MANY // 2 * 4 * KIB
# Where nobody looks afterwards.
SCRATCH = 40 << 20


@dataclass(frozen=True)
class State:
    """What this process has at one moment.

    Attributes:
        resident: bytes of memory, of its own and of files.
        blocks: how many of Python's allocator are in use.
        heap: bytes of malloc's that are in use, in all its arenas; blocks of 128 KiB and more are elsewhere.
        descriptors: how many are open.
        mappings: how many there are of device memory and of memory for devices.
        pinned: what the kernel counts as locked or pinned for it.
        objects: how many objects the collector knows.
    """

    resident: int
    blocks: int
    heap: int
    descriptors: int
    mappings: int
    pinned: tuple[str, ...]
    objects: int

    @classmethod
    def now(cls) -> State:
        """After a collection."""
        gc.collect()
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        # What /proc/self/status says of it is off by some hundred KiB: each processor counts by itself for a while.
        (resident,) = re.findall(r"^Rss: +(\d+) kB$", Path("/proc/self/smaps_rollup").read_text(), re.M)
        words = ("vfio", "iommu", "memfd", "hugepage", "anon_inode", "aionvme:")
        maps = Path("/proc/self/maps").read_text().splitlines()
        return cls(
            int(resident) * KIB,
            sys.getallocatedblocks(),
            _heap(),
            len(os.listdir("/proc/self/fd")),
            sum(any(word in line for word in words) for line in maps),
            (status["VmLck"].strip(), status["VmPin"].strip()),
            len(gc.get_objects()),
        )


class _Mallinfo(ctypes.Structure):
    """`struct mallinfo2` of <malloc.h>."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]


def _heap() -> int:
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo
    return int(mallinfo2().uordblks)


async def _attach(address: str, *, used: int | None) -> None:
    """Connect and close; in between, if it is to be used, write and read back what no other cycle does."""
    async with aionvme.connect(address) as ctrlr:
        if used is None:
            return
        ns = ctrlr.namespaces[1]
        async with ctrlr.alloc_io_qpair() as qp:
            data, lba = pattern(used, 4096), SCRATCH // ns.block_size
            out, back = fill(ctrlr.dma_alloc(4096), data), ctrlr.dma_alloc(4096)
            await qp.write(ns, out, lba, 4096 // ns.block_size)
            await qp.read(ns, back, lba, 4096 // ns.block_size)
            assert bytes(back) == data


async def _cycles(address: str, cycles: int) -> list[State]:
    """What there is at their beginning, after half of them, and at their end."""
    for number in range(FIRST):
        await _attach(address, used=number)
    states = [State.now()]
    for half in range(2):
        for number in range(cycles // 2):
            await _attach(address, used=number + half if number % 10 == 0 else None)
        states.append(State.now())
    return states


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("cycles", [16, pytest.param(MANY, marks=pytest.mark.exhaustive)])
def test_nothing_grows(machine: Machine, iommu: str, cycles: int) -> None:
    """Attached and detached so often, memory, descriptors, mappings and objects are what they were."""
    with bound_to_vfio(machine.drives["block512"]) as bdf:
        first, half, last = asyncio.run(_cycles(f"{bdf}?iommu={iommu}", cycles))
    print(first, half, last, sep="\n")
    assert (last.descriptors, last.mappings, last.pinned) == (
        first.descriptors,
        first.mappings,
        first.pinned,
    )
    # Not one for each cycle, which makes thousands.
    assert last.objects - first.objects < cycles
    if cycles == MANY:
        assert last.blocks - half.blocks < BLOCKS
        assert last.heap - half.heap < HEAP
        assert last.resident - half.resident < RESIDENT
