"""Finding functions in sysfs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aionvme.errors import AddressError
from aionvme.pci.device import PciDevice
from aionvme.pci.discovery import discover, find, group_members

if TYPE_CHECKING:
    from pathlib import Path

    from aionvme.tests.unit.pci.machine import FakeMachine


def test_only_nvme_functions_are_discovered(machine: FakeMachine) -> None:
    """Every function of class 010802h, by address and not by name, and no other."""
    for bdf in ("10000:01:00.0", "0000:02:00.0", "0000:01:00.1"):
        machine.function(bdf)
    machine.function("0000:00:1f.2", class_code=0x010601)
    machine.function("0000:03:00.0", class_code=0x010803)
    assert [str(device) for device in discover(machine.sys)] == [
        "0000:01:00.1",
        "0000:02:00.0",
        "10000:01:00.0",
    ]


def test_a_machine_without_pci_has_none(tmp_path: Path) -> None:
    """No folder of devices is no error."""
    assert discover(tmp_path) == []


def test_a_function_that_vanishes_is_left_out(machine: FakeMachine) -> None:
    """A function that is unplugged while the list is read is not in it, and the others are."""
    machine.function("0000:01:00.0")
    (machine.function("0000:02:00.0") / "vendor").unlink()
    assert [str(device) for device in discover(machine.sys)] == ["0000:01:00.0"]


def test_everything_is_read(machine: FakeMachine) -> None:
    """The attributes are those of sysfs."""
    path = machine.function("0000:0a:1f.3", driver="nvme", group=12)
    (path / "numa_node").write_text("1\n")
    device = find("0a:1f.3", machine.sys)
    assert device == PciDevice("0000:0a:1f.3", 0x1B36, 0x10, 0x1AF4, 0x1100, 0x010802, 2, "nvme", 12, 1, path)
    assert (device.domain, device.bus, device.device, device.function) == (0, 0x0A, 0x1F, 3)
    assert not device.bound_to_vfio


def test_what_is_absent_is_none(machine: FakeMachine) -> None:
    """No driver, no IOMMU group, no node."""
    machine.function(driver=None, group=None)
    device = find("01:00.0", machine.sys)
    assert (device.driver, device.iommu_group, device.numa_node) == (None, None, None)


def test_an_unknown_address_is_told_what_to_run(machine: FakeMachine) -> None:
    """No function at this address."""
    with pytest.raises(AddressError, match=r"0000:05:00.0: there is no such PCI device. Run `aionvme list`"):
        find("05:00.0", machine.sys)


def test_group_members_are_the_others(machine: FakeMachine) -> None:
    """A group's members without the function itself; none without a group."""
    machine.function("0000:01:00.0", group=7)
    machine.function("0000:01:00.1", group=7)
    machine.function("0000:02:00.0", group=8)
    assert [str(other) for other in group_members(find("01:00.0", machine.sys), machine.sys)] == [
        "0000:01:00.1"
    ]
    assert group_members(PciDevice("mock:0"), machine.sys) == []


def test_a_mock_is_a_device_too() -> None:
    """A device that is not of PCI has a name and nothing else."""
    device = PciDevice("mock:0", vendor_id=0x1234)
    assert str(device) == "mock:0"
    assert device.is_nvme
    assert (device.domain, device.bus, device.device, device.function) == (0, 0, 0, 0)
