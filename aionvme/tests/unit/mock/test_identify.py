"""Identify: each structure at the offsets of the specification, and each refusal."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from aionvme.mock import NamespaceConfig
from aionvme.tests.unit.mock.raw import PAGE, Raw

Make = Callable[..., Raw]
MiB = 1 << 20
THREE = [
    NamespaceConfig(size=MiB),
    NamespaceConfig(size=2 * MiB, active=False),
    NamespaceConfig(size=4 * MiB, lba=4096),
]


def numbers(data: bytes, form: str, offset: int) -> tuple[int, ...]:
    """Little-endian numbers at an offset."""
    return struct.unpack_from("<" + form, data, offset)


def test_controller(make: Make) -> None:
    """CNS 01h has names, limits and support where Base 2.0, figure 275 puts them."""
    raw = make(
        namespaces=THREE, serial="S1", model="M 2", firmware="F3", mdts=1 << 20, abort_limit=3, event_limit=7
    )
    cqe, data = raw.identify(0x01)
    assert cqe.status == 0
    assert data[4:24] == b"S1".ljust(20)
    assert data[24:64] == b"M 2".ljust(40)
    assert data[64:72] == b"F3".ljust(8)
    assert data[77] == 8
    assert numbers(data, "I", 80) == (0x00020000,)
    assert data[111] == 1
    assert (data[258], data[259]) == (2, 6)
    assert (data[512], data[513]) == (0x66, 0x44)
    assert numbers(data, "I", 516) == (3,)
    assert numbers(data, "H", 520)[0] & 0x9 == 0x9
    assert data[525] == 7
    assert numbers(data, "I", 536) == (0xB0001,)
    assert data[768:1024].startswith(b"nqn.2014-08.org.nvmexpress:uuid:")
    assert numbers(data, "H", 2048)[0] > 0


def test_namespaces(make: Make) -> None:
    """CNS 00h has size and block size; zeros for an inactive identifier, and a refusal for an invalid one."""
    raw = make(namespaces=THREE)
    data = raw.identify(0x00, nsid=1)[1]
    assert numbers(data, "QQQ", 0) == (2048, 2048, 2048)
    assert (data[26], data[128 + 2]) == (0, 9)
    data = raw.identify(0x00, nsid=3)[1]
    assert (numbers(data, "Q", 0), data[128 + 4 * data[26] + 2]) == ((1024,), 12)
    cqe, data = raw.identify(0x00, nsid=2)
    assert (cqe.status, data) == (0, bytes(PAGE))
    for nsid in (0, 4, 0xFFFFFFFE):
        assert raw.identify(0x00, nsid=nsid)[0].code == 0x0B


def test_optimal_boundary(make: Make) -> None:
    """NOIOB is where it belongs."""
    assert numbers(make(noiob=256).identify(0x00, nsid=1)[1], "H", 46) == (256,)


def test_lists(make: Make) -> None:
    """Active and allocated lists hold what is greater than NSID, in order."""
    raw = make(namespaces=THREE)
    assert numbers(raw.identify(0x02)[1], "4I", 0) == (1, 3, 0, 0)
    assert numbers(raw.identify(0x07)[1], "4I", 0) == (1, 3, 0, 0)
    assert numbers(raw.identify(0x02, nsid=1)[1], "2I", 0) == (3, 0)
    assert numbers(raw.identify(0x10)[1], "4I", 0) == (1, 2, 3, 0)
    for nsid in (0xFFFFFFFE, 0xFFFFFFFF):
        assert raw.identify(0x02, nsid=nsid)[0].code == 0x0B


def test_descriptors(make: Make) -> None:
    """CNS 03h has EUI64, NGUID, UUID and CSI, the same as CNS 00h, and different for each namespace."""
    raw = make(namespaces=THREE)
    whole = raw.identify(0x00, nsid=1)[1]
    data = raw.identify(0x03, nsid=1)[1]
    found, at = {}, 0
    while data[at + 1]:
        found[data[at]] = data[at + 4 : at + 4 + data[at + 1]]
        at += 4 + data[at + 1]
    assert {kind: len(value) for kind, value in found.items()} == {1: 8, 2: 16, 3: 16, 4: 1}
    assert (found[1], found[2], found[4]) == (whole[120:128], whole[104:120], b"\0")
    assert raw.identify(0x03, nsid=3)[1] != data
    assert raw.identify(0x03, nsid=2)[0].code == 0x02
    assert raw.identify(0x03, nsid=9)[0].code == 0x0B


def test_command_set_structures(make: Make) -> None:
    """The NVM command set's own structures; another command set is refused."""
    raw = make(namespaces=THREE)
    assert raw.identify(0x05, nsid=1)[1] == bytes(PAGE)
    limits = raw.identify(0x06)[1]
    assert struct.unpack_from("<BBBBIQ", limits) == (13, 13, 13, 128, 1 << 22, 1 << 26)
    assert limits[16:] == bytes(PAGE - 16)
    assert raw.identify(0x05, nsid=1, csi=2)[0].code == 0x02
    assert raw.identify(0x06, csi=1)[0].code == 0x02
    assert raw.identify(0x08, nsid=1)[1] == b"\0\0\xff\x80".ljust(14, b"\0") + b"\x01" + bytes(PAGE - 15)
    assert raw.identify(0x08, nsid=4)[0].code == 0x0B
    assert raw.identify(0x1C, cntid=0xFFFF)[1] == b"\x01" + bytes(PAGE - 1)
    assert raw.identify(0x1C, cntid=9)[0].code == 0x02


def test_allocated_and_controllers(make: Make) -> None:
    """An allocated namespace is described although it is inactive; the lists of controllers name this one."""
    raw = make(namespaces=THREE)
    assert numbers(raw.identify(0x11, nsid=2)[1], "Q", 0) == (4096,)
    assert raw.identify(0x11, nsid=4)[0].code == 0x0B
    assert numbers(raw.identify(0x12, nsid=1)[1], "2H", 0) == (1, 1)
    assert numbers(raw.identify(0x12, nsid=2)[1], "2H", 0) == (0, 0)
    assert numbers(raw.identify(0x13)[1], "2H", 0) == (1, 1)
    assert numbers(raw.identify(0x13, cntid=2)[1], "2H", 0) == (0, 0)


@pytest.mark.parametrize("cns", [0x04, 0x14, 0x17, 0x20, 0xFF])
def test_unknown_structures(raw: Raw, cns: int) -> None:
    """A structure that is not there is an invalid field."""
    assert raw.identify(cns, nsid=1)[0].code == 0x02


def test_where_the_data_goes(raw: Raw) -> None:
    """The data may cross a page by PRP2; memory that is not mapped and a wrong offset are refused."""
    run = raw.admin.run
    where = raw.memory.take(2)
    base = raw.memory.iova + where
    assert run(0x06, cdw10=1, prp1=base + 3072, prp2=base + PAGE).status == 0
    assert raw.memory.bytes[where + 3072 + 4 : where + 3072 + 12] == b"AIONVME0"
    assert run(0x06, cdw10=1, prp1=0x7000_0000_0000).code == 0x04
    assert run(0x06, cdw10=1, prp1=base + 1).code == 0x13
    assert run(0x06, cdw10=1, prp1=base + 8, prp2=base + 8).code == 0x13


def test_unknown_commands(raw: Raw) -> None:
    """An opcode that is not there, an SGL and a fused command are refused, each with its status."""
    for opcode in (0x03, 0x1C, 0x7F, 0xC0, 0xFF):
        assert raw.admin.run(opcode).status == 0x4001
    assert raw.admin.run(0x06, cdw10=1, prp1=raw.page_iova, flags=0x40).code == 0x02
    assert raw.admin.run(0x06, cdw10=1, prp1=raw.page_iova, flags=0x01).code == 0x02
