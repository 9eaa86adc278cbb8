"""A process that is killed in mid-write: the next one gets the drive, and all that was acknowledged is on it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

import aionvme
from aionvme.tests.vm import writer
from aionvme.tests.vm.conftest import Machine
from aionvme.tests.vm.kernel import bound_to_vfio, command_register
from aionvme.tests.vm.processes import killed_after

# The first process of its own waits for its server to import everything.
pytestmark = pytest.mark.timeout(300)

MIB = 1 << 20
# Each round has a place of its own, where no journey goes: what was not acknowledged may have been written as well.
FIRST = 48 * MIB
PER_ROUND = 2 * MIB
ROUNDS = 3
COUNT = PER_ROUND // writer.PIECE


def _killed_in_mid_write(address: str, lba: int, seed: int) -> list[int]:
    """Kill the writer once so many pieces were acknowledged; return all that were."""
    enough = random.Random(seed).randrange(1, COUNT // 2)
    numbers = killed_after(enough, writer.write, address, lba, COUNT, seed)
    assert len(numbers) >= enough
    return numbers


async def _read_back(address: str, lba: int, numbers: list[int], seed: int) -> None:
    async with aionvme.connect(address) as ctrlr, ctrlr.alloc_io_qpair() as qp:
        ns = ctrlr.namespaces[1]
        nblocks = writer.PIECE // ns.block_size
        buffer = ctrlr.dma_alloc(writer.PIECE)
        for number in numbers:
            await qp.read(ns, buffer, lba + number * nblocks, nblocks)
            assert bytes(buffer) == writer.piece(seed, number), f"piece {number} was acknowledged"


@pytest.mark.parametrize("turn", range(ROUNDS))
def test_killed_in_mid_write(
    machine: Machine, iommu: str, turn: int, written: Callable[[str, int, bytes], None]
) -> None:
    """After SIGKILL the drive is cut off from memory, opens at once, and has every acknowledged write."""
    function = machine.drives["block512" if turn % 2 else "block4096"]
    seed = turn + 100 * (iommu == "group")
    start = FIRST + PER_ROUND * (turn + ROUNDS * (iommu == "group"))
    lba = start // function.block_size
    with bound_to_vfio(function) as bdf:
        address = f"{bdf}?iommu={iommu}"
        numbers = _killed_in_mid_write(address, lba, seed)
        assert not command_register(bdf) & 4
        asyncio.run(_read_back(address, lba, numbers, seed))
    for place, data in writer.runs(seed, numbers):
        written(function.serial, start + place, data)
