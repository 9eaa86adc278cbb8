"""A drive between the kernel and us: by the command line and back, with the data that each has written."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import aionvme
from aionvme.cli.pattern import pattern as hello_pattern
from aionvme.pci.address import PciAddress
from aionvme.pci.vfio import open_vfio
from aionvme.spec.registers import Reg
from aionvme.tests.journeys.device import fill, pattern
from aionvme.tests.vm.conftest import Machine, NvmeFunction
from aionvme.tests.vm.kernel import block_device, bound_to_vfio, driver_of, wait_until
from aionvme.tests.vm.processes import aionvme as run_aionvme

# The first process of its own waits for its server to import everything.
pytestmark = pytest.mark.timeout(300)

MIB = 1 << 20
# Beside what the journeys write.
HELLO_AT = 28 * MIB
OURS_AT = 29 * MIB
KERNELS_AT = 30 * MIB
# CC: enabled, with entries of 64 and 16 bytes.
ENABLED = 0x460001


def _read(function: NvmeFunction, offset: int, nbytes: int) -> bytes:
    """Read through the kernel's own driver."""
    fd = os.open(block_device(function), os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(fd, nbytes, offset)
    finally:
        os.close(fd)


@contextlib.contextmanager
def _given_back(function: NvmeFunction) -> Iterator[str]:
    """Whatever the block does, the kernel's driver has the function before and afterwards."""
    bdf = function.bdf
    wait_until(lambda: driver_of(bdf) != "", "the first driver")
    try:
        yield bdf
    finally:
        if driver_of(bdf) != "nvme":
            with bound_to_vfio(function):
                pass


@pytest.mark.parametrize("name", ["block512", "block4096"])
def test_the_command_line_from_bind_to_unbind(
    machine: Machine, iommu: str, name: str, written: Callable[[str, int, bytes], None]
) -> None:
    """bind, hello --write, unbind: what hello wrote is read by the kernel's driver, at the LBA that it says."""
    function = machine.drives[name]
    nblocks = 8
    lba = HELLO_AT // function.block_size + (100 if iommu == "group" else 0)
    with _given_back(function) as bdf:
        block_device(function)
        assert run_aionvme("bind", bdf).status == 0
        assert driver_of(bdf) == "vfio-pci"
        begun = time.time_ns()
        words = ["hello", f"{bdf}?iommu={iommu}", "--write", "--yes", "--json"]
        ended = run_aionvme(*words, "--lba", str(lba), "--nblocks", str(nblocks))
        assert ended.status == 0
        report = json.loads(ended.out)
        assert (report["serial"], report["verified"], report["written"]) == (function.serial, True, True)
        assert (report["lba"], report["nblocks"]) == (lba, nblocks)
        assert run_aionvme("unbind", bdf).status == 0
        assert driver_of(bdf) == "nvme"
    offset = lba * function.block_size
    data = _read(function, offset, nblocks * function.block_size)
    seed = re.search(rb"seed ([0-9a-f]{16})", data)
    assert seed, data[:64]
    assert begun <= int(seed[1], 16) <= time.time_ns()
    assert data == hello_pattern(lba, nblocks, function.block_size, int(seed[1], 16))
    written(function.serial, offset, data)


@pytest.mark.exhaustive  # half a minute of imports; how the command line behaves, others look at
def test_the_command_as_users_start_it(machine: Machine) -> None:
    """`python -m aionvme.cli hello` reads a drive that was bound for it."""
    with bound_to_vfio(machine.drives["block512"]) as bdf:
        argv = [sys.executable, "-m", "aionvme.cli", "hello", bdf]
        ended = subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert ended.returncode == 0, ended.stderr
    assert "Nothing was written" in ended.stdout
    assert "AIO-block512" in ended.stdout


def test_list_says_who_has_what(machine: Machine) -> None:
    """`aionvme list` shows each drive with its driver, before and after it is taken from the kernel."""
    function = machine.drives["block512"]
    with _given_back(function) as bdf:
        before = {entry["address"]: entry for entry in json.loads(run_aionvme("list", "--json").out)}
        assert before[bdf]["driver"] == "nvme"
        assert not before[bdf]["usable"]
        assert machine.not_nvme not in before
        with bound_to_vfio(function):
            after = {entry["address"]: entry for entry in json.loads(run_aionvme("list", "--json").out)}
        assert (after[bdf]["driver"], after[bdf]["usable"]) == ("vfio-pci", True)


def test_a_mounted_namespace_is_not_taken(machine: Machine, tmp_path: Path) -> None:
    """`bind` refuses while a file system is mounted, names it, and works once it is unmounted; the files stay whole."""
    function = machine.shared
    with _given_back(function) as bdf:
        device = str(block_device(function))
        subprocess.run(["mkfs.minix", device], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["mount", "-t", "minix", device, str(tmp_path)], check=True)
        try:
            (tmp_path / "file").write_text("still here")
            ended = run_aionvme("bind", bdf)
            assert ended.status == 1
            assert f"mounted on {tmp_path}" in ended.err
            assert f"`sudo umount {tmp_path}`" in ended.err
            assert driver_of(bdf) == "nvme"
            # The kernel has it already: nothing to do, and nothing is done.
            assert run_aionvme("unbind", bdf).status == 0
            assert (tmp_path / "file").read_text() == "still here"
        finally:
            subprocess.run(["umount", str(tmp_path)], check=True)
        assert run_aionvme("bind", bdf).status == 0
        assert driver_of(bdf) == "vfio-pci"
        assert run_aionvme("unbind", bdf).status == 0
        subprocess.run(["mount", "-t", "minix", str(block_device(function)), str(tmp_path)], check=True)
        try:
            assert (tmp_path / "file").read_text() == "still here"
        finally:
            subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_drive_in_use_is_not_given_back(machine: Machine, iommu: str) -> None:
    """`unbind` refuses, at once, while a program has the drive; the program goes on."""
    with bound_to_vfio(machine.drives["block512"]) as bdf:
        asyncio.run(_unbind_while_open(bdf, iommu))


async def _unbind_while_open(bdf: str, iommu: str) -> None:
    async with aionvme.connect(f"{bdf}?iommu={iommu}") as ctrlr, ctrlr.alloc_io_qpair() as qp:
        ended = await asyncio.to_thread(run_aionvme, "unbind", bdf)
        assert ended.status == 1
        assert "in use" in ended.err
        assert driver_of(bdf) == "vfio-pci"
        await qp.read(ctrlr.namespaces[1], ctrlr.dma_alloc(4096), 0, 1)


@pytest.mark.parametrize("name", ["block512", "block4096"])
def test_the_kernel_reads_what_we_wrote(
    machine: Machine, iommu: str, name: str, written: Callable[[str, int, bytes], None]
) -> None:
    """After close the kernel's driver takes the drive again; each reads what the other has written."""
    function = machine.drives[name]
    data = pattern(20_000, 5 * 4096)
    kernels = pattern(20_001 + (iommu == "group"), 4096)
    fd = os.open(block_device(function), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(fd, kernels, KERNELS_AT)
        os.fsync(fd)
    finally:
        os.close(fd)
    with bound_to_vfio(function) as bdf:
        seen = asyncio.run(_exchange(f"{bdf}?iommu={iommu}", data))
    assert seen == kernels
    assert _read(function, OURS_AT, len(data)) == data
    written(function.serial, OURS_AT, data)
    written(function.serial, KERNELS_AT, kernels)


async def _exchange(address: str, data: bytes) -> bytes:
    async with aionvme.connect(address) as ctrlr, ctrlr.alloc_io_qpair() as qp:
        ns = ctrlr.namespaces[1]
        size = ns.block_size
        out, back = fill(ctrlr.dma_alloc(len(data)), data), ctrlr.dma_alloc(4096)
        await qp.write(ns, out, OURS_AT // size, len(data) // size)
        await qp.read(ns, back, KERNELS_AT // size, 4096 // size)
        return bytes(back)


def test_function_reset(machine: Machine, iommu: str) -> None:
    """The function's own reset ends a controller that is ready, and leaves mapping, memory space and bus master."""
    with bound_to_vfio(machine.drives["block512"]) as bdf:
        function = open_vfio(PciAddress(bdf, iommu))
        try:
            capabilities = function.read64(Reg.CAP)
            function.write32(Reg.AQA, 0x001F001F)
            # Nothing is there, and nothing is fetched from there before a doorbell rings.
            function.write64(Reg.ASQ, 1 << 20)
            function.write64(Reg.ACQ, 1 << 21)
            function.write32(Reg.CC, ENABLED)
            wait_until(lambda: bool(function.read32(Reg.CSTS) & 1), "CSTS.RDY")
            function.set_bus_master(True)
            function.reset()
            assert not function.read32(Reg.CSTS) & 1
            assert function.read64(Reg.CAP) == capabilities
            assert int.from_bytes(function.config_read(4, 2), "little") & 6 == 6
        finally:
            function.close()
        asyncio.run(_unused(f"{bdf}?iommu={iommu}"))


async def _unused(address: str) -> None:
    async with aionvme.connect(address) as ctrlr:
        assert ctrlr.namespaces
