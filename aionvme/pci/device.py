"""Owns `PciDevice`: which function a controller is, as one reads it before opening it."""

from __future__ import annotations

import re
from pathlib import Path

import attrs

__all__ = ["NVME_CLASS", "PciDevice"]

#: Mass storage, non-volatile memory, NVM Express I/O controller (PCI Code and ID Assignment 1.16, 1.2;
#: PCI_CLASS_STORAGE_EXPRESS of Linux).
NVME_CLASS = 0x010802

_BDF = re.compile(r"([0-9a-f]+):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])")


@attrs.frozen
class PciDevice:
    """One function, as the system describes it. The mock has one as well, with `bdf` "mock:0".

    Attributes:
        bdf: Domain, bus, device and function: "0000:01:00.0".
        vendor_id, device_id, subvendor_id, subdevice_id: Of configuration space.
        class_code: 24 bits; 010802h is an NVMe controller.
        revision: 8 bits.
        driver: The kernel's driver that holds it, None for none.
        iommu_group: Number of its IOMMU group, None where there is no IOMMU.
        numa_node: The node that it is next to, None where that is not known.
        path: Its folder in sysfs, None for a mock.
    """

    bdf: str
    vendor_id: int = 0
    device_id: int = 0
    subvendor_id: int = 0
    subdevice_id: int = 0
    class_code: int = NVME_CLASS
    revision: int = 0
    driver: str | None = None
    iommu_group: int | None = None
    numa_node: int | None = None
    path: Path | None = None

    def __str__(self) -> str:
        return self.bdf

    @property
    def is_nvme(self) -> bool:
        """Whether its class is that of an NVMe controller."""
        return self.class_code == NVME_CLASS

    @property
    def bound_to_vfio(self) -> bool:
        """Whether user space may open it: held by vfio-pci, or by one of its variants for a vendor."""
        return self.driver is not None and "vfio" in self.driver

    @property
    def domain(self) -> int:
        """PCI domain; 0 for a mock, as the other three are."""
        return self._part(1)

    @property
    def bus(self) -> int:
        """Bus number."""
        return self._part(2)

    @property
    def device(self) -> int:
        """Device number on the bus."""
        return self._part(3)

    @property
    def function(self) -> int:
        """Function number in the device."""
        return self._part(4)

    def _part(self, index: int) -> int:
        match = _BDF.fullmatch(self.bdf)
        return int(match[index], 16) if match else 0
