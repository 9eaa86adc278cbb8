"""Owns what the kernel tells of devices as they come and go: uevents, by netlink (Linux 6.12, lib/kobject_uevent.c).

A message is "ACTION@DEVPATH" and then "KEY=VALUE" texts, each ended by a zero byte. Of a PCI function PCI_SLOT_NAME is
its address (drivers/pci/pci-driver.c, pci_uevent).
"""

from __future__ import annotations

import contextlib
import errno
import re
import socket
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OVERRUN", "Overrun", "Uevent", "open_socket", "parse", "receive"]

NETLINK_KOBJECT_UEVENT = 15  # linux/netlink.h
#: The multicast group of the kernel's own messages; udev's are in group 2.
KERNEL_GROUP = 1
# The kernel's own are little longer than 2048 bytes (UEVENT_BUFFER_SIZE of linux/kobject.h).
MESSAGE_BYTES = 16384
_BUFFER_BYTES = 1 << 20
_BDF = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-1][0-9a-f]\.[0-7]")


@attrs.frozen
class Uevent:
    """One message that concerns a PCI function.

    Attributes:
        action: "add", "remove", "bind", "unbind", "change", ...
        bdf: The function's address.
    """

    action: str
    bdf: str


class Overrun:
    """What stands for messages that were lost: look at everything anew."""


OVERRUN = Overrun()


def parse(message: bytes) -> Uevent | None:
    """Reads a message; None for what is no PCI function's, or no message at all."""
    head, *texts = message.split(b"\0")
    if b"@" not in head:
        return None
    values: dict[bytes, bytes] = {}
    for text in texts:
        key, _, value = text.partition(b"=")
        values.setdefault(key, value)
    if values.get(b"SUBSYSTEM") != b"pci":
        return None
    try:
        action, bdf = (values[key].decode("ascii") for key in (b"ACTION", b"PCI_SLOT_NAME"))
    except (KeyError, UnicodeDecodeError):
        return None
    # It becomes part of a path.
    return Uevent(action, bdf) if _BDF.fullmatch(bdf) else None


def open_socket() -> socket.socket:
    """A socket that gets the kernel's messages from now on; it does not block.

    Raises:
        OSError: The kernel has no such messages for this process.
    """
    sock = socket.socket(
        socket.AF_NETLINK,
        socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
        NETLINK_KOBJECT_UEVENT,
    )
    try:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        sock.bind((0, KERNEL_GROUP))
    except BaseException:
        sock.close()
        raise
    return sock


def receive(sock: socket.socket, most: int) -> Iterator[Uevent | Overrun]:
    """What has come, `most` messages at the most.

    Raises:
        BlockingIOError: Nothing more is there.
    """
    for _ in range(most):
        try:
            message, _, flags, sender = sock.recvmsg(MESSAGE_BYTES)
        except OSError as error:
            # Messages were dropped because nobody read them in time (netlink(7)).
            if error.errno != errno.ENOBUFS:
                raise
            yield OVERRUN
            continue
        # Any process may send to a netlink socket; the kernel's own port is 0.
        if isinstance(sender, tuple) and sender[0] != 0:
            continue
        if flags & socket.MSG_TRUNC:
            yield OVERRUN
            continue
        uevent = parse(message)
        if uevent is not None:
            yield uevent
