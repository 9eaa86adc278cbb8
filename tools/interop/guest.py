"""Owns the guest as tests start it: all that it is made of, and one boot."""

from __future__ import annotations

from tools.interop import beside
from tools.interop.machine import Machine
from tools.vm import boot, initramfs, kernel
from tools.vm.layout import VmError, locked, stage


def set_up(*, refresh: bool = False) -> None:
    """Make everything that a boot needs, or find it made.

    Args:
        refresh: take what Debian has today.

    Raises:
        Unavailable: packages can't be had here.
        VmError: something failed.
    """
    with stage("set-up"):
        beside.set_up(refresh=refresh)
        chosen = kernel.set_up(refresh=refresh, with_vfio=False)
        initramfs.build(chosen, Machine(()).contents)


def run(name: str, machine: Machine, script: str, timeout: float) -> boot.Boot:
    """Boot the machine, run the script in it, power off; return the boot, with what it left in its `share`.

    Args:
        name: of the run's folder.
        machine: the machine.
        script: what busybox's shell runs, with the shared folder as `boot.GUEST_SHARE`.
        timeout: seconds for all of it.

    Raises:
        VmError: it is not set up, or the script's exit status was not 0 or did not come out.
    """
    chosen = kernel.current()
    if chosen is None:
        raise VmError("the guest is not set up: run python -m tools.interop setup")
    with locked(f"run-{name}"):
        started = boot.Boot(machine, chosen, boot.folder(name), timeout)
        status = started.run(script)
    if status:
        raise VmError(f"the guest's script returned {status}")
    return started
