"""The registry of vendors: whose entries count for a controller, and what a broken one does."""

from __future__ import annotations

from typing import Any

import pytest

from aionvme.spec.errors import DecodeError
from aionvme.spec.identify import IdentifyController
from aionvme.spec.vendors import (
    Registry,
    Vendor,
    VendorFeature,
    VendorLogPage,
    decode_feature,
    decode_page,
    extensions,
)

ACME = 0x1234
DATA = IdentifyController(vid=ACME, mn="ROCKET 9")


def fail(*_args: Any) -> Any:
    raise LookupError("mine")


def page(lid: int = 0xC0, **fields: Any) -> VendorLogPage:
    """A page."""
    given: dict[str, Any] = {"name": f"page {lid:02x}", "size": 64} | fields
    return VendorLogPage(lid=lid, **given)


def test_of_a_controller_are_its_vendors_entries_that_match() -> None:
    """The PCI vendor and the predicate both decide, and the order is that of registration."""
    registry = Registry()
    rocket = Vendor(name="rocket", vid=ACME, matches=lambda data: data.mn.startswith("ROCKET"))
    for vendor in (
        rocket,
        Vendor(name="sledge", vid=ACME, matches=lambda data: data.mn.startswith("SLEDGE")),
        Vendor(name="other", vid=ACME + 1),
        Vendor(name="all", vid=ACME),
    ):
        registry.register(vendor)
    assert [vendor.name for vendor in registry.of(DATA)] == ["rocket", "all"]
    registry.register(rocket)
    registry.unregister("all")
    assert registry.of(DATA) == [rocket]
    assert [vendor.name for vendor in registry] == ["rocket", "sledge", "other"]


def test_a_name_is_taken_once() -> None:
    """Another entry of the same name is refused, and the first stays."""
    registry = Registry()
    registry.register(Vendor(name="acme", vid=ACME))
    with pytest.raises(ValueError, match="'acme' already"):
        registry.register(Vendor(name="acme", vid=ACME + 1))
    with pytest.raises(TypeError, match="not str"):
        registry.register("acme")  # type: ignore[arg-type]
    assert [vendor.vid for vendor in registry] == [ACME]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: page(0xBF), "from C0h to FFh"),
        (lambda: page(0x100), "from C0h to FFh"),
        (lambda: page(size=6), "multiple of 4"),
        (lambda: page(size=-4), "multiple of 4"),
        (lambda: VendorFeature(fid=0x10, name="x"), "fid .*from C0h"),
        (lambda: VendorFeature(fid=0xC0, name="x", nbytes=3), "nbytes"),
        (lambda: Vendor(name="", vid=1), "name"),
        (lambda: Vendor(name="x", vid=0x10000), "vid"),
        (lambda: Vendor(name="x", vid=1, log_pages=[page(), page()]), "log_pages: 0xc0 is listed twice"),
        (lambda: Vendor(name="x", vid=1, directory=0xC0), "directory 0xc0 must be one"),
        (lambda: Vendor(name="x", vid=1, directory=0xC0, log_pages=[page(size=0)]), "must have a size"),
    ],
)
def test_entries_that_cannot_be(make: Any, text: str) -> None:
    """Each is refused where it is made, with the field's name."""
    with pytest.raises(ValueError, match=text):
        make()


def test_a_controller_has_what_its_vendors_say() -> None:
    """The query sees Identify and the directory; of two that know a number the later counts."""
    asked: list[Any] = []

    def supported(data: IdentifyController, directory: Any) -> bool:
        asked.append((data, directory))
        return bool(directory)

    latency = VendorFeature(fid=0xE2, name="latency tracking")
    one = Vendor(
        name="one", vid=ACME, directory=0xC0, features=[latency],
        log_pages=[page(0xC0), page(0xC1, supported=supported), page(0xC2, supported=lambda *_: False)],
    )  # fmt: skip
    two = Vendor(name="two", vid=ACME, log_pages=[page(0xC0, name="better")])
    found = extensions([one, two], DATA, {"one": "directory"})
    assert {lid: item.name for lid, item in found.log_pages.items()} == {0xC0: "better", 0xC1: "page c1"}
    assert found.features == {0xE2: latency}
    assert extensions([one], DATA, {}).log_pages.keys() == {0xC0}
    assert asked == [(DATA, "directory"), (DATA, None)]


def test_the_controllers_own_list_counts_for_more() -> None:
    """Where the controller lists its pages, no vendor's query is asked."""
    vendor = Vendor(name="one", vid=ACME, log_pages=[page(0xC1, supported=fail), page(0xC2)])
    found = extensions([vendor], DATA, {}, listed=lambda lid: lid == 0xC1)
    assert found.log_pages.keys() == {0xC1}


def test_what_fails_is_reported_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """A predicate or query that raises is logged with the vendor's name, and the rest goes on."""
    registry = Registry()
    registry.register(Vendor(name="broken", vid=ACME, matches=fail))
    registry.register(Vendor(name="half", vid=ACME, log_pages=[page(0xC1, supported=fail), page(0xC2)]))
    vendors = registry.of(DATA)
    assert [vendor.name for vendor in vendors] == ["half"]
    assert extensions(vendors, DATA, {}).log_pages.keys() == {0xC2}
    assert ["broken" in caplog.messages[0], "half" in caplog.messages[1]] == [True, True]


def test_a_decoder_that_fails() -> None:
    """Whatever it raises is a DecodeError that names the page or feature."""
    with pytest.raises(DecodeError, match=r"page c1.*mine"):
        decode_page(page(0xC1, decode=fail), b"")
    with pytest.raises(DecodeError, match=r"led.*mine"):
        decode_feature(VendorFeature(fid=0xC9, name="led", decode=fail), 1, b"")
    assert decode_page(page(), b"abcd") == b"abcd"
    assert decode_feature(VendorFeature(fid=0xC9, name="led"), 7, b"") == 7
    assert decode_feature(VendorFeature(fid=0xC9, name="led", decode=lambda dw0, _data: dw0 + 1), 7, b"") == 8
