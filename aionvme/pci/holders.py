"""Owns who holds the block devices of a function: mounts, swap, device mapper, md, exclusive openers."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from typing import TYPE_CHECKING

from aionvme.errors import AddressError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aionvme.pci.device import PciDevice
    from aionvme.pci.host import Host

__all__ = ["exclusively", "held_by", "namespaces"]

_NAMESPACE = re.compile(r"nvme(\d+)(?:c\d+)?n(\d+)")


def namespaces(device: PciDevice, host: Host) -> list[Path]:
    """The folders in sysfs of the block devices that a function's namespaces are to the kernel.

    With multipath a controller has only a hidden path (nvme0c1n1); the block device that is mounted is then
    the subsystem's (nvme0n1), and counts as this function's.
    """
    found = {}
    for path in sorted((host.sys / "bus/pci/devices" / device.bdf).glob("nvme/nvme*/nvme*n*")):
        match = _NAMESPACE.fullmatch(path.name)
        if match is None:
            continue
        name = f"nvme{match[1]}n{match[2]}"
        place = path if path.name == name else host.sys / "class/block" / name
        if place.is_dir():
            found[name] = place
    return [found[name] for name in sorted(found)]


def held_by(device: PciDevice, host: Host) -> list[str]:
    """What of a function's block devices is in use, and by what, as far as sysfs and proc show it.

    Opens nothing, so it misses who merely has a block device alone, or mounted it in another namespace.
    """
    found = []
    for namespace in namespaces(device, host):
        for part in (namespace, *_partitions(namespace)):
            try:
                by = _holder_of(part, host)
            except OSError:
                # Unplugged since the folder was listed.
                continue
            if by:
                reason = by[0].removeprefix("it is ")
                found.append(f"{part.name}: {reason}")
    return found


@contextlib.contextmanager
def exclusively(device: PciDevice, host: Host) -> Iterator[None]:
    """Keeps a function's block devices from everybody else for the block.

    Raises:
        AddressError: The kernel, or somebody who asked for a block device alone, holds one; it names who.
    """
    with contextlib.ExitStack() as held:
        for namespace in namespaces(device, host):
            for part in (namespace, *_partitions(namespace)):
                _refuse_if_held(device, part, host)
                held.enter_context(_open_alone(device, part, host))
        yield


def _partitions(namespace: Path) -> list[Path]:
    return sorted(path.parent for path in namespace.glob("*/partition"))


def _holder_of(part: Path, host: Host) -> tuple[str, str] | None:
    return _mount(part, host) or _swap(part, host) or _holder(part)


def _refuse_if_held(device: PciDevice, part: Path, host: Host) -> None:
    by = _holder_of(part, host)
    if by:
        reason, remedy = by
        raise AddressError(
            f"{device}: its block device /dev/{part.name} is in use: {reason}. Run `{remedy}` first"
        )


def _mount(part: Path, host: Host) -> tuple[str, str] | None:
    number = (part / "dev").read_text().strip()
    for line in (host.proc / "self/mountinfo").read_text().splitlines():
        fields = line.split()
        # proc(5): the device number is the third field; after a lone "-" follow type and source. A file
        # system of its own numbers (btrfs) has only the latter.
        source = fields[fields.index("-") + 2]
        if fields[2] == number or _is_node(source, part, host):
            place = _unescape(fields[4])
            return f"it is mounted on {place}", f"sudo umount {place}"
    return None


def _swap(part: Path, host: Host) -> tuple[str, str] | None:
    swaps = host.proc / "swaps"
    for line in swaps.read_text().splitlines()[1:] if swaps.exists() else ():
        source = line.split()[0]
        if _is_node(source, part, host):
            return "the kernel swaps to it", f"sudo swapoff {_unescape(source)}"
    return None


def _is_node(source: str, part: Path, host: Host) -> bool:
    source = _unescape(source)
    if not source.startswith("/dev/"):
        return False
    return (host.dev / source.removeprefix("/dev/")).resolve().name == part.name


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _holder(part: Path) -> tuple[str, str] | None:
    for holder in sorted((part / "holders").glob("*")):
        mapped = holder / "dm/name"
        if mapped.is_file():
            name = mapped.read_text().strip()
            return f"the device mapper's {name} ({holder.name}) is made of it", f"sudo dmsetup remove {name}"
        if holder.name.startswith("md"):
            return f"the array {holder.name} is made of it", f"sudo mdadm --stop /dev/{holder.name}"
        return f"{holder.name} is made of it", f"ls /sys/class/block/{part.name}/holders"
    return None


@contextlib.contextmanager
def _open_alone(device: PciDevice, part: Path, host: Host) -> Iterator[None]:
    node = host.dev / part.name
    if not node.exists():
        # A container that has no such node: what sysfs and proc said has to do.
        yield
        return
    try:
        # With O_EXCL and without O_CREAT a block device opens only if the system does not use it (open(2)).
        fd = host.open(node, os.O_RDONLY | os.O_EXCL)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise AddressError(
                f"{device}: no permission to look at /dev/{part.name}. Run it with sudo"
            ) from error
        if error.errno != errno.EBUSY:
            raise
        raise AddressError(
            f"{device}: its block device /dev/{part.name} is in use: held by the kernel or a program that "
            f"has it alone, perhaps mounted in another namespace. Run `lsblk /dev/{part.name}` and `sudo "
            f"fuser -v /dev/{part.name}` to see by what"
        ) from error
    try:
        yield
    finally:
        host.close(fd)
