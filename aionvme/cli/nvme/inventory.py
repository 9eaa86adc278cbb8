"""Owns what nvme-cli's list and list-subsys tell: of the kernel's controllers by sysfs, of others by connecting.

What sysfs has of a controller opens nothing and needs no rights. One that vfio-pci holds has nothing there: it is told
of where its address is given, and was connected to.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

import aionvme
from aionvme.pci.address import MockAddress, PciAddress, parse_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aionvme.pci.host import Host

__all__ = ["devices", "subsystems", "told_of"]

# The unit of a block device's size in sysfs, whatever its blocks are.
_SECTOR = 512


@attrs.frozen
class Told:
    """What a controller said of itself when it was connected to.

    Attributes:
        address: Which.
        data: Identify Controller.
        namespaces: Identify Namespace by identifier.
    """

    address: str
    data: aionvme.IdentifyController
    namespaces: dict[int, aionvme.IdentifyNamespace]

    @property
    def transport(self) -> str:
        """How it is reached, in nvme-cli's words where it has one."""
        parsed = parse_address(self.address)
        if isinstance(parsed, PciAddress):
            return "pcie"
        return "mock" if isinstance(parsed, MockAddress) else "vfio-user"


async def told_of(addresses: Iterable[str]) -> list[Told]:
    """Connects to each, one after the other."""
    found = []
    for address in addresses:
        async with aionvme.connect(address) as ctrlr:
            namespaces = {nsid: ns.data for nsid, ns in sorted(ctrlr.namespaces.items())}
            found.append(Told(address, ctrlr.data, namespaces))
    return found


def _text(path: Path) -> str:
    """A value of sysfs; nothing where it is gone, or was never there."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _device(
    nsid: int, path: str, generic: str, names: tuple[str, str, str], sizes: tuple[int, int, int]
) -> dict[str, Any]:
    """One namespace. `sizes`: blocks used, blocks, bytes of a block."""
    firmware, model, serial = names
    used, nblocks, block_size = sizes
    return {
        "NameSpace": nsid,
        "DevicePath": path,
        "GenericPath": generic,
        "Firmware": firmware,
        "ModelNumber": model,
        "SerialNumber": serial,
        "UsedBytes": used * block_size,
        "MaximumLBA": nblocks,
        "PhysicalSize": nblocks * block_size,
        "SectorSize": block_size,
    }


def _of_the_kernel(folder: Path) -> dict[str, Any]:
    block_size = int(_text(folder / "queue/logical_block_size") or _SECTOR)
    nblocks = int(_text(folder / "size") or 0) * _SECTOR // block_size
    names = tuple(_text(folder / "device" / name) for name in ("firmware_rev", "model", "serial"))
    return _device(
        int(_text(folder / "nsid") or 0),
        f"/dev/{folder.name}",
        f"/dev/ng{folder.name.removeprefix('nvme')}",
        (names[0], names[1], names[2]),
        # Kernels before 6.8 do not say how many blocks are used.
        (int(_text(folder / "nuse") or nblocks), nblocks, block_size),
    )


def devices(host: Host, told: Iterable[Told]) -> dict[str, Any]:
    """nvme-cli's list: a namespace each."""
    folders = sorted((host.sys / "class/block").glob("nvme*n*"))
    found = [_of_the_kernel(folder) for folder in folders if (folder / "nsid").exists()]
    for each in told:
        names = (each.data.fr.strip(), each.data.mn.strip(), each.data.sn.strip())
        for nsid, ns in each.namespaces.items():
            sizes = (ns.nuse, ns.nsze, ns.block_size)
            found.append(_device(nsid, each.address, each.address, names, sizes))
    return {"Devices": found}


def subsystems(host: Host, told: Iterable[Told]) -> list[dict[str, Any]]:
    """nvme-cli's list-subsys: the host, its subsystems, and the controllers by which each is reached."""
    kernels = map(_subsystem, (host.sys / "class/nvme-subsystem").glob("nvme-subsys*"))
    # In the order of their first controllers, as text: whatever the kernel numbered the subsystems.
    found = sorted((each for each in kernels if each["Paths"]), key=lambda each: each["Paths"][0]["Name"])
    by_nqn = {each["NQN"]: each for each in found}
    for each in told:
        subsystem = by_nqn.get(each.data.subnqn)
        if subsystem is None:
            subsystem = {"Name": each.data.subnqn or each.address, "NQN": each.data.subnqn, "Paths": []}
            by_nqn[each.data.subnqn] = subsystem
            found.append(subsystem)
        subsystem["Paths"].append(
            {"Name": each.address, "Transport": each.transport, "Address": each.address, "State": "live"}
        )
    # What nvme-cli calls the host is in its own files; it makes something up where there are none.
    nqn = _text(Path("/etc/nvme/hostnqn"))
    document: dict[str, Any] = {"HostNQN": nqn, "HostID": _text(Path("/etc/nvme/hostid"))}
    return [document | {"Subsystems": found}]


def _subsystem(folder: Path) -> dict[str, Any]:
    controllers = sorted(path for path in folder.glob("nvme*") if (path / "transport").exists())
    return {
        "Name": folder.name,
        "NQN": _text(folder / "subsysnqn"),
        "Paths": [
            {
                "Name": path.name,
                "Transport": _text(path / "transport"),
                "Address": _text(path / "address"),
                "State": _text(path / "state"),
            }
            for path in controllers
        ],
    }
