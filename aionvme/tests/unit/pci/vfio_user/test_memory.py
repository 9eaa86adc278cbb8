"""Memory that the server reaches: by its file, and where there is none by message; and what it does not reach."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from aionvme.errors import AddressError, UsageError
from aionvme.pci.dma import DmaSpace
from aionvme.pci.vfio_user.function import VfioUserFunction
from aionvme.tests.unit.pci.recording import MIB, address_of, pages
from aionvme.tests.unit.pci.vfio_user.scripted import (
    DMA_MAP,
    DMA_READ,
    DMA_UNMAP,
    DMA_WRITE,
    IOVA,
    NO_REPLY,
    PAGE,
    REGION_READ,
    Asked,
    Server,
    opened,
    peek,
    refuse,
    soon,
    window,
)


def test_buffers_are_shared(server: Server, function: VfioUserFunction) -> None:
    """Buffers come from few large pieces, each of which the server has as a file; what one writes the other sees."""
    space = DmaSpace(function)
    buffers = [space.alloc(MIB) for _ in range(20)]
    buffers.append(space.alloc(8 * MIB + 1))
    assert [size for size, _, _ in server.maps.values()] == [8 * MIB] * 3 + [10 * MIB]
    assert {(base % (8 * MIB), offset) for base, (_, offset, _) in server.maps.items()} == {(0, 0)}
    for buffer in buffers:
        base = max(base for base in server.maps if base <= buffer.iova)
        fd = server.maps[base][2]
        assert fd is not None
        memoryview(buffer)[:4] = b"ours"
        assert peek(fd, 4, buffer.iova - base) == b"ours"
        os.pwrite(fd, b"their", buffer.iova - base)
        assert bytes(memoryview(buffer)[:5]) == b"their"
    space.close()
    assert server.maps == {}


def test_server_cannot_shrink_memory(server: Server, function: VfioUserFunction) -> None:
    """The file of a buffer's memory keeps its size, whatever a server does with its descriptor."""
    space = DmaSpace(function)
    buffer = space.alloc(PAGE)
    ((_, (_, _, fd)),) = server.maps.items()
    assert fd is not None
    for size in (0, 64 * MIB):
        with pytest.raises(PermissionError):
            os.truncate(fd, size)
    memoryview(buffer)[:] = bytes(PAGE)
    space.close()


def test_memory_of_others_is_served(server: Server, function: VfioUserFunction) -> None:
    """Registered memory, of which no file is known, is read and written by message, across neighbouring pieces too."""
    space = DmaSpace(function)
    memory = pages(4)
    first, second = memoryview(memory)[: 2 * PAGE], memoryview(memory)[2 * PAGE :]
    with space.register(first), space.register(second):
        (_, _, low), (_, _, high) = space.mappings()
        assert all(fd is None for _, _, fd in server.maps.values())
        memory[2 * PAGE - 4 : 2 * PAGE + 4] = b"abcdefgh"
        if high == low + 2 * PAGE:
            answer = server.ask(DMA_READ, window(high - 4, 8), number=1)
            assert answer.payload[16:] == b"abcdefgh"
            server.ask(DMA_WRITE, window(high - 2, 4, b"WXYZ"), number=2)
            assert memory[2 * PAGE - 4 : 2 * PAGE + 4] == b"abWXYZgh"
        answer = server.ask(DMA_READ, window(low, 2 * PAGE), number=3)
        assert answer.payload[16:] == bytes(memory[: 2 * PAGE])
    first.release()
    second.release()
    assert server.maps == {}
    space.close()


@pytest.mark.parametrize(
    ("command", "payload"),
    [
        (DMA_READ, window(IOVA - 1, 4)),
        (DMA_READ, window(IOVA + PAGE - 3, 4)),
        (DMA_READ, window(IOVA + PAGE, 1)),
        (DMA_READ, window(0, 4)),
        (DMA_READ, window(2**64 - 2, 4)),
        (DMA_READ, window(IOVA, 2**64 - 1)),
        (DMA_READ, window(IOVA, 0)),
        (DMA_READ, window(IOVA, (1 << 20) + 1)),
        (DMA_READ, window(IOVA, 4, b"more")),
        (DMA_READ, window(IOVA, 4)[:-1]),
        (DMA_READ, b""),
        (DMA_WRITE, window(IOVA - 1, 4, b"data")),
        (DMA_WRITE, window(IOVA + PAGE - 3, 4, b"data")),
        (DMA_WRITE, window(IOVA, 4, b"dat")),
        (DMA_WRITE, window(IOVA, 4, b"datas")),
        (DMA_WRITE, window(IOVA, 2**64 - 4, b"data")),
        (DMA_WRITE, b"x"),
    ],
)
def test_memory_that_is_not_mapped(
    server: Server, function: VfioUserFunction, command: int, payload: bytes
) -> None:
    """What is not mapped, or is not what it says, is refused as a whole, and the connection goes on."""
    memory = pages(3)
    memory[:] = bytes([0xA5]) * (3 * PAGE)
    function.map_dma(address_of(memory) + PAGE, PAGE, IOVA)
    answer = server.ask(command, payload)
    assert answer.header[2:] == (16, 0x21, errno.EINVAL)
    assert memory[:] == bytes([0xA5]) * (3 * PAGE)
    assert function.read32(0) == 0
    function.unmap_dma(IOVA, PAGE)
    assert server.ask(DMA_READ, window(IOVA, 4), number=5).header[4] == errno.EINVAL


def test_write_without_reply(server: Server, function: VfioUserFunction) -> None:
    """What the server wants no reply to gets none."""
    memory = pages(1)
    function.map_dma(address_of(memory), PAGE, IOVA)
    payload = window(IOVA, 4, b"data")
    size = (16 + len(payload)).to_bytes(4, "little")
    server.send(bytes([9, 0, DMA_WRITE, 0]) + size + bytes([NO_REPLY, 0, 0, 0]) + bytes(4) + payload)
    soon(lambda: memory[:4] == b"data")
    assert function.read32(0) == 0
    assert [asked for asked in server.seen if asked.is_reply] == []
    function.unmap_dma(IOVA, PAGE)


def test_requests_between_question_and_answer(server: Server, function: VfioUserFunction) -> None:
    """A server that asks for memory before it answers gets it."""
    memory = pages(1)
    memory[:4] = b"data"
    function.map_dma(address_of(memory), PAGE, IOVA)

    def ask_first(asked: Asked) -> bytes:
        request = window(IOVA, 4)
        server.send(bytes([9, 0, DMA_READ, 0, 32, 0, 0, 0]) + bytes(8) + request)
        reply = server._receive()
        assert reply is not None
        assert reply.payload == request + b"data"
        answer = server.usual(asked)
        assert isinstance(answer, bytes)
        return answer

    server.instead(REGION_READ, ask_first)
    assert function.read32(0x1C) == 0
    server.handlers.clear()
    function.unmap_dma(IOVA, PAGE)


def test_maps_that_cannot_be(server: Server, function: VfioUserFunction) -> None:
    """What is no whole page, or not among the addresses, or mapped nowhere, is refused without a message."""
    memory = pages(1)
    at = address_of(memory)
    for nbytes, iova in (
        (0, IOVA),
        (100, IOVA),
        (PAGE, IOVA + 1),
        (-PAGE, IOVA),
        (PAGE, 1 << 48),
        (PAGE, 0xFEE00000),
    ):
        with pytest.raises(UsageError):
            function.map_dma(at, nbytes, iova)
    with pytest.raises(UsageError, match="not what was mapped"):
        function.unmap_dma(IOVA, PAGE)
    assert server.asked(DMA_MAP) == server.asked(DMA_UNMAP) == []


def test_refused_map(server: Server, function: VfioUserFunction) -> None:
    """A mapping that the server refuses is none, not by message either."""
    memory = pages(1)
    server.instead(DMA_MAP, refuse(errno.ENOSPC))
    with pytest.raises(OSError, match="refused DMA_MAP") as caught:
        function.map_dma(address_of(memory), PAGE, IOVA)
    assert caught.value.errno == errno.ENOSPC
    assert server.ask(DMA_READ, window(IOVA, 4)).header[4] == errno.EINVAL


def test_most_mappings(tmp_path: Path) -> None:
    """Mappings beyond those that the server takes are refused, and said how to do with fewer."""
    memory = pages(3)
    with Server(tmp_path, max_dma_maps=2) as server, opened(server) as function:
        for number in range(2):
            function.map_dma(address_of(memory) + number * PAGE, PAGE, IOVA + number * PAGE)
        with pytest.raises(AddressError, match="takes 2 mappings of memory and no more"):
            function.map_dma(address_of(memory) + 2 * PAGE, PAGE, IOVA + 2 * PAGE)
        function.unmap_dma(IOVA, PAGE)
        function.map_dma(address_of(memory) + 2 * PAGE, PAGE, IOVA + 2 * PAGE)


def test_large_pages(tmp_path: Path) -> None:
    """A server of large pages gets arenas, and what is smaller is refused with a reason."""
    with Server(tmp_path, pgsizes=2 * MIB) as server, opened(server) as function:
        space = DmaSpace(function)
        space.alloc(PAGE).close()
        with pytest.raises(UsageError, match="maps pages of 2097152 bytes"):
            space.register(pages(1))
        space.close()
