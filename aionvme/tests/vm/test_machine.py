"""The guest machine itself, by the kernel's interfaces alone: a failure here is not the driver's."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from aionvme.tests.vm.conftest import DEVICES, Machine
from aionvme.tests.vm.kernel import NVME_CLASS, block_device, bound_to_vfio, driver_of, wait_until


@pytest.mark.parametrize("module", ["iommufd", "vfio", "vfio_iommu_type1", "vfio_pci_core", "vfio_pci"])
def test_module_is_loaded(module: str) -> None:
    """Both interfaces are there at once, so that a test can choose between them."""
    assert Path("/sys/module", module).is_dir()


def test_vfio_answers_through_the_container(abi: dict[str, int]) -> None:
    """/dev/vfio/vfio is VFIO's own and speaks the one version that there is."""
    fd = os.open("/dev/vfio/vfio", os.O_RDWR | os.O_CLOEXEC)
    try:
        assert fcntl.ioctl(fd, abi["VFIO_GET_API_VERSION"]) == abi["VFIO_API_VERSION"]
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


def request(abi: dict[str, int], name: str, fd: int, values: tuple[int, ...]) -> tuple[int, ...]:
    """Make an ioctl whose structure is 32-bit words, the first being its own size; return them as after."""
    words = struct.pack(f"={len(values) + 1}i", 4 * (len(values) + 1), *values)
    return struct.unpack(f"={len(values) + 1}i", fcntl.ioctl(fd, abi[name], words))


def open_through_group(abi: dict[str, int], bdf: str, closing: contextlib.ExitStack) -> int:
    """Open a function by its group and a type 1 container."""
    container = opened("/dev/vfio/vfio", closing)
    group = opened(f"/dev/vfio/{(DEVICES / bdf / 'iommu_group').resolve().name}", closing)
    fcntl.ioctl(group, abi["VFIO_GROUP_SET_CONTAINER"], struct.pack("i", container))
    fcntl.ioctl(container, abi["VFIO_SET_IOMMU"], abi["VFIO_TYPE1v2_IOMMU"])
    # Immutable bytes would come back changed instead of the descriptor.
    device: int = fcntl.ioctl(group, abi["VFIO_GROUP_GET_DEVICE_FD"], bytearray(bdf.encode() + b"\0"))
    closing.callback(os.close, device)
    return device


def open_through_iommufd(abi: dict[str, int], bdf: str, closing: contextlib.ExitStack) -> int:
    """Open a function by its cdev and attach it to an I/O address space of iommufd's."""
    iommu = opened("/dev/iommu", closing)
    (entry,) = (DEVICES / bdf / "vfio-dev").iterdir()
    device = opened(f"/dev/vfio/devices/{entry.name}", closing)
    request(abi, "VFIO_DEVICE_BIND_IOMMUFD", device, (0, iommu, 0))
    space = request(abi, "IOMMU_IOAS_ALLOC", iommu, (0, 0))[2]
    request(abi, "VFIO_DEVICE_ATTACH_IOMMUFD_PT", device, (0, space))
    return device


def opened(path: str, closing: contextlib.ExitStack) -> int:
    """Open a node until `closing` ends."""
    wait_until(Path(path).exists, path)
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    closing.callback(os.close, fd)
    return fd


@pytest.mark.parametrize("name", ["block512", "block4096"])
def test_function_opens(machine: Machine, abi: dict[str, int], iommu: str, name: str) -> None:
    """By either interface a drive opens as a PCI function that can be reset and has MSI-X vectors."""
    open_function = {"group": open_through_group, "iommufd": open_through_iommufd}[iommu]
    with bound_to_vfio(machine.drives[name]) as bdf, contextlib.ExitStack() as closing:
        device = open_function(abi, bdf, closing)
        flags = request(abi, "VFIO_DEVICE_GET_INFO", device, (0, 0, 0))[1]
        wanted = abi["VFIO_DEVICE_FLAGS_PCI"] | abi["VFIO_DEVICE_FLAGS_RESET"]
        assert flags & wanted == wanted
        msix = request(abi, "VFIO_DEVICE_GET_IRQ_INFO", device, (0, abi["VFIO_PCI_MSIX_IRQ_INDEX"], 0))
        assert msix[3] >= 2


def test_shared_group_is_refused(machine: Machine, abi: dict[str, int]) -> None:
    """VFIO does not hand out a function while the kernel's driver holds another one of its group."""
    with (
        bound_to_vfio(machine.shared) as bdf,
        contextlib.ExitStack() as closing,
        pytest.raises(OSError) as error,
    ):
        open_through_group(abi, bdf, closing)
    assert error.value.errno == errno.EPERM
