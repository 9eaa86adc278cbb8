"""The driver's table of the kernel's interface against the headers of the guest's own kernel.

The driver's build includes no kernel header, so that each number in its table could be wrong on its own.
"""

from __future__ import annotations

import ctypes
import importlib
import re
import struct
from types import ModuleType

import pytest

pytestmark = pytest.mark.vm_host

OURS = re.compile(r"(VFIO|IOMMU)_[A-Z0-9_v]+$")


@pytest.fixture(scope="module")
def table() -> ModuleType:
    """The driver's table."""
    return importlib.import_module("aionvme.pci.abi")


def constants(table: ModuleType) -> dict[str, int]:
    """The numbers in the driver's table that bear a name of the kernel's."""
    return {
        name: int(value)
        for name, value in vars(table).items()
        if OURS.match(name) and isinstance(value, int) and not isinstance(value, bool)
    }


def kernel_name(name: str) -> str:
    """The kernel's name of a structure: "vfio_irq_set" for VfioIrqSet and for VFIO_IRQ_SET."""
    words = name if "_" in name else re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return words.lower().strip("_")


def structures(table: ModuleType) -> dict[str, struct.Struct | type[ctypes.Structure]]:
    """The structures in the driver's table, by the kernel's names."""
    found: dict[str, struct.Struct | type[ctypes.Structure]] = {}
    for name, value in vars(table).items():
        is_class = isinstance(value, type) and issubclass(value, ctypes.Structure)
        if isinstance(value, struct.Struct) or (is_class and value is not ctypes.Structure):
            found[kernel_name(name)] = value
    return found


def test_every_constant_is_the_kernels(table: ModuleType, headers: dict[str, dict[str, int]]) -> None:
    """Each number with a VFIO_ or IOMMU_ name has the header's value (a new name goes into abi.c too)."""
    ours = constants(table)
    assert ours, "the driver's table has no constant of the kernel's name"
    unknown = sorted(ours.keys() - headers["constants"].keys())
    assert not unknown, f"add to tools/vm/abi.c, and set up again: {unknown}"
    assert ours == {name: headers["constants"][name] for name in ours}


def test_every_structure_has_the_kernels_layout(
    table: ModuleType, headers: dict[str, dict[str, int]]
) -> None:
    """Each structure is as long as the header's, and named fields are where the header has them."""
    ours = structures(table)
    assert ours, "the driver's table has no structure"
    unknown = sorted(ours.keys() - headers["sizes"].keys())
    assert not unknown, f"add to tools/vm/abi.c, and set up again: {unknown}"
    for name, value in ours.items():
        size = value.size if isinstance(value, struct.Struct) else ctypes.sizeof(value)
        assert size == headers["sizes"][name], name
        fields = [] if isinstance(value, struct.Struct) else [field[0] for field in value._fields_]
        for field in fields:
            assert getattr(value, field).offset == headers["offsets"][f"{name}.{field}"], f"{name}.{field}"
