"""Owns what tests of the VM tier are given: the machine, the IOMMU interface, the record of writes.

Tests run in the guest (`make test-vm` starts it); those marked `vm_host` run on the host after it has
powered off. Everywhere else both are skipped.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aionvme.tests.vm.manifest import Manifest, Record
from aionvme.tests.vm.qmp import Qmp

PLACE = os.environ.get("AIONVME_VM", "")
SHARE = Path(os.environ.get("AIONVME_VM_SHARE", "."))
# Whether only tests that were named run, which may be such that write nothing.
NAMED = bool(os.environ.get("AIONVME_VM_NAMED"))
PART = int(os.environ.get("AIONVME_VM_PART", "0"))
INTERFACES = ("group", "iommufd")
# Parameters by which a test is repeated in other circumstances: a quick run has each test in one of them.
SPREAD = ("iommu", "function", "name", "nsid", "turn")
DEVICES = Path("/sys/bus/pci/devices")
ABI = Path(__file__).parents[3] / ".vm/abi-6.12.json"


@dataclass(frozen=True)
class NvmeNamespace:
    """One namespace of a controller.

    Attributes:
        image: the raw image behind it, on the host.
        options: what QEMU was told of its blocks, such as {"ms": 8, "pi": 1}.
    """

    image: Path
    options: dict[str, int]


@dataclass(frozen=True)
class NvmeFunction:
    """One NVMe controller of the machine.

    Attributes:
        serial: its serial number.
        block_size: bytes in a block of its namespaces.
        size: bytes in the image of each namespace.
        namespaces: from number 1 on.
        slot: its PCI address, or that of the root port that it is behind.
    """

    name: str
    serial: str
    block_size: int
    size: int
    namespaces: tuple[NvmeNamespace, ...]
    slot: str

    @property
    def images(self) -> dict[str, Path]:
        """The raw image of each namespace, by what a record calls it."""
        return {self.disk(nsid): each.image for nsid, each in enumerate(self.namespaces, 1)}

    def disk(self, nsid: int) -> str:
        """What a record calls the image of a namespace: the serial number, with a number but for the first."""
        return self.serial if nsid == 1 else f"{self.serial}-{nsid}"

    @property
    def bdf(self) -> str:
        """Its PCI address in this boot, such as "0000:01:00.0"."""
        behind = self._behind()
        return behind[0] if behind else self.slot

    @property
    def plugged(self) -> bool:
        """Whether there is a function behind the root port."""
        return any((DEVICES / bdf).exists() for bdf in self._behind())

    def _behind(self) -> list[str]:
        return sorted(path.name for path in (DEVICES / self.slot).glob("????:??:??.?"))


@dataclass(frozen=True)
class Machine:
    """The guest machine.

    Attributes:
        drives: controllers alone in their IOMMU group, by name; unless chosen `block512`, `block4096`, `formats` and
            `buffered`.
        shared: a controller in one IOMMU group with a function that the kernel's virtio driver holds.
        not_nvme: the PCI address of a function that is no NVMe controller and has no driver.
        hugepages: 2 MiB pages that the guest kernel has set aside.
        hot: a controller that is not there until it is plugged in, and its image.
        hot_plug: the arguments of QMP's `device_add` that do so; `device_del id=hot` takes it out.
    """

    drives: dict[str, NvmeFunction]
    shared: NvmeFunction
    not_nvme: str
    hugepages: int
    hot: NvmeFunction
    hot_plug: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Machine:
        """Read `machine.json`, which the host wrote before the boot."""
        tree = json.loads((folder / "machine.json").read_text())
        drives = {entry["name"]: _function(entry) for entry in tree["drives"]}
        hot = _function(tree["hot"])
        shared = _function(tree["shared"])
        return cls(drives, shared, tree["not_nvme"], tree["hugepages"], hot, tree["hot_plug"])


def _function(entry: dict[str, Any]) -> NvmeFunction:
    namespaces = tuple(
        NvmeNamespace(Path(each["image"]), parse_options(each["options"])) for each in entry["namespaces"]
    )
    return NvmeFunction(**{**entry, "namespaces": namespaces})


def parse_options(text: str) -> dict[str, int]:
    """What QEMU is told of a namespace's blocks, "ms=8,pi=1", by name."""
    pairs = [word.partition("=") for word in text.split(",") if word]
    return {name: int(value) for name, _, value in pairs}


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "vm_host: runs on the host, after the guest has powered off")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Have quick runs take each test with one kernel interface and one drive, in turn."""
    item.add_marker(pytest.mark.spread(*SPREAD))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that belong where we are; skip them all outside the tier."""
    here = Path(__file__).parent
    ours = [item for item in items if here in item.path.parents]
    if not PLACE:
        for item in ours:
            item.add_marker(pytest.mark.skip(reason="needs the guest machine: make test-vm"))
        return
    elsewhere = [
        item for item in ours if (item.get_closest_marker("vm_host") is not None) != (PLACE == "host")
    ]
    if PART and PLACE == "guest":
        elsewhere += in_other_part([item for item in ours if item not in elsewhere], PART)
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [item for item in items if item not in elsewhere]


def in_other_part(items: Sequence[pytest.Item], part: int) -> list[pytest.Item]:
    """The tests that the other one of two guests runs: of one kernel interface, and every other of those without."""
    places = itertools.cycle(INTERFACES)
    found = []
    for item in items:
        callspec = getattr(item, "callspec", None)
        interface = callspec.params.get("iommu") if callspec else None
        if (interface or next(places)) != INTERFACES[part - 1]:
            found.append(item)
    return found


@pytest.fixture(scope="session")
def machine() -> Machine:
    """The machine that the tests run in, or have run in."""
    return Machine.read(SHARE)


@pytest.fixture(scope="session")
def headers() -> dict[str, dict[str, int]]:
    """The guest kernel's own headers: `constants`, `sizes` ("struct"), `offsets` ("struct.field")."""
    tree: dict[str, dict[str, int]] = json.loads(ABI.read_text())
    return tree


@pytest.fixture(scope="session")
def abi(headers: dict[str, dict[str, int]]) -> dict[str, int]:
    """The kernel's constants by name, independent of the driver's own table."""
    return headers["constants"]


@pytest.fixture(scope="session")
def manifest() -> Manifest:
    """The record of writes, in the folder that guest and host share."""
    return Manifest(SHARE)


@pytest.fixture(scope="session")
def qmp() -> Iterator[Qmp]:
    """QEMU's monitor, from within the guest: `qmp("device_del", id="hot")`."""
    with Qmp() as monitor:
        yield monitor


@pytest.fixture(scope="session", params=INTERFACES)
def iommu(request: pytest.FixtureRequest) -> str:
    """The kernel interface to open a function by, a value of the address option `iommu=`.

    All tests that take it run with the one, then with the other, in one boot, or in a boot each.
    """
    return str(request.param)


@pytest.fixture(scope="session")
def block512(machine: Machine) -> NvmeFunction:
    """The controller with blocks of 512 bytes."""
    return machine.drives["block512"]


@pytest.fixture(scope="session")
def block4096(machine: Machine) -> NvmeFunction:
    """The controller with blocks of 4096 bytes."""
    return machine.drives["block4096"]


@pytest.fixture
def written(
    manifest: Manifest, request: pytest.FixtureRequest
) -> Iterator[Callable[[str, int, bytes], None]]:
    """A function `written(serial, byte_offset, data)`, to be called after a write that was acknowledged.

    The host looks for `data` in the raw image after power-off, but for what later records wrote over it.
    A test that takes this and passes without a record fails all the same: it would have proved nothing.
    """
    count = 0

    def record(serial: str, byte_offset: int, data: bytes) -> None:
        nonlocal count
        manifest.add(Record(serial, byte_offset, bytes(data), request.node.nodeid))
        count += 1

    failed_before = request.session.testsfailed
    yield record
    if request.session.testsfailed == failed_before:
        assert count, "the test recorded no write, so that the host has nothing to look for"
