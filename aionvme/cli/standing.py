"""Owns how a function of this machine stands: who has it, and what it takes to use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from aionvme.pci.holders import held_by, namespaces
from aionvme.pci.vfio_group import group_node
from aionvme.pci.vfio_iommufd import cdev_node

if TYPE_CHECKING:
    from aionvme.pci.device import PciDevice
    from aionvme.pci.host import Host

__all__ = ["Standing", "standing"]


@attrs.frozen
class Standing:
    """A function as `aionvme list` shows it.

    Attributes:
        device: What sysfs says of it.
        model: The model as the kernel's driver read it, None while that does not have the function.
        block_devices: The kernel's names for its namespaces.
        held_by: What of them is in use, and by what; as far as sysfs and proc show it.
        usable: Whether `aionvme.connect` can have it as things are.
        use: How, or what is in the way.
    """

    device: PciDevice
    model: str | None
    block_devices: list[str]
    held_by: list[str]
    usable: bool
    use: str


def standing(device: PciDevice, host: Host) -> Standing:
    """How a function stands now. Opens nothing, and needs no rights."""
    held = held_by(device, host)
    usable, use = _use(device, held, host)
    return Standing(
        device=device,
        model=_model(device),
        block_devices=[path.name for path in namespaces(device, host)],
        held_by=held,
        usable=usable,
        use=use,
    )


def _model(device: PciDevice) -> str | None:
    if device.path is None:
        return None
    for file in sorted(device.path.glob("nvme/nvme*/model")):
        try:
            return file.read_text().strip()
        except OSError:
            # Taken from its driver since the folder was listed.
            continue
    return None


def _use(device: PciDevice, held: list[str], host: Host) -> tuple[bool, str]:
    if held:
        return False, "in use by this system"
    if device.iommu_group is None:
        return False, "no IOMMU switched on"
    if not device.bound_to_vfio:
        return False, f"sudo aionvme bind {device}"
    node = cdev_node(device, host)
    if node is None or not host.usable(node):
        node = group_node(device, host)
    if not host.usable(node):
        return False, f"needs rights on {node}"
    return True, f"aionvme hello {device}"
