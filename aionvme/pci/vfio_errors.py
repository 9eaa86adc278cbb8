"""Owns the messages for a function that can't be had through VFIO: each says what to run.

The reasons why the kernel refuses are from drivers/vfio and drivers/iommu/iommufd of Linux 6.12.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from aionvme.errors import AddressError, UsageError
from aionvme.pci.discovery import group_members

if TYPE_CHECKING:
    from pathlib import Path

    from aionvme.pci.device import PciDevice
    from aionvme.pci.host import Host

__all__ = [
    "bar_refused",
    "check_openable",
    "group_shared",
    "in_use",
    "map_refused",
    "no_cdev",
    "node_refused",
    "takeover_refused",
    "token_refused",
    "token_unwanted",
]

# Drivers beside VFIO's own with which the kernel lets other functions of the group go to user space: those
# with driver_managed_dma (drivers/pci/pci-stub.c and pcie/portdrv.c of Linux 6.12).
_HARMLESS = ("pci-stub", "pcieport")


def check_openable(device: PciDevice, host: Host) -> None:
    """Says what is in the way of opening a function, as far as sysfs shows it.

    Raises:
        AddressError: It is no NVMe function, VFIO does not have it, or there is no IOMMU.
    """
    if not device.is_nvme:
        raise AddressError(
            f"{device}: not an NVMe function (its class is {device.class_code:06x}, an NVMe controller's is "
            "010802). Run `aionvme list` to see those"
        )
    if not device.bound_to_vfio:
        holder = (
            f"bound to the kernel's driver {device.driver!r}" if device.driver else "not bound to vfio-pci"
        )
        raise AddressError(f"{device}: {holder}. Run `sudo aionvme bind {device}`")
    if device.iommu_group is None or _is_noiommu(device, host):
        raise AddressError(f"{device}: no IOMMU protects memory from it. {SWITCH_ON_IOMMU}")


#: What to do on a machine without IOMMU groups.
SWITCH_ON_IOMMU = (
    "Switch on VT-d, AMD-Vi or the SMMU in the firmware set-up, boot Intel machines with `intel_iommu=on`, "
    "and look with `ls /sys/kernel/iommu_groups`"
)


def _is_noiommu(device: PciDevice, host: Host) -> bool:
    name = host.sys / "kernel/iommu_groups" / str(device.iommu_group) / "name"
    return name.is_file() and name.read_text().strip() == "vfio-noiommu"


def node_refused(device: PciDevice, path: Path, error: OSError) -> Exception:
    """Why a device node does not open."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return AddressError(
            f"{device}: no permission on {path}. Run `sudo chown $USER {path}`, or for good: put "
            f"'{_udev_rule(path)}' in /etc/udev/rules.d/70-vfio.rules, run `sudo udevadm control --reload "
            "&& sudo udevadm trigger`, and join that group"
        )
    if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        return AddressError(
            f"{device}: there is no {path}. Run `sudo modprobe vfio-pci`, then `sudo aionvme bind {device}`"
        )
    if error.errno == errno.EBUSY:
        return in_use(device, path)
    return error


def _udev_rule(path: Path) -> str:
    match = {"iommu": 'KERNEL=="iommu"', "vfio": 'KERNEL=="vfio"'}.get(path.name)
    if match is None:
        match = 'SUBSYSTEM=="vfio-dev"' if path.parent.name == "devices" else 'SUBSYSTEM=="vfio"'
    return f'{match}, GROUP="vfio", MODE="0660"'


def in_use(device: PciDevice, path: Path) -> AddressError:
    """The function, or another of its IOMMU group, is open: perhaps by the other node than the one tried."""
    folder = path.parent.parent if path.parent.name == "devices" else path.parent
    names = device.path.glob("vfio-dev/*") if device.path is not None else ()
    nodes = [*sorted(folder / "devices" / entry.name for entry in names), folder / str(device.iommu_group)]
    return AddressError(
        f"{device}: in use: another process, or this one, has it or a function of IOMMU group "
        f"{device.iommu_group} open. Run `sudo fuser -v {' '.join(map(str, nodes))}` to see which"
    )


def group_shared(device: PciDevice, host: Host) -> AddressError | None:
    """The error for a group in which the kernel's drivers hold other functions; None if they do not."""
    held = [
        other
        for other in group_members(device, host.sys)
        if other.driver is not None and not other.bound_to_vfio and other.driver not in _HARMLESS
    ]
    if not held:
        return None
    names = ", ".join(f"{other} (driver {other.driver!r})" for other in held)
    commands = " and ".join(
        f"`sudo aionvme bind {other}`"
        if other.is_nvme
        else f"`echo {other} | sudo tee {other.path}/driver/unbind`"
        for other in held
    )
    return AddressError(
        f"{device}: IOMMU group {device.iommu_group} is shared with {names}, which the kernel would let it "
        f"reach. Run {commands} to take them from the kernel too, or move the drive to another slot"
    )


def takeover_refused(device: PciDevice, path: Path, host: Host, error: OSError) -> Exception:
    """Why the kernel does not give a function to this process, once its node is open."""
    if error.errno in (errno.EBUSY, errno.EINVAL, errno.EPERM):
        shared = group_shared(device, host)
        if shared is not None:
            return shared
    if error.errno == errno.EPERM:
        # vfio_iommu_type1_attach_group and iommufd_group_setup_msi, without interrupt remapping.
        return AddressError(
            f"{device}: the IOMMU does not remap interrupts, so the kernel refuses. Switch that on in the "
            "firmware set-up, or run `echo 1 | sudo tee "
            "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts` (through iommufd: "
            "/sys/module/iommufd/parameters/allow_unsafe_interrupts)"
        )
    if error.errno == errno.EACCES:
        return token_refused(device)
    # vfio_df_open says EINVAL for a function that is open by its cdev already.
    if error.errno in (errno.EBUSY, errno.EINVAL):
        return in_use(device, path)
    if error.errno == errno.ENODEV:
        return AddressError(f"{device}: was taken from vfio-pci. Run `sudo aionvme bind {device}`")
    return error


def token_refused(device: PciDevice) -> AddressError:
    """A virtual function without the right token (vfio_pci_validate_vf_token), or a token for another one."""
    return AddressError(
        f"{device}: a virtual function opens with the token that its physical function's owner has set, and "
        f'no other function takes one. Write "{device}?iommu=group&vf_token=UUID"'
    )


def token_unwanted(device: PciDevice) -> AddressError:
    """A token for a function that is neither virtual nor has virtual ones (vfio_pci_validate_vf_token: EINVAL)."""
    return AddressError(
        f'{device}: it takes no vf_token, as it is no virtual function. Write "{device}?iommu=group"'
    )


def no_cdev(device: PciDevice, what: Path | None) -> AddressError:
    """iommu=iommufd on a machine that does not have it."""
    lacking = (
        f"there is no {what}" if what is not None else "vfio-pci made no node for it in /dev/vfio/devices"
    )
    return AddressError(
        f"{device}: iommu=iommufd can't be had: {lacking}. It takes Linux 6.6 with CONFIG_IOMMUFD and "
        "CONFIG_VFIO_DEVICE_CDEV (try `sudo modprobe iommufd`); use iommu=group"
    )


def bar_refused(device: PciDevice, why: str) -> AddressError:
    """BAR 0, which has the registers, is out of reach."""
    return AddressError(
        f"{device}: BAR 0 (the registers) can't be mapped: {why}. Run `sudo lspci -vv -s {device}` to see "
        "it; one that is not on a page of its own is moved by booting with "
        f"`pci=resource_alignment={device}`"
    )


def map_refused(device: PciDevice, host: Host, error: OSError, nbytes: int, iova: int) -> Exception:
    """Why the kernel does not map memory for DMA."""
    if error.errno == errno.EEXIST:
        return UsageError(
            f"I/O addresses {iova:#x} to {iova + nbytes - 1:#x} of {device} are in use or reserved"
        )
    if error.errno == errno.ENOSPC:
        return AddressError(
            f"{device}: the limit on the number of DMA mappings is reached. Run `sudo modprobe -r "
            "vfio_iommu_type1 && sudo modprobe vfio_iommu_type1 dma_entry_limit=1000000`, or map fewer and "
            "larger pieces"
        )
    limit = host.memlock_limit()
    if error.errno != errno.ENOMEM or limit is None:
        return error
    locked = _locked(host)
    return AddressError(
        f"{device}: the limit on locked memory is too small for DMA memory: {limit} bytes, of which "
        f"{locked} are in use, and {nbytes} more are needed. Raise it with `ulimit -l "
        f"{-(-(locked + nbytes) // 1024)}` or more (as root; in KiB), with LimitMEMLOCK= in a systemd unit, "
        "or with a `memlock` line in /etc/security/limits.conf"
    )


def _locked(host: Host) -> int:
    # A type 1 container counts in VmLck what it pins, iommufd in VmPin.
    total = 0
    try:
        for line in (host.proc / "self/status").read_text().splitlines():
            if line.startswith(("VmLck:", "VmPin:")):
                total += int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return total
