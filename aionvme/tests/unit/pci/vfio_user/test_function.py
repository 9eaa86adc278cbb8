"""What an opened function says of itself, and its registers: by message, and doorbells by a store."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import threading
import time
from pathlib import Path

import pytest

from aionvme.errors import AddressError, UsageError
from aionvme.pci.address import VfioUserAddress
from aionvme.pci.vfio_user.function import VfioUserFunction
from aionvme.pci.vfio_user.opening import describe, open_vfio_user, socket_path
from aionvme.tests.unit.pci.vfio_user.scripted import (
    BAR_BYTES,
    GET_INFO,
    MASTER,
    MEMORY,
    PAGE,
    REGION_READ,
    REGION_WRITE,
    Asked,
    Server,
    file_of,
    opened,
    peek,
    refuse,
    region_info,
    soon,
)


def test_identity(function: VfioUserFunction, server: Server) -> None:
    """The function is known by its address, and by what its configuration space says of it."""
    device = function.pci_dev
    assert (device.bdf, device.path, device.domain) == (f"vfio-user:{server.path.parent}", None, 0)
    assert (device.vendor_id, device.device_id) == (0x1B36, 0x0010)
    assert (device.subvendor_id, device.subdevice_id) == (0x1AF4, 0x1100)
    assert (device.class_code, device.revision) == (0x010802, 2)
    assert (function.bar_bytes, function.num_irqs, function.can_reset) == (BAR_BYTES, 4, True)


def test_bus_mastering_is_off(function: VfioUserFunction, server: Server) -> None:
    """An opened function answers to reads of its registers, and reaches no memory until that is allowed."""
    assert server.config[4] == MEMORY
    function.set_bus_master(True)
    assert server.config[4] == MEMORY | MASTER


def test_the_socket_and_its_folder_are_one(server: Server) -> None:
    """Folder, socket and a link to it are the same, and are open alike."""
    link = server.path.parent / "link"
    link.symlink_to(server.path)
    names = (server.path.parent, server.path, link)
    assert {socket_path(VfioUserAddress(str(name))) for name in names} == {server.path}
    for name in names:
        function = open_vfio_user(VfioUserAddress(str(name)))
        assert str(function.pci_dev) == f"vfio-user:{name}" == str(describe(VfioUserAddress(str(name))))
        function.close()


def test_no_server(tmp_path: Path) -> None:
    """What is no socket of a server is said to be none, with what to do."""
    plain = tmp_path / "plain"
    plain.touch()
    for path, words in (
        (tmp_path, "start its server"),
        (plain, "is no socket"),
        (tmp_path / "x" / "y", "No such"),
    ):
        with pytest.raises(AddressError, match=words):
            open_vfio_user(VfioUserAddress(str(path)))
        with pytest.raises(AddressError, match=words):
            describe(VfioUserAddress(str(path)))


def test_server_that_is_gone(tmp_path: Path) -> None:
    """A socket that a server left behind is said to be that."""
    with Server(tmp_path) as server:
        address = server.address
    with pytest.raises(AddressError, match="its server is gone"):
        open_vfio_user(address)


def test_server_in_use(server: Server, function: VfioUserFunction) -> None:
    """A server that has a client, and answers no other, is given up in the time that the address says."""
    begun = time.monotonic()
    with pytest.raises(AddressError, match="did not answer in time: is it a vfio-user server, and free"):
        open_vfio_user(VfioUserAddress(str(server.path), timeout=0.1))
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    ("command", "words"),
    [(GET_INFO, "refused DEVICE_GET_INFO"), (REGION_READ, "refused to read 64 bytes at 0x0 of region 7")],
)
def test_refusals_at_the_beginning(server: Server, command: int, words: str) -> None:
    """A server that refuses what must be is an error that says what it refused."""
    server.instead(command, refuse(errno.EPERM))
    with pytest.raises(AddressError, match=f"cannot be opened: the server {words}: Operation not permitted"):
        open_vfio_user(server.address)


def test_other_devices(server: Server) -> None:
    """A device that is no NVMe controller is not opened."""
    server.config[0x0A] = 1
    with pytest.raises(AddressError, match="no NVMe controller but a device of class 010102"):
        open_vfio_user(server.address)


def test_doorbell_is_a_store(function: VfioUserFunction, server: Server) -> None:
    """A doorbell on a page that the server shares is a store to it, and no message."""
    before = len(server.seen)
    function.write32(0x1008, 0xABCD)
    function.write32(0x1FFC, 1)
    assert peek(server.doorbells, PAGE, PAGE)[8:12].hex() == "cdab0000"
    assert peek(server.doorbells, PAGE, PAGE)[-4:].hex() == "01000000"
    assert function.read32(0x1008) == 0xABCD
    assert len(server.seen) == before


def test_doorbells_by_message_are_not_waited_for(server: Server) -> None:
    """A doorbell by message is sent at once, whatever the server does; a register access comes after them all."""
    server.mapped = False
    go_on = threading.Event()

    def slow(asked: Asked) -> bytes:
        assert go_on.wait(5)
        answer = server.usual(asked)
        assert isinstance(answer, bytes)
        return answer

    with opened(server) as function:
        server.instead(REGION_WRITE, slow)
        for value in range(50):
            function.write32(0x1000, value)
        go_on.set()
        assert function.read32(0x1000) == 49


def test_many_doorbells_by_message(server: Server) -> None:
    """More doorbells than may be under way wait for each other; from several threads none is lost."""
    server.mapped = False
    with opened(server) as function:

        def ring(place: int) -> None:
            for value in range(500):
                function.write32(0x1000 + 4 * place, value)

        threads = [threading.Thread(target=ring, args=[place]) for place in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert function.loss is None
        written = [
            asked for asked in server.wait(lambda: server.asked(REGION_WRITE)) if asked.payload[1] == 0x10
        ]
        assert function.read32(0) == 0
        written = [asked for asked in server.asked(REGION_WRITE) if asked.payload[1] == 0x10]
        for place in range(3):
            values = [asked.payload[16:] for asked in written if asked.payload[0] == 4 * place]
            assert values == [value.to_bytes(4, "little") for value in range(500)]


def test_refused_doorbell_is_not_lost(server: Server) -> None:
    """A doorbell by message that the server refuses ends the connection: nobody else would learn of it."""
    server.mapped = False
    with opened(server) as function:
        server.instead(REGION_WRITE, refuse(errno.EINVAL))
        function.write32(0x1000, 1)
        soon(lambda: function.loss)
        assert "refused a register write" in str(function.loss)


def test_refused_register(server: Server, function: VfioUserFunction) -> None:
    """A register that the server refuses is an error of the system's kind; the connection goes on."""
    server.instead(REGION_READ, refuse(errno.EINVAL))
    server.instead(REGION_WRITE, refuse(0))
    with pytest.raises(OSError, match="refused to read 4 bytes at 0x1c of region 0") as caught:
        function.read32(0x1C)
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(OSError, match="refused to write 8 bytes at 0x28 of region 0"):
        function.write64(0x28, 1)
    server.handlers.clear()
    assert function.read32(0x1C) == 0


@pytest.mark.parametrize("offset", [2, BAR_BYTES, BAR_BYTES - 2, 1 << 40])
def test_registers_that_are_none(function: VfioUserFunction, offset: int) -> None:
    """What lies outside of BAR 0, or is not aligned, is refused without a message."""
    for call in (function.read32, function.read64):
        with pytest.raises(UsageError, match="outside BAR 0"):
            call(offset)
    for write in (function.write32, function.write64):
        with pytest.raises(UsageError, match="outside BAR 0"):
            write(offset, 0)


def test_configuration_space_has_an_end(function: VfioUserFunction) -> None:
    """What is not within configuration space is refused."""
    assert function.config_read(256, 0) == b""
    for offset, nbytes in ((256, 1), (-1, 1), (0, 257)):
        with pytest.raises(UsageError, match="not within 256 of configuration space"):
            function.config_read(offset, nbytes)
    with pytest.raises(UsageError, match="not within"):
        function.config_write(255, b"ab")


def test_parts_of_bars(server: Server, function: VfioUserFunction) -> None:
    """What the server shares of a BAR is memory of both, by its place in the BAR; anything else is refused."""
    fd = file_of(4 * PAGE)

    def describe_bar(asked: Asked) -> tuple[bytes, list[int]] | bytes:
        index = asked.payload[8]
        if index == 2:
            return asked.answer(struct.pack("<IIIIQQ", 32, 7, 2, 0, 4 * PAGE, 0)), [fd]
        if index == 4:
            return asked.answer(region_info(index=4, areas=[(2 * PAGE, PAGE)], size=8 * PAGE)), [fd]
        return asked.answer(struct.pack("<IIIIQQ", 32, 0, index, 0, 0, 0))

    server.instead(5, describe_bar)
    for page, text in ((2, b"second"), (3, b"third")):
        os.pwrite(fd, text, page * PAGE)
    assert ctypes.string_at(function.map_bar(2, 3 * PAGE, PAGE), 5) == b"third"
    assert ctypes.string_at(function.map_bar(2, 0, 4 * PAGE) + 2 * PAGE, 6) == b"second"
    assert ctypes.string_at(function.map_bar(4, 2 * PAGE + 3, 3), 3) == b"ond"
    beyond = (
        (4, PAGE, PAGE),
        (4, 2 * PAGE, PAGE + 1),
        (2, 0, 4 * PAGE + 1),
        (1, 0, 1),
        (0, 0, 1),
        (-1, 0, 1),
        (6, 0, 1),
    )
    for index, offset, nbytes in beyond:
        with pytest.raises(UsageError, match=f"of BAR {index} of .* are not shared"):
            function.map_bar(index, offset, nbytes)
    os.close(fd)
