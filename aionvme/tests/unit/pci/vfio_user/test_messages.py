"""Each message of the client's is, byte for byte, what the specification's tables say: written here by hand."""

from __future__ import annotations

import json
import os
from itertools import pairwise

import pytest

from aionvme.pci.vfio_user.function import VfioUserFunction
from aionvme.tests.unit.pci.recording import address_of, pages
from aionvme.tests.unit.pci.vfio_user.scripted import (
    DMA_MAP,
    DMA_READ,
    DMA_UNMAP,
    DMA_WRITE,
    GET_INFO,
    GET_IRQ_INFO,
    GET_REGION_INFO,
    PAGE,
    REGION_READ,
    REGION_WRITE,
    RESET,
    SET_IRQS,
    VERSION,
    Asked,
    Server,
    file_of,
    opened,
)

IOVA = 0x12345000


def body(asked: Asked, command: int) -> str:
    """What follows a command's header, in hex; the header is that of a command that wants a reply."""
    size = len(asked.raw).to_bytes(4, "little").hex()
    head = asked.raw[:16].hex()
    # Identifier, command, size, flags (command: 0), error.
    assert head[4:] == f"{command:02x}00" + size + "00000000" + "00000000"
    return asked.payload.hex()


def last(server: Server, command: int) -> str:
    """What follows the header of the last command of a kind."""
    return body(server.asked(command)[-1], command)


def test_version(server: Server, function: VfioUserFunction) -> None:
    """The first message proposes version 0.1, and the client's capabilities as JSON that ends in a NUL."""
    first = server.seen[0]
    assert body(first, VERSION)[:8] == "0000" + "0100"
    assert first.raw[-1:] == b"\0"
    assert json.loads(first.payload[4:-1]) == {
        "capabilities": {
            "max_msg_fds": 16,
            "max_data_xfer_size": 1048576,
            "max_dma_maps": 65535,
            "pgsizes": 4096,
        }
    }


def test_questions_at_the_beginning(server: Server, function: VfioUserFunction) -> None:
    """Device, regions and interrupts are asked for with `argsz`, the index, and zeroes."""
    assert last(server, GET_INFO) == "10000000" + "00000000" * 3
    regions = [body(asked, GET_REGION_INFO) for asked in server.asked(GET_REGION_INFO)]
    # argsz, flags, index, cap_offset, size, offset.
    assert regions == [
        "00100000" + "00000000" + index + "00000000" + "00" * 16 for index in ("07000000", "00000000")
    ]
    irqs = [body(asked, GET_IRQ_INFO) for asked in server.asked(GET_IRQ_INFO)]
    # argsz, flags, index, count: MSI-X, the bus's errors, requests for removal.
    assert irqs == ["10000000" + "00000000" + f"0{index}000000" + "00000000" for index in (2, 3, 4)]


def test_register_read(server: Server, function: VfioUserFunction) -> None:
    """A read of a register names offset, region and count, and is as wide as the register."""
    server.bar[0x1C:0x28] = bytes(range(12))
    assert function.read32(0x1C) == 0x03020100
    assert last(server, REGION_READ) == "1c00000000000000" + "00000000" + "04000000"
    assert function.read64(0x20) == 0x0B0A090807060504
    assert last(server, REGION_READ) == "2000000000000000" + "00000000" + "08000000"


def test_register_write(server: Server, function: VfioUserFunction) -> None:
    """A write of a register has its data after offset, region and count."""
    function.write32(0x14, 0x00460001)
    assert last(server, REGION_WRITE) == "1400000000000000" + "00000000" + "04000000" + "01004600"
    function.write64(0x28, 0x1122334455667788)
    assert last(server, REGION_WRITE) == "2800000000000000" + "00000000" + "08000000" + "8877665544332211"
    assert server.bar[0x28:0x30].hex() == "8877665544332211"


def test_configuration_space(server: Server, function: VfioUserFunction) -> None:
    """Configuration space is region 7."""
    assert function.config_read(0x2C, 4).hex() == "f41a0011"
    assert last(server, REGION_READ) == "2c00000000000000" + "07000000" + "04000000"
    function.config_write(0x3C, b"\x55")
    assert last(server, REGION_WRITE) == "3c00000000000000" + "07000000" + "01000000" + "55"


def test_doorbell_by_message(server: Server) -> None:
    """A doorbell that the server does not share is a register write."""
    server.mapped = False
    with opened(server) as function:
        assert not function.doorbells_mapped
        function.write32(0x1008, 0xABCD)
        asked = server.wait(
            lambda: [one for one in server.asked(REGION_WRITE) if one.payload[9:10] == b"\0"][1:]
        )
        assert body(asked[0], REGION_WRITE) == "0810000000000000" + "00000000" + "04000000" + "cdab0000"


def test_map_with_a_file(server: Server, function: VfioUserFunction) -> None:
    """Memory of a file is mapped with offset, address and size, readable and writeable, and the file beside."""
    memory, fd = pages(2), file_of(4 * PAGE)
    function.map_dma(address_of(memory), 2 * PAGE, IOVA, fd=fd, offset=PAGE)
    assert last(server, DMA_MAP) == (
        "20000000" + "03000000" + "0010000000000000" + "0050341200000000" + "0020000000000000"
    )
    (asked,) = server.asked(DMA_MAP)
    assert [os.fstat(one).st_ino for one in asked.fds] == [os.fstat(fd).st_ino]
    function.unmap_dma(IOVA, 2 * PAGE)
    assert last(server, DMA_UNMAP) == "18000000" + "00000000" + "0050341200000000" + "0020000000000000"
    os.close(fd)


def test_map_without_a_file(server: Server, function: VfioUserFunction) -> None:
    """Memory that no file is behind is mapped with the offset 0 and no descriptor."""
    memory = pages(1)
    function.map_dma(address_of(memory), PAGE, IOVA, offset=PAGE)
    assert (
        last(server, DMA_MAP) == "20000000" + "03000000" + "00" * 8 + "0050341200000000" + "0010000000000000"
    )
    assert server.asked(DMA_MAP)[0].fds == ()
    function.unmap_dma(IOVA, PAGE)


def test_interrupts(server: Server, function: VfioUserFunction, eventfds: list[int]) -> None:
    """Eventfds go beside the message, in pieces of as many as the server takes; none is one message that says so."""
    function.set_irqs(eventfds[:3])
    # argsz, flags (eventfd 4h, trigger 20h), index, start, count.
    assert [(body(asked, SET_IRQS), len(asked.fds)) for asked in server.asked(SET_IRQS)] == [
        ("14000000" + "24000000" + "02000000" + "00000000" + "02000000", 2),
        ("14000000" + "24000000" + "02000000" + "02000000" + "01000000", 1),
    ]
    function.set_irqs([])
    assert last(server, SET_IRQS) == "14000000" + "21000000" + "02000000" + "00000000" + "00000000"


def test_notices(server: Server, function: VfioUserFunction, eventfds: list[int]) -> None:
    """The notices of an error and of a removal are interrupts 3 and 4."""
    function.set_error_eventfd(eventfds[0])
    assert last(server, SET_IRQS) == "14000000" + "24000000" + "03000000" + "00000000" + "01000000"
    function.set_removal_eventfd(eventfds[1])
    assert last(server, SET_IRQS) == "14000000" + "24000000" + "04000000" + "00000000" + "01000000"
    os.eventfd_write(server.irq_fds[4, 0], 1)
    assert os.eventfd_read(eventfds[1]) == 1
    function.set_removal_eventfd(None)
    assert last(server, SET_IRQS) == "14000000" + "21000000" + "04000000" + "00000000" + "00000000"


def test_reset(server: Server, function: VfioUserFunction) -> None:
    """A reset is a header."""
    function.reset()
    assert last(server, RESET) == ""


def test_identifiers(server: Server, function: VfioUserFunction) -> None:
    """No two messages in a row have one identifier."""
    for _ in range(20):
        function.read32(0)
    numbers = [asked.id for asked in server.seen]
    assert all(one != other for one, other in pairwise(numbers))


def test_dma_read_is_answered(server: Server, function: VfioUserFunction) -> None:
    """What the server reads of mapped memory comes after address and count."""
    memory = pages(1)
    memory[0x10:0x14] = b"data"
    function.map_dma(address_of(memory), PAGE, IOVA)
    answer = server.ask(DMA_READ, bytes.fromhex("1050341200000000" + "0400000000000000"), number=0x4321)
    assert (
        answer.raw.hex()
        == ("2143" + "0b00" + "24000000" + "01000000" + "00000000" + "1050341200000000" + "0400000000000000")
        + b"data".hex()
    )
    function.unmap_dma(IOVA, PAGE)


def test_dma_write_is_answered(server: Server, function: VfioUserFunction) -> None:
    """What the server writes is in the memory, and the reply has address and count."""
    memory = pages(1)
    function.map_dma(address_of(memory), PAGE, IOVA)
    answer = server.ask(
        DMA_WRITE, bytes.fromhex("1050341200000000" + "0400000000000000") + b"data", number=0x4321
    )
    assert answer.raw.hex() == (
        "2143" + "0c00" + "20000000" + "01000000" + "00000000" + "1050341200000000" + "0400000000000000"
    )
    assert memory[0x10:0x14] == b"data"
    function.unmap_dma(IOVA, PAGE)


@pytest.mark.parametrize("command", [0, 1, 7, 14, 17, 0xFFFF])
def test_other_requests_are_refused(server: Server, function: VfioUserFunction, command: int) -> None:
    """A command that a server has no business with gets a reply of the header alone: error, EOPNOTSUPP."""
    answer = server.ask(command, b"whatever", number=0x4321, fds=[server.doorbells])
    number = command.to_bytes(2, "little").hex()
    assert answer.raw.hex() == "2143" + number + "10000000" + "21000000" + "5f000000"
    assert function.read32(0) == 0
