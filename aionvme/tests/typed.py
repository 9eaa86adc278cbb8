"""Owns what a user's type checker makes of the public names: never run; mypy --strict reads it, in `make lint`.

`make wheel` has it read again as a user's program, with the types that were installed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, assert_type

import numpy as np

import aionvme
from aionvme.mock import Fault, FaultPlan, MockController


async def opening(mock: MockController) -> None:
    """`connect` is awaited, or entered, and takes an address or a mock."""
    assert_type(await aionvme.connect("0000:01:00.0"), aionvme.Controller)
    async with aionvme.connect(mock, aionvme.ControllerOptions(num_io_queues=2)) as ctrlr:
        assert_type(ctrlr, aionvme.Controller)
        assert_type(ctrlr.namespaces, Mapping[int, aionvme.Namespace])
        assert_type(ctrlr.namespaces[1].block_size, int)
        assert_type(ctrlr.opts, aionvme.ControllerOptions)
        assert_type(ctrlr.pci_dev, aionvme.PciDevice)
        assert_type(await ctrlr.alloc_io_qpair(depth=4, completion="manual"), aionvme.IoQueuePair)
        async with ctrlr.alloc_io_qpair(qprio=aionvme.QPrio.HIGH) as qp:
            assert_type(qp, aionvme.IoQueuePair)


async def commands(ctrlr: aionvme.Controller, qp: aionvme.IoQueuePair) -> None:
    """Awaited, a command gives its completion; a batch what became of each."""
    ns = ctrlr.namespaces[1]
    with ctrlr.dma_alloc(4096) as buf:
        assert_type(buf, aionvme.DmaBuffer)
        assert_type(buf.iova, int)
        completion = await qp.read(ns, buf, 0, 8)
        assert_type(completion.status.sc, int)
        assert_type(completion.dw0, int)
        assert_type(await qp.read_batch(ns, buf, np.arange(8), 1), aionvme.BatchResult)
        assert_type(qp.write(ns, memoryview(buf)[:512], 0, 1, timeout=1.0).done(), bool)
        one, other = await asyncio.gather(qp.read(ns, buf, 0, 1), qp.flush(ns))
        assert_type(one.value, None)
        assert_type(other.cid, int)
        async with asyncio.TaskGroup() as group:
            group.create_task(qp.flush(ns))
    assert_type(await ctrlr.create_ns(aionvme.NamespaceSpec(nsze=8, ncap=8)), int)


def callbacks(ctrlr: aionvme.Controller, qp: aionvme.IoQueuePair) -> None:
    """A callback gets the argument that was given with it, and a completion."""

    def told(arg: list[int], completion: aionvme.Completion[Any]) -> None:
        arg.append(completion.cid)

    request = qp.submit_flush(ctrlr.namespaces[1], told, [0])
    assert_type(request.cid, int | None)
    assert_type(request.cancel(), bool)
    assert_type(qp.process_completions(), int)


def wrong(ctrlr: aionvme.Controller, qp: aionvme.IoQueuePair) -> None:
    """What the checker has to find: were it to accept one of these, its comment would be one too many."""

    def told(arg: str, completion: aionvme.Completion[Any]) -> None: ...

    ns = ctrlr.namespaces[1]
    qp.submit_flush(ns, told, 7)  # type: ignore[arg-type]
    qp.read(ns, "no memory", 0, 1)  # type: ignore[arg-type]
    qp.write(ns, bytearray(512), lba=0)  # type: ignore[call-arg]


def errors(error: aionvme.StatusError) -> None:
    """What an error has."""
    assert_type(error.dnr, bool)
    assert_type(error.opcode, int)
    assert isinstance(error, aionvme.NvmeError)


def faults() -> None:
    """A plan is of faults, by name or enumeration."""
    plan = FaultPlan([Fault("lost", nth=2)], seed=3)
    assert_type(plan.faults, tuple[Fault, ...])
    assert_type(MockController(faults=plan).strikes, list[int])
