"""Owns the way from a vfio-user address to a function: the socket, the connection, the device on it."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from aionvme.errors import AddressError, ControllerLostError
from aionvme.pci.address import VfioUserAddress
from aionvme.pci.device import PciDevice
from aionvme.pci.vfio_user.client import MAX_FDS, Client
from aionvme.pci.vfio_user.function import VfioUserFunction
from aionvme.pci.vfio_user.link import Link

__all__ = ["describe", "open_vfio_user", "socket_path"]


def socket_path(address: VfioUserAddress) -> Path:
    """The socket that an address means, there or not, by one name whichever way it was written."""
    path = Path(address.path)
    return Path(os.path.realpath(path / "cntrl" if path.is_dir() else path))


def _existing(address: VfioUserAddress) -> Path:
    path = socket_path(address)
    try:
        is_socket = stat.S_ISSOCK(path.stat().st_mode)
    except OSError as error:
        raise AddressError(
            f"{address.name}: {path}: {error.strerror}: start its server, or name the socket that it made, or the "
            "folder that has it as cntrl"
        ) from None
    if not is_socket:
        raise AddressError(f"{address.name}: {path} is no socket: name the one that its server made")
    if not os.access(path, os.R_OK | os.W_OK):
        raise AddressError(f"{address.name}: {path} may not be used by this user: see to its permissions")
    return path


def describe(address: VfioUserAddress) -> PciDevice:
    """What is known of the function before it is opened: only the opened one knows its vendor and device.

    Raises:
        AddressError: There is no such socket.
    """
    _existing(address)
    return PciDevice(address.name)


def open_vfio_user(address: VfioUserAddress) -> VfioUserFunction:
    """Connects to a server and opens its controller. Blocks until the server has answered, or its time is over.

    Args:
        address: Where its socket is.

    Returns:
        The function, with memory space on, bus mastering off.

    Raises:
        AddressError: It can't be had; the message says why, and what to do. Nothing is left open.
    """
    try:
        link = Link(_connect(address), address.name, address.timeout, MAX_FDS)
        try:
            return VfioUserFunction(PciDevice(address.name), Client(link))
        except BaseException:
            link.close()
            raise
    except ControllerLostError as error:
        raise AddressError(
            f"{error}: is it a vfio-user server, and free? One serves one client at a time"
        ) from None
    except OSError as error:
        why = str(error.strerror or error).removeprefix(f"{address.name}: ")
        raise AddressError(f"{address.name}: cannot be opened: {why}") from error


def _connect(address: VfioUserAddress) -> socket.socket:
    path = _existing(address)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # A server that accepts nobody lets one wait once as many wait as it said.
        sock.settimeout(address.timeout)
        sock.connect(str(path))
    except TimeoutError:
        sock.close()
        raise AddressError(
            f"{address.name}: the server accepts nobody within {address.timeout:g} s"
        ) from None
    except OSError as error:
        sock.close()
        raise AddressError(
            f"{address.name}: {path}: {error.strerror}: its server is gone, start it anew"
        ) from None
    except BaseException:
        sock.close()
        raise
    return sock
