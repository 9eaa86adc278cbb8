"""The mock's namespaces: created, attached and deleted by the bytes of the specification."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from aionvme.mock import MockController, NamespaceConfig
from aionvme.tests.unit.mock.raw import PAGE, Raw

if TYPE_CHECKING:
    from aionvme.tests.unit.mock.raw import Cqe

Make = Callable[..., Raw]
MANAGE, ATTACHMENT, EVENT, READ, WRITE, FEATURES = 0x0D, 0x15, 0x0C, 0x02, 0x01, 0x09
INVALID_FIELD, INVALID_NAMESPACE = 0x02, 0x0B
MIB = 1 << 20


def create(raw: Raw, nsze: int, ncap: int | None = None, *, nmic: int = 0, **others: int) -> Cqe:
    """Namespace Management, create: offsets as libnvme's nvme_ns_mgmt_host_sw_specified has them."""
    spec = bytearray(PAGE)
    struct.pack_into("<QQ", spec, 0, nsze, nsze if ncap is None else ncap)
    spec[26], spec[29], spec[30] = others.pop("flbas", 0), others.pop("dps", 0), nmic
    struct.pack_into(
        "<IxxxxHH", spec, 92, *(others.pop(name, 0) for name in ("anagrpid", "nvmsetid", "endgid"))
    )
    raw.memory.bytes[raw.page : raw.page + PAGE] = bytes(spec)
    return raw.admin.run(MANAGE, prp1=raw.page_iova, **others)


def attachment(raw: Raw, nsid: int, select: int, *cntlids: int, count: int | None = None) -> int:
    """Namespace Attachment: its status code."""
    numbers = [len(cntlids) if count is None else count, *cntlids]
    data = struct.pack(f"<{len(numbers)}H", *numbers).ljust(PAGE, b"\0")
    raw.memory.bytes[raw.page : raw.page + PAGE] = data
    return raw.admin.run(ATTACHMENT, nsid=nsid, prp1=raw.page_iova, cdw10=select).code


def capacity(raw: Raw) -> tuple[int, int]:
    """TNVMCAP and UNVMCAP."""
    data = raw.identify(0x01)[1]
    return int.from_bytes(data[280:296], "little"), int.from_bytes(data[296:312], "little")


def active(raw: Raw) -> list[int]:
    """The active list."""
    return [nsid for nsid in struct.unpack("<1024I", raw.identify(0x02)[1]) if nsid]


@pytest.fixture
def pair(make: Make) -> Iterator[tuple[Raw, Raw]]:
    """Two stepped controllers of one subsystem with 16 MiB in two namespaces, and room for 4."""
    first = make(namespaces=2, size=4 * MIB, capacity=16 * MIB, max_namespaces=4)
    with first.mock.second() as mock, Raw(mock) as second:
        second.enable()
        yield first, second


def test_created_namespace(make: Make) -> None:
    """It takes the lowest identifier and its capacity, is there and inactive, and has storage once it is attached."""
    raw = make(size=4 * MIB, capacity=8 * MIB, max_namespaces=3)
    assert capacity(raw) == (8 * MIB, 4 * MIB)
    cqe = create(raw, 1024, flbas=1)
    assert (cqe.status, cqe.dw0) == (0, 2)
    assert capacity(raw) == (8 * MIB, 0)
    assert active(raw) == [1]
    assert raw.identify(0x00, nsid=2)[1] == bytes(PAGE)
    data = raw.identify(0x11, nsid=2)[1]
    assert (struct.unpack_from("<QQ", data), data[26], data[30]) == ((1024, 1024), 1, 0)
    queue = raw.create(1)
    assert queue.run(READ, nsid=2, prp1=raw.page_iova).code == INVALID_FIELD
    assert attachment(raw, 2, 0, 1) == 0
    assert active(raw) == [1, 2]
    raw.memory.bytes[raw.page : raw.page + PAGE] = b"n" * PAGE
    assert queue.run(WRITE, nsid=2, prp1=raw.page_iova, cdw10=1023).status == 0
    assert raw.mock.peek(2, 1023) == b"n" * PAGE
    assert queue.run(READ, nsid=2, prp1=raw.page_iova, cdw10=1024).code == 0x80


def test_refused_creations(make: Make) -> None:
    """No room, no identifier, thin provisioning, a format that is not there, groups and sets: each its status."""
    raw = make(size=4 * MIB, capacity=8 * MIB, max_namespaces=2)
    assert create(raw, (4 * MIB >> 9) + 1).code == 0x115
    assert create(raw, 1 << 60).code == 0x115
    assert create(raw, 8, 4).code == 0x11B
    assert create(raw, 8, flbas=9).code == 0x10A
    assert create(raw, 8, dps=1).code == 0x10A
    assert create(raw, 8, anagrpid=1).code == 0x124
    assert create(raw, 8, cdw11=2 << 24).code == 0x129
    refused = ({"nvmsetid": 1}, {"endgid": 1}, {"nmic": 2}, {"nsid": 2}, {"cdw10": 2}, {"ncap": 9})
    assert {create(raw, 8, **fields).code for fields in refused} == {INVALID_FIELD}
    assert create(raw, 0).code == INVALID_FIELD
    assert create(raw, 8).status == 0
    assert create(raw, 8).code == 0x116


def test_deleted_namespace(make: Make) -> None:
    """Its room comes back; one created in its place has other names and no data; what is not there is refused."""
    raw = make(size=4 * MIB)
    names = raw.identify(0x03, nsid=1)[1]
    raw.mock.poke(1, 0, b"secret")
    assert raw.admin.run(MANAGE, nsid=1, cdw10=1).status == 0
    assert (capacity(raw), active(raw)) == ((4 * MIB, 4 * MIB), [])
    assert raw.admin.run(MANAGE, nsid=1, cdw10=1).code == INVALID_FIELD
    assert raw.admin.run(MANAGE, nsid=2, cdw10=1).code == INVALID_NAMESPACE
    assert create(raw, 4 * MIB >> 9).dw0 == 1
    assert attachment(raw, 1, 0, 1) == 0
    assert raw.mock.peek(1, 0) == bytes(512)
    assert raw.identify(0x03, nsid=1)[1] != names


def test_delete_all(make: Make) -> None:
    """FFFFFFFFh deletes every namespace."""
    raw = make(namespaces=[NamespaceConfig(size=MIB), NamespaceConfig(size=MIB, active=False)])
    assert raw.admin.run(MANAGE, nsid=0xFFFFFFFF, cdw10=1).status == 0
    assert raw.identify(0x10)[1] == bytes(PAGE)


def test_attachment_statuses(pair: tuple[Raw, Raw]) -> None:
    """Attached twice, not attached, private, and lists that cannot be; what is refused for one is done for none."""
    first, second = pair
    assert create(first, 8).dw0 == 3
    assert attachment(first, 3, 0, 1, 2) == 0x119
    assert attachment(first, 3, 0, 2) == 0
    assert attachment(first, 3, 0, 1) == 0x119
    assert attachment(first, 1, 0, 1) == 0x118
    assert attachment(first, 1, 1, 1) == 0
    assert attachment(second, 1, 0, 1, 2) == 0x118
    assert attachment(second, 1, 1, 1, 2) == 0x11A
    assert (active(first), active(second)) == ([2], [1, 2, 3])
    assert attachment(first, 1, 0) == 0x11C
    assert attachment(first, 1, 0, 9) == 0x11C
    assert attachment(first, 1, 0, 2, 1) == 0x11C
    assert attachment(first, 1, 0, 1, count=2048) == 0x11C
    assert attachment(first, 4, 0, 1) == INVALID_FIELD
    assert attachment(first, 5, 0, 1) == INVALID_NAMESPACE
    assert attachment(first, 1, 2, 1) == INVALID_FIELD


def test_shared_blocks(pair: tuple[Raw, Raw]) -> None:
    """Two controllers reach the same blocks; from the one it is detached from it cannot be reached."""
    first, second = pair
    queues = [raw.create(1) for raw in pair]
    first.memory.bytes[first.page : first.page + 512] = b"s" * 512
    assert queues[0].run(WRITE, nsid=1, prp1=first.page_iova).status == 0
    assert queues[1].run(READ, nsid=1, prp1=second.page_iova).status == 0
    assert second.data(512) == b"s" * 512
    assert attachment(second, 1, 1, 1) == 0
    assert queues[0].run(READ, nsid=1, prp1=first.page_iova).code == INVALID_FIELD
    assert queues[0].run(0x00, nsid=1).code == INVALID_FIELD
    assert queues[1].run(READ, nsid=1, prp1=second.page_iova).status == 0


def test_changes_are_told(pair: tuple[Raw, Raw]) -> None:
    """Every controller of the list reports the change where that notice is on, without a command of its own."""
    first, second = pair
    for raw in pair:
        assert raw.admin.run(FEATURES, cdw10=0x0B, cdw11=1 << 8).status == 0
        raw.admin.post(EVENT, cid=77)
        raw.admin.ring()
        raw.mock.step()
    assert attachment(first, 2, 1, 2) == 0
    assert first.admin.reap() == []
    ((event, *_rest),) = second.admin.wait()
    assert event == 2 | 4 << 16
    assert second.admin.run(0x02, cdw10=4 | 1023 << 16, prp1=second.page_iova).status == 0
    assert struct.unpack("<2I", second.data(8)) == (2, 0)


def test_reservation_keeps_others_out(pair: tuple[Raw, Raw]) -> None:
    """What a reservation denies writing to is not detached or deleted by that host; it goes with its namespace."""
    first, second = pair
    queue = first.create(1)
    for raw, name in zip(pair, (b"a" * 8, b"b" * 8), strict=True):
        raw.memory.bytes[raw.page : raw.page + 8] = name
        assert raw.admin.run(FEATURES, cdw10=0x81, prp1=raw.page_iova).status == 0
    first.memory.bytes[first.page : first.page + 16] = struct.pack("<QQ", 0, 5)
    assert queue.run(0x0D, nsid=1, prp1=first.page_iova).status == 0
    first.memory.bytes[first.page : first.page + 16] = struct.pack("<QQ", 5, 0)
    assert queue.run(0x11, nsid=1, prp1=first.page_iova, cdw10=1 << 8).status == 0
    assert attachment(second, 1, 1, 2) == 0x83
    assert second.admin.run(MANAGE, nsid=1, cdw10=1).code == 0x83
    assert first.admin.run(MANAGE, nsid=1, cdw10=1).status == 0
    assert create(second, 8, nmic=1).dw0 == 1
    assert attachment(second, 1, 0, 2) == 0


def test_created_while_the_plane_runs() -> None:
    """Namespaces come and go under the reads of two controllers with threads of their own."""
    with (
        MockController(size=MIB, capacity=4 * MIB, max_namespaces=2) as mock,
        mock.second() as other,
        Raw(mock) as first,
        Raw(other) as second,
    ):
        first.enable()
        second.enable()
        queue = second.create(1)
        seen = set()
        for turn in range(40):
            assert create(first, 256, nmic=1, flbas=turn & 1).dw0 == 2
            assert attachment(first, 2, 0, 1, 2) == 0
            for _ in range(8):
                queue.post(READ, nsid=2, prp1=second.page_iova, cdw10=255)
            queue.ring()
            assert first.admin.run(MANAGE, nsid=2, cdw10=1).status == 0
            seen |= {cqe.code for cqe in queue.wait(8)}
        assert seen <= {0, INVALID_FIELD}


def test_storage_file_keeps_its_namespaces(tmp_path: object) -> None:
    """A namespace that is created takes a gap of the file, of which it shows nothing, and leaves the others alone."""
    path = f"{tmp_path}/disk"
    with MockController(namespaces=2, size=MIB, storage=path, drive="step") as mock, Raw(mock) as raw:
        raw.enable()
        mock.poke(2, 0, b"two")
        mock.poke(1, 0, b"one")
        assert raw.admin.run(MANAGE, nsid=1, cdw10=1).status == 0
        assert create(raw, MIB >> 12, flbas=1).dw0 == 1
        assert mock.peek(1, 0) == bytes(4096)
        mock.poke(1, 0, b"new")
    with MockController(namespaces=2, size=MIB, storage=path, drive="step") as mock:
        assert (mock.peek(1, 0)[:3], mock.peek(2, 0)[:3]) == (b"new", b"two")
    with (
        MockController(size=MIB, capacity=2 * MIB, max_namespaces=2, storage=path, drive="step") as mock,
        Raw(mock) as raw,
    ):
        raw.enable()
        assert create(raw, MIB >> 9).dw0 == 2
        assert mock.peek(2, 0) == bytes(512)
