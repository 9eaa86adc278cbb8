"""What the kernel tells of devices: its messages taken apart, whatever bytes come, and messages that were lost."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionvme.pci import uevents
from aionvme.pci.uevents import OVERRUN, Uevent, parse, receive

if TYPE_CHECKING:
    from collections.abc import Callable

# Messages of Linux 6.12 about QEMU's controller, received in the guest machine of the VM tier.
ADD = (
    b"add@/devices/pci0000:00/0000:00:1a.0/0000:01:00.0\0"
    b"ACTION=add\0"
    b"DEVPATH=/devices/pci0000:00/0000:00:1a.0/0000:01:00.0\0"
    b"SUBSYSTEM=pci\0"
    b"PCI_CLASS=10802\0"
    b"PCI_ID=1B36:0010\0"
    b"PCI_SUBSYS_ID=1AF4:1100\0"
    b"PCI_SLOT_NAME=0000:01:00.0\0"
    b"MODALIAS=pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02\0"
    b"SEQNUM=1070\0"
)
UNBIND = (
    b"unbind@/devices/pci0000:00/0000:00:1a.0/0000:01:00.0\0"
    b"ACTION=unbind\0"
    b"DEVPATH=/devices/pci0000:00/0000:00:1a.0/0000:01:00.0\0"
    b"SUBSYSTEM=pci\0"
    b"PCI_CLASS=10802\0"
    b"PCI_ID=1B36:0010\0"
    b"PCI_SUBSYS_ID=1AF4:1100\0"
    b"PCI_SLOT_NAME=0000:01:00.0\0"
    b"SEQNUM=1085\0"
)
BIND = (
    b"bind@/devices/pci0000:00/0000:00:1a.0/0000:01:00.0\0"
    b"ACTION=bind\0"
    b"DEVPATH=/devices/pci0000:00/0000:00:1a.0/0000:01:00.0\0"
    b"SUBSYSTEM=pci\0"
    b"DRIVER=vfio-pci\0"
    b"PCI_CLASS=10802\0"
    b"PCI_ID=1B36:0010\0"
    b"PCI_SUBSYS_ID=1AF4:1100\0"
    b"PCI_SLOT_NAME=0000:01:00.0\0"
    b"MODALIAS=pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02\0"
    b"SEQNUM=1088\0"
)
ELSEWHERE = (
    b"add@/devices/pci0000:00/0000:00:1a.0/0000:01:00.0/vfio-dev/vfio0\0"
    b"ACTION=add\0"
    b"DEVPATH=/devices/pci0000:00/0000:00:1a.0/0000:01:00.0/vfio-dev/vfio0\0"
    b"SUBSYSTEM=vfio-dev\0"
    b"MAJOR=241\0"
    b"MINOR=0\0"
    b"DEVNAME=vfio/devices/vfio0\0"
    b"SEQNUM=1087\0"
)


def test_a_message() -> None:
    """Action and address are read from the kernel's own messages; what is of another subsystem is not taken."""
    assert parse(ADD) == Uevent("add", "0000:01:00.0")
    assert parse(UNBIND) == Uevent("unbind", "0000:01:00.0")
    assert parse(BIND) == Uevent("bind", "0000:01:00.0")
    assert parse(ELSEWHERE) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda message: message.replace(b"@", b"#"),
        lambda message: message.replace(b"\0ACTION=", b"\0REACTION="),
        lambda message: message.replace(b"PCI_SLOT_NAME", b"PCI_SLOT"),
        lambda message: message.replace(b"=0000:01:00.0", b"=../../../etc"),
        lambda message: message.replace(b"=0000:01:00.0", b"=0000:01:00.0\n"),
        lambda message: message.replace(b"=0000:01:00.0", b"=0000:01:00.\xff"),
        lambda message: message.replace(b"ACTION=add", b"ACTION=\xc3\xa4"),
        lambda message: b"libudev\0\xfe\xed\xca\xfe" + message,
        lambda message: b"",
        lambda message: b"\0" * 64,
        lambda message: b"\xff" * 64,
    ],
)
def test_what_is_no_message(change: Callable[[bytes], bytes]) -> None:
    """A message that lacks a part, or whose address is none, is passed over: the address becomes part of a path."""
    assert parse(change(ADD)) is None


@given(st.binary(max_size=400) | st.integers(0, len(ADD)).map(lambda n: ADD[:n]))
def test_hostile_bytes(message: bytes) -> None:
    """Whatever the bytes are, they give a message with a well-formed address, or none."""
    uevent = parse(message)
    assert uevent is None or "/" not in uevent.bdf


class Messages:
    """Stands for the socket: each entry is a message with its flags and sender, or an error."""

    def __init__(self, *entries: Any) -> None:
        self._entries = list(entries)

    def recvmsg(self, _most: int) -> tuple[bytes, list[Any], int, Any]:
        """The next entry."""
        if not self._entries:
            raise BlockingIOError
        entry = self._entries.pop(0)
        if isinstance(entry, OSError):
            raise entry
        message, flags, sender = entry
        return message, [], flags, sender


def _received(*entries: Any) -> list[Any]:
    found: list[Any] = []
    with contextlib.suppress(BlockingIOError):
        found.extend(receive(Messages(*entries), len(entries) + 1))  # type: ignore[arg-type]
    return found


def test_only_the_kernel_is_believed() -> None:
    """A message of another process, which has a port, is passed over."""
    assert _received((ADD, 0, (4711, 0)), (BIND, 0, (0, 1))) == [Uevent("bind", "0000:01:00.0")]


def test_lost_messages_are_told() -> None:
    """Where the kernel dropped some, or cut one off, that is said in their place, and reading goes on."""
    overrun = OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
    assert _received(overrun, (ADD, socket.MSG_TRUNC, (0, 1)), (ADD, 0, (0, 1))) == [
        OVERRUN,
        OVERRUN,
        Uevent("add", "0000:01:00.0"),
    ]


def test_another_error_is_raised() -> None:
    """An error that is no overrun is not passed over."""
    with pytest.raises(OSError, match="Bad file") as caught:
        list(receive(Messages(OSError(errno.EBADF, os.strerror(errno.EBADF))), 3))  # type: ignore[arg-type]
    assert caught.value.errno == errno.EBADF


def test_no_more_than_asked_for() -> None:
    """So many messages are read in one go, and no more."""
    messages = Messages(*[(ADD, 0, (0, 1))] * 5)
    assert len(list(receive(messages, 3))) == 3  # type: ignore[arg-type]


def test_the_kernels_socket() -> None:
    """The socket is one of the kernel's group, does not block, and does not outlive an exec."""
    with uevents.open_socket() as sock:
        assert sock.getsockname()[1] == uevents.KERNEL_GROUP
        assert not sock.getblocking()
        assert not sock.get_inheritable()
