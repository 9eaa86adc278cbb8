"""Log pages, asynchronous events and Abort."""

from __future__ import annotations

import struct
from collections.abc import Callable

from aionvme.tests.unit.mock.raw import Cqe, Raw

Make = Callable[..., Raw]
SET, LOG, ABORT, EVENT = 0x09, 0x02, 0x08, 0x0C


def log(
    raw: Raw, lid: int, nbytes: int, *, offset: int = 0, nsid: int = 0xFFFFFFFF, rae: int = 0, lsp: int = 0,
    lsi: int = 0, cdw14: int = 0,
) -> tuple[int, bytes]:  # fmt: skip
    """A part of a log page, and the status code."""
    numd = nbytes // 4 - 1
    cqe = raw.admin.run(
        LOG, nsid=nsid, prp1=raw.page_iova, prp2=raw.page_iova,
        cdw10=(numd & 0xFFFF) << 16 | rae << 15 | lsp << 8 | lid,
        cdw11=numd >> 16 | lsi << 16, cdw12=offset & 0xFFFFFFFF, cdw13=offset >> 32, cdw14=cdw14,
    )  # fmt: skip
    return cqe.code, raw.data(nbytes)


def test_supported_pages(raw: Raw) -> None:
    """Page 00h names the pages that there are, and these can be read."""
    status, data = log(raw, 0, 1024)
    assert status == 0
    supported = [lid for lid in range(256) if data[4 * lid] & 1]
    assert supported == [0, 1, 2, 3, 4, 5, 6, 7, 8, 0x0D, 0x0E, 0x12, 0x80, 0x81]
    assert all(log(raw, lid, 64)[0] == 0 for lid in supported if lid != 0x0D)


def test_refusals(raw: Raw) -> None:
    """Unknown page, one namespace's page, an offset that is odd or too far, more than MDTS."""
    assert log(raw, 0x09, 64)[0] == 0x109
    assert log(raw, 0xC0, 64)[0] == 0x109
    assert log(raw, 0x02, 64, nsid=1)[0] == 0x02
    assert log(raw, 0x02, 64, nsid=0)[0] == 0
    assert log(raw, 0x02, 64, offset=2)[0] == 0x02
    assert log(raw, 0x02, 64, offset=516)[0] == 0x02
    assert log(raw, 0x02, 64, offset=1 << 40)[0] == 0x02
    assert log(raw, 0x02, (128 << 10) + 4)[0] == 0x02
    assert log(raw, 0x02, 64, cdw14=1 << 23)[0] == 0x02
    assert log(raw, 0x02, 64, cdw14=1)[0] == 0x02


def test_offsets(raw: Raw) -> None:
    """A page in pieces is the page; beyond its end are zeros."""
    whole = log(raw, 3, 512)[1]
    assert whole[:1] + whole[8:16] == b"\x011.0     "
    assert b"".join(log(raw, 3, 64, offset=offset)[1] for offset in range(0, 512, 64)) == whole
    assert log(raw, 3, 16, offset=504)[1] == whole[504:] + bytes(8)


def test_smart(raw: Raw) -> None:
    """SMART counts commands, and data in thousands of 512 bytes, rounded up."""
    queue = raw.create(1)
    for _ in range(3):
        queue.run(2, nsid=1, prp1=raw.page_iova)
    queue.run(1, nsid=1, prp1=raw.page_iova)
    queue.run(2, nsid=9, prp1=raw.page_iova)
    data = log(raw, 2, 512)[1]
    assert (data[0], struct.unpack_from("<H", data, 1)[0], data[3], data[4], data[5]) == (0, 310, 100, 10, 0)
    numbers = [int.from_bytes(data[at : at + 16], "little") for at in range(32, 192, 16)]
    assert numbers[:4] == [1, 1, 3, 1]
    assert numbers[9] == 1


def test_error_information(raw: Raw) -> None:
    """The latest error is first, with its count, queue, CID, status, LBA and namespace."""
    queue = raw.create(1)
    queue.run(2, cid=5, nsid=7, prp1=raw.page_iova, cdw10=3)
    raw.admin.run(0xFF, cid=6)
    data = log(raw, 1, 192)[1]
    first = struct.unpack_from("<QHHHHQI", data, 0)
    second = struct.unpack_from("<QHHHHQI", data, 64)
    assert first[:4] == (2, 0, 6, 0x4001 << 1)
    assert second == (1, 1, 5, 0x400B << 1, 0xFFFF, 3, 7)
    assert data[128:] == bytes(64)


def test_command_effects(raw: Raw) -> None:
    """What is supported is marked, and writing is marked as changing content."""
    data = log(raw, 5, 4096)[1]
    assert data[4 * 0x06] == 1
    assert [data[4 * opcode] for opcode in (0x0D, 0x15, 0x1C, 0x80)] == [9, 9, 0, 7]
    assert (data[1024 + 4], data[1024 + 8]) == (3, 1)


def request_events(raw: Raw, *cids: int) -> None:
    """Posts Asynchronous Event Requests."""
    for cid in cids:
        raw.admin.post(EVENT, cid=cid)
    raw.admin.ring()
    raw.mock.step()


def test_events_wait_for_requests(raw: Raw) -> None:
    """An event completes the oldest request; the next of its type waits until its log page was read."""
    request_events(raw, 1, 2)
    assert raw.admin.reap() == []
    raw.mock.event(1, 0, 2)
    raw.mock.event(1, 1, 2)
    assert raw.admin.wait() == [Cqe(2 << 16 | 0 << 8 | 1, 0, 2, 0, 1, 0)]
    assert log(raw, 2, 512, rae=1)[0] == 0
    raw.mock.step()
    assert raw.admin.reap() == []
    numd = 127
    raw.admin.post(LOG, cid=9, nsid=0xFFFFFFFF, prp1=raw.page_iova, cdw10=numd << 16 | 2)
    raw.admin.ring()
    assert {(cqe.cid, cqe.dw0) for cqe in raw.admin.wait(2)} == {(9, 0), (2, 2 << 16 | 1 << 8 | 1)}


def test_events_wait_for_events(raw: Raw) -> None:
    """An event that nobody asked for yet is given to the next request."""
    raw.mock.event(2, 0, 4)
    request_events(raw, 8)
    assert raw.admin.wait()[0].dw0 == 4 << 16 | 2


def test_too_many_requests(make: Make) -> None:
    """One request more than the limit is refused, and the others stay."""
    raw = make(event_limit=2)
    request_events(raw, 1, 2, 3)
    (cqe,) = raw.admin.wait()
    assert (cqe.cid, cqe.code) == (3, 0x105)


def test_temperature_event(raw: Raw) -> None:
    """A threshold below the temperature is a critical warning, and an event where that is switched on."""
    assert raw.admin.run(SET, cdw10=0x0B, cdw11=2).status == 0
    request_events(raw, 50)
    raw.admin.post(SET, cid=51, cdw10=0x04, cdw11=300)
    raw.admin.ring()
    assert {cqe.cid: cqe.dw0 for cqe in raw.admin.wait(2)} == {51: 0, 50: 2 << 16 | 1 << 8 | 1}
    assert log(raw, 2, 512)[1][0] == 2


def abort(raw: Raw, sqid: int, cid: int) -> Cqe:
    """Posts an Abort; its completion."""
    raw.admin.post(ABORT, cid=0x100, cdw10=cid << 16 | sqid)
    raw.admin.ring()
    raw.mock.step()
    return raw.admin.wait()[0]


def test_abort_of_a_kept_command(raw: Raw) -> None:
    """A command that is kept completes with 07h, before the Abort does with dword 0 bit 0 cleared."""
    queue = raw.create(1)
    held = raw.mock.hold(qid=1)
    queue.post(2, cid=4, nsid=1, prp1=raw.page_iova)
    queue.ring()
    raw.mock.step()
    assert abort(raw, 1, 4)[:2] == (0, 0)
    (cqe,) = queue.reap()
    assert (cqe.cid, cqe.status) == (4, 0x07)
    assert held.commands == []
    assert abort(raw, 1, 4).dw0 == 1
    assert raw.mock.counters.reads == 0


def test_abort_of_nothing(raw: Raw) -> None:
    """A command that is not outstanding is not aborted; a queue that is not there is an invalid field."""
    raw.create(1)
    assert (abort(raw, 1, 4).dw0, abort(raw, 0, 4).dw0) == (1, 1)
    assert abort(raw, 5, 4).code == 0x02


def test_abort_of_an_event_request(raw: Raw) -> None:
    """An event request can be aborted; its place is free again."""
    request_events(raw, 7)
    raw.admin.post(ABORT, cid=8, cdw10=7 << 16)
    raw.admin.ring()
    assert [(cqe.cid, cqe.status, cqe.dw0) for cqe in raw.admin.wait(2)] == [(7, 7, 0), (8, 0, 0)]
    raw.mock.event(1, 0, 2)
    raw.mock.step()
    assert raw.admin.reap() == []


def test_abort_limit(make: Make) -> None:
    """More Abort commands outstanding than ACL allows: the next is refused."""
    raw = make(abort_limit=2)
    held = raw.mock.hold(qid=0, opcode=ABORT, count=2)
    for cid in (1, 2):
        raw.admin.post(ABORT, cid=cid, cdw10=9 << 16)
    raw.admin.ring()
    raw.mock.step()
    assert len(held.commands) == 2
    assert abort(raw, 0, 9).code == 0x103
    assert held.release() == 2
    assert [cqe.status for cqe in raw.admin.wait(2)] == [0, 0]
