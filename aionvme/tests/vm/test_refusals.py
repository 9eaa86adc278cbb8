"""What can't be connected to: each is one clear `AddressError` that says what to run, and nothing is left of it."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess

import pytest

import aionvme
from aionvme.pci.vfio import VfioFunction
from aionvme.tests.leaks import Census
from aionvme.tests.vm.attempt import Attempt, attempt
from aionvme.tests.vm.conftest import Machine
from aionvme.tests.vm.kernel import (
    NOBODY,
    bound_to_vfio,
    command_register,
    driver_of,
    nodes_of,
    owned_by_nobody,
    wait_until,
)
from aionvme.tests.vm.processes import result_of

# The first process of its own waits for its server to import everything.
pytestmark = pytest.mark.timeout(300)

BUS_MASTER = 4
CC, CSTS = 0x14, 0x1C


def _refused(address: str, *, uid: int | None = None, memlock: int | None = None) -> str:
    """The message of the one error that another process gets, which keeps nothing of the attempt."""
    ended: Attempt = result_of(attempt, address, uid, memlock)
    assert (ended.error, ended.left) == ("AddressError", ()), ended
    print(ended.message)
    assert "\n" not in ended.message
    assert ended.message.startswith(address.partition("?")[0])
    return ended.message


def _works(address: str, *, uid: int | None = None, memlock: int | None = None) -> None:
    """Another process gets the controller, and keeps nothing of it."""
    assert result_of(attempt, address, uid, memlock) == Attempt("", "", ())


def test_no_such_device(iommu: str) -> None:
    """An address where nothing is: how to see what there is."""
    assert "`aionvme list`" in _refused(f"0000:ff:1f.7?iommu={iommu}")


def test_not_an_nvme_function(machine: Machine, iommu: str) -> None:
    """A function of another class is named as such, and stays without a driver."""
    assert "not an NVMe function" in _refused(f"{machine.not_nvme}?iommu={iommu}")
    assert driver_of(machine.not_nvme) == ""


def test_bound_to_the_kernels_driver(machine: Machine, iommu: str) -> None:
    """A drive that the kernel uses: the command that takes it; connecting does not."""
    bdf = machine.drives["block512"].bdf
    wait_until(lambda: driver_of(bdf) == "nvme", "the kernel's driver")
    message = _refused(f"{bdf}?iommu={iommu}")
    assert "'nvme'" in message
    assert f"`sudo aionvme bind {bdf}`" in message
    assert driver_of(bdf) == "nvme"


def test_shared_group(machine: Machine, iommu: str) -> None:
    """A drive whose group has a function that the kernel uses: which one, and how to take that as well."""
    with bound_to_vfio(machine.shared) as bdf:
        message = _refused(f"{bdf}?iommu={iommu}")
        neighbour = bdf[:-1] + "1"
        assert f"{neighbour} (driver 'virtio-pci')" in message
        assert f"`echo {neighbour} | sudo tee" in message


def test_no_permission(machine: Machine, iommu: str) -> None:
    """Another user is told the node and how to get the right to it; with the right it works."""
    with bound_to_vfio(machine.drives["block512"]) as bdf:
        nodes = nodes_of(bdf, iommu)
        address = f"{bdf}?iommu={iommu}"
        message = _refused(address, uid=NOBODY)
        assert "no permission on /dev/" in message
        assert "`sudo chown $USER /dev/" in message
        with owned_by_nobody(nodes):
            _works(address, uid=NOBODY, memlock=1 << 30)


def test_locked_memory_is_limited(machine: Machine, iommu: str) -> None:
    """A user who may lock hardly any memory is told the limit, what it takes, and how to raise it."""
    with bound_to_vfio(machine.drives["block512"]) as bdf, owned_by_nobody(nodes_of(bdf, iommu)):
        message = _refused(f"{bdf}?iommu={iommu}", uid=NOBODY, memlock=64 << 10)
        assert "65536 bytes" in message
        enough = re.search(r"`ulimit -l (\d+)`", message)
        assert enough
        _works(f"{bdf}?iommu={iommu}", uid=NOBODY, memlock=int(enough[1]) << 10)


def test_open_already(machine: Machine, iommu: str) -> None:
    """A drive that this process has, and that another one has, is in use; whoever has it goes on."""
    with bound_to_vfio(machine.drives["block512"]) as bdf:
        asyncio.run(_open_twice(f"{bdf}?iommu={iommu}"))


async def _open_twice(address: str) -> None:
    bdf = address.partition("?")[0]
    async with aionvme.connect(address) as ctrlr, ctrlr.alloc_io_qpair() as qp:
        buffer = ctrlr.dma_alloc(4096)
        before = await Census.of_loop()
        for other in (f"{bdf}?iommu=group", f"{bdf}?iommu=iommufd"):
            with pytest.raises(aionvme.AddressError, match=f"{bdf} is in use: this process has it already"):
                await aionvme.connect(other)
            refused = await asyncio.to_thread(_refused, other)
            command = re.search(r"in use.*`sudo (fuser -v [^`]+)`", refused)
            assert command
            found = await asyncio.to_thread(
                subprocess.run, command[1].split(), capture_output=True, text=True
            )
            assert str(os.getpid()) in found.stdout.split()
        assert await before.leaked() == []
        await qp.read(ctrlr.namespaces[1], buffer, 0, 1)


def test_a_token_for_a_function_that_takes_none(machine: Machine) -> None:
    """A `vf_token` for a function that is no virtual function is named as what is wrong."""
    with bound_to_vfio(machine.drives["block512"]) as bdf:
        token = "?iommu=group&vf_token=12345678-1234-1234-1234-123456789abc"
        assert "takes no vf_token" in _refused(f"{bdf}{token}")


def test_a_failed_bring_up_leaves_nothing_on(
    machine: Machine, iommu: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A controller that refuses what the user insists on is disabled and cut off before it is given back."""
    seen: list[tuple[int, int, int]] = []
    close = VfioFunction.close

    def look_and_close(self: VfioFunction) -> None:
        if not self.closed:
            fd = os.dup(self._interface.device_fd)
            enable, ready = self.read32(CC) & 1, self.read32(CSTS) & 1
            close(self)
            assert self._config is not None
            # The kernel resets the function at the last close, of which this descriptor keeps it.
            command = int.from_bytes(os.pread(fd, 2, self._config.offset + 4), "little")
            seen.append((enable, ready, command & BUS_MASTER))
            os.close(fd)
        close(self)

    monkeypatch.setattr(VfioFunction, "close", look_and_close)
    with bound_to_vfio(machine.drives["block512"]) as bdf:
        asyncio.run(_insist(f"{bdf}?iommu={iommu}"))
        assert seen == [(0, 0, 0)]
        assert driver_of(bdf) == "vfio-pci"
        assert not command_register(bdf) & BUS_MASTER
        _works(f"{bdf}?iommu={iommu}")


async def _insist(address: str) -> None:
    """Ask for what QEMU's controller does not have, so that bring-up fails once it is enabled."""
    before = await Census.of_loop()
    with pytest.raises(aionvme.StatusError):
        await aionvme.connect(address, aionvme.ControllerOptions(host_id=bytes(range(16))))
    assert await before.leaked() == []
