"""Owns handing a function to vfio-pci and back to the kernel's driver.

By `driver_override`, which concerns this one function alone, where `new_id` would take every function of its
kind (Documentation/ABI/testing/sysfs-bus-pci of Linux 6.12).
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from aionvme.errors import AddressError
from aionvme.pci.discovery import find
from aionvme.pci.holders import exclusively
from aionvme.pci.host import Host
from aionvme.pci.vfio_errors import SWITCH_ON_IOMMU, in_use
from aionvme.pci.vfio_group import group_node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aionvme.pci.device import PciDevice

__all__ = ["bind", "unbind"]

VFIO_PCI = "vfio-pci"


def bind(bdf: str, host: Host | None = None) -> PciDevice:
    """Takes a function from the kernel's driver and gives it to vfio-pci. Nothing if vfio-pci has it.

    Args:
        bdf: "0000:01:00.0" or "01:00.0".
        host: The machine; another one in tests.

    Returns:
        The function as it is then.

    Raises:
        AddressError: It is no NVMe function, in use, or can't be bound; the message says what to run. Its
            earlier driver has it then.
    """
    host = host or Host()
    device = _nvme(bdf, host)
    if device.bound_to_vfio:
        return device
    if not (host.sys / "bus/pci/drivers" / VFIO_PCI).is_dir():
        raise AddressError(f"{device}: the vfio-pci module is not loaded. Run `sudo modprobe vfio-pci`")
    if device.iommu_group is None:
        raise AddressError(f"{device}: it is in no IOMMU group, so vfio-pci can't take it. {SWITCH_ON_IOMMU}")
    with exclusively(device, host), _all_or_nothing(device, host):
        _move(device, VFIO_PCI, host)
        bound = find(device.bdf, host.sys)
        if bound.driver != VFIO_PCI:
            raise AddressError(f"{device}: vfio-pci did not take it. Run `sudo dmesg | tail` to see why")
    return bound


def unbind(bdf: str, host: Host | None = None) -> PciDevice:
    """Gives a function back to the driver that the kernel chooses for it. Nothing if that has it.

    Args:
        bdf: "0000:01:00.0" or "01:00.0".
        host: The machine; another one in tests.

    Returns:
        The function as it is then; its `driver` is None if the kernel has no driver for it loaded.

    Raises:
        AddressError: It is no NVMe function, in use, or there is no permission; vfio-pci has it then.
    """
    host = host or Host()
    device = _nvme(bdf, host)
    if not device.bound_to_vfio and device.driver is not None:
        return device
    if device.bound_to_vfio:
        _refuse_if_open(device, host)
    with exclusively(device, host), _all_or_nothing(device, host):
        _move(device, "", host)
        given = find(device.bdf, host.sys)
        if given.bound_to_vfio:
            raise AddressError(
                f"{device}: {given.driver} takes it again by itself, as new_id or the module's `ids=` "
                "option told it "
                f'to. Run `echo "{device.vendor_id:04x} {device.device_id:04x}" | sudo tee '
                f"/sys/bus/pci/drivers/{given.driver}/remove_id` first"
            )
    return given


def _nvme(bdf: str, host: Host) -> PciDevice:
    device = find(bdf, host.sys)
    if not device.is_nvme:
        raise AddressError(
            f"{device}: not an NVMe function (its class is {device.class_code:06x}). Run `aionvme list` to "
            "see those"
        )
    return device


def _refuse_if_open(device: PciDevice, host: Host) -> None:
    # The kernel would have us wait until the function is closed. A group opens once only, and not while one
    # of its functions is open by its own node.
    node = group_node(device, host)
    try:
        host.close(host.open(node))
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise in_use(device, node) from error
        # Without the node, or the right to it, there is no telling.


def _move(device: PciDevice, override: str, host: Host) -> None:
    folder = host.sys / "bus/pci/devices" / device.bdf
    # A line feed alone clears it.
    host.write(folder / "driver_override", override or "\n")
    if device.driver is not None:
        host.write(folder / "driver/unbind", device.bdf)
    try:
        host.write(host.sys / "bus/pci/drivers_probe", device.bdf)
    except OSError as error:
        # The driver that it was offered to failed (drivers_probe_store of Linux 6.12). The caller looks.
        if error.errno != errno.EINVAL:
            raise


@contextlib.contextmanager
def _all_or_nothing(device: PciDevice, host: Host) -> Iterator[None]:
    """Gives the function back to its earlier driver if the block fails."""
    override = _override(device, host)
    try:
        yield
    except BaseException as error:
        _restore(device, override, host)
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise AddressError(
                f"{device}: no permission to change its driver ({os.strerror(error.errno)}). Run it with sudo"
            ) from error
        raise


def _override(device: PciDevice, host: Host) -> str:
    text = (host.sys / "bus/pci/devices" / device.bdf / "driver_override").read_text().strip()
    # That is how the kernel prints none.
    return "" if text == "(null)" else text


def _restore(device: PciDevice, override: str, host: Host) -> None:
    folder = host.sys / "bus/pci/devices" / device.bdf
    with contextlib.suppress(OSError):
        host.write(folder / "driver_override", override or "\n")
    with contextlib.suppress(OSError, AddressError):
        now = find(device.bdf, host.sys).driver
        if now != device.driver and now is not None:
            host.write(folder / "driver/unbind", device.bdf)
        if now != device.driver and device.driver is not None:
            host.write(host.sys / "bus/pci/drivers" / device.driver / "bind", device.bdf)
