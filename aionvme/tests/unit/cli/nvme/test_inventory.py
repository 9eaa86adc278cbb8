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
    assert run("list-subsys").out.splitlines() == [
        "nvme-subsys3 - NQN=nqn.a",
        " +- nvme4 pcie 0000:01:00.0 live",
    ]
