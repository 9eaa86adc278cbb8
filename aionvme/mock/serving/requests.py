"""Owns what each message of a client does, and what it is answered with (vfio-user specification, "Commands")."""

from __future__ import annotations

import ctypes
import errno
import mmap
import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs

from aionvme.mock.serving.device import MAX_DMA_MAPS, NUM_REGIONS, ServedDevice
from aionvme.mock.serving.irqs import NUM_KINDS
from aionvme.pci import abi
from aionvme.pci.vfio_user import wire
from aionvme.pci.vfio_user.wire import Command, MessageError

if TYPE_CHECKING:
    from aionvme.pci.vfio_user.channel import Message

__all__ = ["OURS", "Reply", "Requests", "agree"]

#: What we take.
OURS = wire.Capabilities(
    max_msg_fds=wire.MAX_FDS,
    max_data_xfer_size=wire.DEFAULT_MAX_DATA,
    max_dma_maps=MAX_DMA_MAPS,
    pgsizes=mmap.PAGESIZE,
    write_multiple=True,
)

_DEVICE_INFO = struct.Struct("<IIII")
_REGION_INFO = ctypes.sizeof(abi.VfioRegionInfo)
_IO_FDS = struct.Struct("<IIII")
_IRQ_INFO = ctypes.sizeof(abi.VfioIrqInfo)
_IRQ_SET = ctypes.sizeof(abi.VfioIrqSet)
_WRITE_MULTI = struct.Struct("<QII8s")
_UNMAP_ALL = 1 << 1  # VFIO_DMA_UNMAP_FLAG_ALL, which QEMU sends; libvfio-user takes it
# linux/vfio.h
_DATA_BOOL = 1 << 1
_DATA = abi.VFIO_IRQ_SET_DATA_NONE | _DATA_BOOL | abi.VFIO_IRQ_SET_DATA_EVENTFD


@attrs.frozen
class Reply:
    """What a request is answered with; the descriptors stay the device's."""

    payload: bytes = b""
    fds: Sequence[int] = ()


def agree(payload: bytes) -> tuple[wire.Capabilities, Reply]:
    """Answers VFIO_USER_VERSION: what the client takes, and what we say. Only what it proposed is named.

    Raises:
        MessageError: It can't be answered.
    """
    major, minor, theirs = wire.parse_version(payload)
    if major != wire.VERSION_MAJOR:
        raise MessageError(f"version {major}.{minor} is not one of {wire.VERSION_MAJOR}.x")
    agreed = {name: _agreed(name, theirs) for name in theirs.named if name in _WE_HAVE}
    return theirs, Reply(wire.version(agreed, min(minor, wire.VERSION_MINOR)))


_WE_HAVE = ("max_msg_fds", "max_data_xfer_size", "max_dma_maps", "pgsizes", "write_multiple")


def _agreed(name: str, theirs: wire.Capabilities) -> int | bool:
    ours, proposed = getattr(OURS, name), getattr(theirs, name)
    if name == "pgsizes":
        return int(ours)
    return bool(proposed and ours) if name == "write_multiple" else min(ours, proposed)


class Requests:
    """Answers a client's messages by what its device does.

    Args:
        device: The function that is served.
        limit: Bytes of data that either side takes in a message.
        sock: The connection's descriptor.
    """

    def __init__(self, device: ServedDevice, limit: int, sock: int) -> None:
        self._device = device
        self._limit = limit
        self._sock = sock
        self._handlers: dict[int, Callable[[Message], Reply]] = {
            Command.DMA_MAP: self._dma_map,
            Command.DMA_UNMAP: self._dma_unmap,
            Command.DEVICE_GET_INFO: self._get_info,
            Command.DEVICE_GET_REGION_INFO: self._get_region_info,
            Command.DEVICE_GET_REGION_IO_FDS: self._get_region_io_fds,
            Command.DEVICE_GET_IRQ_INFO: self._get_irq_info,
            Command.DEVICE_SET_IRQS: self._set_irqs,
            Command.REGION_READ: self._region_read,
            Command.REGION_WRITE: self._region_write,
            Command.REGION_WRITE_MULTI: self._region_write_multi,
            Command.DEVICE_RESET: self._reset,
        }
        self._takes_fds = (Command.DMA_MAP, Command.DEVICE_SET_IRQS)

    def answer(self, message: Message) -> Reply:
        """Does what a message asks for.

        Raises:
            OSError: It is refused, with this errno.
            MessageError: It is not as it should be; EINVAL.
        """
        command = message.header.command
        if message.fds and command not in self._takes_fds:
            raise MessageError(f"command {command} comes with {len(message.fds)} descriptors")
        handler = self._handlers.get(command)
        if handler is not None:
            return handler(message)
        if command in (Command.DEVICE_FEATURE, Command.MIG_DATA_READ, Command.MIG_DATA_WRITE):
            # There is no migration.
            raise OSError(errno.ENOTSUP, f"command {command} is not supported")
        raise MessageError(f"command {command} is none of a client's")

    # -- information -----------------------------------------------------------------------------------------

    def _get_info(self, message: Message) -> Reply:
        argsz, *_ = _unpack(_DEVICE_INFO, message)
        _check_argsz(argsz, _DEVICE_INFO.size)
        flags = abi.VFIO_DEVICE_FLAGS_RESET | abi.VFIO_DEVICE_FLAGS_PCI
        return Reply(_DEVICE_INFO.pack(_DEVICE_INFO.size, flags, NUM_REGIONS, NUM_KINDS))

    def _get_region_info(self, message: Message) -> Reply:
        asked = wire.parse(abi.VfioRegionInfo, message.payload)
        _check_argsz(asked.argsz, _REGION_INFO)
        _check_index(asked.index, NUM_REGIONS)
        nbytes = self._device.region_bytes(asked.index)
        info = abi.VfioRegionInfo(argsz=_REGION_INFO, index=asked.index, size=nbytes)
        if nbytes:
            info.flags = abi.VFIO_REGION_INFO_FLAG_READ | abi.VFIO_REGION_INFO_FLAG_WRITE
        found = self._device.mappable(asked.index)
        if found is None:
            return Reply(bytes(info))
        area, fd = found
        sparse = bytes(
            abi.VfioRegionInfoCapSparseMmap(
                header=abi.VfioInfoCapHeader(id=abi.VFIO_REGION_INFO_CAP_SPARSE_MMAP, version=1), nr_areas=1
            )
        ) + bytes(abi.VfioRegionSparseMmapArea(offset=area.offset, size=area.nbytes))
        info.argsz = _REGION_INFO + len(sparse)
        info.flags |= abi.VFIO_REGION_INFO_FLAG_MMAP
        if asked.argsz < info.argsz:
            # It asks again, with room for the rest ("Message sizes").
            return Reply(bytes(info))
        info.flags |= abi.VFIO_REGION_INFO_FLAG_CAPS
        info.cap_offset = _REGION_INFO
        return Reply(bytes(info) + sparse, (fd,))

    def _get_region_io_fds(self, message: Message) -> Reply:
        """No part of a region is reached by descriptors; libvfio-user says the same in this way."""
        argsz, flags, index, count = _unpack(_IO_FDS, message)
        _check_argsz(argsz, _IO_FDS.size)
        _check_index(index, NUM_REGIONS)
        if flags or count or not self._device.region_bytes(index):
            raise MessageError(f"flags {flags:#x} and count {count} for region {index}")
        return Reply(_IO_FDS.pack(_IO_FDS.size, 0, index, 0))

    def _get_irq_info(self, message: Message) -> Reply:
        asked = wire.parse(abi.VfioIrqInfo, message.payload)
        _check_argsz(asked.argsz, _IRQ_INFO)
        _check_index(asked.index, NUM_KINDS)
        count = self._device.irqs.count(asked.index)
        flags = abi.VFIO_IRQ_INFO_EVENTFD if count else 0
        return Reply(bytes(abi.VfioIrqInfo(argsz=_IRQ_INFO, flags=flags, index=asked.index, count=count)))

    # -- interrupts ------------------------------------------------------------------------------------------

    def _set_irqs(self, message: Message) -> Reply:
        asked = wire.parse(abi.VfioIrqSet, message.payload)
        _check_index(asked.index, NUM_KINDS)
        if not _IRQ_SET <= asked.argsz <= len(message.payload):
            raise MessageError(f"argsz {asked.argsz} of {len(message.payload)} bytes")
        data, action = asked.flags & _DATA, asked.flags & ~_DATA
        if action != abi.VFIO_IRQ_SET_ACTION_TRIGGER or data & (data - 1) or not data:
            # Nothing can be masked (DEVICE_GET_IRQ_INFO).
            raise MessageError(f"flags {asked.flags:#x} of DEVICE_SET_IRQS")
        if message.fds and data != abi.VFIO_IRQ_SET_DATA_EVENTFD:
            raise MessageError("descriptors of no use")
        irqs = self._device.irqs
        if asked.count == 0:
            if data != abi.VFIO_IRQ_SET_DATA_NONE or asked.start:
                raise MessageError("a count of 0 without VFIO_IRQ_SET_DATA_NONE")
            irqs.set(asked.index, 0, [-1] * irqs.count(asked.index))
            return Reply()
        which = range(asked.start, asked.start + asked.count)
        if which.stop > irqs.count(asked.index):
            raise MessageError(f"interrupts up to {which.stop} of {irqs.count(asked.index)}")
        if data == abi.VFIO_IRQ_SET_DATA_EVENTFD:
            self._assign(message, asked.index, which)
        elif data == abi.VFIO_IRQ_SET_DATA_NONE:
            irqs.trigger(asked.index, which)
        else:
            wanted = message.payload[_IRQ_SET : asked.argsz]
            if len(wanted) != asked.count:
                raise MessageError(f"{len(wanted)} booleans for {asked.count} interrupts")
            irqs.trigger(asked.index, [index for index, yes in zip(which, wanted, strict=True) if yes])
        return Reply()

    def _assign(self, message: Message, kind: int, which: range) -> None:
        """One eventfd for each, or none for all of them."""
        if message.fds and len(message.fds) != len(which):
            raise MessageError(f"{len(message.fds)} descriptors for {len(which)} interrupts")
        self._device.irqs.set(kind, which.start, message.fds or [-1] * len(which))
        message.take_fds()

    # -- regions ---------------------------------------------------------------------------------------------

    def _within(self, offset: int, region: int, count: int) -> None:
        nbytes = self._device.region_bytes(region)
        if not 0 < count <= self._limit or count > nbytes or offset > nbytes - count:
            raise MessageError(f"{count} bytes at {offset:#x} are not within region {region}")

    def _region_read(self, message: Message) -> Reply:
        asked = wire.parse(wire.RegionAccess, message.payload)
        if len(message.payload) != ctypes.sizeof(asked):
            raise MessageError(f"a read with {len(message.payload)} bytes of payload")
        self._within(asked.offset, asked.region, asked.count)
        return Reply(bytes(asked) + self._device.read(asked.region, asked.offset, asked.count))

    def _region_write(self, message: Message) -> Reply:
        asked = wire.parse(wire.RegionAccess, message.payload)
        data = message.payload[ctypes.sizeof(asked) :]
        if len(data) != asked.count:
            raise MessageError(f"{len(data)} bytes of data for a write of {asked.count}")
        self._within(asked.offset, asked.region, asked.count)
        self._device.write(asked.region, asked.offset, data)
        return Reply(bytes(asked))

    def _region_write_multi(self, message: Message) -> Reply:
        asked = wire.parse(wire.RegionWriteMultiHead, message.payload)
        writes = message.payload[ctypes.sizeof(asked) :]
        if len(writes) != asked.wr_cnt * _WRITE_MULTI.size:
            raise MessageError(f"{len(writes)} bytes of {asked.wr_cnt} writes")
        for offset, region, count, data in _WRITE_MULTI.iter_unpack(writes):
            if count > len(data):
                raise MessageError(f"one of several writes has {count} bytes")
            self._within(offset, region, count)
            self._device.write(region, offset, data[:count])
        return Reply(bytes(asked))

    def _reset(self, message: Message) -> Reply:
        if message.payload:
            raise MessageError(f"a reset with {len(message.payload)} bytes of payload")
        self._device.reset()
        return Reply()

    # -- memory ----------------------------------------------------------------------------------------------

    def _dma_map(self, message: Message) -> Reply:
        asked = wire.parse(wire.DmaMap, message.payload)
        if len(message.payload) != ctypes.sizeof(asked) or asked.argsz != ctypes.sizeof(asked):
            raise MessageError(f"DMA_MAP of {len(message.payload)} bytes with argsz {asked.argsz}")
        if asked.flags & ~(wire.DMA_READABLE | wire.DMA_WRITEABLE) or len(message.fds) > 1:
            raise MessageError(f"DMA_MAP with flags {asked.flags:#x} and {len(message.fds)} descriptors")
        fd = message.fds[0] if message.fds else -1
        self._device.map(asked.address, asked.size, asked.flags, fd, asked.offset, self._sock)
        return Reply()

    def _dma_unmap(self, message: Message) -> Reply:
        asked = wire.parse(wire.DmaUnmap, message.payload)
        if len(message.payload) != ctypes.sizeof(asked):
            raise MessageError(f"DMA_UNMAP of {len(message.payload)} bytes")
        _check_argsz(asked.argsz, ctypes.sizeof(asked))
        if asked.flags == _UNMAP_ALL and not asked.address and not asked.size:
            self._device.unmap_all()
        elif asked.flags:
            raise MessageError(f"DMA_UNMAP with flags {asked.flags:#x}")
        else:
            self._device.unmap(asked.address, asked.size)
        return Reply(bytes(asked))


def _unpack(form: struct.Struct, message: Message) -> tuple[int, ...]:
    if len(message.payload) < form.size:
        raise MessageError(f"{len(message.payload)} bytes of payload, and not {form.size}")
    return form.unpack_from(message.payload)


def _check_argsz(argsz: int, least: int) -> None:
    if argsz < least:
        raise MessageError(f"argsz {argsz} is less than {least}")


def _check_index(index: int, end: int) -> None:
    if index >= end:
        raise MessageError(f"there is no {index}, only {end}")
