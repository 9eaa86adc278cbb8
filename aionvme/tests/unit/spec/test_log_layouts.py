"""Layouts of log pages: every field lies where other people's headers have it, and hostile bytes raise nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aionvme.spec.errors import NvmeError
from aionvme.spec.intel import (
    INTEL,
    IntelController,
    IntelLatency,
    IntelLogDirectory,
    IntelMarketingName,
    IntelSmart,
    IntelSmartAttribute,
    IntelTemperature,
)
from aionvme.spec.listing import Listing
from aionvme.spec.logs import LOG_PAGES, captures, events, fdp, health, namespaces, support
from aionvme.spec.opcodes import LogPageId
from aionvme.spec.structure import Structure
from aionvme.spec.vendors import decode_page

# Sizes of the members in order as libnvme's, Linux' (rotational media) and SPDK's (Intel) structures have them; in
# brackets what is reserved, or not told apart here.
LAYOUTS: list[tuple[type[Structure], str]] = [
    (health.ErrorInformation, "8 2 2 2 2 8 4 1 1 1 1 8 2 [21] 1"),
    (health.SmartLog, "1 2 1 1 1 1 [25] " + "16 " * 10 + "4 4 16 4 4 4 4 280"),
    (health.FirmwareSlots, "1 [7] 56 [448]"),
    (health.SelfTestResult, "1 1 1 [1] 8 4 8 1 1 2"),
    (health.SelfTestLog, "1 1 [2] 560"),
    (health.SanitizeLog, "2 2 4 4 4 4 4 4 4 480"),
    (health.EnduranceGroupLog, "1 1 [1] 1 1 1 2 [24] " + "16 " * 10 + "[320]"),
    (health.RotationalMedia, "2 2 2 [2] 4 4 4 4 [488]"),
    (health.PredictableLatency, "1 [1] 2 [28] 8 8 8 8 8 [56] 8 8 8 [360]"),
    (support.FeaturesSupportedAndEffects, "1024"),
    (namespaces.AnaHeader, "8 2 [6]"),
    (namespaces.AnaGroupHeader, "4 4 8 1 [15]"),
    (namespaces.LbaStatusHeader, "4 4 4 [2] 2"),
    (namespaces.LbaStatusElement, "4 4 1 [7]"),
    (namespaces.LbaRange, "8 4 [4]"),
    (namespaces.ReservationNotification, "8 1 1 [2] 4 [48]"),
    (captures.TelemetryHeader, "1 [4] 3 2 2 2 [2] 4 [360] 1 1 1 1 128"),
    (captures.BootPartitionHeader, "1 [3] 4 [8]"),
    (events.PersistentEventsHeader, "1 [3] 4 8 1 [1] 2 8 16 8 2 2 20 40 256 2 4 [102] 32"),
    (events.PersistentEventHeader, "1 1 1 1 2 8 2 [4] 2 2"),
    (events.FirmwareCommitEvent, "8 8 1 1 1 1 2"),
    (events.TimestampChangeEvent, "8 8"),
    (events.ResetInformation, "2 1 1 [12] 4 8 8"),
    (events.ChangeNamespaceEvent, "4 [4] 8 [8] 8 1 1 1 [1] 4 2 [2] 4"),
    (events.FormatStartEvent, "4 1 [3] 4"),
    (events.FormatCompletionEvent, "4 1 1 2 4"),
    (events.SanitizeStartEvent, "4 4 4"),
    (events.SanitizeCompletionEvent, "2 2 2 [2]"),
    (events.ThermalExcursionEvent, "1 1"),
    (fdp.FdpConfigurationsHeader, "2 1 [1] 4 [8]"),
    (fdp.FdpConfigurationHeader, "2 1 1 4 2 2 4 8 4 [36]"),
    (fdp.ReclaimUnitHandle, "1 [3]"),
    (fdp.FdpHandleUsageHeader, "2 [6]"),
    (fdp.HandleUsage, "1 [7]"),
    (fdp.FdpStatistics, "16 16 16 [16]"),
    (fdp.FdpEvent, "1 1 2 8 4 16 2 1 [5] 24"),
    (fdp.FdpEventsHeader, "4 [60]"),
    (fdp.MediaReallocated, "1 [1] 2 8 [4]"),
    (IntelController, "[3] 1 20 1 1 1 1 8 [38] 8 4 4"),
    (IntelLogDirectory, "2 510"),
    (IntelLatency, "2 2 128 124 124"),
    (IntelTemperature, "8 8 8 8 8 [40] 8 [8] 8 8"),
    (IntelSmartAttribute, "1 [2] 1 [1] 6 [1]"),
    (IntelSmart, "156"),
    (IntelMarketingName, "512"),
]


def members(text: str) -> Iterator[tuple[int, int]]:
    """Offset and size of each member that is not in brackets; at last the size of it all."""
    at = 0
    for word in text.split():
        size = int(word.strip("[]"))
        if not word.startswith("["):
            yield at, size
        at += size
    yield at, 0


@pytest.mark.parametrize(("kind", "text"), LAYOUTS, ids=lambda value: getattr(value, "__name__", ""))
def test_every_field_lies_where_others_have_it(kind: type[Structure], text: str) -> None:
    """Offsets and sizes, and the size of the whole."""
    assert [(row.offset, row.size) for row in kind.ROWS.values()] + [(kind.SIZE, 0)] == list(members(text))


def test_no_structure_is_forgotten() -> None:
    """Every structure of these modules is compared above, or in the tests of what is supported."""
    compared = {kind for kind, _ in LAYOUTS} | {
        support.SupportedLogPages,
        support.CommandsSupportedAndEffects,
    }
    for module in (health, namespaces, captures, events, fdp, support):
        own = {
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, Structure)
            and value.__module__ == module.__name__
        }
        assert own <= compared, module.__name__


@pytest.mark.parametrize("kind", [kind for kind, _ in LAYOUTS], ids=lambda kind: kind.__name__)
@settings(max_examples=20)
@given(data=st.data())
def test_any_bytes_come_back(kind: Any, data: st.DataObject) -> None:
    """What is decoded is encoded to the same bytes, reserved ones apart, and prints."""
    raw = data.draw(st.binary(min_size=kind.SIZE, max_size=kind.SIZE))
    covered = bytearray(kind.SIZE)
    for row in kind.ROWS.values():
        covered[row.offset : row.end] = raw[row.offset : row.end]
    decoded = kind.decode(raw)
    assert repr(decoded) and decoded.to_dict()
    # Bytes that are no text do not come back.
    if not any(isinstance(value, str) for value in vars(decoded).values()):
        again = decoded.encode()
        assert kind.decode(again) == decoded
        assert again == bytes(covered) or kind in _NESTED


# Their parts have reserved bytes of their own.
_NESTED = (health.SelfTestLog, IntelSmart)


def _hostile(size: int) -> st.SearchStrategy[bytes]:
    most = size + 200
    return st.one_of(
        st.binary(max_size=most),
        st.integers(0, most).map(lambda count: b"\xff" * count),
        st.integers(0, most).map(bytes),
        # A header with small numbers, so that the lists behind it are gone into.
        st.lists(st.integers(0, 3), max_size=most).map(bytes),
    )


@pytest.mark.parametrize("lid", sorted(LOG_PAGES), ids=lambda lid: LogPageId(lid).name)
@settings(max_examples=20)
@given(data=st.data())
def test_hostile_pages(lid: int, data: st.DataObject) -> None:
    """Truncated, all ones, random: decoding and measuring raise nothing but our own errors."""
    page = LOG_PAGES[lid]
    raw = data.draw(_hostile(min(page.size, 1024)))
    try:
        whole = page.whole(raw)
        value = page.decode(raw)
    except NvmeError:
        return
    assert value.to_dict() is not None
    if isinstance(value, Listing) and lid != LogPageId.PERSISTENT_EVENTS:
        assert page.decode(value.encode()) == value
    if page.length is not None and whole:
        assert page.length(raw) <= len(raw)


@pytest.mark.parametrize("etype", range(0x10))
@settings(max_examples=20)
@given(data=_hostile(512))
def test_hostile_events(etype: int, data: bytes) -> None:
    """The data of a persistent event of any type."""
    event = events.PersistentEvent(head=events.PersistentEventHeader(etype=etype), data=data)
    try:
        value = event.value
    except NvmeError:
        return
    assert isinstance(value, (bytes, Structure, Listing))
    if isinstance(value, Listing) and etype != events.PersistentEventType.POWER_ON_OR_RESET:
        assert type(value).decode(value.encode()) == value


@pytest.mark.parametrize("page", INTEL.log_pages, ids=lambda page: page.name)
@settings(max_examples=20)
@given(data=st.data())
def test_hostile_vendor_pages(page: Any, data: st.DataObject) -> None:
    """Intel's pages of any bytes."""
    try:
        decode_page(page, data.draw(_hostile(page.size)))
    except NvmeError:
        return
