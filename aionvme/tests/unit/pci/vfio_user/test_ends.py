"""How a connection ends: in order, by the server, by its silence, and in a forked child."""

from __future__ import annotations

import gc
import os
import threading
import time
from pathlib import Path

import pytest

from aionvme.errors import ControllerLostError, UsageError
from aionvme.pci.address import VfioUserAddress
from aionvme.pci.vfio_user.function import VfioUserFunction
from aionvme.pci.vfio_user.opening import open_vfio_user
from aionvme.tests.unit.pci.recording import address_of, pages
from aionvme.tests.unit.pci.vfio_user.scripted import (
    DMA_UNMAP,
    IOVA,
    MEMORY,
    PAGE,
    REGION_READ,
    Asked,
    Server,
    opened,
    soon,
)


def test_closed_in_order(server: Server, eventfds: list[int]) -> None:
    """A closed function has given everything back before it left, and is of no use any more."""
    with opened(server) as function:
        memory = pages(1)
        function.set_bus_master(True)
        function.set_irqs(eventfds)
        function.set_error_eventfd(eventfds[0])
        function.map_dma(address_of(memory), PAGE, IOVA)
    server.wait(lambda: server.client is None)
    assert (server.maps, server.irq_fds, server.config[4]) == ({}, {}, MEMORY)
    assert len(server.asked(DMA_UNMAP)) == 1
    function.close()
    for call in (
        lambda: function.read32(0),
        lambda: function.write32(0x1000, 0),
        lambda: function.config_read(0, 4),
        lambda: function.set_irqs([]),
        lambda: function.map_dma(0, PAGE, IOVA),
        function.reset,
    ):
        with pytest.raises(UsageError, match="is closed"):
            call()
    with pytest.raises(BlockingIOError):
        os.eventfd_read(eventfds[0])


def test_loss(server: Server, function: VfioUserFunction, eventfds: list[int]) -> None:
    """When the server hangs up, the eventfd tells at once; registers then read as all ones."""
    memory = pages(1)
    function.set_error_eventfd(eventfds[0])
    function.map_dma(address_of(memory), PAGE, IOVA)
    server.hang_up()
    soon(lambda: function.loss)
    assert os.eventfd_read(eventfds[0]) == 1
    assert function.loss == f"{function.pci_dev}: the server closed the connection"
    assert (function.read32(0x1C), function.read64(0)) == (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
    assert function.config_read(4, 2) == b"\xff\xff"
    function.write32(0x14, 0)
    function.write64(0x28, 0)
    function.write32(0x1000, 0)
    function.config_write(4, b"\0\0")
    for call in (
        function.reset,
        lambda: function.set_irqs(eventfds),
        lambda: function.map_dma(address_of(memory), PAGE, 2 * IOVA),
    ):
        with pytest.raises(ControllerLostError, match="closed the connection"):
            call()
    function.unmap_dma(IOVA, PAGE)
    function.set_error_eventfd(eventfds[1])
    assert os.eventfd_read(eventfds[1]) == 1


def test_server_that_hangs(server: Server, eventfds: list[int]) -> None:
    """A server that does not answer is given up in the time that the address says, for whoever waits."""
    function = open_vfio_user(VfioUserAddress(str(server.path), timeout=0.2))
    function.set_error_eventfd(eventfds[0])
    server.instead(REGION_READ, lambda _: None)
    begun = time.monotonic()
    assert function.read32(0x1C) == 0xFFFFFFFF
    assert 0.15 < time.monotonic() - begun < 3
    assert "did not answer in time" in str(function.loss)
    assert os.eventfd_read(eventfds[0]) == 1
    begun = time.monotonic()
    function.close()
    assert time.monotonic() - begun < 0.2


def test_all_who_wait_are_told(server: Server, function: VfioUserFunction) -> None:
    """Every thread that waits for an answer is told of the loss."""
    server.instead(REGION_READ, lambda _: None)
    values: list[int] = []
    threads = [threading.Thread(target=lambda: values.append(function.read32(0x1C))) for _ in range(4)]
    for thread in threads:
        thread.start()
    server.wait(lambda: len(server.asked(REGION_READ)) >= 4)
    soon(lambda: len([asked for asked in server.asked(REGION_READ) if asked.payload[0] == 0x1C]) == 4)
    server.hang_up()
    for thread in threads:
        thread.join(5)
    assert values == [0xFFFFFFFF] * 4


def test_answers_in_another_order(server: Server, function: VfioUserFunction) -> None:
    """Answers go to whoever asked, in whatever order they come."""
    held: list[Asked] = []

    def later(asked: Asked) -> bytes | None:
        held.append(asked)
        if len(held) < 3:
            return None
        answers = [server._access(one) for one in reversed(held)]
        return b"".join(answers)

    server.bar[:12] = bytes([1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0])
    server.instead(REGION_READ, later)
    values: dict[int, int] = {}
    threads = [
        threading.Thread(target=lambda at=at: values.update({at: function.read32(at)})) for at in (0, 4, 8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert values == {0: 1, 4: 2, 8: 3}
    server.handlers.clear()


def test_dropped_function(server: Server) -> None:
    """A function that is dropped warns, and is closed."""
    function = open_vfio_user(server.address)
    with pytest.warns(ResourceWarning, match="was not closed"):
        del function
        gc.collect()
    server.wait(lambda: server.client is None)


def test_forked_child(server: Server, function: VfioUserFunction) -> None:
    """A forked child is refused the connection, and cannot end it for its parent."""
    pid = os.fork()
    if pid == 0:
        try:
            try:
                function.read32(0)
            except UsageError as error:
                if "stays with the process that opened it" not in str(error):
                    os._exit(1)
            else:
                os._exit(2)
            function.close()
            os._exit(0)
        finally:
            os._exit(3)
    assert os.waitpid(pid, 0)[1] == 0
    server.bar[0] = 7
    assert function.read32(0) == 7


def test_mapping_of_doorbells_goes(server: Server) -> None:
    """The shared page is unmapped when the function is closed."""

    def mapped() -> list[str]:
        return [
            line for line in Path("/proc/self/maps").read_text().splitlines() if "memfd:doorbells" in line
        ]

    with opened(server):
        assert len(mapped()) == 1
    assert mapped() == []
