"""The journeys on the mock: both loops, both block sizes, all metadata, with and without weighted round robin.

Each runs in this process, and by way of a socket. A quick run has one loop and one block size, or layout, of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest

from aionvme.mock import MockController
from aionvme.tests import journeys
from aionvme.tests.flow.places import HERE, PLACES, addressed
from aionvme.tests.journeys import (
    EVENTS,
    OTHERS,
    WRITING,
    Device,
    Journey,
    Layout,
    with_metadata,
)
from aionvme.tests.vm.manifest import Manifest, Record, mismatches

MIB = 1 << 20
SIZE = 64 * MIB

pytestmark = [
    pytest.mark.anyloop,
    pytest.mark.spread("loop", "block_size", "layout"),
    pytest.mark.usefixtures("no_leaks"),
]
# By way of a socket doorbells are rung in one way for each block size.
DOORBELLS = {512: "mapped", 4096: "message"}


@pytest.fixture(params=[512, 4096])
def block_size(request: pytest.FixtureRequest) -> int:
    """Bytes in a block of the device."""
    return int(request.param)


@pytest.fixture(params=["here", "on a socket"])
def kind(request: pytest.FixtureRequest, block_size: int) -> tuple[int, str]:
    """Bytes in a block of the device, and where it is."""
    return block_size, HERE if request.param == "here" else DOORBELLS[block_size]


@contextmanager
def _device(
    folder: Path, kind: tuple[int, str], name: str
) -> Iterator[tuple[Device, Manifest, MockController]]:
    """The mock with a file that what was recorded is looked for in, once the mock is closed."""
    block_size, place = kind
    image, manifest = folder / "image", Manifest(folder)
    weighted = block_size == 4096
    with MockController(
        size=SIZE, lba=block_size, storage=image, wrr=weighted, serial="JOURNEY", mssrl=100, mcl=128, cmb=MIB
    ) as mock:

        def record(offset: int, data: bytes) -> None:
            manifest.add(Record("JOURNEY", offset, data, name))

        with addressed(mock, place, folder) as address:
            device = Device(address, "JOURNEY", block_size, SIZE // block_size, record, weighted=weighted)
            yield device, manifest, mock
    assert mismatches(manifest.read(), {"JOURNEY": image}) == []


@pytest.mark.parametrize("journey", [*WRITING, *journeys.PLACES], ids=lambda journey: journey.__name__)
async def test_writing_journey(journey: Journey, tmp_path: Path, kind: tuple[int, str]) -> None:
    """A journey that writes comes to its end, and the file behind the mock has what it wrote."""
    with _device(tmp_path, kind, journey.__name__) as (device, manifest, _):
        await journey(device)
        assert manifest.read(), "the journey recorded no write"


@pytest.mark.parametrize("journey", OTHERS, ids=lambda journey: journey.__name__)
async def test_journey(journey: Journey, tmp_path: Path, kind: tuple[int, str]) -> None:
    """A journey that leaves nothing to look for comes to its end."""
    with _device(tmp_path, kind, journey.__name__) as (device, *_):
        await journey(device)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("journey", EVENTS, ids=lambda journey: journey.__name__)
async def test_event_journey(journey: Journey, place: str, tmp_path: Path) -> None:
    """A journey with events that are raised from outside comes to its end."""
    with _device(tmp_path, (512, place), journey.__name__) as (device, _, mock):
        await journey(replace(device, warn=partial(setattr, mock, "critical_warning")))


LAYOUTS = (
    Layout(metadata=8),
    Layout(metadata=64, extended=True),
    *(Layout(metadata=8, pi=pi, extended=extended) for pi in (1, 2, 3) for extended in (False, True)),
    Layout(metadata=64, pi=1, pi_first=True),
    Layout(metadata=64, pi=2, extended=True),
    *(Layout(metadata=16, pi=pi, guard=64, extended=pi == 2) for pi in (1, 2, 3)),
    Layout(metadata=32, pi=1, guard=64, extended=True),
)


def _name(value: Journey | Layout | str) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, Layout):
        return value.__name__
    words = [f"ms{value.metadata}", f"pi{value.pi}", f"guard{value.guard}"]
    return "-".join([*words, *["extended"] * value.extended, *["first"] * value.pi_first])


WITH_METADATA = [(journey, layout) for layout in LAYOUTS for journey in with_metadata(layout)]
# By way of a socket each of them once: what a layout is has no part in how memory is reached.
ON_A_SOCKET = {journey: (journey, layout, "mapped") for journey, layout in reversed(WITH_METADATA)}


@pytest.mark.parametrize(
    ("journey", "layout", "place"),
    [*((*case, HERE) for case in WITH_METADATA), *ON_A_SOCKET.values()],
    ids=_name,
)
async def test_metadata_journey(journey: Journey, layout: Layout, place: str, tmp_path: Path) -> None:
    """A journey with metadata comes to its end, and the mock has the data and the metadata that it wrote."""
    folder, size, block_size = tmp_path, 2 << 20, 512
    manifest, images = Manifest(folder), {name: folder / name for name in ("data", "metadata")}
    with (
        MockController(size=size, lba=block_size, mssrl=5, mcl=7, **asdict(layout)) as mock,
        addressed(mock, place, tmp_path) as address,
    ):
        device = Device(
            address,
            "JOURNEY",
            block_size,
            size // block_size,
            lambda offset, data: manifest.add(Record("data", offset, data, journey.__name__)),
            layout=layout,
            record_metadata=lambda lba, metadata: manifest.add(
                Record("metadata", lba * layout.metadata, metadata, journey.__name__)
            ),
        )
        await journey(device)
        images["data"].write_bytes(mock.peek(1, 0, device.nblocks))
        images["metadata"].write_bytes(mock.peek_metadata(1, 0, device.nblocks))
    assert {record.serial for record in manifest.read()} == images.keys()
    assert mismatches(manifest.read(), images) == []
