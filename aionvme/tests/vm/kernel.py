"""Owns what tests do to a function through the kernel's own files, without the driver: binding, looking, waiting."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from aionvme.tests.vm.conftest import DEVICES, NvmeFunction

NVME_CLASS = "0x010802"
NOBODY = 65534


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


def nodes_of(bdf: str, iommu: str) -> list[Path]:
    """The nodes that a user of a function needs rights on, the function's own first."""
    group = Path("/dev/vfio", (DEVICES / bdf / "iommu_group").resolve().name)
    if iommu == "group":
        wait_until(group.exists, str(group))
        return [group, Path("/dev/vfio/vfio")]
    (entry,) = (DEVICES / bdf / "vfio-dev").iterdir()
    node = Path("/dev/vfio/devices", entry.name)
    wait_until(node.exists, str(node))
    return [node, Path("/dev/iommu")]


@contextlib.contextmanager
def owned_by_nobody(nodes: list[Path]) -> Iterator[None]:
    """Let the user `NOBODY` open them for the block."""
    before = [node.stat() for node in nodes]
    for node in nodes:
        os.chown(node, NOBODY, NOBODY)
    yield
    for node, stat in zip(nodes, before, strict=True):
        os.chown(node, stat.st_uid, stat.st_gid)


def block_device(function: NvmeFunction) -> Path:
    """The kernel's block device of a controller's namespace, once it is there."""
    found: list[Path] = []

    def look() -> bool:
        found[:] = (DEVICES / function.bdf).glob("nvme/nvme*/nvme*n1")
        return bool(found) and Path("/dev", found[0].name).exists()

    wait_until(look, f"a block device of {function.name}")
    return Path("/dev", found[0].name)


def command_register(bdf: str) -> int:
    """The command register in configuration space: bit 1 memory space, bit 2 bus master."""
    return int.from_bytes((DEVICES / bdf / "config").read_bytes()[4:6], "little")
