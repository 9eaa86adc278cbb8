"""Owns what sysfs says of PCI functions: which there are, and who holds them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aionvme.errors import AddressError
from aionvme.pci.address import parse_bdf
from aionvme.pci.device import PciDevice

if TYPE_CHECKING:
    import os

__all__ = ["discover", "find", "group_members"]


def discover(root: str | os.PathLike[str] = "/sys") -> list[PciDevice]:
    """Every NVMe function of the machine, by address, whatever driver holds it.

    Args:
        root: Where sysfs is.
    """
    folder = Path(root, "bus/pci/devices")
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    devices = []
    for name in names:
        try:
            devices.append(_read(folder / name))
        except (OSError, ValueError):
            # Unplugged since the folder was listed.
            continue
    return sorted((device for device in devices if device.is_nvme), key=_order)


def find(bdf: str, root: str | os.PathLike[str] = "/sys") -> PciDevice:
    """One function, of whatever class.

    Args:
        bdf: "0000:01:00.0" or "01:00.0".
        root: Where sysfs is.

    Raises:
        AddressError: There is none at this address, or it is not an address.
    """
    bdf = parse_bdf(bdf)
    path = Path(root, "bus/pci/devices", bdf)
    try:
        return _read(path)
    except (FileNotFoundError, NotADirectoryError):
        raise AddressError(
            f"{bdf}: there is no such PCI device. Run `aionvme list` to see the NVMe controllers of this "
            "machine"
        ) from None


def group_members(device: PciDevice, root: str | os.PathLike[str] = "/sys") -> list[PciDevice]:
    """The other functions in a function's IOMMU group: what one reaches by DMA, all can."""
    if device.iommu_group is None:
        return []
    folder = Path(root, "kernel/iommu_groups", str(device.iommu_group), "devices")
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    others = []
    for name in names:
        if name == device.bdf:
            continue
        try:
            others.append(find(name, root))
        except AddressError:
            # Not of PCI, or unplugged.
            continue
    return others


def _order(device: PciDevice) -> tuple[int, int, int, int]:
    return device.domain, device.bus, device.device, device.function


def _read(path: Path) -> PciDevice:
    return PciDevice(
        bdf=path.name,
        vendor_id=_number(path, "vendor"),
        device_id=_number(path, "device"),
        subvendor_id=_number(path, "subsystem_vendor"),
        subdevice_id=_number(path, "subsystem_device"),
        class_code=_number(path, "class"),
        revision=_number(path, "revision"),
        driver=_link(path, "driver"),
        iommu_group=_group(path),
        numa_node=_node(path),
        path=path,
    )


def _number(path: Path, name: str) -> int:
    return int((path / name).read_text(), 0)


def _link(path: Path, name: str) -> str | None:
    link = path / name
    return link.readlink().name if link.is_symlink() else None


def _group(path: Path) -> int | None:
    name = _link(path, "iommu_group")
    return int(name) if name is not None and name.isdigit() else None


def _node(path: Path) -> int | None:
    try:
        node = _number(path, "numa_node")
    except (OSError, ValueError):
        return None
    # -1 is the kernel's word for "not known".
    return node if node >= 0 else None
