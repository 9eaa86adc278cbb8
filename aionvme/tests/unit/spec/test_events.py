"""Asynchronous events as bits: types and information by the numbers of other people's headers, and hostile dwords."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionvme.spec.events import (
    ErrorEvent,
    EventDword,
    EventMask,
    EventType,
    ImmediateEvent,
    IoCommandEvent,
    NoticeEvent,
    OneShotEvent,
    SmartEvent,
    supported_events,
)

# SPDK's nvme_spec.h: async_event_type in bits 2:0, async_event_info in 15:8, log_page_identifier in 23:16. Values from
# there, and from libnvme's types.h (nvme_ae_type, nvme_ae_info_*).
DWORDS = [
    (0x01_00_00, EventType.ERROR, ErrorEvent.INVALID_DOORBELL_REGISTER),
    (0x01_01_00, EventType.ERROR, ErrorEvent.INVALID_DOORBELL_VALUE),
    (0x01_02_00, EventType.ERROR, ErrorEvent.DIAGNOSTIC_FAILURE),
    (0x01_03_00, EventType.ERROR, ErrorEvent.PERSISTENT_INTERNAL_ERROR),
    (0x01_04_00, EventType.ERROR, ErrorEvent.TRANSIENT_INTERNAL_ERROR),
    (0x01_05_00, EventType.ERROR, ErrorEvent.FIRMWARE_IMAGE_LOAD_ERROR),
    (0x02_00_01, EventType.SMART, SmartEvent.RELIABILITY),
    (0x02_01_01, EventType.SMART, SmartEvent.TEMPERATURE_THRESHOLD),
    (0x02_02_01, EventType.SMART, SmartEvent.SPARE_BELOW_THRESHOLD),
    (0x04_00_02, EventType.NOTICE, NoticeEvent.NAMESPACE_CHANGED),
    (0x03_01_02, EventType.NOTICE, NoticeEvent.FIRMWARE_ACTIVATION_STARTING),
    (0x08_02_02, EventType.NOTICE, NoticeEvent.TELEMETRY_CHANGED),
    (0x0C_03_02, EventType.NOTICE, NoticeEvent.ANA_CHANGED),
    (0x0B_04_02, EventType.NOTICE, NoticeEvent.PREDICTABLE_LATENCY_CHANGED),
    (0x0E_05_02, EventType.NOTICE, NoticeEvent.LBA_STATUS_ALERT),
    (0x0F_06_02, EventType.NOTICE, NoticeEvent.ENDURANCE_GROUP_CHANGED),
    (0xBF_EF_02, EventType.NOTICE, NoticeEvent.ZONE_CHANGED),
    (0x70_F0_02, EventType.NOTICE, NoticeEvent.DISCOVERY_CHANGED),
    (0x80_00_06, EventType.IO_COMMAND, IoCommandEvent.RESERVATION_LOG_AVAILABLE),
    (0x81_01_06, EventType.IO_COMMAND, IoCommandEvent.SANITIZE_COMPLETED),
    (0x81_02_06, EventType.IO_COMMAND, IoCommandEvent.SANITIZE_COMPLETED_WITH_DEALLOCATION),
    # Base 2.1, figures 151 to 154.
    (0x00_07_02, EventType.NOTICE, NoticeEvent.REACHABILITY_GROUP_CHANGED),
    (0x00_08_02, EventType.NOTICE, NoticeEvent.REACHABILITY_ASSOCIATION_CHANGED),
    (0x00_09_02, EventType.NOTICE, NoticeEvent.ALLOCATED_NAMESPACE_CHANGED),
    (0x81_03_06, EventType.IO_COMMAND, IoCommandEvent.SANITIZE_ENTERED_MEDIA_VERIFICATION),
    (0x00_00_03, EventType.IMMEDIATE, ImmediateEvent.NORMAL_SUBSYSTEM_SHUTDOWN),
    (0x00_01_03, EventType.IMMEDIATE, ImmediateEvent.TEMPERATURE_HYSTERESIS_RECOVERY),
    (0x00_00_04, EventType.ONE_SHOT, OneShotEvent.CONTROLLER_DATA_QUEUE_TAIL),
    (0x00_01_04, EventType.ONE_SHOT, OneShotEvent.CONTROLLER_DATA_QUEUE_FULL),
]

# libnvme's types.h: NVME_CTRL_OAES_*_SHIFT and NVME_FEAT_AE_*_SHIFT.
OAES = {
    8: EventMask.NAMESPACE,
    9: EventMask.FIRMWARE_ACTIVATION,
    11: EventMask.ANA,
    12: EventMask.PREDICTABLE_LATENCY,
    13: EventMask.LBA_STATUS,
    14: EventMask.ENDURANCE_GROUP,
    15: EventMask.NORMAL_SHUTDOWN,
    16: EventMask.TEMPERATURE_RECOVERY,
    17: EventMask.REACHABILITY_GROUP | EventMask.REACHABILITY_ASSOCIATION,
    19: EventMask.ALLOCATED_NAMESPACE,
    27: EventMask.ZONE,
    31: EventMask.DISCOVERY,
}
ALWAYS = EventMask.SMART & ~EventMask.PERSISTENT_MEMORY


@pytest.mark.parametrize(("dword", "kind", "information"), DWORDS)
def test_dword(dword: int, kind: EventType, information: int) -> None:
    """Each event is typed, and has the log page that it says; an immediate one has none."""
    event = EventDword(dword)
    assert (event.kind, event.information) == (kind, information)
    assert type(event.information) is type(information)
    assert event.log_page == (None if kind in (EventType.IMMEDIATE, EventType.ONE_SHOT) else dword >> 16)


@given(st.integers(0, 0xFFFFFFFF))
def test_any_dword(dword: int) -> None:
    """Whatever a controller says is decoded, by its numbers where it means nothing, and encoded to the same."""
    event = EventDword(dword)
    assert (int(event.kind), int(event.information)) == (dword & 7, dword >> 8 & 0xFF)
    assert event.log_page in (None, dword >> 16 & 0xFF)
    assert event.to_int() == dword


@pytest.mark.parametrize("bit", range(32))
def test_what_a_controller_can_report(bit: int) -> None:
    """Each bit of OAES switches on what it is of, and nothing else; SMART warnings there are always."""
    assert supported_events(oaes=1 << bit, lpa=0) == ALWAYS | OAES.get(bit, EventMask(0))


def test_what_is_not_in_oaes() -> None:
    """Telemetry is in LPA, and the warning of a persistent memory region is there where that is."""
    assert supported_events(oaes=0, lpa=1 << 3) == ALWAYS | EventMask.TELEMETRY
    assert supported_events(oaes=0, lpa=0xFF & ~(1 << 3), pmr=True) == EventMask.SMART


@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFF), st.booleans())
def test_no_event_that_has_no_name(oaes: int, lpa: int, pmr: bool) -> None:
    """Reserved bits are never switched on."""
    known = 0
    for event in EventMask:
        known |= int(event)
    assert int(supported_events(oaes=oaes, lpa=lpa, pmr=pmr)) & ~known == 0
