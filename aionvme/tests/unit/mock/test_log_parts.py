"""Log pages with a state of their own: telemetry, persistent events, ANA, data placement, Intel's; scripted ones."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

from aionvme.errors import UsageError
from aionvme.mock import MockController
from aionvme.tests.unit.mock.raw import Raw
from aionvme.tests.unit.mock.test_logs import SET, log, request_events

Make = Callable[..., Raw]
INVALID_FIELD, SEQUENCE, INVALID_PAGE = 0x02, 0x0C, 0x109
IDENTIFY = 0x06


def identify(raw: Raw) -> bytes:
    """Identify Controller."""
    assert raw.admin.run(IDENTIFY, prp1=raw.page_iova, cdw10=1).status == 0
    return raw.data(4096)


# -- telemetry -----------------------------------------------------------------------------------------------


def areas(header: bytes) -> tuple[int, ...]:
    """Last blocks of data areas 1 to 4."""
    return (*struct.unpack_from("<HHH", header, 8), *struct.unpack_from("<I", header, 16))


def test_host_telemetry(make: Make) -> None:
    """It is captured with LSP bit 0, stays as it was without, and has another generation each time."""
    raw = make(telemetry=8 * 512)
    assert areas(log(raw, 7, 512)[1]) == (0, 0, 0, 0)
    status, header = log(raw, 7, 512, lsp=1)
    assert (status, header[0], areas(header), header[381]) == (0, 7, (2, 4, 8, 0), 1)
    first = log(raw, 7, 1024, offset=512)[1]
    assert struct.unpack_from("<II", first, 0) == (1, 1)
    assert struct.unpack_from("<II", first, 512) == (1, 2)
    assert log(raw, 7, 512)[1][381] == 1
    assert log(raw, 7, 512, lsp=1)[1][381] == 2
    assert struct.unpack_from("<II", log(raw, 7, 512, offset=512 * 8)[1], 0) == (2, 8)


def test_area_4_is_for_hosts_that_know_it(make: Make) -> None:
    """Its last block is there once Host Behavior Support says ETDAS."""
    raw = make(telemetry=4096)
    raw.memory.bytes[raw.page : raw.page + 512] = bytes([0, 1]) + bytes(510)
    assert raw.admin.run(SET, prp1=raw.page_iova, cdw10=0x16).status == 0
    assert areas(log(raw, 7, 512, lsp=1)[1]) == (2, 4, 8, 12)


def test_controller_telemetry(raw: Raw) -> None:
    """A capture of the controller's own is told of by an event, and kept until it was read without retaining."""
    assert log(raw, 8, 512)[1][382] == 0
    assert raw.admin.run(SET, cdw10=0x0B, cdw11=1 << 10).status == 0
    request_events(raw, 1)
    raw.mock.capture_telemetry()
    raw.mock.step()
    assert raw.admin.wait()[0].dw0 == 8 << 16 | 2 << 8 | 2
    header = log(raw, 8, 512, rae=1)[1]
    assert (header[0], header[382], header[383]) == (8, 1, 1)
    raw.mock.capture_telemetry()  # nobody has read the one that there is
    assert log(raw, 8, 512)[1][382:384] == bytes([1, 1])
    assert log(raw, 8, 512)[1][382:384] == bytes([0, 1])
    raw.mock.capture_telemetry()
    assert log(raw, 8, 512, rae=1)[1][382:384] == bytes([1, 2])


# -- persistent events ---------------------------------------------------------------------------------------


def test_reporting_context(raw: Raw) -> None:
    """Without one nothing is read, there is one at a time, and a reset takes it."""
    assert log(raw, 0x0D, 512)[0] == SEQUENCE
    status, header = log(raw, 0x0D, 512, lsp=1)
    assert status == 0
    (total,) = struct.unpack_from("<Q", header, 8)
    assert (header[0], header[480] & 0x12) == (0x0D, 0x12)
    assert log(raw, 0x0D, 512, lsp=1)[0] == SEQUENCE
    whole = log(raw, 0x0D, total)[1]
    assert (whole[:512], whole[512]) == (header, 1)  # the snapshot of SMART that establishing takes
    assert whole[512 + 24 + 512] == 4  # power on
    assert log(raw, 0x0D, 4, offset=total + 4)[0] == INVALID_FIELD
    assert log(raw, 0x0D, 512, lsp=2)[0] == 0
    assert log(raw, 0x0D, 512)[0] == SEQUENCE
    assert log(raw, 0x0D, 512, lsp=2)[0] == 0  # none to release is no error
    assert log(raw, 0x0D, 512, lsp=3)[0] == INVALID_FIELD
    second = log(raw, 0x0D, 512, lsp=1)[1]
    assert struct.unpack_from("<H", second, 372)[0] == struct.unpack_from("<H", header, 372)[0] + 1


def test_a_reset_is_an_event(raw: Raw) -> None:
    """It takes the reporting context with it, and is in the log afterwards."""
    before = struct.unpack_from("<I", log(raw, 0x0D, 512, lsp=1)[1], 4)[0]
    raw.function.write32(0x14, 0)  # CC.EN
    raw.enable()
    assert log(raw, 0x0D, 512)[0] == SEQUENCE
    after = struct.unpack_from("<I", log(raw, 0x0D, 512, lsp=1)[1], 4)[0]
    assert after == before + 2  # and the snapshot of SMART


# -- LPA -----------------------------------------------------------------------------------------------------


def test_pages_that_lpa_switches_off(make: Make) -> None:
    """Without its bit there is no such page, and without extended data no offset and 12 bits of dwords."""
    raw = make(lpa=0)
    assert identify(raw)[261] == 0
    for lid in (0, 5, 7, 8, 0x0D):
        assert log(raw, lid, 64)[0] == INVALID_PAGE
    status, data = log(raw, 3, 64, offset=8)
    assert (status, data[0]) == (0, 1)  # the offset is not looked at
    status, data = log(raw, 2, 16384 + 64)
    assert (status, data[1:3]) == (0, struct.pack("<H", 310))  # 64 bytes


# -- groups --------------------------------------------------------------------------------------------------


def test_ana(make: Make) -> None:
    """One group of all namespaces; its state changes with an event and a change count."""
    raw = make(ana=True, namespaces=2)
    data = identify(raw)
    assert (data[76] & 8, data[343], struct.unpack_from("<II", data, 344)) == (8, 0x1F, (1, 1))
    page = log(raw, 0x0C, 56)[1]
    assert struct.unpack("<QH6xIIQB15xII", page) == (1, 1, 1, 2, 1, 1, 1, 2)
    assert struct.unpack_from("<I", log(raw, 0x0C, 48, lsp=1)[1], 20) == (0,)  # RGO
    assert raw.admin.run(SET, cdw10=0x0B, cdw11=1 << 11).status == 0
    request_events(raw, 1)
    raw.mock.ana_state = 3
    raw.mock.step()
    assert raw.admin.wait()[0].dw0 == 0x0C << 16 | 3 << 8 | 2
    assert struct.unpack("<QH6xIIQB15xII", log(raw, 0x0C, 56)[1])[5:6] == (3,)
    assert log(make(), 0x0C, 16)[0] == INVALID_PAGE


def test_data_placement(make: Make) -> None:
    """Pages of endurance group 1, and of no other."""
    raw = make(fdp=2)
    data = identify(raw)
    assert struct.unpack_from("<I", data, 96)[0] >> 4 & 1
    assert struct.unpack_from("<I", data, 96)[0] >> 19 & 1
    queue = raw.create(1)
    queue.run(1, nsid=1, prp1=raw.page_iova)
    for lid in (0x09, 0x20, 0x21, 0x22, 0x23):
        assert log(raw, lid, 64, lsi=1)[0] == 0
        assert log(raw, lid, 64, lsi=0)[0] == INVALID_FIELD
        assert log(raw, lid, 64, lsi=2)[0] == INVALID_FIELD
    n, size = struct.unpack_from("<HxxI", log(raw, 0x20, 16, lsi=1)[1])
    assert (n, size) == (0, 16 + 64 + 2 * 4)
    assert struct.unpack("<H6xQQ", log(raw, 0x21, 24, lsi=1)[1]) == (2, 2, 0)
    assert int.from_bytes(log(raw, 0x22, 64, lsi=1)[1][:16], "little") == 512
    assert log(raw, 0x0F, 8)[1] == bytes(8)


def test_unreadable_blocks(raw: Raw) -> None:
    """LBA status lists what Write Uncorrectable made unreadable."""
    assert struct.unpack("<III", log(raw, 0x0E, 12)[1]) == (16, 0, 0)
    queue = raw.create(1)
    queue.run(4, nsid=1, cdw10=5, cdw12=2)
    page = log(raw, 0x0E, 48)[1]
    assert struct.unpack("<IIIHHIIB7xQI4x", page) == (48, 1, 3, 0, 1, 1, 1, 0x10, 5, 3)


# -- Intel ---------------------------------------------------------------------------------------------------


def test_intel(make: Make) -> None:
    """The vendor in both places, a directory of the pages, and the pages."""
    raw = make(intel=True)
    assert struct.unpack_from("<HH", identify(raw)) == (0x8086, 0x8086)
    assert raw.function.config_read(0, 2) == b"\x86\x80"
    assert raw.mock.pci_dev.vendor_id == 0x8086
    directory = log(raw, 0xC0, 512)[1]
    listed = [lid for lid in range(1, 256) if directory[2 * lid]]
    assert listed == [0xC0, 0xC1, 0xC2, 0xC5, 0xCA, 0xDD]
    supported = log(raw, 0, 1024)[1]
    assert [lid for lid in range(0xC0, 256) if supported[4 * lid]] == listed
    assert log(raw, 0xDD, 512)[1].rstrip() == b"aionvme mock of an Intel SSD"
    assert struct.unpack_from("<Q", log(raw, 0xC5, 112)[1]) == (37,)
    smart = log(raw, 0xCA, 156)[1]
    assert {smart[at] for at in range(0, 156, 12)} >= {0xAB, 0xF5}
    assert log(make(), 0xC0, 512)[0] == INVALID_PAGE


# -- scripted ------------------------------------------------------------------------------------------------


def test_scripted_pages(raw: Raw) -> None:
    """A page of a test's is listed, has offsets, may be of one LSI, and is taken out again."""
    raw.mock.set_log_page(0x16, b"spin" + bytes(508))
    assert log(raw, 0, 1024)[1][4 * 0x16] == 1
    assert (log(raw, 0x16, 4)[1], log(raw, 0x16, 4, lsi=7)[1]) == (b"spin", b"spin")
    raw.mock.set_log_page(0x16, b"seven".ljust(512), lsi=7)
    assert (log(raw, 0x16, 4)[1], log(raw, 0x16, 8, lsi=7, offset=4)[1]) == (b"spin", b"n".ljust(8))
    raw.mock.set_log_page(0x16, None)
    assert log(raw, 0x16, 4)[0] == INVALID_FIELD
    raw.mock.set_log_page(0x16, None, lsi=7)
    assert log(raw, 0x16, 4)[0] == INVALID_PAGE
    count = iter(range(10))
    raw.mock.set_log_page(2, lambda: bytes([next(count)]) * 512)
    assert [log(raw, 2, 4)[1][0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UsageError, match="lid"):
        raw.mock.set_log_page(256, b"")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"telemetry": 100}, "telemetry"),
        ({"telemetry": 65536 * 512}, "telemetry"),
        ({"lpa": 0x80}, "lpa"),
        ({"fdp": 129}, "fdp"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], text: str) -> None:
    """Each is refused with its name."""
    with pytest.raises(UsageError, match=text):
        MockController(**options)


def test_options_of_an_address() -> None:
    """They can be said in an address."""
    with MockController.from_options(
        {"intel": "1", "lpa": "0x2", "telemetry": "1KiB", "ana": "yes", "fdp": "4"}
    ) as mock:
        options = mock.options
        assert (options.intel, options.lpa, options.telemetry, options.ana, options.fdp) == (
            True,
            2,
            1024,
            True,
            4,
        )
