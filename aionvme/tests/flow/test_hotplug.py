"""A program that attaches what comes and lets go of what goes, on mocks that are plugged in and out."""

from __future__ import annotations

import asyncio

import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.tests.flow.support import PATIENCE, quiet, until

pytestmark = [pytest.mark.anyloop, pytest.mark.usefixtures("no_leaks")]


async def test_attached_as_it_comes() -> None:
    """Added is told with what `probe` takes; after the request the controller closes, and removed is told."""
    quiet()
    attached: dict[str, aionvme.Controller] = {}
    removed: list[str] = []
    kinds: list[str] = []

    def attach_cb(_ctx: object, device: aionvme.PciDevice, ctrlr: aionvme.Controller, _opts: object) -> None:
        attached[device.bdf] = ctrlr

    def remove_cb(_ctx: object, ctrlr: aionvme.Controller) -> None:
        removed.append(ctrlr.pci_dev.bdf)

    async def listen(events: aionvme.Hotplug) -> None:
        async for event in events:
            kinds.append(f"{event.kind} {event.pci_dev}")
            assert event.bound
            if event.kind == "added":
                await aionvme.probe(
                    None, lambda *_: True, attach_cb, remove_cb=remove_cb, addresses=[event.address]
                )

    with MockController() as mock, MockController() as other:
        async with asyncio.timeout(PATIENCE), aionvme.hotplug() as events:
            listening = asyncio.create_task(listen(events))
            name = mock.pci_dev.bdf
            mock.plug_in()
            await until(lambda: name in attached)
            async with attached[name].alloc_io_qpair() as qp:
                await qp.flush(attached[name].namespaces[1])
            await asyncio.to_thread(other.plug_in)
            await until(lambda: len(attached) == 2)
            mock.request_removal()
            await until(lambda: len(kinds) == 3)
            await asyncio.to_thread(other.remove)
            await until(lambda: len(kinds) == 4)
            await until(lambda: len(removed) == 2)
            await events.close()
            await listening
        assert removed == [name, other.pci_dev.bdf]
        assert kinds == [
            f"added {name}",
            f"added {other.pci_dev}",
            f"removed {name}",
            f"removed {other.pci_dev}",
        ]
        for ctrlr in attached.values():
            await ctrlr.close()


async def test_the_kernels_messages() -> None:
    """By default it is the kernel that is listened to, by a socket that is closed at the end."""
    async with aionvme.hotplug() as events:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(events)
    with pytest.raises(StopAsyncIteration):
        await anext(events)


def test_without_a_loop() -> None:
    """Outside a loop there is nobody to wake."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        aionvme.hotplug()
