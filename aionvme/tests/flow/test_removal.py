"""The system wants a function back, or it is gone: the controller ends in bounded time, and gives everything back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.tests.flow.support import (
    IDENTIFY,
    PATIENCE,
    WRITE,
    fetched,
    kinds,
    quiet,
    turns,
    until,
)
from aionvme.tests.leaks import Census

pytestmark = [pytest.mark.anyloop, pytest.mark.usefixtures("no_leaks")]

LOST = aionvme.ControllerLostError
RESET = aionvme.ControllerResetError
BLOCK = 512


@attrs.define
class Guest:
    """A mock that a probe attached, a queue pair of it, and what `remove_cb` saw."""

    mock: MockController
    ctrlr: aionvme.Controller
    qp: aionvme.IoQueuePair
    ns: aionvme.Namespace
    buf: aionvme.DmaBuffer
    removed: list[dict[str, Any]]

    def read(self, lba: int = 0, **keywords: Any) -> aionvme.Request:
        """A read of one block, without a time limit."""
        return self.qp.read(self.ns, self.buf, lba, 1, **{"timeout": 0, **keywords})

    async def gone(self) -> None:
        """Waits for the end: `remove_cb` was called once, and nothing is open."""
        await until(lambda: self.removed, "remove_cb")
        await until(self._plugged_out, "the removal")
        assert len(self.removed) == 1
        assert self.ctrlr.closed

    def _plugged_out(self) -> bool:
        try:
            self.mock.open().close()
        except aionvme.AddressError as error:
            return "was removed" in str(error)
        return False


@asynccontextmanager
async def guest(
    *, depth: int = 8, completion: str = "poll", mock: MockController | None = None, **opts: Any
) -> AsyncIterator[Guest]:
    """A controller to be removed. Nobody closes it: it closes by itself, and leaves nothing."""
    quiet()
    removed: list[dict[str, Any]] = []
    found: list[aionvme.Controller] = []

    def probe_cb(_ctx: object, _device: object, options: aionvme.ControllerOptions) -> bool:
        for name, value in opts.items():
            setattr(options, name, value)
        return True

    def remove_cb(_ctx: object, ctrlr: aionvme.Controller) -> None:
        removed.append({"ctrlr": ctrlr, "pci_dev": ctrlr.pci_dev})

    with mock or MockController(timeout=0.5) as mock:
        before = await Census.of_loop()
        await aionvme.probe(
            None, probe_cb, lambda *call: found.append(call[2]), remove_cb=remove_cb, addresses=[mock]
        )
        [ctrlr] = found
        qp = await ctrlr.alloc_io_qpair(depth=depth, completion=completion)
        try:
            async with asyncio.timeout(PATIENCE):
                yield Guest(mock, ctrlr, qp, ctrlr.namespaces[1], ctrlr.dma_alloc(BLOCK), removed)
        except BaseException:
            mock.remove()
            mock.silent = False
            await ctrlr.close()
            raise
        assert await before.leaked() == []
        assert ctrlr._dma.closed


async def test_idle_controller_is_given_back() -> None:
    """Without commands it is shut down in order, told of, and closed; later calls say why."""
    async with guest() as g:
        await g.read()
        g.mock.request_removal()
        await g.gone()
        assert g.removed[0]["ctrlr"] is g.ctrlr
        for call in (g.read, lambda: g.qp.submit_flush(g.ns), lambda: g.ctrlr.dma_alloc(512)):
            with pytest.raises(LOST, match="asked for its removal"):
                call()
        with pytest.raises(LOST, match="asked for its removal"):
            await g.ctrlr.identify(1)
        await g.qp.close()
        await g.ctrlr.close()
        assert len(g.removed) == 1


@pytest.mark.parametrize("completion", ["poll", "interrupt", "adaptive", "manual"])
async def test_outstanding_commands_complete(completion: str) -> None:
    """What is outstanding, and what waits for a slot, completes in the time that it has; new ones are refused."""
    async with guest(depth=2, completion=completion, removal_timeout=60.0) as g:
        held = g.mock.hold(qid=1)
        requests = [g.read(lba) for lba in range(4)]
        if completion == "manual":
            g.qp.process_completions()
        await fetched(g.mock, 2)
        g.mock.request_removal()
        await until(lambda: g.qp.closed)
        with pytest.raises(LOST, match="asked for its removal"):
            g.read()
        assert not g.removed
        held.stop()
        held.release()
        assert await kinds(requests) == [None] * 4
        await g.gone()


async def test_commands_that_do_not_complete_are_lost() -> None:
    """After `removal_timeout` the rest ends in ControllerLostError, admin commands and queued ones as well."""
    async with guest(depth=2, removal_timeout=0.1) as g:
        g.mock.hold()
        requests = [*(g.read(lba) for lba in range(4)), g.ctrlr.identify(1, timeout=0)]
        await fetched(g.mock, 2)
        begun = time.monotonic()
        g.mock.request_removal()
        assert await kinds(requests) == [LOST] * 5
        assert 0.1 <= time.monotonic() - begun < 3
        await g.gone()


async def test_buffers_are_let_go_only_after_the_device_was_cut_off() -> None:
    """When a lost read's buffer is the caller's again the device can no longer write to it."""
    async with guest(removal_timeout=0.05) as g:
        held = g.mock.hold(qid=1)
        request = g.read()
        await fetched(g.mock, 1)
        assert held.commands
        g.mock.request_removal()
        with pytest.raises(LOST):
            await request
        # Bus mastering was off, and the I/O address unmapped, before the request ended.
        assert g.ctrlr._dma.closed
        await g.gone()


async def test_surprise_removal_gives_everything_back() -> None:
    """All ones, nothing completes: every command ends, `remove_cb` is called, and nobody need close anything."""
    async with guest(depth=2) as g:
        g.mock.hold()
        requests = [g.read(lba) for lba in range(4)]
        await fetched(g.mock, 2)
        g.mock.remove()
        assert await kinds(requests) == [LOST] * 4
        await g.gone()


async def test_a_user_who_closes_what_was_lost() -> None:
    """A task that closes the controller as soon as its command was lost finds it closing; `remove_cb` is called."""
    async with guest() as g:
        g.mock.hold(qid=1)

        async def user() -> None:
            try:
                await g.read()
            finally:
                # In the same turn of the loop in which the loss was noticed.
                await g.ctrlr.close()

        task = asyncio.create_task(user())
        await fetched(g.mock, 1)
        g.mock.remove()
        assert await kinds([task]) == [LOST]
        await g.gone()


async def test_request_after_a_surprise() -> None:
    """The device is gone before the system asks: it need not wait for the time limit."""
    async with guest(removal_timeout=60.0) as g:
        g.mock.hold(qid=1)
        request = g.read()
        await fetched(g.mock, 1)
        g.mock.request_removal()
        await until(lambda: g.qp.closed)
        g.mock.remove()
        assert await kinds([request]) == [LOST]
        await g.gone()


async def test_request_is_repeated() -> None:
    """The kernel asks every ten seconds: it makes no difference."""
    async with guest(removal_timeout=0.1) as g:
        g.mock.hold(qid=1)
        request = g.read()
        await fetched(g.mock, 1)
        for _ in range(3):
            g.mock.request_removal()
            await turns()
        assert await kinds([request]) == [LOST]
        await g.gone()


async def test_request_during_a_reset() -> None:
    """A reset that is under way does not come to its end, and delays the removal no longer than the time limit."""
    async with guest(removal_timeout=0.1, admin_timeout=0) as g:
        held = g.mock.hold(qid=0, opcode=IDENTIFY)
        resetting = asyncio.create_task(g.ctrlr.reset())
        await until(lambda: held.commands)
        waiting = g.read()
        begun = time.monotonic()
        g.mock.request_removal()
        assert await kinds([resetting, waiting]) == [LOST, LOST]
        assert time.monotonic() - begun < 3
        await g.gone()


async def test_request_while_rdy_does_not_follow() -> None:
    """Whoever waits for a register gives up with the controller, however long CAP.TO is."""
    mock = MockController(timeout=60)
    async with guest(mock=mock, removal_timeout=0.1) as g:
        mock.stuck = True
        resetting = asyncio.create_task(g.ctrlr.reset())
        await turns()
        g.mock.request_removal()
        begun = time.monotonic()
        assert await kinds([resetting]) == [LOST]
        assert time.monotonic() - begun < 3
        await g.gone()


async def test_shutdown_that_takes_too_long() -> None:
    """A controller that does not complete its shutdown is cut off when the time is over."""
    async with guest(mock=MockController(shutdown_delay=60, timeout=60), removal_timeout=0.1) as g:
        begun = time.monotonic()
        g.mock.request_removal()
        await g.gone()
        assert time.monotonic() - begun < 3


async def test_request_while_closing() -> None:
    """A close that waits for a command without a time limit comes to its end; it was no removal to be told of."""
    quiet()
    with MockController() as mock:
        opts = aionvme.ControllerOptions(removal_timeout=0.1)
        ctrlr = await aionvme.connect(mock, opts)
        qp = await ctrlr.alloc_io_qpair()
        mock.hold(qid=1)
        request = qp.read(ctrlr.namespaces[1], ctrlr.dma_alloc(BLOCK), 0, 1, timeout=0)
        await fetched(mock, 1)
        closing = asyncio.create_task(ctrlr.close())
        await turns()
        mock.request_removal()
        assert await kinds([request, closing]) == [LOST, None]


async def test_request_during_bring_up() -> None:
    """Bring-up ends in ControllerLostError, at once, and leaves nothing; `remove_cb` has nothing to tell of."""
    quiet()
    removed: list[object] = []
    with MockController() as mock:
        held = mock.hold(qid=0, opcode=IDENTIFY)
        probing = asyncio.ensure_future(
            aionvme.probe(
                None,
                lambda *_: True,
                lambda *_: pytest.fail("attached"),
                remove_cb=lambda *_: removed.append(1),
                addresses=[mock],
            )
        )
        await until(lambda: held.commands)
        begun = time.monotonic()
        mock.request_removal()
        with pytest.raises(ExceptionGroup) as caught:
            await probing
        assert [type(error) for error in caught.value.exceptions] == [LOST]
        assert time.monotonic() - begun < 3
        with pytest.raises(aionvme.AddressError, match="was removed"):
            mock.open()
        await turns()
        assert not removed


async def test_request_for_a_controller_that_has_failed() -> None:
    """A controller that failed, and that nobody closed, is given back when the system asks."""
    async with guest() as g:
        g.mock.stuck = True
        await kinds([g.ctrlr.reset()])
        assert g.ctrlr.closed
        assert not g.removed
        g.mock.request_removal()
        await g.gone()


async def test_bus_error_resets_the_controller() -> None:
    """What the bus reports is acted on at once: a controller that is well afterwards goes on."""
    async with guest() as g:
        g.mock.hold(qid=1, count=1)
        request = g.read()
        await fetched(g.mock, 1)
        assert g.mock.bus_error()
        assert await kinds([request]) == [RESET]
        await g.read()
        g.mock.request_removal()
        await g.gone()


async def test_acknowledged_writes_survive_a_removal_under_load() -> None:
    """Writers that go on until they are refused: each write that was acknowledged is in the storage."""
    async with guest(depth=8, removal_timeout=5.0) as g:
        acknowledged: dict[int, bytes] = {}
        ends: list[type[BaseException]] = []

        async def writer(first: int) -> None:
            buf = g.ctrlr.dma_alloc(BLOCK)
            for lba in range(first, first + 100_000, 16):
                data = lba.to_bytes(8, "little") * 64
                memoryview(buf)[:] = data
                try:
                    await g.qp.write(g.ns, buf, lba, 1)
                except aionvme.NvmeError as error:
                    ends.append(type(error))
                    return
                acknowledged[lba] = data

        writers = [asyncio.create_task(writer(number)) for number in range(16)]
        await until(lambda: len(acknowledged) > 200)
        g.mock.request_removal()
        await asyncio.gather(*writers)
        await g.gone()
        assert set(ends) == {LOST}
        assert g.mock.queue(1).opcodes[WRITE] >= len(acknowledged)
        wrong = [lba for lba, data in acknowledged.items() if g.mock.peek(1, lba) != data]
        assert not wrong
