"""A drive that is attached and detached again and again: nothing grows."""

from __future__ import annotations

import asyncio
import gc
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

import aionvme
from aionvme.tests.journeys.device import fill, pattern
from aionvme.tests.vm.conftest import Machine
from aionvme.tests.vm.kernel import bound_to_vfio

KIB = 1 << 10
MANY = 1000
# Caches and pools have their size after so many.
FIRST = 10
# Less than a tenth of a page for each cycle.
SLACK = 384 * KIB
# Where nobody looks afterwards.
SCRATCH = 40 << 20


@dataclass(frozen=True)
class State:
    """What this process has at one moment.

    Attributes:
        resident: bytes of memory, of its own and of files.
        descriptors: how many are open.
        mappings: how many there are of device memory and of memory for devices.
        pinned: what the kernel counts as locked or pinned for it.
        objects: how many objects the collector knows.
    """

    resident: int
    descriptors: int
    mappings: int
    pinned: tuple[str, ...]
    objects: int

    @classmethod
    def now(cls) -> State:
        """After a collection."""
        gc.collect()
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        words = ("vfio", "iommu", "memfd", "hugepage", "anon_inode", "aionvme:")
        maps = Path("/proc/self/maps").read_text().splitlines()
        return cls(
            int(status["VmRSS"].split()[0]) * KIB,
            len(os.listdir("/proc/self/fd")),
            sum(any(word in line for word in words) for line in maps),
            (status["VmLck"].strip(), status["VmPin"].strip()),
            len(gc.get_objects()),
        )


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


async def _cycles(address: str, cycles: int) -> tuple[State, State]:
    for number in range(FIRST):
        await _attach(address, used=number)
    before = State.now()
    for number in range(cycles):
        await _attach(address, used=number if number % 10 == 0 else None)
    return before, State.now()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("cycles", [15, pytest.param(MANY, marks=pytest.mark.exhaustive)])
def test_nothing_grows(machine: Machine, iommu: str, cycles: int) -> None:
    """Attached and detached so often, memory, descriptors, mappings and objects are what they were."""
    with bound_to_vfio(machine.drives["block512"]) as bdf:
        before, after = asyncio.run(_cycles(f"{bdf}?iommu={iommu}", cycles))
    print(before, after, sep="\n")
    assert (after.descriptors, after.mappings, after.pinned) == (
        before.descriptors,
        before.mappings,
        before.pinned,
    )
    # Less than one for two cycles; a cycle makes thousands.
    assert after.objects - before.objects < cycles // 2
    assert after.resident - before.resident < SLACK
