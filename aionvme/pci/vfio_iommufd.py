"""Owns the newer way into VFIO: the function's own node, attached to an address space of iommufd's."""

from __future__ import annotations

import ctypes
import errno
from typing import TYPE_CHECKING

from aionvme.errors import AddressError, UsageError
from aionvme.pci import abi
from aionvme.pci.vfio_errors import map_refused, no_cdev, node_refused, takeover_refused
from aionvme.pci.vfio_info import Descriptors, ask

if TYPE_CHECKING:
    from pathlib import Path

    from aionvme.pci.address import PciAddress
    from aionvme.pci.device import PciDevice
    from aionvme.pci.host import Host

__all__ = ["IommufdInterface", "cdev_node", "iommu_node"]

_MOST_RANGES = 1 << 16


def cdev_node(device: PciDevice, host: Host) -> Path | None:
    """The function's own node, None where the kernel made none."""
    folder = host.sys / "bus/pci/devices" / device.bdf / "vfio-dev"
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    node = host.dev / "vfio/devices" / names[0] if names else None
    return node if node is not None and node.exists() else None


def iommu_node(host: Host) -> Path:
    """The node of iommufd."""
    return host.dev / "iommu"


class IommufdInterface:
    """A function opened by its own node, and the I/O address space that has its DMA mappings.

    Args:
        address: As the user wrote it. A `vf_token` can't be given this way.
        device: The function, bound to vfio-pci.
        host: The machine.

    Raises:
        AddressError: It can't be had; nothing is left open.

    Attributes:
        device_fd: The function's descriptor.
        page_sizes: Bitmap of the sizes of pages that can be mapped; here the alignment that is asked for
            alone.
    """

    name = "iommufd"

    def __init__(self, address: PciAddress, device: PciDevice, host: Host) -> None:
        self._device = device
        self._host = host
        self._descriptors = Descriptors(host)
        self.device_fd = -1
        if address.vf_token is not None:
            # VFIO_DEVICE_BIND_IOMMUFD has a field for it in kernels that are newer than 6.12 by far.
            raise AddressError(f"{device}: vf_token needs iommu=group; through iommufd it can't be given")
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        node = cdev_node(self._device, self._host)
        if node is None:
            raise no_cdev(self._device, None)
        iommu = iommu_node(self._host)
        if not iommu.exists():
            raise no_cdev(self._device, iommu)
        self._iommu = self._open_node(iommu)
        self.device_fd = self._open_node(node)
        try:
            question = abi.VfioDeviceBindIommufd(iommufd=self._iommu)
            ask(self._host, self.device_fd, abi.VFIO_DEVICE_BIND_IOMMUFD, question)
            self._ioas = int(
                ask(self._host, self._iommu, abi.IOMMU_IOAS_ALLOC, abi.IommuIoasAlloc()).out_ioas_id
            )
            ask(
                self._host,
                self.device_fd,
                abi.VFIO_DEVICE_ATTACH_IOMMUFD_PT,
                abi.VfioDeviceAttachIommufdPt(pt_id=self._ioas),
            )
        except OSError as error:
            raise takeover_refused(self._device, node, self._host, error) from error
        self._read_ranges()

    def _open_node(self, path: Path) -> int:
        try:
            return self._descriptors.add(self._host.open(path))
        except OSError as error:
            raise node_refused(self._device, path, error) from error

    def _read_ranges(self) -> None:
        # After attaching: only then the ranges are those of this function's IOMMU.
        count = 64
        while True:
            ranges = (abi.IommuIovaRange * count)()
            question = abi.IommuIoasIovaRanges(
                ioas_id=self._ioas, num_iovas=count, allowed_iovas=ctypes.addressof(ranges)
            )
            try:
                answer = ask(self._host, self._iommu, abi.IOMMU_IOAS_IOVA_RANGES, question)
                break
            except OSError as error:
                if error.errno != errno.EMSGSIZE or count >= _MOST_RANGES:
                    raise
                count *= 4
        self._ranges = [(item.start, item.last) for item in ranges[: answer.num_iovas]]
        self.page_sizes = int(answer.out_iova_alignment)

    def iova_ranges(self) -> list[tuple[int, int]]:
        """I/O addresses that can be mapped, as (first, last) pairs."""
        return list(self._ranges)

    def map(self, address: int, nbytes: int, iova: int) -> None:
        """Maps memory of this process."""
        question = abi.IommuIoasMap(
            flags=abi.IOMMU_IOAS_MAP_FIXED_IOVA | abi.IOMMU_IOAS_MAP_READABLE | abi.IOMMU_IOAS_MAP_WRITEABLE,
            ioas_id=self._ioas,
            user_va=address,
            length=nbytes,
            iova=iova,
        )
        try:
            ask(self._host, self._iommu, abi.IOMMU_IOAS_MAP, question)
        except OSError as error:
            raise map_refused(self._device, self._host, error, nbytes, iova) from error

    def unmap(self, iova: int, nbytes: int) -> None:
        """Takes a mapping back."""
        question = abi.IommuIoasUnmap(ioas_id=self._ioas, iova=iova, length=nbytes)
        try:
            done = ask(self._host, self._iommu, abi.IOMMU_IOAS_UNMAP, question)
        except FileNotFoundError:
            raise UsageError(f"nothing is mapped at I/O address {iova:#x}") from None
        if done.length != nbytes:
            raise UsageError(f"of {nbytes} bytes at I/O address {iova:#x} only {done.length} were mapped")

    def close(self) -> None:
        """Closes the function and then iommufd, with the address space. May be called twice."""
        self.device_fd = -1
        self._descriptors.close()
