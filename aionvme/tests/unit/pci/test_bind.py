"""Handing a function to vfio-pci and back."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from aionvme.errors import AddressError
from aionvme.pci.bind import bind, unbind
from aionvme.pci.discovery import find
from aionvme.pci.holders import namespaces
from aionvme.tests.unit.pci.machine import BDF, FakeMachine

if TYPE_CHECKING:
    from pathlib import Path


def test_bind_gives_it_to_vfio(machine: FakeMachine) -> None:
    """Override, unbind, probe, in this order; the function is as described afterwards."""
    machine.function(driver="nvme")
    machine.namespace()
    device = bind("01:00.0", machine)
    assert (device.driver, machine.driver_of()) == ("vfio-pci", "vfio-pci")
    assert machine.written == [
        (f"bus/pci/devices/{BDF}/driver_override", "vfio-pci"),
        (f"bus/pci/devices/{BDF}/driver/unbind", BDF),
        ("bus/pci/drivers_probe", BDF),
    ]


def test_bind_takes_a_function_without_driver(machine: FakeMachine) -> None:
    """There is nobody to unbind it from."""
    machine.function(driver=None)
    assert bind(BDF, machine).driver == "vfio-pci"


def test_bind_twice_is_bind_once(machine: FakeMachine) -> None:
    """What vfio-pci has already is left alone."""
    machine.function()
    assert bind(BDF, machine).driver == "vfio-pci"
    assert machine.written == []


def test_unbind_gives_it_back(machine: FakeMachine) -> None:
    """The override goes and the kernel chooses."""
    machine.function(driver="nvme")
    bind(BDF, machine)
    assert unbind(BDF, machine).driver == "nvme"
    assert machine.override_of() == "(null)"


def test_unbind_leaves_the_kernels_driver_alone(machine: FakeMachine) -> None:
    """A function that the kernel has is not probed again, even if it is mounted."""
    machine.function(driver="nvme")
    assert unbind(BDF, machine).driver == "nvme"
    assert machine.written == []


@pytest.mark.parametrize("call", [bind, unbind])
def test_other_classes_are_refused(machine: FakeMachine, call: object) -> None:
    """Nothing but an NVMe function changes hands."""
    machine.function(class_code=0x020000, driver="nvme")
    with pytest.raises(AddressError, match=r"not an NVMe function \(its class is 020000\)"):
        call(BDF, machine)  # type: ignore[operator]
    assert machine.written == []


def test_the_module_is_asked_for(machine: FakeMachine) -> None:
    """Without vfio-pci the message is modprobe."""
    machine.function(driver="nvme")
    (machine.sys / "bus/pci/drivers/vfio-pci").rmdir()
    with pytest.raises(AddressError, match=r"Run `sudo modprobe vfio-pci`"):
        bind(BDF, machine)


def test_an_iommu_is_asked_for(machine: FakeMachine) -> None:
    """Without an IOMMU group the message is how to switch it on, and the driver keeps the function."""
    machine.function(driver="nvme", group=None)
    with pytest.raises(AddressError, match="intel_iommu=on"):
        bind(BDF, machine)
    assert machine.driver_of() == "nvme"


def _mount(machine: FakeMachine, number: str, source: str, place: str = "/home") -> None:
    with (machine.proc / "self/mountinfo").open("a") as file:
        file.write(f"30 22 {number} / {place} rw,relatime shared:1 - ext4 {source} rw\n")


def _partition(namespace: Path, machine: FakeMachine) -> None:
    part = namespace / "nvme0n1p2"
    part.mkdir()
    (part / "partition").write_text("2\n")
    (part / "dev").write_text("259:2\n")
    machine.node("nvme0n1p2")


def _mounted(machine: FakeMachine, namespace: Path) -> None:
    _mount(machine, "259:0", "/dev/root")


def _mounted_by_name(machine: FakeMachine, namespace: Path) -> None:
    (machine.dev / "disk/by-id").mkdir(parents=True)
    (machine.dev / "disk/by-id/drive").symlink_to(machine.dev / "nvme0n1")
    _mount(machine, "0:44", "/dev/disk/by-id/drive")


def _partition_mounted(machine: FakeMachine, namespace: Path) -> None:
    _partition(namespace, machine)
    _mount(machine, "259:2", "/dev/nvme0n1p2", "/my\\040data")


def _swap(machine: FakeMachine, namespace: Path) -> None:
    _partition(namespace, machine)
    with (machine.proc / "swaps").open("a") as file:
        file.write("/dev/nvme0n1p2\tpartition\t8388604\t0\t-2\n")


def _device_mapper(machine: FakeMachine, namespace: Path) -> None:
    (namespace / "holders/dm-3/dm").mkdir(parents=True)
    (namespace / "holders/dm-3/dm/name").write_text("vg0-root\n")


def _array(machine: FakeMachine, namespace: Path) -> None:
    (namespace / "holders/md127").mkdir()


def _other_holder(machine: FakeMachine, namespace: Path) -> None:
    (namespace / "holders/bcache0").mkdir()


def _exclusive(machine: FakeMachine, namespace: Path) -> None:
    machine.refused["nvme0n1"] = errno.EBUSY


HOLDS = {
    "mounted": (_mounted, r"/dev/nvme0n1 is in use: it is mounted on /home. Run `sudo umount /home`"),
    "by name": (_mounted_by_name, "it is mounted on /home"),
    "partition": (_partition_mounted, "/dev/nvme0n1p2 is in use: it is mounted on /my data"),
    "swap": (_swap, "/dev/nvme0n1p2 is in use: the kernel swaps to it. Run `sudo swapoff /dev/nvme0n1p2`"),
    "device mapper": (_device_mapper, r"vg0-root \(dm-3\) is made of it. Run `sudo dmsetup remove vg0-root`"),
    "array": (_array, "md127 is made of it. Run `sudo mdadm --stop /dev/md127`"),
    "other": (_other_holder, "bcache0 is made of it"),
    "exclusive": (_exclusive, "/dev/nvme0n1 is in use: held by the kernel or a program"),
}


@pytest.mark.parametrize("hold", HOLDS)
def test_a_held_function_is_refused(machine: FakeMachine, hold: str) -> None:
    """Whoever holds a namespace or a partition is named, with what ends it; nothing is written."""
    machine.function(driver="nvme")
    prepare, message = HOLDS[hold]
    prepare(machine, machine.namespace())
    with pytest.raises(AddressError, match=message):
        bind(BDF, machine)
    assert machine.driver_of() == "nvme"
    assert machine.written == []
    assert machine.open_fds == {}


def test_unbind_refuses_a_held_namespace_as_well(machine: FakeMachine) -> None:
    """A function without a driver whose multipath device is mounted stays as it is."""
    machine.function(driver=None)
    _mounted(machine, machine.namespace())
    with pytest.raises(AddressError, match="mounted on /home"):
        unbind(BDF, machine)
    assert machine.written == []


def test_multipath_counts(machine: FakeMachine) -> None:
    """With multipath the subsystem's block device is the one that is looked at."""
    path = machine.function(driver="nvme")
    (path / "nvme/nvme1/nvme0c1n1").mkdir(parents=True)
    head = machine.sys / "class/block/nvme0n1"
    (head / "holders").mkdir(parents=True)
    (head / "dev").write_text("259:0\n")
    assert namespaces(find(BDF, machine.sys), machine) == [head]
    _mounted(machine, head)
    with pytest.raises(AddressError, match="mounted on /home"):
        bind(BDF, machine)


def test_block_devices_are_kept_while_it_changes_hands(machine: FakeMachine) -> None:
    """Nobody can mount a namespace between the look at it and the unbinding."""
    machine.function(driver="nvme")
    machine.namespace()

    def fail(number: int, name: str) -> None:
        if name == "write":
            assert "nvme0n1" in machine.open_fds.values()

    machine.fail = fail
    bind(BDF, machine)
    assert machine.open_fds == {}


def test_a_function_in_use_is_not_unbound(machine: FakeMachine) -> None:
    """The kernel would wait for whoever has it open; the message names the node to look at."""
    machine.function()
    machine.refused["7"] = errno.EBUSY
    with pytest.raises(AddressError, match=r"in use: .*`sudo fuser -v .*/dev/vfio/7`"):
        unbind(BDF, machine)
    assert machine.driver_of() == "vfio-pci"


def test_a_driver_that_fails_to_take_it_leaves_no_trace(machine: FakeMachine) -> None:
    """vfio-pci refuses in its probe: the earlier driver has it again, without override."""
    machine.function(driver="nvme")
    machine.vfio_takes = False
    with pytest.raises(AddressError, match="vfio-pci did not take it"):
        bind(BDF, machine)
    assert (machine.driver_of(), machine.override_of()) == ("nvme", "(null)")


def test_new_id_is_found_out(machine: FakeMachine) -> None:
    """vfio-pci takes the function again though there is no override: the message is remove_id."""
    machine.function()

    def probe(path: Path, text: str) -> None:
        if path.name == "drivers_probe":
            machine._attach(machine.sys / "bus/pci/devices" / BDF, "vfio-pci")
        else:
            FakeMachine.write(machine, path, text)

    object.__setattr__(machine, "write", probe)
    with pytest.raises(AddressError, match=r'echo "1b36 0010" \| sudo tee .*remove_id'):
        unbind(BDF, machine)
    assert machine.driver_of() == "vfio-pci"


@pytest.mark.parametrize("file", ["driver_override", "unbind", "drivers_probe"])
@pytest.mark.parametrize("call", [bind, unbind])
def test_without_permission_nothing_changes(machine: FakeMachine, file: str, call: object) -> None:
    """Whichever file may not be written, the message is sudo and the driver is the earlier one."""
    before = "nvme" if call is bind else "vfio-pci"
    machine.function(driver=before)
    machine.namespace() if call is bind else None
    machine.unwritable = {file}
    with pytest.raises(AddressError, match="Run it with sudo"):
        call(BDF, machine)  # type: ignore[operator]
    assert machine.driver_of() == before
    assert machine.override_of() == "(null)"


@pytest.mark.parametrize("step", range(7))
def test_a_failure_at_any_step_is_undone(machine: FakeMachine, step: int) -> None:
    """An error of the kernel's at call k comes out, and the function is where it was."""
    machine.function(driver="nvme")
    machine.namespace()
    (machine.sys / "bus/pci/devices" / BDF / "driver_override").write_text("nvme\n")

    def fail(number: int, name: str) -> None:
        if number == step:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    machine.fail = fail
    # Calls 0 to 3 are made: open the block device, and three writes.
    if step <= 3:
        with pytest.raises(OSError, match="Input/output error"):
            bind(BDF, machine)
        assert (machine.driver_of(), machine.override_of()) == ("nvme", "nvme")
    else:
        assert bind(BDF, machine).driver == "vfio-pci"
    assert machine.open_fds == {}
