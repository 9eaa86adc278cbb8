"""The messages that ask and tell: byte by byte as the specification has them ("Protocol Specification")."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable

import pytest

from aionvme.tests.unit.mock.serving.client import (
    CONFIG,
    ERROR,
    FEATURE,
    GET_INFO,
    HEADER,
    IRQ_INFO,
    MIG_READ,
    MIG_WRITE,
    NO_REPLY,
    PROPOSAL,
    REGION,
    REGION_INFO,
    REGION_IO_FDS,
    REGION_READ,
    REGION_WRITE,
    REPLY,
    RESET,
    VERSION,
    WRITE_MULTI,
    Refused,
)  # fmt: skip
from aionvme.tests.unit.mock.serving.conftest import Stage

Make = Callable[..., Stage]
EINVAL, ENOTSUP = 22, 95
BAR, REGIONS, IRQS = 0, 9, 5


def test_version_bytes(stage: Make) -> None:
    """The whole answer: the id that was sent, the command, the size, a reply; the version; what we take of it."""
    client = stage().client()
    text = json.dumps({"capabilities": {"max_msg_fds": 8, "max_dma_maps": 1 << 40}}).encode() + b"\0"
    client.send_raw(struct.pack("<HHIIIHH", 0xBEEF, 1, 20 + len(text), 0, 0, 0, 0) + text)
    header, data, fds = client.receive()
    assert header == (0xBEEF, 1, 16 + len(data), 1, 0)
    assert data[:4] == b"\0\0\0\0"
    assert json.loads(data[4:-1]) == {"capabilities": {"max_msg_fds": 8, "max_dma_maps": 16384}}
    assert (data[-1], fds) == (0, [])


@pytest.mark.parametrize("named", [[], ["max_data_xfer_size"], ["write_multiple", "pgsizes"], list(PROPOSAL)])
def test_only_what_is_proposed(stage: Make, named: list[str]) -> None:
    """The list of capabilities is a subset of those proposed, and each no more than was proposed."""
    ours = {
        "max_msg_fds": 16, "max_data_xfer_size": 1 << 20, "max_dma_maps": 16384, "pgsizes": 4096,
        "write_multiple": True,
    }  # fmt: skip
    said = stage().client().negotiate({name: PROPOSAL[name] for name in named})
    assert said == {name: ours[name] for name in named}


def test_no_capabilities(stage: Make) -> None:
    """The version's JSON is optional, and may name things that we do not know; a higher minor is answered with ours."""
    served = stage()
    with served.client() as client:
        data, _ = client.ask(VERSION, struct.pack("<HH", 0, 7))
        assert data == struct.pack("<HH", 0, 1) + b'{"capabilities": {}}\0'
    with served.client() as client:
        assert client.negotiate({"migration": {"pgsize": 4096}, "twin_socket": {"supported": True}}) == {}


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"\0\0\0", struct.pack("<HH", 1, 0), struct.pack("<HH", 0, 1) + b"{}",
        struct.pack("<HH", 0, 1) + b"{\0", struct.pack("<HH", 0, 1) + b"[]\0", struct.pack("<HH", 0, 1) + b"\xff\0",
        struct.pack("<HH", 0, 1) + b'{"capabilities": 1}\0',
        struct.pack("<HH", 0, 1) + b'{"capabilities": {"max_msg_fds": -1}}\0',
        struct.pack("<HH", 0, 1) + b'{"capabilities": {"max_data_xfer_size": "x"}}\0',
        struct.pack("<HH", 0, 1) + b"[" * 100000 + b"\0",
    ],
)  # fmt: skip
def test_bad_versions(stage: Make, payload: bytes) -> None:
    """One that can't be answered is refused, and the connection ends; the next client is served."""
    served = stage()
    client = served.client()
    with pytest.raises(Refused) as refused:
        client.ask(VERSION, payload)
    assert refused.value.errno == EINVAL
    with pytest.raises(EOFError):
        client.receive()
    served.negotiated()


def test_nothing_before_the_version(stage: Make) -> None:
    """Any other first message is refused, and nothing follows."""
    for command in (GET_INFO, RESET, REGION_READ, 0, 99, 0xFFFF):
        client = stage().client()
        with pytest.raises(Refused) as refused:
            client.ask(command, bytes(16))
        assert refused.value.errno == EINVAL
        with pytest.raises(EOFError):
            client.receive()


def test_version_once(stage: Make) -> None:
    """A second version is refused, and nothing else happens."""
    client = stage().negotiated()
    with pytest.raises(Refused):
        client.negotiate()
    assert client.read(CONFIG, 0, 2) == b"\x36\x1b"


def test_device_info(stage: Make) -> None:
    """PCI, with reset; nine regions, five kinds of interrupts."""
    client = stage().negotiated()
    assert client.ask(GET_INFO, struct.pack("<IIII", 16, 0, 0, 0)) == (
        struct.pack("<IIII", 16, 3, REGIONS, IRQS),
        [],
    )


def test_region_info(stage: Make) -> None:
    """BAR 0 and configuration space, and seven regions that are not there."""
    client = stage(doorbells="message").negotiated()
    for index in range(REGIONS):
        nbytes = {BAR: 32768, CONFIG: 4096}.get(index, 0)
        assert client.region_info(index) == ((32, 3 if nbytes else 0, index, 0, nbytes, 0), b"", [])


def test_sparse_area(stage: Make) -> None:
    """What can be mapped: the pages of the doorbells, with one descriptor of a file that can't be shrunk."""
    client = stage().negotiated()
    info, rest, fds = client.region_info(BAR)
    assert info == (64, 0xF, BAR, 32, 32768, 0)
    assert rest == struct.pack("<HHIIIQQ", 1, 1, 0, 1, 0, 0x1000, 0x1000)
    (fd,) = fds
    assert os.fstat(fd).st_size == 0x2000
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 0)
    os.close(fd)


def test_too_little_room(stage: Make) -> None:
    """An argsz with no room for the area gets the structure alone, which says how much is needed; and no descriptor."""
    client = stage().negotiated()
    for argsz in (32, 63):
        assert client.region_info(BAR, argsz) == ((64, 7, BAR, 0, 32768, 0), b"", [])


def test_large_stride_and_cmb(stage: Make) -> None:
    """All pages of doorbells, and the controller memory buffer, are in the area; the interrupt table is not."""
    client = stage(dstrd=8, cmb=64 << 10).negotiated()
    _, rest, (fd,) = client.region_info(BAR)
    os.close(fd)
    offset, nbytes = struct.unpack_from("<QQ", rest, 16)
    table = struct.unpack("<I", client.read(CONFIG, 0x54, 4))[0]
    assert (offset, offset + nbytes) == (0x1000, table)
    assert nbytes >= 130 * 1024 + (64 << 10)


def test_irq_info(stage: Make) -> None:
    """The vectors of MSI-X, a notice of an error and one of removal; no INTx, no MSI."""
    client = stage(num_irqs=7).negotiated()
    for index, count in enumerate((0, 0, 7, 1, 1)):
        flags = 1 if count else 0
        asked = struct.pack("<IIII", 16, 0, index, 0)
        assert client.ask(IRQ_INFO, asked) == (struct.pack("<IIII", 16, flags, index, count), [])


def test_region_io_fds(stage: Make) -> None:
    """There are none, of the regions that there are."""
    client = stage().negotiated()
    asked = struct.pack("<IIII", 4096, 0, BAR, 0)
    assert client.ask(REGION_IO_FDS, asked) == (struct.pack("<IIII", 16, 0, BAR, 0), [])
    for bad in (
        (4096, 0, 1, 0),
        (4096, 0, REGIONS, 0),
        (15, 0, BAR, 0),
        (4096, 1, BAR, 0),
        (4096, 0, BAR, 1),
    ):
        with pytest.raises(Refused) as refused:
            client.ask(REGION_IO_FDS, struct.pack("<IIII", *bad))
        assert refused.value.errno == EINVAL


def test_no_migration(stage: Make) -> None:
    """Features and migration are not supported; what is no command of a client's is wrong."""
    client = stage().negotiated()
    for command, number in (
        (FEATURE, ENOTSUP), (MIG_READ, ENOTSUP), (MIG_WRITE, ENOTSUP), (0, EINVAL), (11, EINVAL), (12, EINVAL),
        (14, EINVAL), (19, EINVAL), (0xFFFF, EINVAL),
    ):  # fmt: skip
        with pytest.raises(Refused) as refused:
            client.ask(command, bytes(16))
        assert refused.value.errno == number


def test_register_access(stage: Make) -> None:
    """Reads of any size and place; writes of whole dwords, of which 8 bytes are one register."""
    client = stage().negotiated()
    cap = client.read(BAR, 0, 8)
    assert client.read(BAR, 3, 2) == cap[3:5]
    assert client.read(BAR, 0, 64)[:8] == cap
    assert client.read(BAR, 32767, 1) == b"\0"
    client.write(BAR, 0x28, (0x123456789000).to_bytes(8, "little"))
    assert client.read(BAR, 0x28, 8) == (0x123456789000).to_bytes(8, "little")
    client.write(BAR, 0x24, bytes.fromhex("1f001f00 00a00000 00000000 00b00000"))
    assert client.read(BAR, 0x24, 16) == bytes.fromhex("1f001f00 00a00000 00000000 00b00000")
    for offset, data in ((0x14, b"\1"), (0x15, bytes(4)), (0x14, bytes(6))):
        with pytest.raises(Refused):
            client.write(BAR, offset, data)


def test_configuration_space(stage: Make) -> None:
    """All of it in one message; a BAR's size by writing ones; bytes that can't be written keep their value."""
    client = stage().negotiated()
    space = client.read(CONFIG, 0, 4096)
    assert space[9:12] == b"\2\x08\1" and space[0x34] == 0x40
    client.write(CONFIG, 0x10, b"\xff" * 8)
    assert client.read(CONFIG, 0x10, 8) == struct.pack("<Q", (1 << 64) - 32768 | 4)
    client.write(CONFIG, 0, b"\0\0")
    assert client.read(CONFIG, 0, 2) == space[:2]


@pytest.mark.parametrize(
    ("region", "offset", "count"),
    [
        (BAR, 0, 0), (BAR, 32768, 4), (BAR, 32765, 4), (BAR, (1 << 64) - 4, 8), (BAR, (1 << 64) - 1, 1), (1, 0, 4),
        (8, 0, 1), (9, 0, 4), (0xFFFFFFFF, 0, 4), (CONFIG, 4096, 1), (CONFIG, 4095, 2), (CONFIG, 0, 0xFFFFFFFF),
        (BAR, 0, (1 << 20) + 4), (CONFIG, 1 << 63, 1 << 31),
    ],
)  # fmt: skip
def test_outside_of_regions(stage: Make, region: int, offset: int, count: int) -> None:
    """Nothing outside of a region is read or written, whatever wraps."""
    client = stage().negotiated()
    head = REGION.pack(offset, region, count)
    for command, payload in ((REGION_READ, head), (REGION_WRITE, head + bytes(min(count, 64)))):
        with pytest.raises(Refused) as refused:
            client.ask(command, payload)
        assert refused.value.errno == EINVAL


def test_no_more_than_was_agreed(stage: Make) -> None:
    """The count of an access exceeds what neither side takes."""
    client = stage().client()
    client.negotiate({"max_data_xfer_size": 64})
    assert len(client.read(CONFIG, 0, 64)) == 64
    with pytest.raises(Refused):
        client.read(CONFIG, 0, 65)


def test_several_writes(stage: Make) -> None:
    """REGION_WRITE_MULTI: in their order, 1 to 8 bytes each."""
    client = stage().negotiated()
    one = struct.Struct("<QII8s")
    writes = [
        (0x24, BAR, 4, b"\x07\0\x09\0"),
        (0x28, BAR, 8, b"\0\x10\0\0\0\0\0\0"),
        (0x3C, CONFIG, 1, b"\x0b"),
    ]
    payload = struct.pack("<Q", 3) + b"".join(one.pack(*write) for write in writes)
    assert client.ask(WRITE_MULTI, payload) == (struct.pack("<Q", 3), [])
    assert client.read(BAR, 0x24, 12) == b"\x07\0\x09\0" + struct.pack("<Q", 0x1000)
    assert client.read(CONFIG, 0x3C, 1) == b"\x0b"
    for bad in (
        struct.pack("<Q", 2) + payload[8:], struct.pack("<Q", 1 << 61) + payload[8:], payload[:-1], payload[:7],
        struct.pack("<Q", 1) + one.pack(0x24, BAR, 9, b""), struct.pack("<Q", 1) + one.pack(0x8000, BAR, 4, b""),
    ):  # fmt: skip
        with pytest.raises(Refused):
            client.ask(WRITE_MULTI, bad)


def test_no_reply(stage: Make) -> None:
    """Commands that want no answer get none, wrong ones neither; they are done before the next is answered."""
    client = stage().negotiated()
    client.send(REGION_WRITE, REGION.pack(0x24, BAR, 4) + b"\x07\0\x09\0", flags=NO_REPLY)
    client.send(REGION_WRITE, REGION.pack(0x24, 5, 4) + b"\x07\0\x09\0", flags=NO_REPLY)
    client.send(99, flags=NO_REPLY)
    assert client.read(BAR, 0x24, 4) == b"\x07\0\x09\0"


def test_pipelined(stage: Make) -> None:
    """Commands that do not wait for answers are answered in their order, by their ids, which need not differ."""
    client = stage().negotiated()
    for number in (7, 7, 0xFFFF, 0):
        client.send(REGION_READ, REGION.pack(number, CONFIG, 1), number=number)
    for number in (7, 7, 0xFFFF, 0):
        (found, command, size, flags, error), _, _ = client.receive()
        assert (found, command, error) == (number, REGION_READ, EINVAL if number == 0xFFFF else 0)
        assert (size, flags) == ((HEADER.size, REPLY | ERROR) if error else (HEADER.size + 17, REPLY))


def test_device_reset(stage: Make) -> None:
    """The controller is disabled and configuration space as at first; memory and queues' pages stay where they are."""
    served = stage()
    raw = served.raw()
    raw.enable()
    assert raw.function.client.ask(RESET) == (b"", [])
    assert raw.function.read32(0x1C) == 0
    assert raw.function.client.read(CONFIG, 4, 2) == b"\0\0"
    raw.enable()
    assert raw.identify(1)[0].status == 0
    with pytest.raises(Refused):
        raw.function.client.ask(RESET, b"\0")


def test_reset_of_what_is_gone(stage: Make) -> None:
    """A mock that was removed reads as ones, and is not reset."""
    served = stage()
    client = served.negotiated()
    served.mock.remove()
    assert client.read(CONFIG, 0, 4) == client.read(BAR, 0, 4) == b"\xff" * 4
    with pytest.raises(Refused) as refused:
        client.ask(RESET)
    assert refused.value.errno == 19


@pytest.mark.parametrize("command", [GET_INFO, REGION_INFO, REGION_IO_FDS, IRQ_INFO])
def test_short_questions(stage: Make, command: int) -> None:
    """Each question has its structure, and room for the answer."""
    client = stage().negotiated()
    for payload in (
        b"",
        bytes(8),
        struct.pack("<I", 8) + bytes(28),
        struct.pack("<IIII", 64, 0, 99, 0) + bytes(16),
    ):
        if command == GET_INFO and payload[:1] == b"\x40":
            continue
        with pytest.raises(Refused) as refused:
            client.ask(command, payload)
        assert refused.value.errno == EINVAL
