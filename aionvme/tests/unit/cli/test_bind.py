"""`aionvme bind` and `aionvme unbind`: what they say, and what they refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aionvme.tests.unit.pci.machine import BDF, FakeMachine

if TYPE_CHECKING:
    from aionvme.tests.unit.cli.conftest import Run

OTHER = "0000:02:00.0"


def test_bind_says_what_was_and_what_is(run: Run, machine: FakeMachine) -> None:
    """It names the driver before and after, the block devices that went, and how to go on."""
    machine.function(driver="nvme")
    machine.namespace()
    ended = run("bind", "01:00.0")
    assert (ended.status, machine.driver_of()) == (0, "vfio-pci")
    assert ended.out == f"{BDF}: was with nvme, is with vfio-pci now (gone: /dev/nvme0n1)\n"
    assert f"aionvme hello {BDF}" in ended.err
    assert f"sudo aionvme unbind {BDF}" in ended.err


def test_bind_twice_changes_nothing(run: Run, machine: FakeMachine) -> None:
    """A function that vfio-pci has already is said to be as wanted."""
    machine.function()
    ended = run("bind", BDF)
    assert (ended.status, machine.written) == (0, [])
    assert "vfio-pci has it already, nothing was changed" in ended.out


def test_a_mounted_one_is_refused(run: Run, machine: FakeMachine) -> None:
    """A function with a mounted namespace stays with the kernel, and the message is how to unmount it."""
    machine.function(driver="nvme")
    machine.namespace()
    with (machine.proc / "self/mountinfo").open("a") as file:
        file.write("30 22 259:0 / /home rw,relatime shared:1 - ext4 /dev/nvme0n1 rw\n")
    ended = run("bind", BDF)
    assert (ended.status, ended.out) == (1, "")
    assert "sudo umount /home" in ended.err
    assert machine.written == []


def test_without_rights_sudo_is_named(run: Run, machine: FakeMachine) -> None:
    """Without the right to write to sysfs it says to use sudo, and nothing has changed."""
    machine.function(driver="nvme")
    machine.unwritable = {"driver_override"}
    ended = run("bind", BDF)
    assert (ended.status, machine.driver_of()) == (1, "nvme")
    assert "Run it with sudo" in ended.err


def test_one_that_fails_does_not_keep_back_the_others(run: Run, machine: FakeMachine) -> None:
    """Of several addresses each is tried; the exit status says that one failed."""
    machine.function(OTHER, driver="nvme", group=8)
    ended = run("bind", BDF, OTHER)
    assert (ended.status, machine.driver_of(OTHER)) == (1, "vfio-pci")
    assert f"{BDF}: there is no such PCI device" in ended.err
    assert f"{OTHER}: was with nvme" in ended.out


def test_unbind_gives_it_back(run: Run, machine: FakeMachine) -> None:
    """It is the kernel's driver's again, and no override is left."""
    machine.function()
    ended = run("unbind", BDF)
    assert (ended.status, machine.driver_of(), machine.override_of()) == (0, "nvme", "(null)")
    assert ended.out == f"{BDF}: was with vfio-pci, is with nvme now\n"


def test_unbind_without_a_driver(run: Run, machine: FakeMachine) -> None:
    """Where the kernel's driver is not loaded it says how to load it."""
    folder = machine.function()
    # A kernel without the module: nobody takes what is offered.
    attach = machine._attach
    machine._attach = lambda path, driver: None if driver == "nvme" else attach(path, driver)  # type: ignore[method-assign]
    ended = run("unbind", BDF)
    assert (ended.status, (folder / "driver").exists()) == (0, False)
    assert "is with no driver now" in ended.out
    assert "sudo modprobe nvme" in ended.err


def test_an_address_is_asked_for(run: Run) -> None:
    """Without an address it is wrong usage."""
    assert run("bind").status == 2
    assert run("unbind").status == 2


def test_what_is_no_address_is_a_wrong_call(run: Run, machine: FakeMachine) -> None:
    """A word that is no address ends with the status of wrong usage, as in `hello`, before anything is done."""
    machine.function(driver="nvme")
    for command in ("bind", "unbind"):
        ended = run(command, BDF, "nonsense")
        assert (ended.status, ended.out, machine.driver_of()) == (2, "", "nvme")
        assert "'nonsense' is not an address: it is no PCI address" in ended.err
    assert run("hello", "nonsense").status == 2
