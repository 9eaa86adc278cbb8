"""Get and Set Features: values, selections, and each refusal."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from aionvme.mock import NamespaceConfig
from aionvme.tests.unit.mock.raw import CC, Raw

Make = Callable[..., Raw]
SET, GET = 0x09, 0x0A
ARBITRATION, POWER, TEMPERATURE, RECOVERY, CACHE, QUEUES = 0x01, 0x02, 0x04, 0x05, 0x06, 0x07
COALESCING, VECTOR, ATOMICITY, EVENTS, TIMESTAMP, HOST = 0x08, 0x09, 0x0A, 0x0B, 0x0E, 0x81


def get(raw: Raw, fid: int, *, select: int = 0, cdw11: int = 0, nsid: int = 0) -> int:
    """A feature's dword; minus its status when it failed."""
    cqe = raw.admin.run(GET, nsid=nsid, prp1=raw.page_iova, cdw10=select << 8 | fid, cdw11=cdw11)
    return -cqe.code if cqe.status else cqe.dw0


def set_(raw: Raw, fid: int, cdw11: int = 0, *, nsid: int = 0, save: int = 0) -> int:
    """Sets a feature; its dword, or minus its status."""
    cqe = raw.admin.run(SET, nsid=nsid, prp1=raw.page_iova, cdw10=save << 31 | fid, cdw11=cdw11)
    return -cqe.code if cqe.status else cqe.dw0


@pytest.mark.parametrize(
    ("fid", "default", "value"),
    [
        (ARBITRATION, 7, 0x03020105),
        (CACHE, 1, 0),
        (COALESCING, 0, 0x1234),
        (ATOMICITY, 0, 1),
        (EVENTS, 0, 0x0103),
        (POWER, 0, 1 << 5),
    ],
)
def test_dwords(raw: Raw, fid: int, default: int, value: int) -> None:
    """A feature keeps what it was set to until a reset; default and saved value are what they were."""
    assert get(raw, fid) == default
    assert set_(raw, fid, value) == 0
    capabilities = 4 if fid in (ARBITRATION, EVENTS) else 5
    assert [get(raw, fid, select=select) for select in range(4)] == [value, default, default, capabilities]
    raw.function.write32(CC, 0)
    raw.enable()
    assert get(raw, fid) == default


def test_refusals(raw: Raw) -> None:
    """Unknown, not saveable, of a namespace that it has not, of a power state that there is not."""
    assert get(raw, 0x7C) == -0x02
    assert set_(raw, 0x7C) == -0x02
    assert get(raw, CACHE, select=4) == -0x02
    assert set_(raw, EVENTS, 1, save=1) == -0x10D
    assert set_(raw, CACHE, 1, nsid=1) == -0x10F
    assert set_(raw, CACHE, 1, nsid=9) == -0x0B
    assert set_(raw, CACHE, 1, nsid=0xFFFFFFFF) == 0
    assert set_(raw, POWER, 3) == -0x02


def test_number_of_queues(make: Make) -> None:
    """No more queues are granted than there are, none may be created beyond, and it is set before any."""
    raw = make(num_io_queues=4)
    assert get(raw, QUEUES) == 3 << 16 | 3
    assert set_(raw, QUEUES, 0xFFFF) == -0x02
    assert set_(raw, QUEUES, 0xFFFF << 16) == -0x02
    assert set_(raw, QUEUES, 99 << 16 | 99) == 3 << 16 | 3
    assert set_(raw, QUEUES, 0) == 3 << 16 | 3
    raw.function.write32(CC, 0)
    raw.enable()
    assert set_(raw, QUEUES, 1 << 16 | 0) == 1 << 16
    assert raw.admin.run(0x05, prp1=raw.page_iova, cdw10=15 << 16 | 3, cdw11=1).code == 0x101
    raw.create(1)
    assert set_(raw, QUEUES, 1 << 16 | 1) == -0x0C
    assert get(raw, QUEUES) == 1 << 16
    assert raw.admin.run(0x00, cdw10=1).status == raw.admin.run(0x04, cdw10=1).status == 0
    assert set_(raw, QUEUES, 1 << 16 | 1) == -0x0C


def test_temperature(raw: Raw) -> None:
    """Over and under threshold of the composite temperature; a kind that there is not is refused."""
    assert get(raw, TEMPERATURE) == 343
    assert get(raw, TEMPERATURE, cdw11=1 << 20) == 0
    assert set_(raw, TEMPERATURE, 350) == 0
    assert set_(raw, TEMPERATURE, 1 << 20 | 280) == 0
    assert (get(raw, TEMPERATURE), get(raw, TEMPERATURE, cdw11=1 << 20)) == (350, 280)
    assert get(raw, TEMPERATURE, select=1) == 343
    assert get(raw, TEMPERATURE, cdw11=2 << 20) == -0x02
    assert set_(raw, TEMPERATURE, 2 << 20) == -0x02
    assert get(raw, TEMPERATURE, cdw11=3 << 16) == 0


def test_error_recovery(make: Make) -> None:
    """Each namespace has its own; all are set by FFFFFFFFh; deallocated block errors are not supported."""
    raw = make(namespaces=[NamespaceConfig(), NamespaceConfig(active=False), NamespaceConfig()])
    assert set_(raw, RECOVERY, 5, nsid=1) == 0
    assert (get(raw, RECOVERY, nsid=1), get(raw, RECOVERY, nsid=3)) == (5, 0)
    assert set_(raw, RECOVERY, 6, nsid=0xFFFFFFFF) == 0
    assert (get(raw, RECOVERY, nsid=1), get(raw, RECOVERY, nsid=3)) == (6, 6)
    assert set_(raw, RECOVERY, 1 << 16, nsid=1) == -0x02
    assert get(raw, RECOVERY, nsid=2) == -0x02
    assert get(raw, RECOVERY, nsid=0) == -0x0B
    assert get(raw, RECOVERY, nsid=0xFFFFFFFF) == -0x0B
    assert get(raw, RECOVERY, nsid=1, select=3) == 7


def test_vectors(make: Make) -> None:
    """Coalescing can be switched off for a vector that there is."""
    raw = make(num_irqs=4)
    assert get(raw, VECTOR, cdw11=0) == 1 << 16
    assert get(raw, VECTOR, cdw11=3) == 3
    assert set_(raw, VECTOR, 1 << 16 | 3) == 0
    assert get(raw, VECTOR, cdw11=3) == 1 << 16 | 3
    assert get(raw, VECTOR, cdw11=4) == -0x02
    assert set_(raw, VECTOR, 4) == -0x02


def test_timestamp(raw: Raw) -> None:
    """The clock that the host set goes on, and says that it is the host's."""
    raw.memory.bytes[raw.page : raw.page + 8] = (1_700_000_000_000).to_bytes(8, "little")
    assert set_(raw, TIMESTAMP) == 0
    assert get(raw, TIMESTAMP) == 0
    data = raw.data(8)
    assert 0 <= int.from_bytes(data[:6], "little") - 1_700_000_000_000 < 60_000
    assert data[6] == 0b10


def test_host_identifier(raw: Raw) -> None:
    """8 bytes or 16; asked for in the other length it is inconsistent."""
    assert get(raw, HOST) == 0
    assert raw.data(8) == bytes(8)
    raw.memory.bytes[raw.page : raw.page + 16] = bytes(range(16))
    assert set_(raw, HOST, 1) == 0
    raw.memory.bytes[raw.page : raw.page + 16] = bytes(16)
    assert get(raw, HOST, cdw11=1) == 0
    assert raw.data(16) == bytes(range(16))
    assert get(raw, HOST, cdw11=0) == -0x18
    raw.memory.bytes[raw.page : raw.page + 8] = struct.pack("<Q", 77)
    assert set_(raw, HOST, 0) == 0
    assert get(raw, HOST, cdw11=0) == 0
    assert raw.data(8) == struct.pack("<Q", 77)
    assert raw.admin.run(SET, prp1=0x7000_0000_0000, cdw10=HOST).code == 0x04
