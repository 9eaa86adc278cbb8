"""The controller memory buffer: how it is found, and submission queues in it."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from aionvme.tests.unit.mock.raw import CAP, CC_ENABLE, PAGE, Queue, Raw

Make = Callable[..., Raw]
CMBLOC, CMBSZ, CMBMSC, CMBSTS = 0x38, 0x3C, 0x50, 0x58
CBA = 0x7000_0000
CRE, CMSE = 1, 2


class CmbQueue(Queue):
    """A queue whose submission entries are in the buffer."""

    def post(self, opcode: int, **fields: int) -> None:
        tail = self.tail
        super().post(opcode, **fields)
        function, entry = self.driver.function, self.sq + 64 * tail
        offset = find(self.driver)[0]
        for index in range(0, 64, 8):
            (value,) = struct.unpack_from("<Q", self.driver.memory.bytes, entry + index)
            function.write64(offset + 64 * tail + index, value)


def find(raw: Raw) -> tuple[int, int]:
    """Offset in BAR 0, and bytes."""
    loc, size = raw.function.read32(CMBLOC), raw.function.read32(CMBSZ)
    unit = 4096 << 4 * (size >> 8 & 0xF)
    assert loc & 7 == 0
    return (loc >> 12) * unit, (size >> 12) * unit


def test_none(make: Make) -> None:
    """Without the option nothing says that there is one, and CMBMSC is not there."""
    raw = make()
    assert raw.function.read64(CAP) >> 57 & 1 == 0
    raw.function.write64(CMBMSC, CBA | CRE | CMSE)
    assert [raw.function.read32(offset) for offset in (CMBLOC, CMBSZ, CMBMSC, CMBSTS)] == [0, 0, 0, 0]


def test_registers(make: Make) -> None:
    """CMBLOC and CMBSZ are 0 until CRE; it is between the doorbells and the table of interrupts, of 4 KiB units."""
    raw = make(cmb=60000, enable=False)
    assert raw.function.read64(CAP) >> 57 & 1 == 1
    assert (raw.function.read32(CMBLOC), raw.function.read32(CMBSZ)) == (0, 0)
    raw.function.write32(CMBMSC, CRE)
    offset, nbytes = find(raw)
    assert nbytes == 15 * PAGE
    assert raw.function.read32(CMBSZ) & 0xFF == 1
    table = struct.unpack("<I", raw.function.config_read(0x54, 4))[0]
    assert offset >= 0x1000 + 65 * 8 and offset + nbytes <= table
    raw.function.write64(offset, 0x1122334455667788)
    assert raw.function.read64(offset) == 0x1122334455667788
    raw.function.write32(CMBMSC, 0)
    assert (raw.function.read32(CMBLOC), raw.function.read32(CMBSZ)) == (0, 0)


@pytest.mark.parametrize("drive", ["step", "thread"])
def test_submission_queue(make: Make, drive: str) -> None:
    """A queue in the buffer works round and round; its completions are in the host's memory."""
    raw = make(cmb=1 << 16, drive=drive)
    raw.function.write64(CMBMSC, CBA | CRE | CMSE)
    assert raw.function.read32(CMBSTS) == 0
    queue = CmbQueue(raw, 1, 8)
    create_cq = {"prp1": queue.cq_iova, "cdw10": 7 << 16 | 1, "cdw11": 1}
    assert raw.admin.run(0x05, **create_cq).status == 0
    assert raw.admin.run(0x01, prp1=CBA, cdw10=7 << 16 | 1, cdw11=1 << 16 | 1).status == 0
    raw.mock.poke(1, 5, b"\x66" * 512)
    for cid in range(30):
        cqe = queue.run(0x02, cid=cid, nsid=1, prp1=raw.page_iova, cdw10=5)
        assert (cqe.cid, cqe.status) == (cid, 0)
    assert raw.data(512) == b"\x66" * 512


def test_other_uses(make: Make) -> None:
    """It takes no completion queue, data, list or segment (12h)."""
    raw = make(cmb=1 << 16)
    raw.function.write64(CMBMSC, CBA | CRE | CMSE)
    assert raw.admin.run(0x05, prp1=CBA, cdw10=7 << 16 | 1, cdw11=1).code == 0x12
    assert raw.admin.run(0x06, prp1=CBA, cdw10=1).code == 0x12
    queue = raw.create(1)
    assert queue.run(0x02, nsid=1, prp1=CBA).code == 0x12
    assert queue.run(0x02, nsid=1, prp1=raw.page_iova, prp2=CBA, cdw12=23).code == 0x12
    assert queue.run(0x02, nsid=1, flags=0x40, prp1=CBA, prp2=16 | 0x30 << 56).code == 0x12


def test_overlap(make: Make) -> None:
    """Where the host has memory it can't be: CMBSTS.CBAI."""
    raw = make(cmb=1 << 16)
    raw.function.write64(CMBMSC, raw.memory.iova | CRE | CMSE)
    assert raw.function.read32(CMBSTS) == 1
    raw.function.write64(CMBMSC, CBA | CRE | CMSE)
    assert raw.function.read32(CMBSTS) == 0


def test_resets(make: Make) -> None:
    """It outlives a controller reset, and not a function level reset."""
    raw = make(cmb=1 << 16)
    raw.function.write64(CMBMSC, CBA | CRE | CMSE)
    raw.function.write32(0x14, 0)
    raw.function.write32(0x14, CC_ENABLE)
    assert raw.function.read64(CMBMSC) == CBA | CRE | CMSE
    assert find(raw)[1] == 1 << 16
    raw.function.reset()
    assert raw.function.read64(CMBMSC) == 0
    raw.enable()
    queue = raw.create(1)
    assert queue.run(0x02, nsid=1, prp1=CBA).code == 0x04
