"""The journeys on QEMU's controller: through both of the kernel's interfaces, both block sizes, both loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
import uvloop

from aionvme.tests.journeys import OTHERS, WRITING, Device, Journey
from aionvme.tests.leaks import Census
from aionvme.tests.vm.conftest import Machine, NvmeFunction
from aionvme.tests.vm.kernel import bound_to_vfio, command_register

# Python is ten to twenty times slower in the guest.
MANY = 48
BUS_MASTER = 4


@pytest.fixture(scope="module", params=["block512", "block4096"])
def function(request: pytest.FixtureRequest, machine: Machine) -> Iterator[NvmeFunction]:
    """A drive that is bound to vfio-pci for all of these tests, and given back after them."""
    drive = machine.drives[request.param]
    with bound_to_vfio(drive):
        yield drive


@pytest.fixture(scope="module", autouse=True)
def _loops_have_run() -> None:
    """What a loop opens once in the life of a process is open."""
    for factory in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(asyncio.sleep(0))


def _run(journey: Journey, function: NvmeFunction, iommu: str, record: Callable[[int, bytes], None]) -> None:
    device = Device(
        f"{function.bdf}?iommu={iommu}",
        function.serial,
        function.block_size,
        function.size // function.block_size,
        record,
        many=MANY,
    )
    before = Census.take()
    # Each loop with each interface and each block size would take twice as long, and show no more.
    other = (iommu == "group") == (function.name == "block512")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if other else None) as runner:
        runner.run(_awaited(journey, device))
    assert Census.take().more_than(before) == []
    assert not command_register(function.bdf) & BUS_MASTER


async def _awaited(journey: Journey, device: Device) -> None:
    await journey(device)


@pytest.mark.parametrize("journey", WRITING, ids=lambda journey: journey.__name__)
def test_writing_journey(
    journey: Journey, iommu: str, function: NvmeFunction, written: Callable[[str, int, bytes], None]
) -> None:
    """A journey that writes comes to its end, leaves nothing open, and the image has what it wrote."""
    _run(journey, function, iommu, lambda offset, data: written(function.serial, offset, data))


@pytest.mark.parametrize("journey", OTHERS, ids=lambda journey: journey.__name__)
def test_journey(journey: Journey, iommu: str, function: NvmeFunction) -> None:
    """A journey that leaves nothing to look for comes to its end, and leaves nothing open."""

    def unexpected(offset: int, data: bytes) -> None:
        raise AssertionError(f"a journey that is not among WRITING recorded {len(data)} bytes at {offset}")

    _run(journey, function, iommu, unexpected)
