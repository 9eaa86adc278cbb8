"""What asynchronous events say: by the layout and the numbers of SPDK's header, and by any dword."""

from __future__ import annotations

from typing import Any

import pytest

from aionvme.spec.events import EventDword, EventType, IoCommandEvent, NoticeEvent, SmartEvent

# SPDK's nvme_spec.h: type in bits 2:0, information in bits 15:8, log page in bits 23:16.
DWORDS: list[tuple[int, tuple[Any, Any, int | None]]] = [
    (0x00020101, (EventType.SMART, SmartEvent.TEMPERATURE_THRESHOLD, 2)),
    (0x00040002, (EventType.NOTICE, NoticeEvent.NAMESPACE_CHANGED, 4)),
    (0x00030102, (EventType.NOTICE, NoticeEvent.FIRMWARE_ACTIVATION_STARTING, 3)),
    (0x00080202, (EventType.NOTICE, NoticeEvent.TELEMETRY_CHANGED, 8)),
    (0x000C0302, (EventType.NOTICE, NoticeEvent.ANA_CHANGED, 12)),
    (0x00800006, (EventType.IO_COMMAND, IoCommandEvent.RESERVATION_LOG_AVAILABLE, 0x80)),
    (0x00810106, (EventType.IO_COMMAND, IoCommandEvent.SANITIZE_COMPLETED, 0x81)),
    (0x00C11207, (EventType.VENDOR, 0x12, 0xC1)),
    (0x00057702, (EventType.NOTICE, 0x77, 5)),  # a notice that nobody knows yet
    (0xFF020BFD, (5, 0x0B, 2)),  # a type that nobody knows, with all reserved bits set
]


@pytest.mark.parametrize(
    ("dw0", "says"), DWORDS, ids=lambda value: hex(value) if isinstance(value, int) else ""
)
def test_dword_0_of_an_event(dw0: int, says: tuple[Any, Any, int | None]) -> None:
    """Type, information and log page; what is not known stays a number."""
    event = EventDword(dw0)
    assert (event.kind, event.information, event.log_page) == says
    assert [type(one) for one in (event.kind, event.information)] == [type(one) for one in says[:2]]


def test_any_type_and_information() -> None:
    """Every type with every information can be asked what it is."""
    for dw0 in range(0x10000):
        event = EventDword(dw0)
        assert (int(event.kind), int(event.information)) == (dw0 & 7, dw0 >> 8)
