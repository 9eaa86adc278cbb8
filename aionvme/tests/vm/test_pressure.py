"""Memory that is short in the guest, in a control group, by a limit: a clear error, and all else goes on as before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aionvme.tests.vm import pressure
from aionvme.tests.vm.conftest import Machine, NvmeFunction
from aionvme.tests.vm.kernel import NOBODY, bound_to_vfio, nodes_of, owned_by_nobody
from aionvme.tests.vm.pressure import PIECES, Ended, Limits
from aionvme.tests.vm.processes import result_of, running

# The first process of its own waits for its server to import everything.
pytestmark = pytest.mark.timeout(300)

MIB = 1 << 20
HUGE_PAGE = 2 * MIB
PAGE = 4096
GROUPS = Path("/sys/fs/cgroup")
# Beyond what killed writers write to this drive; each of the tests has a place of its own.
DRIVE, FIRST = "block4096", 60 * MIB

Written = Callable[[str, int, bytes], None]


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group whose processes may have 160 MiB."""
    folder = GROUPS / "aionvme"
    (GROUPS / "cgroup.subtree_control").write_text("+memory")
    folder.mkdir()
    try:
        (folder / "memory.max").write_text(str(160 * MIB))
        yield folder
    finally:
        folder.rmdir()


def _too_much(machine: Machine) -> int:
    """More than the huge pages of the machine, which no limit here counts, and more than these tests leave."""
    return machine.hugepages * HUGE_PAGE + 320 * MIB


def _place(test: int, iommu: str) -> int:
    return FIRST + MIB // 2 * (2 * test + (iommu == "group"))


def _use(address: str, place: int, too_much: int, limits: Limits | None = None) -> Ended:
    ended: Ended = result_of(pressure.use, address, place, too_much, limits or Limits())
    print(ended.error, ended.message)
    assert ended.written == tuple(place + number * PAGE for number in range(PIECES))
    return ended


def _record(written: Written, function: NvmeFunction, place: int) -> None:
    for number in range(PIECES):
        written(function.serial, place + number * PAGE, pressure.piece(number))


def test_the_guest_has_no_more(machine: Machine, iommu: str, written: Written) -> None:
    """While another process has all but 224 MiB, more than is left is refused, and I/O and connecting go on."""
    function, place = machine.drives[DRIVE], _place(0, iommu)
    with bound_to_vfio(function) as bdf, running(pressure.eat, 224 * MIB) as (eater, connection):
        left = connection.recv()
        assert left < 256 * MIB
        ended = _use(f"{bdf}?iommu={iommu}", place, _too_much(machine))
        assert ended.error == "MemoryError"
        assert "are available to this process" in ended.message
        assert eater.is_alive(), "the kernel had to kill a process"
        eater.kill()
    _record(written, function, place)


def test_a_control_group_has_no_more(machine: Machine, iommu: str, group: Path, written: Written) -> None:
    """In a group with a limit more than that is refused, where the kernel would kill, and all else goes on."""
    function, place = machine.drives[DRIVE], _place(1, iommu)
    with bound_to_vfio(function) as bdf:
        ended = _use(f"{bdf}?iommu={iommu}", place, _too_much(machine), Limits(group=str(group)))
    assert ended.error == "MemoryError"
    assert "`memory.max`" in ended.message
    assert "oom_kill 0" in (group / "memory.events").read_text().splitlines()
    _record(written, function, place)


def test_no_more_may_be_locked(machine: Machine, iommu: str, written: Written) -> None:
    """A user who has used what may be locked is told so in mid-work, how to raise it, and goes on."""
    function, place = machine.drives[DRIVE], _place(2, iommu)
    with bound_to_vfio(function) as bdf, owned_by_nobody(nodes_of(bdf, iommu)):
        limits = Limits(uid=NOBODY, memlock=64 * MIB)
        ended = _use(f"{bdf}?iommu={iommu}", place, 96 * MIB, limits)
    assert ended.error == "AddressError"
    assert "the limit on locked memory is too small" in ended.message
    assert "`ulimit -l " in ended.message
    _record(written, function, place)
