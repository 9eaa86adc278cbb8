"""Asynchronous events of QEMU's controller, raised from outside by its monitor."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import uvloop

from aionvme.tests.journeys import EVENTS, Device, Journey
from aionvme.tests.leaks import Census
from aionvme.tests.vm.conftest import Machine, NvmeFunction
from aionvme.tests.vm.kernel import bound_to_vfio
from aionvme.tests.vm.qmp import Qmp

NAME = "block512"


@pytest.fixture(scope="module", autouse=True)
def _uvloop_has_run() -> None:
    """What it opens once in the life of a process is open."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.sleep(0))


@pytest.fixture(scope="module")
def function(machine: Machine) -> Iterator[NvmeFunction]:
    """A drive that is bound to vfio-pci for all of these tests, and given back after them."""
    with bound_to_vfio(machine.drives[NAME]):
        yield machine.drives[NAME]


@pytest.mark.parametrize("journey", EVENTS, ids=lambda journey: journey.__name__)
def test_event_journey(journey: Journey, iommu: str, function: NvmeFunction, qmp: Qmp) -> None:
    """A journey with events that are raised from outside comes to its end, and leaves nothing open."""

    def warn(bits: int) -> None:
        qmp("qom-set", path=f"/machine/peripheral/{NAME}", property="smart_critical_warning", value=bits)

    def unexpected(offset: int, data: bytes) -> None:
        raise AssertionError(f"{len(data)} bytes were recorded at {offset}")

    device = Device(
        f"{function.bdf}?iommu={iommu}",
        function.serial,
        function.block_size,
        function.size // function.block_size,
        unexpected,
        warn=warn,
    )
    before = Census.take()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if iommu == "group" else None) as runner:
        runner.run(_awaited(journey, device))
    assert Census.take().more_than(before) == []


async def _awaited(journey: Journey, device: Device) -> None:
    await journey(device)
