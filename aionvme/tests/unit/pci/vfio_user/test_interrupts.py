"""Interrupts and reset of a function that a server has."""

from __future__ import annotations

import errno
import os
import struct

import pytest

from aionvme.errors import UsageError
from aionvme.pci.vfio_user.function import VfioUserFunction
from aionvme.tests.unit.pci.vfio_user.scripted import (
    ENABLE,
    GET_INFO,
    GET_IRQ_INFO,
    MASTER,
    MEMORY,
    RESET,
    SET_IRQS,
    Asked,
    Server,
    opened,
    refuse,
)


def test_interrupts_are_enabled(server: Server, function: VfioUserFunction, eventfds: list[int]) -> None:
    """Eventfds are signalled by number; MSI-X is enabled while there are any."""

    def control() -> int:
        return int.from_bytes(server.config[0x52:0x54], "little")

    server.config[0x53] |= 0x40  # all are masked
    function.set_irqs([eventfds[0], -1, eventfds[2]])
    assert control() & (ENABLE | 0x4000) == ENABLE
    assert {key for key in server.irq_fds if key[0] == 2} == {(2, 0), (2, 2)}
    os.eventfd_write(server.irq_fds[2, 2], 1)
    assert os.eventfd_read(eventfds[2]) == 1
    function.set_irqs(eventfds)
    assert {key for key in server.irq_fds if key[0] == 2} == {(2, n) for n in range(4)}
    function.set_irqs([])
    assert (server.irq_fds, control() & ENABLE) == ({}, 0)
    with pytest.raises(UsageError, match="5 interrupts were asked for"):
        function.set_irqs([eventfds[0]] * 5)


def test_refused_interrupts(server: Server, function: VfioUserFunction, eventfds: list[int]) -> None:
    """When the server takes some and refuses the rest, all are off."""
    refused: list[Asked] = []

    def second(asked: Asked) -> bytes:
        if asked.payload[12] == 2 and not refused:
            refused.append(asked)
            return asked.answer(error=errno.ENOSPC)
        answer = server.usual(asked)
        assert isinstance(answer, bytes)
        return answer

    server.instead(SET_IRQS, second)
    with pytest.raises(OSError, match="refused DEVICE_SET_IRQS"):
        function.set_irqs(eventfds)
    assert server.irq_fds == {}
    assert not server.config[0x53] & 0x80


def test_interrupts_that_are_set_up_at_once(server: Server, eventfds: list[int]) -> None:
    """Where they cannot be set up in pieces there are no more than one message takes."""
    server.instead(GET_IRQ_INFO, lambda asked: asked.answer(struct.pack("<IIII", 16, 9, asked.payload[8], 4)))
    with opened(server) as function:
        with pytest.raises(OSError, match="only 2 interrupt vectors"):
            function.set_irqs(eventfds[:3])
        function.set_irqs(eventfds[:2])
        assert len(server.irq_fds) == 2


def test_msi_where_there_is_no_msix(server: Server, eventfds: list[int]) -> None:
    """A function with MSI alone has the interrupts of that."""
    server.irqs = {1: 2}
    server.config[0x50] = 0x05
    with opened(server) as function:
        assert function.num_irqs == 2
        function.set_irqs(eventfds[:2])
        assert set(server.irq_fds) == {(1, 0), (1, 1)}
        assert server.config[0x52] & 1


def test_no_interrupts_and_no_notices(server: Server, eventfds: list[int]) -> None:
    """A server without any is used without; that it gives no notice of a removal is said."""
    server.irqs = {}
    server.instead(GET_IRQ_INFO, refuse(errno.EINVAL))
    with opened(server) as function:
        assert function.num_irqs == 0
        function.set_irqs([])
        function.set_error_eventfd(eventfds[0])
        with pytest.raises(OSError, match="no notice of a removal") as caught:
            function.set_removal_eventfd(eventfds[0])
        assert caught.value.errno == errno.EINVAL
        assert server.asked(SET_IRQS) == []


def test_reset_keeps_what_was_set(server: Server, function: VfioUserFunction, eventfds: list[int]) -> None:
    """After a reset bus mastering and MSI-X are as before, whatever it did to configuration space."""
    function.set_bus_master(True)
    function.set_irqs(eventfds)

    def forget(asked: Asked) -> bytes:
        server.config[4] = 0
        server.config[0x53] &= 0x7F
        return asked.answer()

    server.instead(RESET, forget)
    function.reset()
    assert server.config[4] == MEMORY | MASTER
    assert server.config[0x53] & 0x80


def test_no_reset(server: Server) -> None:
    """A device that the server cannot reset says so."""
    server.instead(
        GET_INFO, lambda asked: asked.answer(bytes([16, 0, 0, 0, 2, 0, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0]))
    )
    with opened(server) as function:
        assert not function.can_reset
        with pytest.raises(OSError, match="no reset of its own"):
            function.reset()
