"""Owns the older way into VFIO: the function's IOMMU group, in a container of type 1."""

from __future__ import annotations

import ctypes
import errno
from typing import TYPE_CHECKING

from aionvme.errors import AddressError, UsageError
from aionvme.pci import abi
from aionvme.pci.vfio_errors import (
    group_shared,
    map_refused,
    node_refused,
    takeover_refused,
    token_unwanted,
)
from aionvme.pci.vfio_info import Descriptors, array_at, ask, ask_with_capabilities, capability

if TYPE_CHECKING:
    from pathlib import Path

    from aionvme.pci.address import PciAddress
    from aionvme.pci.device import PciDevice
    from aionvme.pci.host import Host

__all__ = ["GroupInterface", "group_node"]

# For kernels before 5.4, which do not say: 39 bits are the least that VT-d and AMD-Vi translate, and on x86
# writes to FEE00000h to FEEFFFFFh are interrupts which the kernel keeps reserved.
_ASSUMED_RANGES = [(0, 0xFEDFFFFF), (0xFEF00000, (1 << 39) - 1)]


def group_node(device: PciDevice, host: Host) -> Path:
    """The node of a function's IOMMU group."""
    return host.dev / "vfio" / str(device.iommu_group)


class GroupInterface:
    """A function opened by its group, and the container that has its DMA mappings.

    Args:
        address: Its `vf_token` is given to the kernel.
        device: The function, bound to vfio-pci and with an IOMMU group.
        host: The machine.

    Raises:
        AddressError: It can't be had; nothing is left open.

    Attributes:
        device_fd: The function's descriptor.
        page_sizes: Bitmap of the sizes of pages that the IOMMU has.
    """

    name = "group"

    def __init__(self, address: PciAddress, device: PciDevice, host: Host) -> None:
        self._device = device
        self._host = host
        self._descriptors = Descriptors(host)
        self._node = group_node(device, host)
        self.device_fd = -1
        try:
            self._open(address)
        except BaseException:
            self.close()
            raise

    def _open(self, address: PciAddress) -> None:
        self._container = self._open_node(self._host.dev / "vfio/vfio")
        iommu_type = self._iommu_type()
        group = self._open_node(self._node)
        self._check_viable(group)
        try:
            descriptor = bytearray(self._container.to_bytes(4, "little"))
            self._host.ioctl(group, abi.VFIO_GROUP_SET_CONTAINER, descriptor)
            self._host.ioctl(self._container, abi.VFIO_SET_IOMMU, iommu_type)
        except OSError as error:
            raise takeover_refused(self._device, self._node, self._host, error) from error
        self.device_fd = self._descriptors.add(self._device_descriptor(group, address))
        self._read_info()

    def _open_node(self, path: Path) -> int:
        try:
            return self._descriptors.add(self._host.open(path))
        except OSError as error:
            raise node_refused(self._device, path, error) from error

    def _iommu_type(self) -> int:
        version = self._host.ioctl(self._container, abi.VFIO_GET_API_VERSION)
        if version != abi.VFIO_API_VERSION:
            raise AddressError(
                f"{self._device}: this kernel's VFIO has API version {version}; only 0 is supported"
            )
        for iommu_type in (abi.VFIO_TYPE1v2_IOMMU, abi.VFIO_TYPE1_IOMMU):
            if self._host.ioctl(self._container, abi.VFIO_CHECK_EXTENSION, iommu_type):
                return iommu_type
        raise AddressError(f"{self._device}: VFIO has no type 1 IOMMU. Run `sudo modprobe vfio_iommu_type1`")

    def _check_viable(self, group: int) -> None:
        status = ask(self._host, group, abi.VFIO_GROUP_GET_STATUS, abi.VfioGroupStatus())
        if not status.flags & abi.VFIO_GROUP_FLAGS_VIABLE:
            raise group_shared(self._device, self._host) or AddressError(
                f"{self._device}: IOMMU group {self._device.iommu_group} has a function that the kernel "
                f"uses. Run `ls /sys/kernel/iommu_groups/{self._device.iommu_group}/devices` and unbind the "
                "others"
            )

    def _device_descriptor(self, group: int, address: PciAddress) -> int:
        name = (
            self._device.bdf
            if address.vf_token is None
            else f"{self._device.bdf} vf_token={address.vf_token}"
        )
        try:
            return self._host.ioctl(group, abi.VFIO_GROUP_GET_DEVICE_FD, bytearray(name.encode() + b"\0"))
        except OSError as error:
            if address.vf_token is not None and error.errno == errno.EINVAL:
                raise token_unwanted(self._device) from error
            raise takeover_refused(self._device, self._node, self._host, error) from error

    def _read_info(self) -> None:
        buffer = ask_with_capabilities(
            self._host, self._container, abi.VFIO_IOMMU_GET_INFO, abi.VfioIommuType1Info()
        )
        info = abi.VfioIommuType1Info.from_buffer(buffer)
        self.page_sizes = int(info.iova_pgsizes) if info.flags & abi.VFIO_IOMMU_INFO_PGSIZES else 4096
        self._ranges = list(_ASSUMED_RANGES)
        first = info.cap_offset if info.flags & abi.VFIO_IOMMU_INFO_CAPS else 0
        offset = capability(buffer, first, abi.VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
        if offset is not None:
            head = abi.VfioIommuType1InfoCapIovaRange.from_buffer(buffer, offset)
            ranges = array_at(buffer, offset + ctypes.sizeof(head), abi.VfioIovaRange, head.nr_iovas)
            self._ranges = [(item.start, item.end) for item in ranges]

    def iova_ranges(self) -> list[tuple[int, int]]:
        """I/O addresses that can be mapped, as (first, last) pairs."""
        return list(self._ranges)

    def map(self, address: int, nbytes: int, iova: int) -> None:
        """Maps memory of this process."""
        question = abi.VfioIommuType1DmaMap(
            flags=abi.VFIO_DMA_MAP_FLAG_READ | abi.VFIO_DMA_MAP_FLAG_WRITE,
            vaddr=address,
            iova=iova,
            size=nbytes,
        )
        try:
            ask(self._host, self._container, abi.VFIO_IOMMU_MAP_DMA, question)
        except OSError as error:
            raise map_refused(self._device, self._host, error, nbytes, iova) from error

    def unmap(self, iova: int, nbytes: int) -> None:
        """Takes a mapping back."""
        question = abi.VfioIommuType1DmaUnmap(iova=iova, size=nbytes)
        done = ask(self._host, self._container, abi.VFIO_IOMMU_UNMAP_DMA, question)
        if done.size != nbytes:
            raise UsageError(f"of {nbytes} bytes at I/O address {iova:#x} only {done.size} were mapped")

    def close(self) -> None:
        """Closes device, group and container, in this order. May be called twice."""
        self.device_fd = -1
        self._descriptors.close()
