"""Owns how a VFIO device and its container describe themselves: regions, interrupts, capabilities."""

from __future__ import annotations

import ctypes
import errno
from typing import TYPE_CHECKING, TypeVar

import attrs

from aionvme.pci import abi

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aionvme.pci.host import Host

__all__ = [
    "Descriptors",
    "Region",
    "array_at",
    "ask",
    "ask_with_capabilities",
    "capability",
    "irq_count",
    "region",
]

_S = TypeVar("_S", bound=ctypes.Structure)


@attrs.define
class Descriptors:
    """Open descriptors, to be closed in the reverse order."""

    host: Host
    _fds: list[int] = attrs.field(factory=list, init=False)

    def add(self, fd: int) -> int:
        """Takes charge of a descriptor."""
        self._fds.append(fd)
        return fd

    def close(self) -> None:
        """Closes all, whatever one of them says. May be called twice."""
        while self._fds:
            try:
                self.host.close(self._fds.pop())
            except OSError:
                # The kernel has let go of it all the same (close(2)).
                continue


@attrs.frozen
class Region:
    """One region of a device: a BAR, or configuration space.

    Attributes:
        flags: VFIO_REGION_INFO_FLAG_*.
        size: Bytes; 0 where there is none.
        offset: Where in the device's descriptor it begins.
        areas: (offset, size) of what can be mapped, None where that is the whole of it.
    """

    flags: int
    size: int
    offset: int
    areas: list[tuple[int, int]] | None = None


def ask(host: Host, fd: int, request: int, question: _S) -> _S:
    """Makes an ioctl whose structure begins with its size, and gives the structure as answered."""
    setattr(question, question._fields_[0][0], ctypes.sizeof(question))
    host.ioctl(fd, request, question)
    return question


def ask_with_capabilities(host: Host, fd: int, request: int, question: ctypes.Structure) -> bytearray:
    """Makes an ioctl that answers with a structure and what follows it, in a buffer as long as it takes.

    The kernel puts the length that it would take in `argsz`, and leaves out what does not fit.
    """
    size = ctypes.sizeof(question)
    while True:
        buffer = bytearray(max(size, ctypes.sizeof(question)))
        buffer[: ctypes.sizeof(question)] = bytes(question)
        ctypes.c_uint32.from_buffer(buffer).value = len(buffer)
        host.ioctl(fd, request, buffer)
        size = ctypes.c_uint32.from_buffer(buffer).value
        if size <= len(buffer):
            return buffer


def _capabilities(buffer: bytearray, first: int) -> Iterator[tuple[int, int]]:
    # A chain that goes in a circle would be the kernel's fault; it would hang us all the same.
    seen: set[int] = set()
    size = ctypes.sizeof(abi.VfioInfoCapHeader)
    while first and first not in seen and first + size <= len(buffer):
        seen.add(first)
        header = abi.VfioInfoCapHeader.from_buffer(buffer, first)
        yield header.id, first
        first = header.next


def capability(buffer: bytearray, first: int, wanted: int) -> int | None:
    """Where in an answer a capability begins.

    Args:
        buffer: The answer.
        first: Its `cap_offset`; 0 for none.
        wanted: The identifier.
    """
    return next((offset for identifier, offset in _capabilities(buffer, first) if identifier == wanted), None)


def array_at(buffer: bytearray, offset: int, kind: type[_S], count: int) -> list[_S]:
    """An array in an answer; what the buffer does not hold of it is left out."""
    count = min(count, (len(buffer) - offset) // ctypes.sizeof(kind))
    return list((kind * count).from_buffer(buffer, offset))


def region(host: Host, fd: int, index: int) -> Region:
    """Describes one region of a device."""
    question = abi.VfioRegionInfo(index=index)
    buffer = ask_with_capabilities(host, fd, abi.VFIO_DEVICE_GET_REGION_INFO, question)
    info = abi.VfioRegionInfo.from_buffer(buffer)
    areas = None
    if info.flags & abi.VFIO_REGION_INFO_FLAG_CAPS:
        areas = _areas(buffer, info.cap_offset)
    return Region(info.flags, info.size, info.offset, areas)


def _areas(buffer: bytearray, first: int) -> list[tuple[int, int]] | None:
    offset = capability(buffer, first, abi.VFIO_REGION_INFO_CAP_SPARSE_MMAP)
    if offset is None:
        return None
    head = abi.VfioRegionInfoCapSparseMmap.from_buffer(buffer, offset)
    areas = array_at(buffer, offset + ctypes.sizeof(head), abi.VfioRegionSparseMmapArea, head.nr_areas)
    return [(area.offset, area.size) for area in areas]


def irq_count(host: Host, fd: int, index: int) -> int:
    """How many interrupts of one kind a device has that can signal an eventfd."""
    try:
        info = ask(host, fd, abi.VFIO_DEVICE_GET_IRQ_INFO, abi.VfioIrqInfo(index=index))
    except OSError as error:
        # This kernel, or this device, does not know the kind.
        if error.errno == errno.EINVAL:
            return 0
        raise
    return int(info.count) if info.flags & abi.VFIO_IRQ_INFO_EVENTFD else 0
