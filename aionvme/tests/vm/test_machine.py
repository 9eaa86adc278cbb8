"""The guest machine itself, by the kernel's interfaces alone: a failure here is not the driver's."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aionvme.tests.vm.conftest import DEVICES, Machine, NvmeFunction

DRIVERS = Path("/sys/bus/pci/drivers")
NVME_CLASS = "0x010802"
# linux/vfio.h: _IO(';', 100), VFIO_GET_API_VERSION
VFIO_GET_API_VERSION = ord(";") << 8 | 100


def driver_of(bdf: str) -> str:
    """Name the driver that holds a function; empty if none does."""
    link = DEVICES / bdf / "driver"
    return link.resolve().name if link.exists() else ""


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that the kernel does in its own time; fail after a minute."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, f"still waiting for {what}"
        os.sched_yield()


def rebind(bdf: str, driver: str) -> None:
    """Give a function to `driver`."""
    device = DEVICES / bdf
    if driver_of(bdf):
        (device / "driver/unbind").write_text(bdf)
    (device / "driver_override").write_text(driver)
    Path("/sys/bus/pci/drivers_probe").write_text(bdf)
    assert driver_of(bdf) == driver


@contextlib.contextmanager
def bound_to_vfio(function: NvmeFunction) -> Iterator[str]:
    """Hold a function bound to vfio-pci for the block; afterwards the kernel's driver has it."""
    bdf = function.bdf
    wait_until(lambda: driver_of(bdf) != "", f"{bdf} to get its first driver")
    rebind(bdf, "vfio-pci")
    try:
        yield bdf
    finally:
        (DEVICES / bdf / "driver/unbind").write_text(bdf)
        (DEVICES / bdf / "driver_override").write_text("\n")
        Path("/sys/bus/pci/drivers_probe").write_text(bdf)


def block_device(function: NvmeFunction) -> Path:
    """The kernel's block device of a controller's namespace, once it is there."""
    found: list[Path] = []

    def look() -> bool:
        found[:] = (DEVICES / function.bdf).glob("nvme/nvme*/nvme*n1")
        return bool(found) and Path("/dev", found[0].name).exists()

    wait_until(look, f"a block device of {function.name}")
    return Path("/dev", found[0].name)


@pytest.mark.parametrize("module", ["iommufd", "vfio", "vfio_iommu_type1", "vfio_pci_core", "vfio_pci"])
def test_module_is_loaded(module: str) -> None:
    """Both interfaces are there at once, so that a test can choose between them."""
    assert Path("/sys/module", module).is_dir()


def test_vfio_answers_through_the_container() -> None:
    """/dev/vfio/vfio is VFIO's own and speaks the one version that there is."""
    fd = os.open("/dev/vfio/vfio", os.O_RDWR | os.O_CLOEXEC)
    try:
        assert fcntl.ioctl(fd, VFIO_GET_API_VERSION) == 0
    finally:
        os.close(fd)


def test_iommufd_opens() -> None:
    """/dev/iommu is there and opens."""
    os.close(os.open("/dev/iommu", os.O_RDWR | os.O_CLOEXEC))


def test_controllers_are_nvme_functions(machine: Machine) -> None:
    """Every drive is seen at an address of its own, with the class of NVM Express (01h, 08h, 02h)."""
    functions = [*machine.drives.values(), machine.shared]
    assert len({function.bdf for function in functions}) == len(functions)
    for function in functions:
        assert (DEVICES / function.bdf / "class").read_text().strip() == NVME_CLASS


def test_drives_are_alone_in_their_group(machine: Machine) -> None:
    """Each drive behind a root port can be handed to user space without another function."""
    for function in machine.drives.values():
        group = DEVICES / function.bdf / "iommu_group/devices"
        assert [path.name for path in group.iterdir()] == [function.bdf]


def test_shared_group_is_held_by_the_kernel(machine: Machine) -> None:
    """The function for the refusal has a neighbour in its group with a driver of the kernel's."""
    group = DEVICES / machine.shared.bdf / "iommu_group/devices"
    neighbours = [path.name for path in group.iterdir() if path.name != machine.shared.bdf]
    assert [driver_of(bdf) for bdf in neighbours] == ["virtio-pci"]


def test_other_function_is_not_nvme(machine: Machine) -> None:
    """There is a function of another class for negative tests."""
    assert (DEVICES / machine.not_nvme / "class").read_text().strip() != NVME_CLASS


@pytest.mark.parametrize("name", ["block512", "block4096"])
def test_binding_makes_both_nodes(machine: Machine, name: str) -> None:
    """Bound to vfio-pci, a drive has a group node and a cdev node; both go when it is given back."""
    function = machine.drives[name]
    group = Path("/dev/vfio", (DEVICES / function.bdf / "iommu_group").resolve().name)
    with bound_to_vfio(function) as bdf:
        (entry,) = (DEVICES / bdf / "vfio-dev").iterdir()
        cdev = Path("/dev/vfio/devices", entry.name)
        wait_until(lambda: group.exists() and cdev.exists(), "the nodes")
        assert group.is_char_device()
        assert cdev.is_char_device()
    wait_until(lambda: not group.exists() and not cdev.exists(), "the nodes to go")


@pytest.mark.parametrize("name", ["block512", "block4096"])
def test_namespace_is_as_described(machine: Machine, name: str) -> None:
    """The kernel's own driver sees the serial number, block size and capacity that machine.json says."""
    function = machine.drives[name]
    device = block_device(function)
    queue = Path("/sys/block", device.name)
    assert int((queue / "queue/logical_block_size").read_text()) == function.block_size
    assert int((queue / "size").read_text()) * 512 == function.size
    assert (queue / "device/serial").read_text().strip() == function.serial


@pytest.mark.parametrize("name", ["block512", "block4096"])
def test_write_reaches_the_image(
    machine: Machine, name: str, written: Callable[[str, int, bytes], None]
) -> None:
    """What the kernel's own driver writes is found on the host: the way to the raw image is sound."""
    function = machine.drives[name]
    data = os.urandom(function.block_size * 3)
    # The drive's last blocks, out of the way of other tests, and a check that no block is cut off.
    offset = function.size - len(data)
    fd = os.open(block_device(function), os.O_WRONLY | os.O_CLOEXEC)
    try:
        assert os.pwrite(fd, data, offset) == len(data)
        os.fsync(fd)
    finally:
        os.close(fd)
    written(function.serial, offset, data)


def test_huge_pages_are_set_aside(machine: Machine) -> None:
    """The 2 MiB pages that the boot asked for are there."""
    pages = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
    assert int(pages.read_text()) == machine.hugepages


def test_iommu_parameter_names_an_interface(iommu: str) -> None:
    """The interface parameter goes through both, and the node of each is there."""
    assert Path({"group": "/dev/vfio/vfio", "iommufd": "/dev/iommu"}[iommu]).exists()
