"""The journeys on the mock: on both loops, with both block sizes, with and without weighted round robin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aionvme.mock import MockController
from aionvme.tests.journeys import OTHERS, WRITING, Device, Journey
from aionvme.tests.vm.manifest import Manifest, Record, mismatches

SIZE = 64 << 20

pytestmark = [pytest.mark.anyloop, pytest.mark.usefixtures("no_leaks")]


@pytest.fixture(params=[512, 4096])
def block_size(request: pytest.FixtureRequest) -> int:
    """Bytes in a block of the device."""
    return int(request.param)


@contextmanager
def _device(folder: Path, block_size: int, name: str) -> Iterator[tuple[Device, Manifest]]:
    """The mock with a file that what was recorded is looked for in, once the mock is closed."""
    image, manifest = folder / "image", Manifest(folder)
    weighted = block_size == 4096
    with MockController(size=SIZE, lba=block_size, storage=image, wrr=weighted, serial="JOURNEY") as mock:

        def record(offset: int, data: bytes) -> None:
            manifest.add(Record("JOURNEY", offset, data, name))

        yield Device(mock, "JOURNEY", block_size, SIZE // block_size, record, weighted=weighted), manifest
    assert mismatches(manifest.read(), {"JOURNEY": image}) == []


@pytest.mark.parametrize("journey", WRITING, ids=lambda journey: journey.__name__)
async def test_writing_journey(journey: Journey, tmp_path: Path, block_size: int) -> None:
    """A journey that writes comes to its end, and the file behind the mock has what it wrote."""
    with _device(tmp_path, block_size, journey.__name__) as (device, manifest):
        await journey(device)
        assert manifest.read(), "the journey recorded no write"


@pytest.mark.parametrize("journey", OTHERS, ids=lambda journey: journey.__name__)
async def test_journey(journey: Journey, tmp_path: Path, block_size: int) -> None:
    """A journey that leaves nothing to look for comes to its end."""
    with _device(tmp_path, block_size, journey.__name__) as (device, _):
        await journey(device)
