"""A client's memory: what is mapped, what is not, and that nothing else is ever touched."""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from aionvme.tests.unit.mock.raw import Queue
from aionvme.tests.unit.mock.serving.client import (
    DMA_MAP,
    DMA_UNMAP,
    MAP,
    READABLE,
    UNMAP,
    WRITEABLE,
    Client,
    Refused,
    RemoteRaw,
    shared_memory,
)  # fmt: skip
from aionvme.tests.unit.mock.serving.conftest import Stage

Make = Callable[..., Stage]
PAGE = 4096
FLUSH, WRITE, READ = 0, 1, 2
DATA_TRANSFER_ERROR = 4
EINVAL, EEXIST, ENOENT, ENOMEM = 22, 17, 2, 12
HERE = 0x7000_0000


def refused(
    client: Client, number: int, iova: int, nbytes: int, fd: int | None, offset: int = 0, flags: int = 3
) -> None:
    """A mapping that is refused."""
    with pytest.raises(Refused) as error:
        client.map(iova, nbytes, fd, offset, flags)
    assert error.value.errno == number


def started(served: Stage) -> tuple[RemoteRaw, Queue]:
    """A driver with one queue."""
    raw = served.raw()
    raw.enable()
    return raw, raw.create(1)


def test_where_it_is_told(stage: Make) -> None:
    """A part of a file is at its I/O address, from its first byte to its last."""
    served = stage()
    raw, queue = started(served)
    fd, memory = shared_memory(8 * PAGE)
    raw.function.client.map(HERE, 2 * PAGE, fd, 3 * PAGE)
    os.close(fd)
    memory[3 * PAGE : 5 * PAGE] = b"first page" + bytes(PAGE - 10) + b"next page!" + bytes(PAGE - 10)
    assert queue.run(WRITE, nsid=1, prp1=HERE, prp2=HERE + PAGE, cdw12=15).status == 0
    assert served.mock.peek(1, 0)[:10] == b"first page" and served.mock.peek(1, 8)[:10] == b"next page!"
    served.mock.poke(1, 0, b"\xaa" * 2 * PAGE)
    assert queue.run(READ, nsid=1, prp1=HERE, prp2=HERE + PAGE, cdw12=15).status == 0
    assert memory[:] == bytes(3 * PAGE) + b"\xaa" * 2 * PAGE + bytes(3 * PAGE)


@pytest.mark.parametrize(("prp1", "prp2"), [
    (HERE - PAGE, HERE), (HERE, HERE + PAGE), (HERE + PAGE, HERE), (0, HERE), (HERE, 0), (HERE, (1 << 64) - PAGE),
    ((1 << 64) - PAGE, HERE),
])  # fmt: skip
def test_what_is_not_mapped(stage: Make, prp1: int, prp2: int) -> None:
    """A command that names one page too many ends with Data Transfer Error, and has stored nothing."""
    served = stage()
    raw, queue = started(served)
    fd, memory = shared_memory(3 * PAGE)
    memory[:] = b"\xbb" * 3 * PAGE
    raw.function.client.map(HERE, PAGE, fd, PAGE)
    os.close(fd)
    for opcode in (WRITE, READ):
        assert queue.run(opcode, nsid=1, prp1=prp1, prp2=prp2, cdw12=15).code == DATA_TRANSFER_ERROR
    assert served.mock.peek(1, 0, 16) == bytes(2 * PAGE)
    # Of a read that fails the memory that was named has what it will.
    assert memory[:PAGE] == memory[2 * PAGE :] == b"\xbb" * PAGE


def test_directions(stage: Make) -> None:
    """Memory that is only to be read is not written, and the other way round; nor are queues there."""
    served = stage()
    raw, queue = started(served)
    client = raw.function.client
    fd, memory = shared_memory(2 * PAGE)
    client.map(HERE, PAGE, fd, 0, READABLE)
    client.map(HERE + PAGE, PAGE, fd, PAGE, WRITEABLE)
    os.close(fd)
    memory[:] = b"\x11" * 2 * PAGE
    served.mock.poke(1, 8, b"\x22" * PAGE)
    assert queue.run(WRITE, nsid=1, prp1=HERE, cdw12=7).status == 0
    assert queue.run(READ, nsid=1, prp1=HERE, cdw10=8, cdw12=7).code == DATA_TRANSFER_ERROR
    assert queue.run(READ, nsid=1, prp1=HERE + PAGE, cdw10=8, cdw12=7).status == 0
    assert queue.run(WRITE, nsid=1, prp1=HERE + PAGE, cdw12=7).code == DATA_TRANSFER_ERROR
    assert memory[:] == b"\x11" * PAGE + b"\x22" * PAGE
    assert raw.admin.run(0x06, prp1=HERE, cdw10=1).code == DATA_TRANSFER_ERROR
    # A completion queue in memory that can't be written is the controller's end, not ours.
    assert raw.admin.run(0x05, cid=9, prp1=HERE, cdw10=7 << 16 | 2, cdw11=1).status == 0
    assert raw.admin.run(0x01, cid=9, prp1=raw.memory.iova, cdw10=7 << 16 | 2, cdw11=2 << 16 | 1).status == 0
    raw.function.write32(0x1000 + 16, 1)
    while not raw.function.read32(0x1C) & 2:
        raw.step()
    assert memory[:PAGE] == b"\x11" * PAGE


def test_overlaps(stage: Make) -> None:
    """There is one mapping at an address; what only touches another is none of it."""
    client = stage().negotiated()
    fd, _ = shared_memory(8 * PAGE)
    client.map(HERE, 4 * PAGE, fd)
    for first, npages in ((0, 4), (0, 1), (3, 1), (-1, 2), (-1, 6), (1, 8)):
        iova = HERE + first * PAGE
        refused(client, EEXIST, iova, npages * PAGE, fd)
        refused(client, EEXIST, iova, npages * PAGE, None)
    client.map(HERE + 4 * PAGE, PAGE, fd)
    client.map(HERE - PAGE, PAGE, None)
    refused(client, EEXIST, HERE - PAGE, PAGE, fd)
    os.close(fd)


def test_files_that_are_too_short(stage: Make) -> None:
    """A range that is not within its file is not mapped, whatever wraps; nor one that is not of whole pages."""
    client = stage().negotiated()
    fd, _ = shared_memory(4 * PAGE)
    for offset, nbytes in (
        (0, 5 * PAGE), (4 * PAGE, PAGE), (3 * PAGE, 2 * PAGE), ((1 << 64) - PAGE, 2 * PAGE), ((1 << 63) - PAGE, PAGE),
        (1 << 63, PAGE), (0, (1 << 64) - PAGE), (PAGE, (1 << 63) - PAGE), (0, 0), (512, PAGE), (0, 512), (0, PAGE + 1),
    ):  # fmt: skip
        refused(client, EINVAL, HERE, nbytes, fd, offset)
    for iova, nbytes in ((HERE + 1, PAGE), ((1 << 64) - PAGE, 2 * PAGE), (HERE, 0)):
        refused(client, EINVAL, iova, nbytes, fd)
        refused(client, EINVAL, iova, nbytes, None)
    for flags in (0, 4, 7, 0xFFFFFFFF):
        refused(client, EINVAL, HERE, PAGE, fd, 0, flags)
    client.map((1 << 64) - PAGE, PAGE, fd)
    os.close(fd)


def test_files_that_are_none(stage: Make, tmp_path: Path) -> None:
    """Only shared memory is mapped: an access to anything else might wait for somebody, or do something."""
    client = stage().negotiated()
    reading, writing = os.pipe()
    fds = [reading, writing, os.open("/dev/zero", os.O_RDWR), os.open("/", os.O_RDONLY), os.eventfd(0)]
    with tempfile.TemporaryFile(dir=Path(__file__).parent) as file:
        file.truncate(PAGE)
        for fd in (*fds, file.fileno(), client.sock.fileno()):
            refused(client, EINVAL, HERE, PAGE, fd)
    for fd in fds:
        os.close(fd)


def test_read_only_descriptor(stage: Make, tmp_path: Path) -> None:
    """A descriptor that is open for reading is mapped for reading only."""
    path = Path("/dev/shm") / f"aionvme-test-{os.getpid()}"
    path.write_bytes(bytes(PAGE))
    fd = os.open(path, os.O_RDONLY)
    path.unlink()
    client = stage().negotiated()
    refused(client, 13, HERE, PAGE, fd)
    client.map(HERE, PAGE, fd, 0, READABLE)
    os.close(fd)


@pytest.mark.parametrize(
    "payload",
    [
        b"", bytes(31), DMA_MAP.pack(31, 3, 0, HERE, PAGE), DMA_MAP.pack(33, 3, 0, HERE, PAGE),
        DMA_MAP.pack(32, 3, 0, HERE, PAGE) + bytes(8),
    ],
)  # fmt: skip
def test_malformed_map(stage: Make, payload: bytes) -> None:
    """A structure of another size is none."""
    client = stage().negotiated()
    with pytest.raises(Refused) as error:
        client.ask(MAP, payload)
    assert error.value.errno == EINVAL


def test_one_descriptor(stage: Make) -> None:
    """Two descriptors with one mapping are one too many; both are closed."""
    client = stage().negotiated()
    fd, _ = shared_memory(PAGE)
    with pytest.raises(Refused) as error:
        client.ask(MAP, DMA_MAP.pack(32, 3, 0, HERE, PAGE), [fd, fd])
    assert error.value.errno == EINVAL
    os.close(fd)


def test_unmap(stage: Make) -> None:
    """Just what one mapping gave is taken back; a command that names it then fails, and the memory stays as it is."""
    served = stage()
    raw, queue = started(served)
    client = raw.function.client
    fd, memory = shared_memory(2 * PAGE)
    client.map(HERE, 2 * PAGE, fd)
    served.mock.poke(1, 0, b"\x33" * PAGE)
    assert queue.run(READ, nsid=1, prp1=HERE, cdw12=7).status == 0
    for iova, nbytes in (
        (HERE, PAGE),
        (HERE + PAGE, PAGE),
        (HERE, 3 * PAGE),
        (HERE - PAGE, 2 * PAGE),
        (0, 0),
    ):
        with pytest.raises(Refused) as error:
            client.unmap(iova, nbytes)
        assert error.value.errno == ENOENT
    client.unmap(HERE, 2 * PAGE)
    memory[:] = bytes(2 * PAGE)
    assert queue.run(READ, nsid=1, prp1=HERE, cdw12=7).code == DATA_TRANSFER_ERROR
    assert not any(memory[:])
    client.map(HERE, 2 * PAGE, fd)
    assert queue.run(READ, nsid=1, prp1=HERE, cdw12=7).status == 0
    os.close(fd)


def test_malformed_unmap(stage: Make) -> None:
    """Flags that are not known, and sizes that are none."""
    client = stage().negotiated()
    fd, _ = shared_memory(PAGE)
    client.map(HERE, PAGE, fd)
    os.close(fd)
    for payload in (
        DMA_UNMAP.pack(24, 1, HERE, PAGE), DMA_UNMAP.pack(24, 2, HERE, PAGE), DMA_UNMAP.pack(23, 0, HERE, PAGE),
        DMA_UNMAP.pack(24, 0, HERE, PAGE)[:-1], DMA_UNMAP.pack(24, 0, HERE, PAGE) + b"\0", b"",
    ):  # fmt: skip
        with pytest.raises(Refused) as error:
            client.ask(UNMAP, payload)
        assert error.value.errno == EINVAL
    client.unmap(HERE, PAGE)


def test_unmap_all(stage: Make) -> None:
    """VFIO_DMA_UNMAP_FLAG_ALL, as QEMU sends it; the queues' memory goes too, which is the controller's end."""
    served = stage()
    raw, _ = started(served)
    client = raw.function.client
    client.map(HERE, PAGE, None)
    asked = DMA_UNMAP.pack(24, 2, 0, 0)
    assert client.ask(UNMAP, asked) == (asked, [])
    fd, _ = shared_memory(PAGE)
    client.map(HERE, PAGE, fd)
    os.close(fd)
    raw.admin.post(0x06, prp1=HERE, cdw10=1)
    raw.admin.ring()
    while not raw.function.read32(0x1C) & 2:
        raw.step()


def test_too_many(stage: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """More mappings than we said that we take are refused; one that is taken back makes room."""
    monkeypatch.setattr("aionvme.mock.serving.device.MAX_DMA_MAPS", 10)
    client = stage().negotiated()
    for index in range(10):
        client.map(HERE + index * PAGE, PAGE, None)
    refused(client, 28, HERE + 10 * PAGE, PAGE, None)
    client.unmap(HERE, PAGE)
    client.map(HERE + 10 * PAGE, PAGE, None)


def test_bus_master(stage: Make) -> None:
    """Without bus mastering nothing is reached, whatever is mapped."""
    served = stage()
    raw, queue = started(served)
    raw.function.set_bus_master(False)
    queue.post(FLUSH, nsid=1)
    queue.ring()
    while not raw.function.read32(0x1C) & 2:
        raw.step()
    assert queue.reap() == []


def test_across_mappings(stage: Make) -> None:
    """A transfer that crosses from one mapping into the next is one transfer."""
    served = stage()
    raw, queue = started(served)
    client = raw.function.client
    fd, memory = shared_memory(4 * PAGE)
    for index, page in enumerate((2, 0, 3, 1)):
        client.map(HERE + index * PAGE, PAGE, fd, page * PAGE)
        memory[page * PAGE : (page + 1) * PAGE] = bytes([index + 1]) * PAGE
    os.close(fd)
    # An SGL data block, of four pages less some bytes: its address, then its length.
    assert queue.run(WRITE, flags=0x40, nsid=1, prp1=HERE + 512, prp2=4 * PAGE - 1024, cdw12=29).status == 0
    expected = b"".join(bytes([index + 1]) * PAGE for index in range(4))[512:-512]
    assert served.mock.peek(1, 0, 30) == expected


def test_huge_pages(stage: Make) -> None:
    """A part of a file of huge pages; where the system has none to spare, the mapping is refused as the kernel did."""
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_HUGETLB | os.MFD_HUGE_2MB)
    os.ftruncate(fd, 2 << 20)
    served = stage()
    raw, queue = started(served)
    try:
        memory = mmap.mmap(fd, 2 << 20)
    except OSError:
        refused(raw.function.client, ENOMEM, HERE, 3 * PAGE, fd, 5 * PAGE)
        os.close(fd)
        return
    raw.function.client.map(HERE, 3 * PAGE, fd, 5 * PAGE)
    os.close(fd)
    struct.pack_into("<I", memory, 6 * PAGE, 0xABCD)
    assert queue.run(WRITE, nsid=1, prp1=HERE + PAGE, cdw12=7).status == 0
    assert served.mock.peek(1, 0)[:4] == b"\xcd\xab\0\0"
