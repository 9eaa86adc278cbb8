"""Namespaces that come and go on two of QEMU's controllers in one subsystem, and what QEMU says and does not do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

import aionvme
from aionvme.spec.identify import Oacs
from aionvme.tests.journeys.namespaces import NAMESPACES
from aionvme.tests.leaks import Census
from aionvme.tests.vm.conftest import Machine
from aionvme.tests.vm.kernel import bound_to_vfio


@pytest.fixture(scope="module")
def twins(machine: Machine) -> Iterator[tuple[str, str]]:
    """The addresses of the two controllers."""
    with bound_to_vfio(machine.drives["twin"]) as first, bound_to_vfio(machine.drives["twin2"]) as second:
        yield first, second


@pytest.mark.parametrize("journey", NAMESPACES, ids=lambda journey: journey.__name__)
def test_journey(journey: Callable[[Any, Any], Awaitable[None]], iommu: str, twins: tuple[str, str]) -> None:
    """The journey comes to its end, and leaves nothing open."""
    asyncio.run(asyncio.sleep(0))
    before = Census.take()

    async def run() -> None:
        await journey(*(f"{bdf}?iommu={iommu}" for bdf in twins))

    asyncio.run(run())
    assert Census.take().more_than(before) == []


def test_said_and_not_there(iommu: str, twins: tuple[str, str]) -> None:
    """QEMU has the bit of namespace management in OACS, attaches, and does not create: refused by what its log says."""

    async def run() -> None:
        async with aionvme.connect(f"{twins[0]}?iommu={iommu}") as ctrlr:
            assert Oacs(ctrlr.data.oacs).namespace_management
            with pytest.raises(aionvme.UsageError, match="no Namespace Management"):
                ctrlr.create_ns(aionvme.NamespaceSpec(nsze=8, ncap=8))
            ctrlr._core.commands_log = None
            with pytest.raises(aionvme.StatusError) as caught:
                await ctrlr.create_ns(aionvme.NamespaceSpec(nsze=8, ncap=8))
            assert caught.value.status == aionvme.StatusCode.INVALID_OPCODE
            assert "OACS" in caught.value.__notes__[0]

    asyncio.run(run())
