"""A real function that two processes drive: either of them is killed in mid-work, and the drive is as it should be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aionvme
from aionvme.tests.vm import writer
from aionvme.tests.vm.conftest import Machine
from aionvme.tests.vm.kernel import bound_to_vfio, command_register
from aionvme.tests.vm.processes import killed_after, running

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

pytestmark = pytest.mark.timeout(300)

MIB = 1 << 20
# Nobody else writes there.
FIRST = 60 * MIB
COUNT = 2 * MIB // writer.PIECE
ENOUGH = 40


def lend(connection: Connection[Any, Any], address: str, path: str) -> None:
    """Has the drive and lends it, until it is killed."""

    async def main() -> None:
        async with aionvme.connect(address) as ctrlr, aionvme.lend(ctrlr, path):
            connection.send("lent")
            await asyncio.Event().wait()

    asyncio.run(main())


def test_borrower_is_killed_in_mid_write(
    machine: Machine, iommu: str, tmp_path: Path, written: Callable[[str, int, bytes], None]
) -> None:
    """The owner goes on, and reads all that was acknowledged."""
    function = machine.drives["block512"]
    seed, start = 1000 + (iommu == "group"), FIRST + 2 * MIB * (iommu == "group")
    lba = start // function.block_size
    acknowledged: list[int] = []

    async def main(address: str) -> None:
        async with (
            aionvme.connect(address) as ctrlr,
            aionvme.lend(ctrlr, tmp_path / "lent") as lender,
            ctrlr.alloc_io_qpair() as qp,
        ):
            path = str(lender.path)
            acknowledged.extend(
                await asyncio.to_thread(killed_after, ENOUGH, writer.write_borrowed, path, lba, COUNT, seed)
            )
            assert len(acknowledged) >= ENOUGH
            async with asyncio.timeout(60):
                while lender.borrowers:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            buffer = ctrlr.dma_alloc(writer.PIECE)
            nblocks = writer.PIECE // function.block_size
            for number in acknowledged:
                await qp.read(ctrlr.namespaces[1], buffer, lba + number * nblocks, nblocks)
                assert bytes(buffer) == writer.piece(seed, number), f"piece {number} was acknowledged"

    with bound_to_vfio(function) as bdf:
        asyncio.run(main(f"{bdf}?iommu={iommu}"))
        assert not command_register(bdf) & 4
    for place, data in writer.runs(seed, acknowledged):
        written(function.serial, start + place, data)


def test_owner_is_killed(machine: Machine, iommu: str, tmp_path: Path) -> None:
    """Its borrower's reads end as lost; once that has let go, too, the drive opens at once."""
    function = machine.drives["block4096"]
    path = str(tmp_path / "lent")

    async def main(kill: Callable[[], None]) -> None:
        async with aionvme.borrow(path) as ctrlr:
            qp = await ctrlr.alloc_io_qpair(depth=8)
            ns, buffer = ctrlr.namespaces[1], ctrlr.dma_alloc(8 * 4096)
            done = 0

            async def reads(index: int) -> None:
                nonlocal done
                while True:
                    await qp.read(ns, memoryview(buffer)[4096 * index :], index, 1, timeout=0)
                    done += 1
                    if done == 100:
                        kill()

            ends = await asyncio.gather(*(reads(index) for index in range(8)), return_exceptions=True)
            assert {type(end) for end in ends} == {aionvme.ControllerLostError}
            with pytest.raises(aionvme.ControllerLostError):
                ctrlr.dma_alloc(4096)
        assert done >= 100

    async def again(address: str) -> None:
        async with aionvme.connect(address) as ctrlr, ctrlr.alloc_io_qpair() as qp:
            await qp.read(ctrlr.namespaces[1], ctrlr.dma_alloc(4096), 0, 1)

    with bound_to_vfio(function) as bdf:
        address = f"{bdf}?iommu={iommu}"
        with running(lend, address, path) as (owner, connection):
            assert connection.recv() == "lent"
            asyncio.run(main(owner.kill))
            owner.join()
        assert not command_register(bdf) & 4
        asyncio.run(again(address))
