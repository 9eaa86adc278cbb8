"""A drive that is plugged in and out while we look: noticed, attached, asked back under load, and let go of in time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvloop

import aionvme
from aionvme.pci import uevents
from aionvme.pci.bind import bind
from aionvme.tests.journeys.device import pattern
from aionvme.tests.leaks import Census
from aionvme.tests.vm.conftest import DEVICES, Machine, NvmeFunction
from aionvme.tests.vm.kernel import bound_to_vfio, driver_of, rebind, wait_until
from aionvme.tests.vm.qmp import Qmp

pytestmark = pytest.mark.timeout(300)

LOST = aionvme.ControllerLostError
WRITERS = 8
MANY, WAITING = 127, 64  # commands of a queue pair, and those that there is no room for
PLACE = 16384  # of these, where no other writes
BLOCKS = 256  # of each writer, one after the other and again
# The guest presses the button of a slot for five seconds before it switches that off.
BUTTON_SECONDS = 5.0
BOUND = 30.0


@pytest.fixture
def unplugged(machine: Machine, qmp: Qmp) -> Iterator[NvmeFunction]:
    """The drive that is plugged in by the test; whatever that did, it is out again afterwards."""
    qmp.forget_events()
    qmp("qom-set", path="/objects/hot-limits", property="limits", value={"iops-total": 0})
    yield machine.hot
    qmp("qom-set", path="/objects/hot-limits", property="limits", value={"iops-total": 0})
    if machine.hot.plugged:
        qmp("device_del", id=machine.hot.name)
        qmp.wait_event("DEVICE_DELETED", device=machine.hot.name)


@dataclass
class Load:
    """Tasks that write until they are refused, or it is enough, and what was acknowledged.

    Attributes:
        gate: Closed, no task submits.
        outstanding: Commands that have been submitted and have not ended.
        resets: How many were ended by a reset, and submitted again.
    """

    ctrlr: aionvme.Controller
    qp: aionvme.IoQueuePair
    acknowledged: dict[int, bytes] = field(default_factory=dict)
    ends: list[type[BaseException]] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    outstanding: int = 0
    resets: int = 0
    enough: bool = False

    @classmethod
    @contextlib.asynccontextmanager
    async def on(
        cls, ctrlr: aionvme.Controller, *, first_lba: int = 0, timeout: float = 60
    ) -> AsyncIterator[Load]:
        """Begins; at the end of the block every writer has ended."""
        load = cls(ctrlr, await ctrlr.alloc_io_qpair(depth=WRITERS))
        load.gate.set()
        load.tasks = [asyncio.create_task(load._write(first_lba + number)) for number in range(WRITERS)]
        yield load
        async with asyncio.timeout(timeout):
            await asyncio.gather(*load.tasks)

    async def _write(self, lba: int) -> None:
        ns, buf, first = self.ctrlr.namespaces[1], self.ctrlr.dma_alloc(4096), lba
        for turn in range(100_000):
            if self.enough:
                return
            lba = first + turn % BLOCKS * WRITERS
            data = pattern(lba << 20 | turn, ns.block_size)
            memoryview(buf)[: len(data)] = data
            try:
                await self._write_once(ns, buf, lba)
            except aionvme.NvmeError as error:
                self.ends.append(type(error))
                # Whether this one was executed is not known.
                self.acknowledged.pop(lba, None)
                return
            # The latest at the end.
            self.acknowledged.pop(lba, None)
            self.acknowledged[lba] = data

    async def _write_once(self, ns: aionvme.Namespace, buf: aionvme.DmaBuffer, lba: int) -> None:
        """Until it was done, whatever resets there are."""
        while True:
            await self.gate.wait()
            self.outstanding += 1
            try:
                await self.qp.write(ns, buf, lba, 1)
                return
            except aionvme.ControllerResetError:
                self.resets += 1
            finally:
                self.outstanding -= 1

    async def busy(self, count: int = 3 * WRITERS) -> None:
        """Waits until so many commands have completed."""
        begun = self.qp.counters["completions"]
        async with asyncio.timeout(60):
            while self.qp.counters["completions"] < begun + count:  # noqa: ASYNC110 -- nobody tells
                await asyncio.sleep(0)


class Owner:
    """The callbacks of a probe."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.attached: list[aionvme.Controller] = []
        self.removed: list[aionvme.Controller] = []

    async def probe(self, *addresses: str) -> None:
        """Attaches what is new."""
        await aionvme.probe(self, Owner.wanted, Owner.attach, remove_cb=Owner.remove, addresses=addresses)

    def wanted(self, _device: aionvme.PciDevice, opts: aionvme.ControllerOptions) -> bool:
        """With the options of the test."""
        for name, value in self.options.items():
            setattr(opts, name, value)
        return True

    def attach(self, _device: aionvme.PciDevice, ctrlr: aionvme.Controller, _opts: Any) -> None:
        """Keeps the controller."""
        self.attached.append(ctrlr)

    def remove(self, ctrlr: aionvme.Controller) -> None:
        """Notes the removal."""
        assert ctrlr in self.attached
        self.removed.append(ctrlr)


async def _plug_in(events: aionvme.Hotplug, machine: Machine, qmp: Qmp) -> str:
    """Plugs the drive in, is told of it, binds it, is told of that; its address."""
    await asyncio.to_thread(qmp, "device_add", **machine.hot_plug)
    seen = await anext(events)
    assert (seen.kind, seen.bound, seen.pci_dev.is_nvme) == ("added", False, True)
    bdf = seen.pci_dev.bdf
    assert bdf == machine.hot.bdf
    await asyncio.to_thread(wait_until, lambda: driver_of(bdf) == "nvme", "the kernel's driver")
    await asyncio.to_thread(bind, bdf)
    bound = await anext(events)
    assert (bound.kind, bound.bound, bound.address) == ("added", True, bdf)
    assert (bound.pci_dev.driver, bound.pci_dev.vendor_id) == ("vfio-pci", 0x1B36)
    return bdf


def _run(main: Any, iommu: str) -> None:
    async def census() -> None:
        before = await Census.of_loop()
        await main
        assert await before.leaked() == []

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if iommu == "group" else None) as runner:
        runner.run(census())


def test_hot_add_and_removal_under_load(
    machine: Machine,
    qmp: Qmp,
    iommu: str,
    unplugged: NvmeFunction,
    written: Callable[[str, int, bytes], None],
) -> None:
    """Plugged in it is noticed and attached; asked back under load it completes what it has, and device_del does."""

    async def main() -> None:
        owner = Owner(removal_timeout=20.0)
        async with asyncio.timeout(200), aionvme.hotplug(unbound=True) as events:
            bdf = await _plug_in(events, machine, qmp)
            await owner.probe(f"{bdf}?iommu={iommu}")
            [ctrlr] = owner.attached
            assert str(ctrlr.data.sn).strip() == unplugged.serial
            async with Load.on(ctrlr) as load:
                await load.busy()
                begun = time.monotonic()
                await asyncio.to_thread(qmp, "device_del", id=unplugged.name)
            assert set(load.ends) == {LOST}
            with pytest.raises(LOST, match="asked for its removal"):
                load.qp.submit_flush(ctrlr.namespaces[1])
            await asyncio.to_thread(qmp.wait_event, "DEVICE_DELETED", device=unplugged.name)
            took = time.monotonic() - begun
            assert took < BUTTON_SECONDS + BOUND
            assert owner.removed == [ctrlr]
            gone = await anext(events)
            assert (gone.kind, gone.pci_dev.bdf) == ("removed", bdf)
            assert not unplugged.plugged
            print(f"device_del took {took:.1f} s; {load.qp.counters['completions']} commands before it")
        # The last of them, which were closest to the end.
        assert len(load.acknowledged) >= 3 * WRITERS
        for lba, data in list(load.acknowledged.items())[-4 * WRITERS :]:
            written(unplugged.serial, lba * unplugged.block_size, data)

    _run(main(), iommu)


def test_commands_that_do_not_complete_in_time(
    machine: Machine, qmp: Qmp, iommu: str, unplugged: NvmeFunction
) -> None:
    """With a drive that has become very slow, commands end as lost, the device is cut off, and device_del completes."""

    async def main() -> None:
        owner = Owner(removal_timeout=0.5, io_timeout=0.0)
        async with asyncio.timeout(200), aionvme.hotplug(unbound=True) as events:
            bdf = await _plug_in(events, machine, qmp)
            await owner.probe(f"{bdf}?iommu={iommu}")
            [ctrlr] = owner.attached
            async with Load.on(ctrlr, first_lba=4096) as load:
                await load.busy()
                limits = {"iops-total": 1}
                await asyncio.to_thread(
                    qmp, "qom-set", path="/objects/hot-limits", property="limits", value=limits
                )
                begun = time.monotonic()
                await asyncio.to_thread(qmp, "device_del", id=unplugged.name)
            assert load.ends == [LOST] * WRITERS
            assert ctrlr._dma.closed
            await asyncio.to_thread(qmp.wait_event, "DEVICE_DELETED", device=unplugged.name)
            assert time.monotonic() - begun < BUTTON_SECONDS + BOUND
            assert owner.removed == [ctrlr]
            assert (await anext(events)).kind == "removed"

    _run(main(), iommu)


def test_removed_with_many_in_flight(machine: Machine, qmp: Qmp, iommu: str, unplugged: NvmeFunction) -> None:
    """Taken out with a full queue and more that wait for it, each command ends as lost, once, and memory goes back."""
    ends: Counter[type[BaseException] | None] = Counter()

    async def one(request: aionvme.Request) -> None:
        end: type[BaseException] | None = None
        try:
            await request
        except aionvme.NvmeError as error:
            end = type(error)
        ends[end] += 1

    async def main() -> None:
        owner = Owner(removal_timeout=0.5, io_timeout=0.0)
        async with asyncio.timeout(200), aionvme.hotplug(unbound=True) as events:
            bdf = await _plug_in(events, machine, qmp)
            await owner.probe(f"{bdf}?iommu={iommu}")
            [ctrlr] = owner.attached
            qp = await ctrlr.alloc_io_qpair(depth=MANY)
            ns, buf = ctrlr.namespaces[1], ctrlr.dma_alloc(4096)
            # One a second, and what the device may have done at once before that counts.
            limits = {"iops-total": 1}
            await asyncio.to_thread(
                qmp, "qom-set", path="/objects/hot-limits", property="limits", value=limits
            )
            await qp.write(ns, buf, PLACE, 1)
            requests = [qp.write(ns, buf, PLACE + 8 * number, 8) for number in range(MANY + WAITING)]
            tasks = [asyncio.create_task(one(request)) for request in requests]
            await asyncio.sleep(0)
            assert sum(request.cid is None for request in requests) == WAITING
            await asyncio.to_thread(qmp, "device_del", id=unplugged.name)
            await asyncio.gather(*tasks)
            # One a second before that, at most.
            assert ends[None] <= BUTTON_SECONDS + BOUND
            assert ends == Counter({LOST: MANY + WAITING - ends[None], None: ends[None]})
            assert (qp.outstanding, ctrlr._dma.closed) == (0, True)
            await asyncio.to_thread(qmp.wait_event, "DEVICE_DELETED", device=unplugged.name)
            assert owner.removed == [ctrlr]

    _run(main(), iommu)


def test_resets_under_load(
    machine: Machine,
    qmp: Qmp,
    iommu: str,
    unplugged: NvmeFunction,
    written: Callable[[str, int, bytes], None],
) -> None:
    """Commands that are outstanding when the controller is reset end with that; submitted again, nothing is lost."""

    async def limit(iops: int) -> None:
        limits = {"iops-total": iops}
        await asyncio.to_thread(qmp, "qom-set", path="/objects/hot-limits", property="limits", value=limits)

    async def main() -> None:
        owner = Owner()
        async with asyncio.timeout(250), aionvme.hotplug(unbound=True) as events:
            bdf = await _plug_in(events, machine, qmp)
            await owner.probe(f"{bdf}?iommu={iommu}")
            [ctrlr] = owner.attached
            async with Load.on(ctrlr, first_lba=8192) as load:
                for number in range(1, 4):
                    await load.busy()
                    await limit(1)
                    # QEMU 7.2 crashes when it is disabled with commands in a queue that it has not taken yet.
                    load.gate.clear()
                    await asyncio.sleep(0.5)
                    assert load.outstanding
                    await ctrlr.reset()
                    assert load.resets >= number
                    await limit(0)
                    load.gate.set()
                load.enough = True
            assert not load.ends
            await ctrlr.close()
            # It is the kernel's affair now, as nobody has it open.
            await asyncio.to_thread(qmp, "device_del", id=unplugged.name)
            await asyncio.to_thread(qmp.wait_event, "DEVICE_DELETED", device=unplugged.name)
        for lba, data in list(load.acknowledged.items())[-8 * WRITERS :]:
            written(unplugged.serial, lba * unplugged.block_size, data)

    _run(main(), iommu)


def test_unbinding_by_the_kernel(machine: Machine, iommu: str) -> None:
    """Written to the driver's `unbind`, the kernel asks in the same way, and the write returns once we have let go."""

    async def main(bdf: str) -> None:
        owner = Owner()
        async with asyncio.timeout(200):
            await owner.probe(f"{bdf}?iommu={iommu}")
            [ctrlr] = owner.attached
            async with Load.on(ctrlr, first_lba=80_000) as load:
                await load.busy()
                begun = time.monotonic()
                await asyncio.to_thread((DEVICES / bdf / "driver/unbind").write_text, bdf)
                assert time.monotonic() - begun < BOUND
            assert set(load.ends) == {LOST}
            assert owner.removed == [ctrlr]
        assert driver_of(bdf) == ""
        rebind(bdf, "vfio-pci")

    with bound_to_vfio(machine.drives["block512"]) as bdf:
        _run(main(bdf), iommu)


def test_the_kernels_messages(machine: Machine, qmp: Qmp, unplugged: NvmeFunction) -> None:
    """The messages that the tests of the parser hold are the kernel's, but for their numbers."""
    with uevents.open_socket() as sock:
        qmp("device_add", **machine.hot_plug)
        wait_until(lambda: unplugged.plugged and driver_of(unplugged.bdf) == "nvme", "the drive")
        bdf = unplugged.bdf
        rebind(bdf, "vfio-pci")
        messages: list[bytes] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                messages.append(sock.recvmsg(uevents.MESSAGE_BYTES)[0])
    print(*messages, sep="\n")
    told = [uevent for message in messages if (uevent := uevents.parse(message)) is not None]
    actions = [uevent.action for uevent in told if uevent.bdf == bdf]
    assert actions == ["add", "bind", "unbind", "bind"]
    last = [message for message in messages if message.startswith(b"bind@") and bdf.encode() in message][-1]
    assert b"\0DRIVER=vfio-pci\0" in last
    assert f"\0PCI_SLOT_NAME={bdf}\0".encode() in last


def test_hot_nodes_go(machine: Machine, iommu: str) -> None:
    """After all that vfio has no node left of the drive that was plugged out."""
    assert not machine.hot.plugged
    wait_until(lambda: not list(Path("/dev/vfio/devices").glob("*")), "the nodes to go")
    assert iommu
