"""Owns the journeys of a controller's life: connecting, probing, its options as used, and closing without a trace."""

from __future__ import annotations

import asyncio
import collections
import gc
from pathlib import Path
from typing import Any

import pytest

import aionvme
from aionvme.spec.opcodes import Cns, FeatureId
from aionvme.tests.journeys.device import Device, MiB, fill, pattern
from aionvme.tests.leaks import Census

RECONNECTS = 10


async def identify(device: Device) -> None:
    """The controller and its namespace say of themselves what is known of them otherwise."""
    async with device.connect() as ctrlr:
        assert str(ctrlr.data.sn).strip() == device.serial
        assert ctrlr.version >= (1, 2, 0)
        assert list(ctrlr.namespaces) == [1]
        ns = ctrlr.namespaces[1]
        assert (ns.nsid, ns.block_size, ns.nblocks) == (1, device.block_size, device.nblocks)
        assert ns.data.nsze == device.nblocks
        again = await ctrlr.identify(Cns.CONTROLLER)
        assert again == ctrlr.data
        assert list(await ctrlr.identify(Cns.ACTIVE_NAMESPACES)) == [1]
        told = asyncio.get_running_loop().create_future()
        ctrlr.submit_identify(Cns.NAMESPACE, lambda future, cpl: future.set_result(cpl.value), told, nsid=1)
        assert (await told).nsze == device.nblocks


async def options_as_used(device: Device) -> None:
    """What the controller does not have as asked for shows in `opts`, and the chosen options stay as they were."""
    chosen = aionvme.ControllerOptions(num_io_queues=2, io_queue_depth=65535)
    async with aionvme.connect(device.address, chosen) as ctrlr:
        assert ctrlr.opts is not chosen
        assert chosen.host_id is None
        assert ctrlr.opts.num_io_queues == 2
        first = await ctrlr.alloc_io_qpair()
        assert 1 <= first.depth < 65535
        async with ctrlr.alloc_io_qpair(depth=1) as second:
            assert (second.qid, second.depth) == (2, 1)
            with pytest.raises(aionvme.UsageError, match="2 I/O queue pairs"):
                await ctrlr.alloc_io_qpair()
        with pytest.raises(aionvme.UsageError, match="MQES"):
            await ctrlr.alloc_io_qpair(depth=first.depth + 1)
        await first.close()


async def weighted_round_robin(device: Device) -> None:
    """Weighted round robin is used where the controller has it; elsewhere round robin is, and `opts` says so."""
    weights = {"low_priority_weight": 4, "medium_priority_weight": 16, "high_priority_weight": 64}
    wanted = aionvme.ArbMechanism.WEIGHTED_ROUND_ROBIN
    async with device.connect(arb_mechanism=wanted, arbitration_burst=2, **weights) as ctrlr:
        if device.weighted:
            assert ctrlr.opts.arb_mechanism is wanted
            assert (await ctrlr.get_feature(FeatureId.ARBITRATION)).dw0 == 0x3F0F0302
        else:
            assert ctrlr.opts.arb_mechanism is aionvme.ArbMechanism.ROUND_ROBIN
            # As asked, or as it is on a controller that does not let it be changed.
            assert (await ctrlr.get_feature(FeatureId.ARBITRATION)).dw0 & 7 == ctrlr.opts.arbitration_burst
        for qprio in aionvme.QPrio:
            async with ctrlr.alloc_io_qpair(qprio=qprio) as qp:
                buf = ctrlr.dma_alloc(4096)
                await qp.read(ctrlr.namespaces[1], buf, 0, 1)


async def probing(device: Device) -> None:
    """`probe` asks for each device, attaches what is claimed with the options as changed, and asks only once."""
    context = object()
    asked: list[aionvme.PciDevice] = []
    attached: list[aionvme.Controller] = []

    def refuse(_ctx: Any, pci_dev: aionvme.PciDevice, _opts: aionvme.ControllerOptions) -> bool:
        asked.append(pci_dev)
        return False

    def claim(ctx: Any, pci_dev: aionvme.PciDevice, opts: aionvme.ControllerOptions) -> bool:
        assert ctx is context
        asked.append(pci_dev)
        opts.num_io_queues, opts.io_queue_depth = 3, 7
        return True

    def attach(ctx: Any, pci_dev: Any, ctrlr: aionvme.Controller, opts: aionvme.ControllerOptions) -> None:
        assert ctx is context
        assert ctrlr.opts is opts
        assert ctrlr.pci_dev is pci_dev
        assert (opts.num_io_queues, opts.io_queue_depth) == (3, 7)
        attached.append(ctrlr)

    await aionvme.probe(context, refuse, attach, addresses=[device.address])
    assert (len(asked), attached) == (1, [])
    await aionvme.probe(context, claim, attach, addresses=[device.address])
    assert (len(asked), len(attached)) == (2, 1)
    await aionvme.probe(context, claim, attach, addresses=[device.address])
    assert (len(asked), len(attached)) == (2, 1)
    assert str(attached[0].data.sn).strip() == device.serial
    async with attached[0].alloc_io_qpair() as qp:
        assert qp.depth == 7
    await attached[0].close()
    await aionvme.probe(context, refuse, attach, addresses=[device.address])
    assert len(asked) == 3


def _mappings() -> collections.Counter[str]:
    """What is mapped into this process that is not plain memory or a library, and how often."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    names = [line.split(maxsplit=5)[5] for line in lines if len(line.split(maxsplit=5)) == 6]
    words = ("vfio", "iommu", "memfd", "anon_inode", "hugepage", "/dev/", "aionvme:")
    return collections.Counter(name for name in names if any(word in name for word in words))


def _locked() -> str:
    """What this process has pinned or locked, as the kernel counts it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return " ".join(line for line in lines if line.startswith(("VmPin", "VmLck")))


async def reconnecting(device: Device) -> None:
    """After ten lives of the controller no descriptor, thread, task, mapping or pinned page is left of them."""

    async def live(turn: int) -> None:
        async with device.connect() as ctrlr:
            ns = ctrlr.namespaces[1]
            own = bytearray(8192)
            async with ctrlr.alloc_io_qpair(completion=("poll", "interrupt", "adaptive")[turn % 3]) as qp:
                data = pattern(14_000 + turn, device.block_size)
                with ctrlr.dma_alloc(4096) as buf, ctrlr.dma_register(own):
                    await qp.write(ns, fill(buf, data), device.scratch, 1)
                    await qp.read(ns, own, device.scratch, 1)
                    assert own[: len(data)] == data

    before, locked = await Census.of_loop(), _locked()
    gc.collect()
    mapped = _mappings()
    for turn in range(RECONNECTS):
        await live(turn)
    assert await before.leaked() == []
    assert _mappings() - mapped == {}
    assert _locked() == locked


async def closing_with_commands_queued(device: Device) -> None:
    """Closing waits for every command, those that have no slot yet included; then all that is called is refused."""
    ctrlr = await device.connect()
    qp = await ctrlr.alloc_io_qpair(depth=4)
    ns, size, lba = ctrlr.namespaces[1], device.block_size, device.blocks(10 * MiB + MiB // 2)
    data = pattern(15_000, 32 * size)
    buf = fill(ctrlr.dma_alloc(len(data)), data)
    requests = [qp.submit_write(ns, memoryview(buf)[n * size :], lba + n, 1) for n in range(32)]
    await ctrlr.close()
    assert all(request.done() for request in requests)
    ended: list[aionvme.Completion] = await asyncio.gather(*requests)
    assert not any(cpl.status for cpl in ended)
    await ctrlr.close()
    for call in (lambda: qp.read(ns, buf, 0, 1), lambda: ctrlr.dma_alloc(1), lambda: ctrlr.identify(1)):
        with pytest.raises(aionvme.UsageError, match="closed"):
            call()
    assert bytes(buf) == data
    device.record_blocks(lba, data)


WRITING = (closing_with_commands_queued,)
OTHERS = (identify, options_as_used, weighted_round_robin, probing, reconnecting)
