"""SPDK's probing, connecting and detaching in steps, on the mock, without a loop and in one."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Callable
from typing import Any

import pytest

import aionvme
from aionvme import spdk
from aionvme.mock import MockController
from aionvme.spdk.driving import PRIVATE, in_loop
from aionvme.tests.flow.spdk_stage import both_ways, value
from aionvme.tests.flow.support import IDENTIFY, PATIENCE, quiet

AGAIN = -errno.EAGAIN


@pytest.fixture(autouse=True)
def _no_loop_is_left() -> Any:
    """A thread's private loop goes with its last controller, and with the last that was begun."""
    yield
    assert PRIVATE._loop is None


async def polled(poll: Callable[[], int]) -> int:
    """Polls until it is not to be polled again."""
    end = time.monotonic() + PATIENCE
    while (code := poll()) == AGAIN:
        assert time.monotonic() < end, "still to be polled"
        if in_loop():
            await asyncio.sleep(0)
    return code


async def until(condition: Callable[[], object], poll: Callable[[], int]) -> None:
    """Polls until a condition holds, of something that has not ended by then."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        assert poll() == AGAIN
        if in_loop():
            await asyncio.sleep(0)


class Probed:
    """The callbacks of a probe, and what they were given."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.attached: list[aionvme.Controller] = []
        self.removed: list[aionvme.Controller] = []

    def probe_cb(self, ctx: Any, trid: Any, opts: Any) -> bool:
        assert ctx is self
        self.asked.append(trid.traddr)
        opts.io_queue_size = 17
        return True

    def attach_cb(self, ctx: Any, trid: Any, ctrlr: aionvme.Controller, opts: Any) -> None:
        assert ctx is self
        assert (trid.traddr, opts.io_queue_size) == (ctrlr.pci_dev.bdf, 17)
        self.attached.append(ctrlr)

    def remove_cb(self, ctx: Any, ctrlr: aionvme.Controller) -> None:
        assert ctx is self
        self.removed.append(ctrlr)

    def begin(self, *mocks: Any) -> Callable[[], int]:
        """Begins to probe; what polls."""
        begun = spdk.spdk_nvme_probe_async(list(mocks), self, self.probe_cb, self.attach_cb, self.remove_cb)
        return lambda: spdk.spdk_nvme_probe_poll_async(begun)

    async def detach(self) -> None:
        for ctrlr in self.attached:
            assert await value(spdk.spdk_nvme_detach(ctrlr)) == 0


@both_ways
async def test_probe_in_steps() -> None:
    """What has come up is handed over while another is still waited for; then there is no more to poll."""
    probed = Probed()
    with MockController() as slow, MockController() as quick:
        held = slow.hold(qid=0, opcode=IDENTIFY, count=1)
        poll = probed.begin(slow, quick)
        if not in_loop():
            assert probed.asked == [slow.pci_dev.bdf, quick.pci_dev.bdf]
        await until(lambda: probed.attached, poll)
        assert [ctrlr.pci_dev for ctrlr in probed.attached] == [quick.pci_dev]
        await until(lambda: held.commands, poll)
        held.release(1)
        assert await polled(poll) == 0
        assert len(probed.attached) == 2
        await probed.detach()


@both_ways
async def test_probe_in_steps_of_what_fails() -> None:
    """What does not come up is told by nothing but that it was not attached."""
    quiet()
    probed = Probed()
    with MockController(timeout=0.5) as dead, MockController() as well:
        dead.stuck = True
        assert await polled(probed.begin(dead, well)) == 0
        assert [ctrlr.pci_dev for ctrlr in probed.attached] == [well.pci_dev]
        await probed.detach()
        dead.stuck = False


@both_ways
async def test_probe_cb_that_raises() -> None:
    """What a callback raises, polling raises."""
    with MockController() as mock:
        probed = Probed()
        begun = spdk.spdk_nvme_probe_async([mock], None, lambda *_: bool(1 // 0), probed.attach_cb, None)
        with pytest.raises(ZeroDivisionError):
            await polled(lambda: spdk.spdk_nvme_probe_poll_async(begun))


@both_ways
async def test_connect_in_steps() -> None:
    """The callback is given the options that were passed, and those that were used; without a trid there is none."""
    attached: list[tuple[Any, ...]] = []
    opts = spdk.spdk_nvme_ctrlr_opts(io_queue_size=9, num_io_queues=3)
    assert spdk.spdk_nvme_connect_async(None, opts, lambda *_: None) is None
    with MockController() as mock:
        begun = spdk.spdk_nvme_connect_async(mock, opts, lambda *call: attached.append(call))
        assert begun is not None
        assert await polled(lambda: spdk.spdk_nvme_probe_poll_async(begun)) == 0
        [(ctx, trid, ctrlr, used)] = attached
        assert ctx is opts
        assert trid.traddr == mock.pci_dev.bdf
        assert (used.io_queue_size, used.num_io_queues) == (9, 3)
        assert await value(spdk.spdk_nvme_detach(ctrlr)) == 0


@both_ways
async def test_detach_in_steps() -> None:
    """Several are detached side by side by polling; their handles are no more valid then."""
    await detaching(blocking=False)


@both_ways
async def test_detach_that_waits() -> None:
    """Several are detached side by side, and waited for; their handles are no more valid then."""
    await detaching(blocking=True)


async def detaching(*, blocking: bool) -> None:
    """Attaches two, and detaches them."""
    probed = Probed()
    with MockController(shutdown_delay=0.05, timeout=0.5) as one, MockController() as other:
        assert await polled(probed.begin(one, other)) == 0
        contexts: list[Any] = [None]
        for ctrlr in probed.attached:
            assert spdk.spdk_nvme_detach_async(ctrlr, contexts) == 0
        if blocking:
            assert await value(spdk.spdk_nvme_detach_poll(contexts[0])) is None
        else:
            assert spdk.spdk_nvme_detach_poll_async(contexts[0]) == AGAIN
            assert spdk.spdk_nvme_detach_async(probed.attached[0], contexts) == -errno.EBUSY
            assert await polled(lambda: spdk.spdk_nvme_detach_poll_async(contexts[0])) == 0
        for ctrlr in probed.attached:
            assert ctrlr.closed
            assert spdk.spdk_nvme_detach_async(ctrlr, [None]) == -errno.EINVAL
        assert await polled(Probed().begin()) == 0
    assert spdk.spdk_nvme_detach_poll_async(None) == -errno.EINVAL
    assert await value(spdk.spdk_nvme_detach_poll(None)) is None


@both_ways
async def test_removal_is_told_by_a_scan() -> None:
    """A controller that the system asked for has closed by itself; the scan tells of it, once, and detach works."""
    quiet()
    probed = Probed()
    with MockController() as mock:
        assert await polled(probed.begin(mock)) == 0
        mock.request_removal()
        end = time.monotonic() + PATIENCE
        while not probed.removed:
            assert time.monotonic() < end
            assert spdk.spdk_nvme_scan_attached(None) == 0
            if in_loop():
                await asyncio.sleep(0)
        assert spdk.spdk_nvme_scan_attached(None) == 0
        assert probed.removed == probed.attached
        await probed.detach()
        with pytest.raises(aionvme.AddressError, match="was removed"):
            mock.open()
