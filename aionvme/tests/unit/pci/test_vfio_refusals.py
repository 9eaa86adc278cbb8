"""What is in the way of opening a function: each has one message, which says what to run."""

from __future__ import annotations

import errno
import os
from typing import Any
from uuid import UUID

import pytest

from aionvme.errors import AddressError
from aionvme.pci import abi
from aionvme.pci.address import PciAddress
from aionvme.pci.vfio import open_vfio
from aionvme.tests.unit.pci.machine import BDF, FakeMachine

MODES = pytest.mark.parametrize("mode", ["group", "iommufd"])
TAKEOVER = {"group": abi.VFIO_GROUP_SET_CONTAINER, "iommufd": abi.VFIO_DEVICE_BIND_IOMMUFD}


def refused(machine: FakeMachine, message: str, iommu: str = "auto", vf_token: UUID | None = None) -> None:
    """Opening fails with this message and leaves nothing open."""
    with pytest.raises(AddressError, match=message):
        open_vfio(PciAddress(BDF, iommu, vf_token), machine)
    assert machine.open_fds == {}


def answer_with(machine: FakeMachine, request: int, code: int) -> None:
    """Has an ioctl fail."""

    def answer(fd: int, argument: Any) -> int:
        raise OSError(code, os.strerror(code))

    machine.answers[request] = answer


def test_no_such_device(machine: FakeMachine) -> None:
    """An address where nothing is."""
    refused(machine, "there is no such PCI device. Run `aionvme list`")


def test_not_nvme(machine: FakeMachine) -> None:
    """A function of another class, even if vfio-pci has it."""
    machine.function(class_code=0x020000)
    refused(machine, r"not an NVMe function \(its class is 020000")


def test_bound_to_the_kernel(machine: FakeMachine) -> None:
    """The kernel's driver has it, or none: bind it."""
    machine.function(driver="nvme")
    refused(machine, f"bound to the kernel's driver 'nvme'. Run `sudo aionvme bind {BDF}`")
    (machine.sys / "bus/pci/devices" / BDF / "driver").unlink()
    refused(machine, "not bound to vfio-pci. Run `sudo aionvme bind")


def test_no_iommu(machine: FakeMachine) -> None:
    """No group, or one of noiommu mode."""
    path = machine.function()
    (machine.sys / "kernel/iommu_groups/7/name").write_text("vfio-noiommu\n")
    refused(machine, "no IOMMU protects memory from it. Switch on VT-d")
    (path / "iommu_group").unlink()
    refused(machine, "no IOMMU protects memory from it. Switch on VT-d")


def test_noiommu_is_not_supported(machine: FakeMachine) -> None:
    """It has to be asked for, and is refused."""
    machine.function()
    refused(machine, "iommu=noiommu is not supported in this version", "noiommu")


def share(machine: FakeMachine) -> None:
    """Puts two functions of the kernel's drivers into the group, and harmless ones."""
    (machine.sys / "bus/pci/drivers/ahci").mkdir()
    machine.function("0000:01:00.1", driver="ahci", class_code=0x010601)
    machine.function("0000:01:00.2", driver="nvme")
    machine.function("0000:01:00.3", driver=None)
    machine.function("0000:01:00.4", driver="pcieport", class_code=0x060400)
    machine.function("0000:01:00.5", driver="vfio-pci")


SHARED = (
    r"IOMMU group 7 is shared with 0000:01:00.1 \(driver 'ahci'\), 0000:01:00.2 \(driver 'nvme'\), which .*"
    r"`echo 0000:01:00.1 \| sudo tee .*/driver/unbind` and `sudo aionvme bind 0000:01:00.2`"
)


@MODES
def test_group_shared(machine: FakeMachine, mode: str) -> None:
    """The others of the group are listed with what to run for each."""
    machine.function()
    machine.with_cdev()
    share(machine)
    machine.viable = False
    answer_with(machine, abi.VFIO_DEVICE_BIND_IOMMUFD, errno.EBUSY)
    refused(machine, SHARED, mode)


def test_group_shared_found_late(machine: FakeMachine) -> None:
    """A driver that came in between the status and the container is found as well."""
    machine.function()
    share(machine)
    answer_with(machine, abi.VFIO_GROUP_SET_CONTAINER, errno.EPERM)
    refused(machine, SHARED)


def test_group_not_viable_for_another_reason(machine: FakeMachine) -> None:
    """Sysfs shows nobody, and the kernel says no all the same."""
    machine.function()
    machine.viable = False
    refused(machine, "Run `ls /sys/kernel/iommu_groups/7/devices`")


@pytest.mark.parametrize(
    ("mode", "node", "rule"),
    [
        ("group", "7", r'SUBSYSTEM=="vfio", GROUP'),
        ("group", "vfio", r'KERNEL=="vfio", GROUP'),
        ("iommufd", "vfio3", r'SUBSYSTEM=="vfio-dev", GROUP'),
        ("iommufd", "iommu", r'KERNEL=="iommu", GROUP'),
    ],
)
def test_no_permission(machine: FakeMachine, mode: str, node: str, rule: str) -> None:
    """Which node it is, and both the quick remedy and the lasting one."""
    machine.function()
    machine.with_cdev()
    machine.refused[node] = errno.EACCES
    refused(machine, rf"no permission on .*/{node}. Run `sudo chown \$USER .*/{node}`.*{rule}", mode)


@MODES
def test_in_use(machine: FakeMachine, mode: str) -> None:
    """Another process has it, perhaps by the other node: both are named, whichever did not open."""
    machine.function()
    machine.with_cdev()
    machine.refused["7"] = errno.EBUSY
    for code in (errno.EBUSY, errno.EINVAL):
        answer_with(machine, abi.VFIO_DEVICE_BIND_IOMMUFD, code)
        refused(
            machine,
            "in use: another process, or this one, has it .*`sudo fuser -v .*/devices/vfio3 .*/vfio/7`",
            mode,
        )


@MODES
def test_no_interrupt_remapping(machine: FakeMachine, mode: str) -> None:
    """EPERM when nobody shares the group."""
    machine.function()
    machine.with_cdev()
    answer_with(machine, TAKEOVER[mode], errno.EPERM)
    refused(machine, "allow_unsafe_interrupts", mode)


@MODES
def test_taken_away_meanwhile(machine: FakeMachine, mode: str) -> None:
    """ENODEV while it is opened."""
    machine.function()
    machine.with_cdev()
    answer_with(machine, TAKEOVER[mode], errno.ENODEV)
    refused(machine, "was taken from vfio-pci", mode)


def test_no_node(machine: FakeMachine) -> None:
    """The group's node is missing."""
    machine.function()
    (machine.dev / "vfio/7").unlink()
    refused(machine, "there is no .*/vfio/7. Run `sudo modprobe vfio-pci`", "group")


def test_iommufd_that_is_not_there(machine: FakeMachine) -> None:
    """No node of its own, or no /dev/iommu."""
    machine.function()
    refused(machine, "iommu=iommufd can't be had: vfio-pci made no node", "iommufd")
    machine.with_cdev()
    (machine.dev / "iommu").unlink()
    refused(machine, "iommu=iommufd can't be had: there is no .*/iommu.*use iommu=group", "iommufd")


def test_a_kernel_without_groups(machine: FakeMachine) -> None:
    """When only the cdev is there, and this process may not open it, the message is about that."""
    machine.function()
    machine.with_cdev()
    (machine.dev / "vfio/7").unlink()
    machine.refused["iommu"] = errno.EACCES
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeMachine, "usable", lambda self, path: False)
        refused(machine, "no permission on .*/iommu")


def test_token(machine: FakeMachine) -> None:
    """It goes with the name through the group, not at all through iommufd; a wrong one is explained."""
    token = UUID("2ab74924-c335-45f4-9b16-8569e5b08258")
    machine.function()
    machine.with_cdev()
    open_vfio(PciAddress(BDF, vf_token=token), machine).close()
    assert ("VFIO_GROUP_GET_DEVICE_FD", f"{BDF} vf_token={token}".encode() + b"\0") in machine.calls
    refused(machine, "vf_token needs iommu=group", "iommufd", token)
    # Kernels after 6.12 want it of iommufd as well.
    answer_with(machine, abi.VFIO_DEVICE_BIND_IOMMUFD, errno.EACCES)
    refused(machine, "iommu=group&vf_token=UUID", "iommufd")
    answer_with(machine, abi.VFIO_GROUP_GET_DEVICE_FD, errno.EACCES)
    refused(machine, rf'opens with the token .* Write "{BDF}\?iommu=group&vf_token=UUID"', "group", token)
    answer_with(machine, abi.VFIO_GROUP_GET_DEVICE_FD, errno.EINVAL)
    refused(machine, rf'takes no vf_token.* Write "{BDF}\?iommu=group"', "group", token)
    refused(machine, "in use", "group")


def test_old_interfaces(machine: FakeMachine) -> None:
    """Type 1 does where type 1 v2 is not; neither, or another version of VFIO, is refused."""
    machine.function()
    machine.answers[abi.VFIO_CHECK_EXTENSION] = lambda fd, argument: int(argument == abi.VFIO_TYPE1_IOMMU)
    open_vfio(PciAddress(BDF), machine).close()
    assert ("VFIO_SET_IOMMU", abi.VFIO_TYPE1_IOMMU) in machine.calls
    machine.answers[abi.VFIO_CHECK_EXTENSION] = lambda fd, argument: 0
    refused(machine, "Run `sudo modprobe vfio_iommu_type1`")
    machine.answers[abi.VFIO_GET_API_VERSION] = lambda fd, argument: 1
    refused(machine, "API version 1")


def test_no_pci_device(machine: FakeMachine) -> None:
    """VFIO says that it is something else."""
    machine.function()
    machine.answers[abi.VFIO_DEVICE_GET_INFO] = lambda fd, argument: 0
    refused(machine, "VFIO says that this is no PCI function")


def test_bar_without_mapping(machine: FakeMachine) -> None:
    """No BAR, one that may not be mapped, and one with a hole are refused; one area that is all is not."""
    machine.function()
    machine.areas = [(0, machine.bar_size)]
    open_vfio(PciAddress(BDF), machine).close()
    machine.areas = [(0, 0x2000), (0x3000, 0x1000)]
    refused(machine, "lets only 0x0 to 0x1fff, 0x3000 to 0x3fff be mapped")
    machine.areas = []
    refused(machine, "lets only none be mapped")
    machine.areas = None
    machine.bar_flags = 0b011
    refused(machine, "can't be mapped: the kernel lets no process map its 16384 bytes.*resource_alignment")
    machine.bar_size = 0
    refused(machine, "can't be mapped: the function has none")
