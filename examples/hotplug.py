"""Attaches drives as they come and lets go of them as they go: `python hotplug.py [BDF ...]`, by default a mock's life.

With addresses such as 0000:01:00.0 it listens for these, with "all" for every NVMe function, until it is interrupted:
plug one in, or `sudo aionvme bind 0000:01:00.0`. Nothing is written. Without any it plugs a mock in and out.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import aionvme
from aionvme.mock import MockController


class Drives:
    """The drives that this program has: each is read from, block by block, until it is gone."""

    def __init__(self, wanted: set[str]) -> None:
        self.wanted = wanted
        self.reading: dict[aionvme.Controller, asyncio.Task[None]] = {}
        self.ended: list[asyncio.Task[None]] = []

    def probe_cb(self, _ctx: object, pci_dev: aionvme.PciDevice, _opts: aionvme.ControllerOptions) -> bool:
        """Whether we want it: asked once for each that nobody in this process has."""
        return "all" in self.wanted or pci_dev.bdf in self.wanted

    def attach_cb(
        self,
        _ctx: object,
        pci_dev: aionvme.PciDevice,
        ctrlr: aionvme.Controller,
        _opts: aionvme.ControllerOptions,
    ) -> None:
        """It is up, and ours."""
        print(f"{pci_dev}: attached {ctrlr.data.mn}")
        self.reading[ctrlr] = asyncio.create_task(self.read(ctrlr))

    def remove_cb(self, _ctx: object, ctrlr: aionvme.Controller) -> None:
        """It was removed. Its commands end, and it closes by itself."""
        print(f"{ctrlr.pci_dev}: let go of")
        self.ended.append(self.reading.pop(ctrlr))

    async def read(self, ctrlr: aionvme.Controller) -> None:
        """Reads until the drive takes no more commands."""
        count = 0
        ns = ctrlr.namespaces[min(ctrlr.namespaces)]
        try:
            async with ctrlr.alloc_io_qpair(depth=8) as qp:
                buf = ctrlr.dma_alloc(ns.block_size)
                while True:
                    await qp.read(ns, buf, count % ns.nblocks, 1)
                    count += 1
                    await asyncio.sleep(0.001)
        except aionvme.ControllerLostError as error:
            print(f"{ctrlr.pci_dev}: {count} reads, then: {error}")

    async def probe(self, addresses: Sequence[Any] | None = None) -> None:
        """Attaches what is new; says what could not be had."""
        try:
            await aionvme.probe(
                None, self.probe_cb, self.attach_cb, remove_cb=self.remove_cb, addresses=addresses
            )
        except* aionvme.NvmeError as group:
            for error in group.exceptions:
                print(error)

    async def close(self) -> None:
        """Lets go of all that are still there."""
        await asyncio.gather(*self.ended)
        for ctrlr, task in list(self.reading.items()):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await aionvme.detach(ctrlr)


async def listen(drives: Drives) -> None:
    """Attaches what is there, and then what comes, until it is interrupted."""
    # Listening begins here, so that nothing is missed between the first look and the first event.
    async with aionvme.hotplug() as events:
        await drives.probe()
        print(f"{len(drives.reading)} attached; waiting for others (Ctrl-C to end)")
        async for event in events:
            print(f"{event.pci_dev}: {event.kind}")
            if event.kind == "added":
                await drives.probe([event.address])


async def pretend(drives: Drives) -> None:
    """A mock's life: plugged in, attached, read from, asked back, gone."""
    with MockController() as mock:
        drives.wanted = {mock.pci_dev.bdf}
        async with aionvme.hotplug() as events:
            mock.plug_in()
            async for event in events:
                print(f"{event.pci_dev}: {event.kind}")
                if event.kind == "removed":
                    break
                await drives.probe([event.address])
                await asyncio.sleep(0.1)
                mock.request_removal()


async def main(addresses: list[str]) -> None:
    """Listens to the kernel, or pretends."""
    drives = Drives(set(addresses))
    try:
        await (listen(drives) if addresses else pretend(drives))
    finally:
        await drives.close()


try:
    aionvme.run(main(sys.argv[1:]))
except KeyboardInterrupt:
    print("interrupted")
