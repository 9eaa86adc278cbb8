"""Owns the client's questions to a vfio-user server, and which answers are none.

What a server says is never trusted: an answer that cannot be ends the connection, and with it the device. Sections are
those of the specification (see `wire`).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import attrs

from aionvme.errors import ControllerLostError
from aionvme.pci import abi
from aionvme.pci.backing import PAGE
from aionvme.pci.vfio_info import array_at, capability
from aionvme.pci.vfio_user import wire
from aionvme.pci.vfio_user.link import Link
from aionvme.pci.vfio_user.wire import Command

__all__ = ["MAX_FDS", "Area", "Client", "DeviceInfo", "Region"]

_S = TypeVar("_S", bound=ctypes.Structure)

#: Descriptors that we take in one message: those of a region's areas. QEMU takes no peer that says more
#: (VFIO_USER_MAX_MAX_FDS of hw/vfio-user/protocol.h).
MAX_FDS = 16
#: More than any region has, and than an address of a PCI function can reach of one.
_MOST_REGION = 1 << 48
#: Bytes of a description of a region; of the longest that we take.
_DESCRIPTION, _LONGEST_DESCRIPTION = 4096, 1 << 16
#: A table of MSI-X has at most so many vectors (PCI Express 5.0, 7.7.2.2).
_MOST_VECTORS = 2048
#: A reset may take as long as it likes ("Command Concurrency"); a server that takes longer is taken for one that hangs.
_RESET_SECONDS = 60.0


@attrs.frozen
class DeviceInfo:
    """What a device says of itself (VFIO_USER_DEVICE_GET_INFO).

    Attributes:
        flags: VFIO_DEVICE_FLAGS_*.
        num_regions, num_irqs: How many there are of both; the indexes are VFIO's for PCI.
    """

    flags: int
    num_regions: int
    num_irqs: int


@attrs.frozen
class Area:
    """A part of a region that can be mapped.

    Attributes:
        start, size: In the region, whole pages.
        fd: The file that it is in.
        offset: Where in the file.
    """

    start: int
    size: int
    fd: int
    offset: int


@attrs.frozen
class Region:
    """A region of a device: a BAR, or configuration space (VFIO_USER_DEVICE_GET_REGION_INFO).

    Attributes:
        flags: VFIO_REGION_INFO_FLAG_*.
        size: Bytes; 0 where there is none.
        areas: What can be mapped of it, by their place in it.
    """

    flags: int
    size: int
    areas: Sequence[Area] = ()


class Client:
    """A connection whose version is agreed upon.

    Args:
        link: The connection, with nothing asked yet.

    Attributes:
        link: The same.
        server: What the server takes.

    Raises:
        ControllerLostError: The connection ended: this server cannot be used.
        OSError: The server refused.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        offer = {
            "max_msg_fds": MAX_FDS,
            "max_data_xfer_size": wire.DEFAULT_MAX_DATA,
            "max_dma_maps": wire.Capabilities().max_dma_maps,
            "pgsizes": PAGE,
        }
        reply = self._ask(Command.VERSION, wire.version(offer))
        try:
            major, minor, self.server = wire.parse_version(reply)
        except wire.MessageError as error:
            raise self._broke(f"sent what is no version: {error}") from None
        if major != wire.VERSION_MAJOR or minor > wire.VERSION_MINOR:
            raise self._broke(
                f"speaks version {major}.{minor} of vfio-user, not {wire.VERSION_MAJOR}.{wire.VERSION_MINOR}"
            )
        if self.server.twin_socket:
            raise self._broke("wants a twin socket, which it was not offered")

    def _broke(self, why: str) -> ControllerLostError:
        self.link.give_up(why)
        return self.link.lost()

    def _ask(
        self, command: Command, payload: bytes, fds: Sequence[int] = (), *, timeout: float | None = None
    ) -> bytes:
        """The payload of the reply, to which no descriptors belong."""
        reply, came = self.link.request(command, payload, fds, timeout=timeout)
        if came:
            _close(came)
            raise self._broke(f"sent descriptors with a reply to {command.name}")
        return reply

    def _parse(self, kind: type[_S], reply: bytes, command: Command) -> _S:
        try:
            return wire.parse(kind, reply)
        except wire.MessageError as error:
            raise self._broke(f"sent a reply to {command.name} that is none: {error}") from None

    # -- what it is ----------------------------------------------------------------------------------------------------

    def device_info(self) -> DeviceInfo:
        """What kind of device it is."""
        question = abi.VfioDeviceInfo(argsz=_DEVICE_INFO)
        command = Command.DEVICE_GET_INFO
        reply = self._ask(command, bytes(question)[:_DEVICE_INFO])
        # vfio-user has the structure of the kernel without what was added to it later.
        info = self._parse(abi.VfioDeviceInfo, reply.ljust(ctypes.sizeof(question), b"\0"), command)
        if len(reply) < _DEVICE_INFO:
            raise self._broke(f"describes the device in {len(reply)} bytes")
        return DeviceInfo(info.flags, info.num_regions, info.num_irqs)

    @contextmanager
    def region(self, index: int) -> Iterator[Region]:
        """Describes a region; the descriptors of its areas are closed at the end of the `with` statement."""
        reply, fds = self._region_info(index)
        try:
            yield self._region(index, reply, fds)
        finally:
            _close(fds)

    def _region_info(self, index: int) -> tuple[bytearray, list[int]]:
        # A server says how long its answer would be, and leaves out what does not fit ("Message sizes").
        size, command = _DESCRIPTION, Command.DEVICE_GET_REGION_INFO
        while True:
            question = abi.VfioRegionInfo(argsz=size, index=index)
            reply, fds = self.link.request(command, bytes(question))
            try:
                info = self._parse(abi.VfioRegionInfo, reply, command)
                if info.index != index:
                    raise self._broke(f"describes region {info.index} when asked for {index}")
                if info.argsz <= size:
                    return bytearray(reply), fds
                if info.argsz > _LONGEST_DESCRIPTION:
                    raise self._broke(f"describes region {index} in {info.argsz} bytes")
            except BaseException:
                _close(fds)
                raise
            _close(fds)
            size = _LONGEST_DESCRIPTION

    def _region(self, index: int, reply: bytearray, fds: list[int]) -> Region:
        info = abi.VfioRegionInfo.from_buffer(reply)
        flags, size, base = info.flags, info.size, info.offset
        if size > _MOST_REGION:
            raise self._broke(f"has a region {index} of {size} bytes")
        # Some give no descriptor with a region that could be mapped: then it is reached by message.
        if not flags & abi.VFIO_REGION_INFO_FLAG_MMAP or not fds or not size:
            return Region(flags, size)
        parts = _sparse(reply, info.cap_offset) if flags & abi.VFIO_REGION_INFO_FLAG_CAPS else [(0, size)]
        if parts is None:
            raise self._broke(f"lists areas of region {index} that are not there")
        if len(fds) not in (1, len(parts)):
            raise self._broke(f"sent {len(fds)} descriptors for {len(parts)} areas of region {index}")
        files = fds * len(parts) if len(fds) == 1 else fds
        areas = [
            Area(start, length, fd, base + start)
            for (start, length), fd in zip(parts, files, strict=True)
            if length
        ]
        areas.sort(key=lambda area: area.start)
        end = 0
        for area in areas:
            if area.start < end or area.start + area.size > size:
                raise self._broke(f"lists areas of region {index} that overlap, or are outside of it")
            if (area.start | area.size | area.offset) % PAGE:
                raise self._broke(f"lists an area of region {index} that is not whole pages")
            if not _is_there(area):
                raise self._broke(f"lists an area of region {index} that its file does not have")
            end = area.start + area.size
        return Region(flags, size, areas)

    # -- interrupts ----------------------------------------------------------------------------------------------------

    def irqs(self, index: int) -> tuple[int, bool]:
        """How many interrupts of a kind can signal an eventfd, and whether they are set up all at once."""
        command = Command.DEVICE_GET_IRQ_INFO
        question = abi.VfioIrqInfo(argsz=ctypes.sizeof(abi.VfioIrqInfo), index=index)
        try:
            info = self._parse(abi.VfioIrqInfo, self._ask(command, bytes(question)), command)
        except OSError as error:
            # It does not know the kind.
            if error.errno == errno.EINVAL:
                return 0, False
            raise
        if info.index != index or info.count > _MOST_VECTORS:
            raise self._broke(f"has {info.count} interrupts of kind {info.index}, when asked for {index}")
        if not info.flags & abi.VFIO_IRQ_INFO_EVENTFD:
            return 0, False
        return info.count, bool(info.flags & abi.VFIO_IRQ_INFO_NORESIZE)

    def irqs_off(self, index: int) -> None:
        """Has no interrupt of a kind signal anything any more."""
        self._set_irqs(index, abi.VFIO_IRQ_SET_DATA_NONE, 0, ())

    def irqs_on(self, index: int, fds: Sequence[int]) -> None:
        """Has interrupt i of a kind signal `fds[i]`; -1 leaves one out. In as many messages as it takes."""
        start = 0
        while start < len(fds):
            end = start
            while end < len(fds) and fds[end] >= 0 and end - start < self.server.max_msg_fds:
                end += 1
            if end > start:
                self._set_irqs(index, abi.VFIO_IRQ_SET_DATA_EVENTFD, start, fds[start:end])
            start = max(end, start + 1)

    def _set_irqs(self, index: int, data: int, start: int, fds: Sequence[int]) -> None:
        # Unlike the kernel's, the structure has no numbers of descriptors in it: they go beside.
        question = abi.VfioIrqSet(
            argsz=ctypes.sizeof(abi.VfioIrqSet),
            flags=data | abi.VFIO_IRQ_SET_ACTION_TRIGGER,
            index=index,
            start=start,
            count=len(fds),
        )
        self._ask(Command.DEVICE_SET_IRQS, bytes(question), fds)

    # -- memory and reset ----------------------------------------------------------------------------------------------

    def map_dma(self, iova: int, nbytes: int, fd: int, offset: int) -> None:
        """Lets the server reach memory, by its file where there is one, else by message."""
        question = wire.DmaMap(
            argsz=ctypes.sizeof(wire.DmaMap),
            flags=wire.DMA_READABLE | wire.DMA_WRITEABLE,
            offset=offset if fd >= 0 else 0,
            address=iova,
            size=nbytes,
        )
        self._ask(Command.DMA_MAP, bytes(question), [fd] if fd >= 0 else [])

    def unmap_dma(self, iova: int, nbytes: int) -> None:
        """Takes back what one `map_dma` gave. The server has let go of it when this returns."""
        command = Command.DMA_UNMAP
        question = wire.DmaUnmap(argsz=ctypes.sizeof(wire.DmaUnmap), flags=0, address=iova, size=nbytes)
        reply = self._parse(wire.DmaUnmap, self._ask(command, bytes(question)), command)
        if (reply.address, reply.size) != (iova, nbytes):
            raise self._broke(f"unmapped {reply.size} bytes at {reply.address:#x}, not {nbytes} at {iova:#x}")

    def reset(self) -> None:
        """Resets the device."""
        self._ask(Command.DEVICE_RESET, b"", timeout=_RESET_SECONDS)


_DEVICE_INFO = abi.VfioDeviceInfo.cap_offset.offset


def _sparse(reply: bytearray, first: int) -> list[tuple[int, int]] | None:
    """The areas of a description as (start, size); none where the list is cut off or the capability is not there."""
    at = capability(reply, first, abi.VFIO_REGION_INFO_CAP_SPARSE_MMAP)
    if at is None or at + ctypes.sizeof(abi.VfioRegionInfoCapSparseMmap) > len(reply):
        return None
    head = abi.VfioRegionInfoCapSparseMmap.from_buffer(reply, at)
    areas = array_at(reply, at + ctypes.sizeof(head), abi.VfioRegionSparseMmapArea, head.nr_areas)
    return [(area.offset, area.size) for area in areas] if len(areas) == head.nr_areas else None


def _is_there(area: Area) -> bool:
    """Whether its file has it. Elsewhere a store would end the process (SIGBUS)."""
    try:
        about = os.fstat(area.fd)
    except OSError:
        return False
    return stat.S_ISREG(about.st_mode) and area.offset + area.size <= about.st_size


def _close(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())
