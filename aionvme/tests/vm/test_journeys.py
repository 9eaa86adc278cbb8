"""The journeys on QEMU's controller: through both of the kernel's interfaces, both block sizes, both loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import uvloop

from aionvme.tests.journeys import OTHERS, WRITING, Device, Journey, Layout, with_metadata
from aionvme.tests.leaks import Census
from aionvme.tests.vm.conftest import Machine, NvmeFunction, parse_options
from aionvme.tests.vm.kernel import bound_to_vfio, command_register
from tools.vm.machine import FORMATS

# Python is ten to twenty times slower in the guest.
MANY = 48
BUS_MASTER = 4
# What QEMU's controller does not have.
LACKS = frozenset(
    {
        "write_uncorrectable",
        "compare_and_write",
        "reservation_register",
        "reservation_acquire",
        "reservation_report",
        "reservation_release",
        "bit buckets",
    }
)


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


def _device(function: NvmeFunction, iommu: str, record: Callable[[int, bytes], None]) -> Device:
    return Device(
        f"{function.bdf}?iommu={iommu}",
        function.serial,
        function.block_size,
        function.size // function.block_size,
        record,
        many=MANY,
        lacks=LACKS,
    )


def _run(journey: Journey, function: NvmeFunction, iommu: str, device: Device) -> None:
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
    device = _device(function, iommu, lambda offset, data: written(function.serial, offset, data))
    _run(journey, function, iommu, device)


@pytest.mark.parametrize("journey", OTHERS, ids=lambda journey: journey.__name__)
def test_journey(journey: Journey, iommu: str, function: NvmeFunction) -> None:
    """A journey that leaves nothing to look for comes to its end, and leaves nothing open."""

    def unexpected(offset: int, data: bytes) -> None:
        raise AssertionError(f"a journey that is not among WRITING recorded {len(data)} bytes at {offset}")

    _run(journey, function, iommu, _device(function, iommu, unexpected))


@pytest.fixture(scope="module")
def formats(machine: Machine) -> Iterator[NvmeFunction]:
    """The controller whose namespaces have metadata."""
    drive = machine.drives["formats"]
    with bound_to_vfio(drive):
        yield drive


def _layout(options: dict[str, int]) -> Layout:
    return Layout(
        metadata=options["ms"],
        extended=bool(options.get("mset")),
        pi=options.get("pi", 0),
        pi_first=bool(options.get("pil")),
        guard=64 if options.get("pif") == 2 else 16,
    )


# The number of each namespace of the drive, with each journey that there is for it.
PROTECTED = [
    (nsid, journey)
    for nsid, options in enumerate(FORMATS, 1)
    for journey in with_metadata(_layout(parse_options(options)))
]


@pytest.mark.parametrize(
    ("nsid", "journey"), PROTECTED, ids=lambda value: getattr(value, "__name__", str(value))
)
def test_metadata_journey(
    nsid: int, journey: Journey, formats: NvmeFunction, written: Callable[[str, int, bytes], None]
) -> None:
    """A journey with metadata comes to its end, and the image has data and metadata where QEMU keeps them."""
    # Every format with both would take twice as long: how memory is mapped has no part in what a block is.
    iommu = ("group", "iommufd")[nsid % 2]
    options, disk = formats.namespaces[nsid - 1].options, formats.disk(nsid)
    layout, block_size = _layout(options), options.get("logical_block_size", formats.block_size)
    nblocks = formats.size // (block_size + layout.metadata)

    def record_metadata(lba: int, metadata: bytes) -> None:
        written(disk, nblocks * block_size + lba * layout.metadata, metadata)

    device = replace(
        _device(formats, iommu, lambda offset, data: written(disk, offset, data)),
        block_size=block_size, nblocks=nblocks, nsid=nsid, layout=layout, record_metadata=record_metadata,
        lacks=LACKS | {"status of a copy's check", "zeroes of protection information"},
    )  # fmt: skip
    _run(journey, formats, iommu, device)


def test_each_format_has_its_journeys(formats: NvmeFunction) -> None:
    """No namespace of the machine is left out above, and each is what the journeys were chosen for."""
    assert [each.options for each in formats.namespaces] == [parse_options(options) for options in FORMATS]
