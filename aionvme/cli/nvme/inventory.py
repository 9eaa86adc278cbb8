"""Owns what nvme-cli's list and list-subsys tell: of the kernel's controllers by sysfs, of others by connecting.

What sysfs has of a controller opens nothing and needs no rights. One that vfio-pci holds has nothing there: it is told
of where its address is given, and was connected to.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

import aionvme
from aionvme.pci.address import MockAddress, PciAddress, parse_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aionvme.pci.host import Host

__all__ = ["detailed", "devices", "subsystems", "told_of"]

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

    def devices(self) -> list[dict[str, Any]]:
        """Its namespaces, as the list has them."""
        names = (self.data.fr.strip(), self.data.mn.strip(), self.data.sn.strip())
        return [
            _device(nsid, self.address, self.address, names, (ns.nuse, ns.nsze, ns.block_size))
            for nsid, ns in self.namespaces.items()
        ]

    def details(self) -> dict[str, Any]:
        """What its subsystem is, as list-subsys has it with -v; no policy chooses between its controllers here."""
        model, serial, firmware = (text.strip() for text in (self.data.mn, self.data.sn, self.data.fr))
        return {"Model": model, "Serial": serial, "Firmware": firmware, "IOPolicy": "", "Type": "nvm"}

    def detailed(self) -> dict[str, Any]:
        """Its subsystem, as the list with -v has it."""
        controller = {
            "Controller": self.address,
            "Cntlid": str(self.data.cntlid),
            "SerialNumber": self.data.sn.strip(),
            "ModelNumber": self.data.mn.strip(),
            "Firmware": self.data.fr.strip(),
            "Transport": self.transport,
            "Address": self.address,
            "Slot": "",
            "Namespaces": [_namespace(device, self.address) for device in self.devices()],
            "Paths": [],
        }
        nqn = self.data.subnqn
        return {
            "Subsystem": nqn or self.address,
            "SubsystemNQN": nqn,
            "Controllers": [controller],
            "Namespaces": [],
        }


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
    found += (device for each in told for device in each.devices())
    return {"Devices": found}


# A namespace, and a path to one of a subsystem that is reached by several controllers.
_NAMESPACE = re.compile(r"nvme\d+n\d+")
_PATH = re.compile(r"nvme\d+c\d+n\d+")


def detailed(host: Host, told: Iterable[Told]) -> dict[str, Any]:
    """nvme-cli's list with -v: subsystems, their controllers, and the namespaces and paths of each."""
    found = [
        {
            "Subsystem": folder.name,
            "SubsystemNQN": _text(folder / "subsysnqn"),
            "Controllers": [_controller(path, host) for path in _controllers(folder)],
            "Namespaces": _namespaces(folder),
        }
        for folder in _subsystem_folders(host)
    ]
    found += [each.detailed() for each in told]
    return {"Devices": [_this_host() | {"Subsystems": found}]}


def _subsystem_folders(host: Host) -> list[Path]:
    """In the order of their first controllers, as text: whatever the kernel numbered the subsystems."""
    reached = {
        folder: controllers
        for folder in (host.sys / "class/nvme-subsystem").glob("nvme-subsys*")
        if (controllers := _controllers(folder))
    }
    return sorted(reached, key=lambda folder: reached[folder][0].name)


def _controllers(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("nvme*") if (path / "transport").exists())


def _controller(folder: Path, host: Host) -> dict[str, Any]:
    address = _text(folder / "address")
    slots = (host.sys / "bus/pci/slots").glob("*")
    return {
        "Controller": folder.name,
        "Cntlid": _text(folder / "cntlid"),
        "SerialNumber": _text(folder / "serial"),
        "ModelNumber": _text(folder / "model"),
        "Firmware": _text(folder / "firmware_rev"),
        "Transport": _text(folder / "transport"),
        "Address": address,
        "Slot": next((slot.name for slot in slots if address.startswith(_text(slot / "address") + ".")), ""),
        "Namespaces": _namespaces(folder),
        "Paths": [
            {"Path": path.name, "ANAState": _text(path / "ana_state") or "optimized"}
            for path in sorted(folder.glob("nvme*"))
            if _PATH.fullmatch(path.name)
        ],
    }


def _namespaces(folder: Path) -> list[dict[str, Any]]:
    paths = sorted(path for path in folder.glob("nvme*") if _NAMESPACE.fullmatch(path.name))
    return [_namespace(_of_the_kernel(path), path.name) for path in paths if (path / "nsid").exists()]


def _namespace(device: dict[str, Any], name: str) -> dict[str, Any]:
    sizes = ("UsedBytes", "MaximumLBA", "PhysicalSize", "SectorSize")
    return {
        "NameSpace": name,
        "Generic": device["GenericPath"].rpartition("/")[2],
        "NSID": device["NameSpace"],
        **{key: device[key] for key in sizes},
    }


def _this_host() -> dict[str, Any]:
    # What nvme-cli calls the host is in its own files; it makes something up where there are none.
    return {"HostNQN": _text(Path("/etc/nvme/hostnqn")), "HostID": _text(Path("/etc/nvme/hostid"))}


def subsystems(host: Host, told: Iterable[Told], *, detail: bool = False) -> list[dict[str, Any]]:
    """nvme-cli's list-subsys: the host, its subsystems, and the controllers by which each is reached.

    Args:
        host: Whose.
        told: Controllers that were connected to.
        detail: As with -v: what each subsystem is, too.
    """
    found = [_subsystem(folder, detail) for folder in _subsystem_folders(host)]
    by_nqn = {each["NQN"]: each for each in found}
    for each in told:
        subsystem = by_nqn.get(each.data.subnqn)
        if subsystem is None:
            subsystem = {"Name": each.data.subnqn or each.address, "NQN": each.data.subnqn}
            subsystem |= (each.details() if detail else {}) | {"Paths": []}
            by_nqn[each.data.subnqn] = subsystem
            found.append(subsystem)
        subsystem["Paths"].append(
            {"Name": each.address, "Transport": each.transport, "Address": each.address, "State": "live"}
        )
    return [_this_host() | {"Subsystems": found}]


# Keys of a subsystem with -v, and the files that have them.
_DETAILS = {
    "Model": "model",
    "Serial": "serial",
    "Firmware": "firmware_rev",
    "IOPolicy": "iopolicy",
    "Type": "subsystype",
}


def _subsystem(folder: Path, detail: bool) -> dict[str, Any]:
    return {
        "Name": folder.name,
        "NQN": _text(folder / "subsysnqn"),
        **({key: _text(folder / name) for key, name in _DETAILS.items()} if detail else {}),
        "Paths": [
            {
                "Name": path.name,
                "Transport": _text(path / "transport"),
                "Address": _text(path / "address"),
                "State": _text(path / "state"),
            }
            for path in _controllers(folder)
        ],
    }
