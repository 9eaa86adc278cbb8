"""list and list-subsys of the kernel's controllers, by what sysfs says of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from aionvme.tests.unit.cli.conftest import Run
    from aionvme.tests.unit.pci.machine import FakeMachine


def _write(folder: Path, values: dict[str, str]) -> None:
    for name, value in values.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(value + "\n")


def test_list(run: Run, machine: FakeMachine) -> None:
    """A namespace with its sizes in bytes and in its own blocks; what is no namespace is left out."""
    namespace = machine.sys / "class/block/nvme0n2"
    _write(
        namespace,
        {
            "nsid": "7",
            "size": "131072",
            "nuse": "100",
            "queue/logical_block_size": "4096",
            "device/model": "QEMU NVMe Ctrl   ",
            "device/serial": "SN",
            "device/firmware_rev": "1.0",
        },
    )
    (machine.sys / "class/block/nvme0n2p1").mkdir()
    assert json.loads(run("list", "-o", "json").out) == {
        "Devices": [
            {
                "NameSpace": 7,
                "DevicePath": "/dev/nvme0n2",
                "GenericPath": "/dev/ng0n2",
                "Firmware": "1.0",
                "ModelNumber": "QEMU NVMe Ctrl",
                "SerialNumber": "SN",
                "UsedBytes": 409600,
                "MaximumLBA": 16384,
                "PhysicalSize": 67108864,
                "SectorSize": 4096,
            }
        ]
    }


def test_list_subsys(run: Run, machine: FakeMachine) -> None:
    """A subsystem with the controllers by which it is reached; one without any is left out."""
    folder = machine.sys / "class/nvme-subsystem/nvme-subsys3"
    _write(folder, {"subsysnqn": "nqn.a", "nvme4/transport": "pcie", "nvme4/address": "0000:01:00.0"})
    _write(folder, {"nvme4/state": "live", "nvme4n1/size": "1"})
    _write(machine.sys / "class/nvme-subsystem/nvme-subsys4", {"subsysnqn": "nqn.b"})
    (host,) = json.loads(run("list-subsys", "-o", "json").out)
    path = {"Name": "nvme4", "Transport": "pcie", "Address": "0000:01:00.0", "State": "live"}
    assert host["Subsystems"] == [{"Name": "nvme-subsys3", "NQN": "nqn.a", "Paths": [path]}]
    _write(
        folder,
        {"model": "MN", "serial": "SN", "firmware_rev": "1.0", "iopolicy": "numa", "subsystype": "nvm"},
    )
    (host,) = json.loads(run("list-subsys", "-v", "-o", "json").out)
    told = {"Model": "MN", "Serial": "SN", "Firmware": "1.0", "IOPolicy": "numa", "Type": "nvm"}
    assert host["Subsystems"] == [{"Name": "nvme-subsys3", "NQN": "nqn.a", **told, "Paths": [path]}]
    assert run("list-subsys").out.splitlines() == [
        "nvme-subsys3 - NQN=nqn.a",
        " +- nvme4 pcie 0000:01:00.0 live",
    ]


def test_list_in_detail(run: Run, machine: FakeMachine) -> None:
    """With -v there is each subsystem with its controllers, their slots and paths, and the namespaces of both."""
    folder = machine.sys / "class/nvme-subsystem/nvme-subsys0"
    namespace = {"nsid": "1", "size": "8", "nuse": "4", "queue/logical_block_size": "512"}
    controller = {
        "transport": "pcie",
        "address": "0000:02:00.0",
        "cntlid": "7",
        "serial": "SN",
        "model": "MN",
    }
    _write(folder, {"subsysnqn": "nqn.a", **{f"nvme0/{name}": text for name, text in controller.items()}})
    _write(folder / "nvme0/nvme0n2", namespace)
    _write(folder / "nvme0/nvme0c0n1", {"ana_state": "change"})
    _write(folder / "nvme0n1", namespace)
    _write(machine.sys / "bus/pci/slots/9", {"address": "0000:02:00"})
    (host,) = json.loads(run("list", "-v", "-o", "json").out)["Devices"]
    (subsystem,) = host["Subsystems"]
    sizes = {"NSID": 1, "UsedBytes": 2048, "MaximumLBA": 8, "PhysicalSize": 4096, "SectorSize": 512}
    assert subsystem.pop("Namespaces") == [{"NameSpace": "nvme0n1", "Generic": "ng0n1", **sizes}]
    assert subsystem.pop("Controllers") == [
        {
            "Controller": "nvme0",
            "Cntlid": "7",
            "SerialNumber": "SN",
            "ModelNumber": "MN",
            "Firmware": "",
            "Transport": "pcie",
            "Address": "0000:02:00.0",
            "Slot": "9",
            "Namespaces": [{"NameSpace": "nvme0n2", "Generic": "ng0n2", **sizes}],
            "Paths": [{"Path": "nvme0c0n1", "ANAState": "change"}],
        }
    ]
    assert subsystem == {"Subsystem": "nvme-subsys0", "SubsystemNQN": "nqn.a"}
