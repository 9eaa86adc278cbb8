"""Vendors' log pages: Intel's, and those of a vendor that nobody but the test knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.spec import intel
from aionvme.spec.intel import IntelLogPageId, IntelSmartCode
from aionvme.spec.logs import SmartLog
from aionvme.spec.opcodes import AdminOpcode
from aionvme.spec.status import StatusCode
from aionvme.spec.vendors import REGISTRY
from aionvme.tests.flow.support import rig
from aionvme.tests.flow.test_log_pages import NO_LIST, asked, device

pytestmark = [pytest.mark.anyloop, pytest.mark.spread("loop")]

INTEL_PAGES: tuple[tuple[int, type], ...] = (
    (IntelLogPageId.DIRECTORY, intel.IntelLogDirectory),
    (IntelLogPageId.READ_LATENCY, intel.IntelLatency),
    (IntelLogPageId.WRITE_LATENCY, intel.IntelLatency),
    (IntelLogPageId.TEMPERATURE, intel.IntelTemperature),
    (IntelLogPageId.SMART, intel.IntelSmart),
    (IntelLogPageId.MARKETING_NAME, intel.IntelMarketingName),
)


@pytest.mark.parametrize("lpa", [0x7E, NO_LIST], ids=["listed", "directory"])
async def test_intel(lpa: int) -> None:
    """All pages of an Intel device are there and typed, by its list of pages or by its directory."""
    async with rig(device(intel=True, lpa=lpa)) as r:
        for lid, kind in INTEL_PAGES:
            assert r.ctrlr.is_log_page_supported(lid)
            assert type(await r.ctrlr.get_log_page(lid)) is kind
        assert not r.ctrlr.is_log_page_supported(0xC3)
        name = await r.ctrlr.get_log_page(IntelLogPageId.MARKETING_NAME)
        assert name.name == "aionvme mock of an Intel SSD"
        smart = await r.ctrlr.get_log_page(IntelLogPageId.SMART)
        assert smart.attribute(IntelSmartCode.HOST_BYTES_WRITTEN).normalized == 100
        assert smart.attribute(0x01) is None
        assert (await r.ctrlr.get_log_page(IntelLogPageId.TEMPERATURE)).current == 37


async def test_a_directory_that_lists_some() -> None:
    """A page that it does not list is not there; after a reset it is asked again."""
    lengths = tuple(int(lid in (0xC0, 0xC5)) for lid in range(1, 256))
    async with rig(device(intel=True, lpa=NO_LIST)) as r:
        r.mock.set_log_page(IntelLogPageId.DIRECTORY, intel.IntelLogDirectory(lengths=lengths))
        await r.ctrlr.reset()
        found = [lid for lid, _ in INTEL_PAGES if r.ctrlr.is_log_page_supported(lid)]
        assert found == [IntelLogPageId.DIRECTORY, IntelLogPageId.TEMPERATURE]


async def test_a_directory_that_is_refused() -> None:
    """Others use Intel's number too, and have no such page: nothing of Intel's is there, and bring-up goes on."""
    mock = device(intel=True, lpa=0x1C)
    mock.fail(StatusCode.INVALID_LOG_PAGE, qid=0, opcode=AdminOpcode.GET_LOG_PAGE)
    async with rig(mock) as r:
        assert not any(r.ctrlr.is_log_page_supported(lid) for lid, _ in INTEL_PAGES)
        await r.works()


async def test_not_intel() -> None:
    """A device of another vendor is not asked for the directory, and has none of the pages."""
    mock = device(lpa=0x1C)
    sqes = asked(mock)
    async with rig(mock) as r:
        assert not [sqe for sqe in sqes if sqe.cdw10 & 0xFF >= 0xC0]
        assert not any(r.ctrlr.is_log_page_supported(lid) for lid, _ in INTEL_PAGES)


# -- another vendor --------------------------------------------------------------------------------------------------


@attrs.frozen
class Wear:
    """What the made-up vendor's page decodes to."""

    level: int

    @classmethod
    def decode(cls, data: bytes) -> Wear:
        """From its first byte."""
        if data[0] == 0xFF:
            raise LookupError("mine")
        return cls(data[0])


@contextmanager
def registered(**fields: Any) -> Iterator[None]:
    """A vendor's entry for mocks of that model, while the context lasts."""
    given: dict[str, Any] = {"name": "acme", "vid": 0x1B36, "matches": lambda data: data.mn == "ACME ROCKET"}
    aionvme.register_vendor(aionvme.Vendor(**given | fields))
    try:
        yield
    finally:
        REGISTRY.unregister("acme")


def rocket(**options: Any) -> MockController:
    """A device of the made-up vendor's."""
    mock = device(**{"model": "ACME ROCKET"} | options)
    mock.set_log_page(0xC0, bytes([1, 2, 3, 4]))
    mock.set_log_page(0xC7, bytes([42]) + bytes(15))
    return mock


PAGES = (
    aionvme.VendorLogPage(lid=0xC0, name="contents", size=4, decode=bytes),
    aionvme.VendorLogPage(
        lid=0xC7,
        name="wear",
        size=16,
        decode=Wear.decode,
        supported=lambda _data, listed: listed == b"\1\2\3\4",
    ),
    aionvme.VendorLogPage(lid=0xC8, name="future", supported=lambda _data, _listed: False),
)


@pytest.mark.parametrize("lpa", [0x7E, NO_LIST], ids=["listed", "directory"])
async def test_a_made_up_vendor(lpa: int) -> None:
    """Its page is typed and known of, by its own directory too; to others of its number it is not."""
    with registered(log_pages=PAGES, directory=0xC0):
        async with rig(rocket(lpa=lpa)) as r:
            assert r.ctrlr.is_log_page_supported(0xC7)
            assert not r.ctrlr.is_log_page_supported(0xC8)
            assert await r.ctrlr.get_log_page(0xC7) == Wear(42)
            assert await r.ctrlr.get_log_page(0xC7, nbytes=8) == bytes([42]) + bytes(7)
            r.mock.set_log_page(0xC7, b"\xff" * 16)
            with pytest.raises(aionvme.DecodeError, match=r"wear.*mine"):
                await r.ctrlr.get_log_page(0xC7)
            assert isinstance(await r.ctrlr.get_log_page(2), SmartLog)
        async with rig(rocket(lpa=lpa, model="ACME SLEDGE")) as r:
            with pytest.raises(aionvme.UsageError, match="nbytes"):
                r.ctrlr.get_log_page(0xC7)
    async with rig(rocket(lpa=NO_LIST)) as r:
        assert not r.ctrlr.is_log_page_supported(0xC7)


async def test_a_broken_vendor(caplog: pytest.LogCaptureFixture) -> None:
    """Neither its predicate nor its queries break bring-up; each is a warning that names it."""

    def fail(*_args: Any) -> bool:
        raise LookupError("mine")

    for fields in (
        {"matches": fail},
        {"log_pages": [attrs.evolve(PAGES[1], supported=fail)]},
        {"log_pages": [attrs.evolve(PAGES[0], decode=fail)], "directory": 0xC0},
    ):
        caplog.clear()
        with registered(**fields):
            async with rig(rocket(lpa=NO_LIST)) as r:
                await r.works()
        if "directory" not in fields:
            assert any("acme" in message for message in caplog.messages)
