"""The kernel's two interfaces in one boot: what one has had, the other gets."""

from __future__ import annotations

import asyncio

import pytest

import aionvme
from aionvme.tests.vm.conftest import INTERFACES, Machine
from aionvme.tests.vm.kernel import bound_to_vfio


@pytest.mark.parametrize("name", ["block512", "block4096"])
def test_one_interface_after_the_other(machine: Machine, name: str) -> None:
    """A drive that was open by one interface opens by the other, and again by the first; all read the same."""
    with bound_to_vfio(machine.drives[name]) as bdf:
        read = [asyncio.run(_first_block(f"{bdf}?iommu={iommu}")) for iommu in (*INTERFACES, INTERFACES[0])]
    assert read[0] == read[1] == read[2]


async def _first_block(address: str) -> bytes:
    async with aionvme.connect(address) as ctrlr, ctrlr.alloc_io_qpair() as qp:
        ns = ctrlr.namespaces[1]
        buffer = ctrlr.dma_alloc(ns.block_size)
        await qp.read(ns, buffer, 0, 1)
        return bytes(buffer)
