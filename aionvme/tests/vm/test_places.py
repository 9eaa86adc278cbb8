"""Queues in QEMU's controller memory buffer, and shadow doorbells, seen from outside of the driver as well."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from aionvme.tests.journeys import PLACES, Device, Journey
from aionvme.tests.journeys.device import fill, pattern
from aionvme.tests.leaks import Census
from aionvme.tests.vm.conftest import Machine, NvmeFunction
from aionvme.tests.vm.kernel import bound_to_vfio

MIB = 1 << 20
WRITE, READ = 1, 2
# Where QEMU has the buffer.
BUFFER_BAR = 2


@pytest.fixture(scope="module")
def function(machine: Machine) -> Iterator[NvmeFunction]:
    """The drive with a memory buffer, bound to vfio-pci for all of these tests, and given back after them."""
    drive = machine.drives["buffered"]
    with bound_to_vfio(drive):
        yield drive


def _device(function: NvmeFunction, iommu: str, record: Callable[[int, bytes], None]) -> Device:
    nblocks = function.size // function.block_size
    return Device(
        f"{function.bdf}?iommu={iommu}", function.serial, function.block_size, nblocks, record, many=48
    )


def _target(link: Path) -> str:
    # The descriptor that listed the folder is closed by now.
    with contextlib.suppress(FileNotFoundError):
        return os.readlink(link)
    return ""


def _bar(number: int, nbytes: int) -> bytes:
    """What a BAR of the one function that this process has open has, read by the kernel and not through our mapping."""
    names = {link.name: _target(link) for link in Path("/proc/self/fd").iterdir()}
    (fd,) = (int(fd) for fd, name in names.items() if "[vfio-device]" in name or "/vfio/devices/" in name)
    # vfio-pci has the region of each BAR at its number times 2**40.
    return os.pread(fd, nbytes, number << 40)


@pytest.mark.parametrize("journey", PLACES, ids=lambda journey: journey.__name__)
def test_journey(
    journey: Journey, iommu: str, function: NvmeFunction, written: Callable[[str, int, bytes], None]
) -> None:
    """A journey comes to its end, leaves nothing open, and the image has what it wrote."""
    asyncio.run(asyncio.sleep(0))
    before = Census.take()
    asyncio.run(_awaited(journey(_device(function, iommu, lambda *what: written(function.serial, *what)))))
    assert Census.take().more_than(before) == []


async def _awaited(journey: Awaitable[None]) -> None:
    await journey


async def _write_some(function: NvmeFunction, iommu: str, lba: int, data: bytes, **options: bool) -> bytes:
    """Write blocks one by one by a queue pair with these options; the first page of the buffer's BAR meanwhile."""
    device = _device(function, iommu, lambda offset, data: None)
    async with device.connect(**options) as ctrlr, ctrlr.alloc_io_qpair(depth=31) as qp:
        ns = ctrlr.namespaces[1]
        with ctrlr.dma_alloc(function.block_size) as buf:
            for number in range(5):
                fill(buf, data[number * function.block_size :][: function.block_size])
                await qp.write(ns, buf, lba + number, 1)
        return _bar(BUFFER_BAR, 4096)


def _commands(memory: bytes) -> list[tuple[int, int]]:
    """Opcode and first block of every entry that is a read or a write."""
    entries = [memory[at : at + 64] for at in range(0, len(memory), 64)]
    return [
        (entry[0], int.from_bytes(entry[40:48], "little")) for entry in entries if entry[0] in (WRITE, READ)
    ]


def test_the_commands_are_in_the_buffer(
    iommu: str, function: NvmeFunction, written: Callable[[str, int, bytes], None]
) -> None:
    """With the option the commands are read out of BAR 2 by the kernel; without it none is there."""
    lba = (2 * MIB + (MIB if iommu == "group" else 0)) // function.block_size
    data = pattern(9900 + lba, 5 * function.block_size)
    seen = asyncio.run(_write_some(function, iommu, lba, data, use_cmb_sqs=True))
    assert _commands(seen) == [(WRITE, lba + number) for number in range(5)]
    written(function.serial, lba * function.block_size, data)
    lba += 5
    seen = asyncio.run(_write_some(function, iommu, lba, data))
    assert all(found < lba for _, found in _commands(seen))
    written(function.serial, lba * function.block_size, data)


def test_the_controller_looks_at_the_shadows(iommu: str, function: NvmeFunction) -> None:
    """The controller writes the event indices of both queues, which nobody else does, to where the queue has been."""

    async def use() -> list[tuple[int, int]]:
        device = _device(function, iommu, lambda offset, data: None)
        async with device.connect(shadow_doorbells=True) as ctrlr, ctrlr.alloc_io_qpair(depth=31) as qp:
            ns = ctrlr.namespaces[1]
            with ctrlr.dma_alloc(function.block_size) as buf:
                for _ in range(9):
                    await qp.read(ns, buf, 0, 1)
            shadows = ctrlr._core.shadows
            assert shadows is not None
            # Those of queue 1: tail, then head (Base 2.0, 5.8).
            return [
                struct.unpack_from("<II", memoryview(page), 8) for page in (shadows.doorbells, shadows.events)
            ]

    doorbells, events = asyncio.run(use())
    assert doorbells[0] == 9
    assert 0 < events[0] <= 9
