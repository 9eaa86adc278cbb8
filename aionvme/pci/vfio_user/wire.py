"""Owns the messages of vfio-user as bytes: the header, what follows it, and the version's capabilities.

Source: docs/interop/vfio-user.rst of QEMU, which is docs/vfio-user.rst of libvfio-user, and the latter's
include/vfio-user.h. All numbers are of the host's byte order ("Protocol Specification"). Structures that
vfio-user takes from VFIO as they are (`vfio_device_info`, `vfio_region_info`, `vfio_irq_info`,
`vfio_irq_set`) are those of `aionvme.pci.abi`.
"""

from __future__ import annotations

import ctypes
import enum
import json
from ctypes import c_uint16, c_uint32, c_uint64
from typing import Any, TypeVar

import attrs

__all__ = [
    "DEFAULT_MAX_DATA",
    "HEADER_BYTES",
    "MAX_FDS",
    "MAX_MESSAGE",
    "Capabilities",
    "Command",
    "DmaAccess",
    "DmaMap",
    "DmaUnmap",
    "Header",
    "MessageError",
    "RegionAccess",
    "RegionWriteMultiHead",
    "parse",
    "parse_version",
    "version",
]

_S = TypeVar("_S", bound=ctypes.Structure)


class Command(enum.IntEnum):
    """What a message asks for ("Commands")."""

    VERSION = 1
    DMA_MAP = 2
    DMA_UNMAP = 3
    DEVICE_GET_INFO = 4
    DEVICE_GET_REGION_INFO = 5
    DEVICE_GET_REGION_IO_FDS = 6
    DEVICE_GET_IRQ_INFO = 7
    DEVICE_SET_IRQS = 8
    REGION_READ = 9
    REGION_WRITE = 10
    DMA_READ = 11
    DMA_WRITE = 12
    DEVICE_RESET = 13
    REGION_WRITE_MULTI = 15
    DEVICE_FEATURE = 16
    MIG_DATA_READ = 17
    MIG_DATA_WRITE = 18


#: Flags of the header: the type in bits 3:0, a command that wants no reply, a reply that tells of an error.
TYPE_MASK, TYPE_COMMAND, TYPE_REPLY = 0xF, 0, 1
NO_REPLY, ERROR = 1 << 4, 1 << 5

#: Flags of DMA_MAP.
DMA_READABLE, DMA_WRITEABLE = 1, 2

VERSION_MAJOR, VERSION_MINOR = 0, 1

#: What a peer takes that names no `max_data_xfer_size`.
DEFAULT_MAX_DATA = 1 << 20

#: Descriptors that we take in one message, and the least of what Linux takes (SCM_MAX_FD is 253).
MAX_FDS = 253

HEADER_BYTES = 16

#: The longest message that there is any use for: the data of a transfer, and room for what describes it.
MAX_MESSAGE = HEADER_BYTES + DEFAULT_MAX_DATA + 4096


class MessageError(Exception):
    """A message that the protocol does not allow; the connection cannot go on after some, see who raises it."""


class Header(ctypes.Structure):
    """What each message begins with ("Header")."""

    _fields_ = [
        ("id", c_uint16),
        ("command", c_uint16),
        ("size", c_uint32),
        ("flags", c_uint32),
        ("error", c_uint32),
    ]

    @property
    def is_reply(self) -> bool:
        """Whether it answers a message of ours."""
        return bool(self.flags & TYPE_MASK == TYPE_REPLY)


class VersionHead(ctypes.Structure):
    """VFIO_USER_VERSION; JSON and a NUL may follow."""

    _fields_ = [("major", c_uint16), ("minor", c_uint16)]


class DmaMap(ctypes.Structure):
    """VFIO_USER_DMA_MAP. The memory's descriptor comes with the message, or there is none."""

    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("offset", c_uint64),
        ("address", c_uint64),
        ("size", c_uint64),
    ]


class DmaUnmap(ctypes.Structure):
    """VFIO_USER_DMA_UNMAP, and its reply."""

    _fields_ = [("argsz", c_uint32), ("flags", c_uint32), ("address", c_uint64), ("size", c_uint64)]


class RegionAccess(ctypes.Structure):
    """VFIO_USER_REGION_READ and VFIO_USER_REGION_WRITE and their replies; data may follow."""

    _fields_ = [("offset", c_uint64), ("region", c_uint32), ("count", c_uint32)]


class DmaAccess(ctypes.Structure):
    """VFIO_USER_DMA_READ and VFIO_USER_DMA_WRITE and their replies; data may follow."""

    _fields_ = [("address", c_uint64), ("count", c_uint64)]


class RegionWriteMultiHead(ctypes.Structure):
    """VFIO_USER_REGION_WRITE_MULTI; `wr_cnt` writes follow, 8 bytes of data in each."""

    _fields_ = [("wr_cnt", c_uint64)]


def parse(kind: type[_S], payload: bytes) -> _S:
    """Reads a structure from the beginning of a message's payload.

    Raises:
        MessageError: The payload is shorter than it.
    """
    if len(payload) < ctypes.sizeof(kind):
        raise MessageError(f"{len(payload)} bytes are no {kind.__name__}, which has {ctypes.sizeof(kind)}")
    return kind.from_buffer_copy(payload)


@attrs.frozen
class Capabilities:
    """What a side says of itself when the version is agreed upon ("VFIO_USER_VERSION").

    Attributes:
        max_msg_fds: Descriptors that it takes in one message.
        max_data_xfer_size: Bytes of data that it takes in one message.
        max_dma_maps: Mappings that it takes at a time.
        pgsizes: Page sizes of mappings that it takes, or'ed.
        twin_socket: Whether it can do with a second socket for what the server asks.
        write_multiple: Whether it takes VFIO_USER_REGION_WRITE_MULTI.
        named: Which of these it named; the others have their defaults.
    """

    max_msg_fds: int = 1
    max_data_xfer_size: int = DEFAULT_MAX_DATA
    max_dma_maps: int = 65535
    pgsizes: int = 4096
    twin_socket: bool = False
    write_multiple: bool = False
    named: frozenset[str] = frozenset()


def version(capabilities: dict[str, Any], minor: int = VERSION_MINOR) -> bytes:
    """The payload of VFIO_USER_VERSION that names these capabilities, by the names of the specification."""
    text = json.dumps({"capabilities": capabilities}).encode()
    return bytes(VersionHead(VERSION_MAJOR, minor)) + text + b"\0"


def parse_version(payload: bytes) -> tuple[int, int, Capabilities]:
    """Reads VFIO_USER_VERSION: major and minor version, and capabilities, those not named by their defaults.

    Raises:
        MessageError: It is too short, or its JSON is none, or says what no side can mean.
    """
    head = parse(VersionHead, payload)
    text = payload[ctypes.sizeof(VersionHead) :]
    if not text:
        return head.major, head.minor, Capabilities()
    if not text.endswith(b"\0"):
        raise MessageError("the version's capabilities do not end in a NUL")
    try:
        data = json.loads(text[:-1])
    except (ValueError, RecursionError) as error:
        raise MessageError(f"the version's capabilities are not JSON: {error}") from None
    said = data.get("capabilities", {}) if isinstance(data, dict) else None
    if not isinstance(said, dict):
        raise MessageError("the version's capabilities are not a JSON object")
    return head.major, head.minor, _capabilities(said)


def _capabilities(said: dict[str, Any]) -> Capabilities:
    found: dict[str, Any] = {}
    for field in attrs.fields(Capabilities):
        if field.name not in said or field.name == "named":
            continue
        value = said[field.name]
        if field.name == "twin_socket":
            value = isinstance(value, dict) and value.get("supported") is True
        elif field.name == "write_multiple":
            value = value is True
        elif isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 64:
            raise MessageError(f"the capability {field.name} is {value!r}, not a number above 0")
        found[field.name] = value
    return Capabilities(**found, named=frozenset(found))
