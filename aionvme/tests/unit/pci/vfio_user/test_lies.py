"""A server that lies: the client ends in an error whatever it says, maps nothing outside, and leaves nothing open."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from aionvme.errors import AddressError, ControllerLostError
from aionvme.pci.vfio_user.function import VfioUserFunction
from aionvme.pci.vfio_user.opening import open_vfio_user
from aionvme.tests.unit.pci.recording import address_of, pages
from aionvme.tests.unit.pci.vfio_user.scripted import (
    BAR_BYTES,
    CONFIG,
    DMA_MAP,
    DMA_UNMAP,
    ERROR,
    GET_INFO,
    GET_IRQ_INFO,
    GET_REGION_INFO,
    IOVA,
    PAGE,
    REGION_READ,
    REGION_WRITE,
    REPLY,
    RESET,
    SET_IRQS,
    VERSION,
    Asked,
    Handler,
    Server,
    file_of,
    opened,
    region_info,
    soon,
)

Lie = Callable[[Asked], bytes]


def version(text: bytes, *, major: int = 0, minor: int = 1) -> Lie:
    """Answers with this version."""
    return lambda asked: asked.answer(struct.pack("<HH", major, minor) + text)


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (version(b"", major=1), "speaks version 1.1 of vfio-user, not 0.1"),
        (version(b"", minor=2), "speaks version 0.2"),
        (lambda asked: asked.answer(b"\0"), "sent what is no version"),
        (version(b"{}"), "do not end in a NUL"),
        (version(b"{\0"), "are not JSON"),
        (version(b"[" * 100000 + b"\0"), "are not JSON"),
        (version(b"\xff\xfe\0"), "are not JSON"),
        (version(b"[1]\0"), "are not a JSON object"),
        (version(b'{"capabilities": 7}\0'), "are not a JSON object"),
        (version(b'{"capabilities": {"max_msg_fds": 0}}\0'), "max_msg_fds is 0"),
        (version(b'{"capabilities": {"max_dma_maps": -1}}\0'), "max_dma_maps is -1"),
        (version(b'{"capabilities": {"pgsizes": "4096"}}\0'), "pgsizes is '4096'"),
        (version(b'{"capabilities": {"max_data_xfer_size": 1e400}}\0'), "max_data_xfer_size is inf"),
        (version(b'{"capabilities": {"twin_socket": {"supported": true}}}\0'), "wants a twin socket"),
        (lambda asked: asked.answer(command=2), "replied to another command than was asked"),
        (lambda asked: asked.answer(id=asked.id + 1), "replied to what was not asked"),
        (lambda asked: asked.answer(id=0x8000), "replied to what was not asked"),
        (lambda asked: asked.answer(id=0xFFFF), "replied to what was not asked"),
        (lambda asked: asked.answer(size=15), "sent a message of an impossible size"),
        (lambda asked: asked.answer(size=0), "sent a message of an impossible size"),
        (lambda asked: asked.answer(size=0xFFFFFFFF), "sent a message of an impossible size"),
        (lambda asked: asked.answer(flags=2), "neither a command nor a reply"),
        (lambda asked: asked.answer(flags=0xFFFFFFFF), "neither a command nor a reply"),
    ],
)
def test_versions_that_are_none(server: Server, lie: Lie, words: str) -> None:
    """A connection whose first answer is none is closed, and said why."""
    server.instead(VERSION, lie)
    with pytest.raises(AddressError, match=words):
        open_vfio_user(server.address)


def test_version_without_capabilities(server: Server) -> None:
    """A server that names no capabilities has those that the specification says."""
    server.instead(VERSION, version(b"", minor=0))
    with opened(server) as function:
        fds = [os.eventfd(0) for _ in range(2)]
        function.set_irqs(fds)
        # One descriptor in one message.
        assert [len(asked.fds) for asked in server.asked(SET_IRQS)] == [1, 1]
        for fd in fds:
            os.close(fd)


def four(*numbers: int) -> Lie:
    """Answers with these 32-bit numbers."""
    return lambda asked: asked.answer(b"".join(number.to_bytes(4, "little") for number in numbers))


@pytest.mark.parametrize(
    ("command", "lie", "words"),
    [
        (GET_INFO, four(16, 3, 9), "describes the device in 12 bytes"),
        (GET_INFO, four(), "describes the device in 0 bytes"),
        (GET_INFO, four(16, 1, 9, 5), "no PCI function"),
        (GET_INFO, four(16, 3, 7, 5), "no PCI function"),
        (GET_IRQ_INFO, four(16, 1, 2), "reply to DEVICE_GET_IRQ_INFO that is none"),
        (GET_IRQ_INFO, four(16, 1, 7, 4), "4 interrupts of kind 7, when asked for 2"),
        (GET_IRQ_INFO, four(16, 1, 2, 0xFFFFFFFF), "has 4294967295 interrupts"),
        (REGION_READ, lambda asked: asked.answer(asked.payload), "answered a read of a register with something else"),
        (REGION_READ, lambda asked: asked.answer(asked.payload + bytes(63)), "answered a read"),
        (REGION_READ, lambda asked: asked.answer(asked.payload + bytes(65)), "answered a read"),
        (REGION_READ, lambda asked: asked.answer(bytes(16) + bytes(64)), "answered a read"),
        (REGION_WRITE, lambda asked: asked.answer(), "answered a write of a register with something else"),
        (REGION_WRITE, lambda asked: asked.answer(asked.payload), "answered a write"),
        (REGION_WRITE, lambda asked: asked.answer(asked.payload[:12] + bytes(4)), "answered a write"),
    ],
)  # fmt: skip
def test_answers_that_are_none(server: Server, command: int, lie: Lie, words: str) -> None:
    """A device that is described in a way that cannot be is not opened."""
    server.instead(command, lie)
    with pytest.raises(AddressError, match=words):
        open_vfio_user(server.address)


def regions(bar: bytes, fds: list[int], *, config: bytes | None = None) -> Handler:
    """Answers with this description of BAR 0, and of configuration space."""

    def handle(asked: Asked) -> tuple[bytes, list[int]] | bytes:
        if asked.payload[8] == CONFIG:
            return asked.answer(config or struct.pack("<IIIIQQ", 32, 3, CONFIG, 0, 256, 0))
        return asked.answer(bar), fds

    return handle


ONE = [(PAGE, PAGE)]


@pytest.mark.parametrize(
    ("bar", "words"),
    [
        (b"", "reply to DEVICE_GET_REGION_INFO that is none"),
        (region_info(areas=ONE)[:31], "reply to DEVICE_GET_REGION_INFO that is none"),
        (region_info(index=3, areas=ONE), "describes region 3 when asked for 0"),
        (region_info(areas=ONE, size=2**64 - 1), "has a region 0 of 18446744073709551615 bytes"),
        (region_info(areas=ONE, size=PAGE), "overlap, or are outside of it"),
        (region_info(areas=ONE, argsz=1 << 17), "describes region 0 in 131072 bytes"),
        (region_info(areas=ONE, count=2), "lists areas of region 0 that are not there"),
        (region_info(areas=ONE, count=2**32 - 1), "lists areas of region 0 that are not there"),
        (region_info(areas=ONE, cap_offset=0), "lists areas of region 0 that are not there"),
        (region_info(areas=ONE, cap_offset=33), "lists areas of region 0 that are not there"),
        (region_info(areas=ONE, cap_offset=2**32 - 1), "lists areas of region 0 that are not there"),
        (region_info(areas=[(0, BAR_BYTES), *ONE]), "sent 1 descriptors|overlap, or are outside of it"),
        (region_info(areas=[(2**64 - PAGE, 2 * PAGE)]), "overlap, or are outside of it"),
        (region_info(areas=[(PAGE, 2**64 - PAGE)]), "overlap, or are outside of it"),
        (region_info(areas=[(PAGE + 8, PAGE - 8)]), "not whole pages"),
        (region_info(areas=[(PAGE, PAGE - 1)]), "not whole pages"),
        (region_info(areas=ONE, offset=1), "not whole pages"),
        (region_info(areas=ONE, offset=PAGE), "that its file does not have"),
        (region_info(areas=ONE, offset=2**64 - PAGE), "that its file does not have"),
        (region_info(areas=[(PAGE, 64 * PAGE)], size=65 * PAGE), "that its file does not have"),
        (struct.pack("<IIIIQQ", 32, 3, 0, 0, PAGE, 0), "has no registers to be used"),
        (struct.pack("<IIIIQQ", 32, 3, 0, 0, 0, 0), "has no registers to be used"),
        (struct.pack("<IIIIQQ", 32, 1, 0, 0, BAR_BYTES, 0), "has no registers to be used"),
    ],
)
def test_regions_that_are_none(server: Server, bar: bytes, words: str) -> None:
    """A BAR that is described in a way that cannot be is not mapped, in no part."""
    server.instead(GET_REGION_INFO, regions(bar, [server.doorbells]))
    with pytest.raises(AddressError, match=words):
        open_vfio_user(server.address)
    assert "memfd:doorbells" not in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("size", [0, 63])
def test_configuration_space_that_is_none(server: Server, size: int) -> None:
    """A function without a header of configuration space is none."""
    config = struct.pack("<IIIIQQ", 32, 3, CONFIG, 0, size, 0)
    server.instead(GET_REGION_INFO, regions(region_info(areas=ONE), [], config=config))
    with pytest.raises(AddressError, match=f"{size} bytes of configuration space"):
        open_vfio_user(server.address)


def test_files_that_cannot_be_mapped(server: Server) -> None:
    """A descriptor that is no file, or may not be written, maps nothing."""
    read, write = os.pipe()
    path = server.path.parent / "file"
    path.write_bytes(bytes(2 * PAGE))
    readable = os.open(path, os.O_RDONLY)
    for fd, words in ((read, "that its file does not have"), (readable, "Permission denied")):
        server.instead(GET_REGION_INFO, regions(region_info(areas=ONE), [fd]))
        with pytest.raises(AddressError, match=words):
            open_vfio_user(server.address)
    for fd in (read, write, readable):
        os.close(fd)


def test_descriptors_beyond_those_that_are_taken(server: Server) -> None:
    """More descriptors than the client said that it takes end the connection, and are closed."""
    server.instead(GET_REGION_INFO, regions(region_info(areas=ONE), [server.doorbells] * 17))
    with pytest.raises(AddressError, match="sent more descriptors than a message may have"):
        open_vfio_user(server.address)


@pytest.mark.parametrize("command", [VERSION, GET_INFO, GET_IRQ_INFO, REGION_READ])
def test_descriptors_that_nobody_asked_for(server: Server, command: int) -> None:
    """Descriptors with an answer that has none end the connection, and are closed."""

    def lie(asked: Asked) -> tuple[bytes, list[int]]:
        answer = server.usual(asked)
        assert isinstance(answer, bytes)
        return answer, [server.doorbells] * 3

    server.instead(command, lie)
    with pytest.raises(AddressError, match=r"sent descriptors with a reply|answered a read of a register"):
        open_vfio_user(server.address)


def test_one_file_for_each_area(server: Server) -> None:
    """A server may send one file for all areas or one for each, and areas of nothing; each is where it says."""
    first, second = file_of(3 * PAGE), file_of(3 * PAGE)
    info = region_info(areas=[(2 * PAGE, PAGE), (0, 0), (PAGE, PAGE)], size=3 * PAGE)
    server.instead(GET_REGION_INFO, regions(info, [first, server.doorbells, second]))
    with opened(server) as function:
        function.write32(0x1004, 1)
        function.write32(0x2004, 2)
        assert os.pread(second, 4, PAGE + 4) == b"\x01\0\0\0"
        assert os.pread(first, 4, 2 * PAGE + 4) == b"\x02\0\0\0"
    server.instead(GET_REGION_INFO, regions(info, [first, second]))
    with pytest.raises(AddressError, match="sent 2 descriptors for 3 areas"):
        open_vfio_user(server.address)
    for fd in (first, second):
        os.close(fd)


def test_region_without_its_descriptor(server: Server) -> None:
    """A region that could be mapped, but comes without a descriptor, is reached by message."""
    server.instead(GET_REGION_INFO, regions(region_info(areas=ONE), []))
    with opened(server) as function:
        assert not function.doorbells_mapped


def test_whole_region(server: Server) -> None:
    """A region that is mapped as a whole has doorbells as memory, and its registers by message all the same."""
    server.instead(
        GET_REGION_INFO, regions(struct.pack("<IIIIQQ", 32, 7, 0, 0, BAR_BYTES, 0), [server.doorbells])
    )
    server.bar[0x1C] = 7
    with opened(server) as function:
        assert function.doorbells_mapped
        assert function.read32(0x1C) == 7


def test_long_description(server: Server) -> None:
    """A description that is longer than was asked for is asked for again, with room for it."""
    areas = [((n + 1) * PAGE, PAGE) for n in range(300)]
    info = region_info(areas=areas, size=301 * PAGE)
    fd = file_of(301 * PAGE)

    def handle(asked: Asked) -> tuple[bytes, list[int]] | bytes:
        if asked.payload[8] == CONFIG:
            return asked.answer(struct.pack("<IIIIQQ", 32, 3, CONFIG, 0, 256, 0))
        room = int.from_bytes(asked.payload[:4], "little")
        return (asked.answer(info), [fd]) if room >= len(info) else (asked.answer(info[:32]), [fd])

    server.instead(GET_REGION_INFO, handle)
    with opened(server) as function:
        function.write32(300 * PAGE, 9)
        assert os.pread(fd, 1, 300 * PAGE) == b"\x09"
    os.close(fd)


@pytest.mark.parametrize(
    "chain", [bytes([0x40, 0x40]), bytes([1, 0x44]), bytes([0xFF, 0xFF]), bytes([1, 0x3F]), bytes([0x11, 0])]
)
def test_chains_of_capabilities(server: Server, chain: bytes) -> None:
    """A chain in configuration space that is a circle, or leads nowhere, comes to its end."""
    for at in range(0x40, 0x100, 4):
        server.config[at : at + 2] = chain
    server.config[6] |= 0x10
    with opened(server) as function:
        function.set_irqs([])


# -- later -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (lambda asked: asked.answer(asked.payload), "answered a read"),
        (lambda asked: asked.answer(asked.payload + bytes(5)), "answered a read"),
        (lambda asked: asked.answer(id=asked.id ^ 1), "replied to what was not asked"),
        (lambda asked: asked.answer(command=REGION_WRITE), "replied to another command"),
        (lambda asked: asked.answer(size=7), "impossible size"),
        (lambda asked: 2 * asked.answer(asked.payload + bytes(4)), "replied to what was not asked"),
        (
            lambda asked: asked.answer(asked.payload + bytes(4), id=0x8001, command=10),
            "replied to what was not asked",
        ),
    ],
)
def test_answers_to_registers(server: Server, function: VfioUserFunction, lie: Lie, words: str) -> None:
    """What is no answer to a register's read ends the connection, and the register reads as all ones."""
    server.instead(REGION_READ, lie)
    value = function.read32(0x1C)
    soon(lambda: function.loss)
    assert words in str(function.loss)
    assert function.read32(0x1C) == 0xFFFFFFFF
    assert value in (0, 0xFFFFFFFF)


@pytest.mark.parametrize(
    ("command", "lie"),
    [
        (DMA_MAP, lambda asked: (asked.answer(), [asked.fds[0]])),
        (DMA_UNMAP, lambda asked: asked.answer()),
        (DMA_UNMAP, lambda asked: asked.answer(asked.payload[:-1] + b"\xff")),
        (RESET, lambda asked: asked.answer(id=asked.id ^ 1)),
        (SET_IRQS, lambda asked: asked.answer(size=3)),
    ],
)
def test_answers_later(
    server: Server, function: VfioUserFunction, command: int, lie: Handler, eventfds: list[int]
) -> None:
    """What is no answer ends the connection, and whatever is asked afterwards."""
    memory, fd = pages(1), file_of(PAGE)
    server.instead(command, lie)

    def use() -> None:
        function.map_dma(address_of(memory), PAGE, IOVA, fd=fd)
        function.unmap_dma(IOVA, PAGE)
        function.set_irqs(eventfds)
        function.reset()

    with pytest.raises(ControllerLostError):
        use()
    assert function.loss
    os.close(fd)


def test_messages_of_the_servers_own(tmp_path: Path) -> None:
    """What the server sends unasked, and is no message, ends the connection."""
    for data in (
        bytes(16),
        bytes(8) + b"\x02" + bytes(7),
        b"\xff" * 64,
        bytes(4) + b"\xff\xff\x20\0" + bytes(8),
    ):
        folder = tmp_path / data[:9].hex()
        folder.mkdir()
        with Server(folder) as server, opened(server) as function:
            server.send(data)
            soon(partial(getattr, function, "loss"))
            assert function.read32(0) == 0xFFFFFFFF


def test_flags_and_errors(server: Server, function: VfioUserFunction) -> None:
    """An error reply with a payload, or with an errno that is none, is an error all the same."""
    for answer in (
        lambda asked: asked.answer(b"payload", error=5),
        lambda asked: asked.answer(error=0xFFFFFFFF),
        lambda asked: asked.answer(flags=REPLY | ERROR | 0x10),
    ):
        server.instead(REGION_READ, answer)
        with pytest.raises(OSError, match="refused to read"):
            function.read32(0)
    server.handlers.clear()
    assert function.read32(0) == 0
