"""Owns what the tests of SPDK's names share: a journey run without a loop and in one, and a mock with a queue pair.

A journey is a coroutine. Without a loop it is run by its first step alone, and has to end in it: whatever blocks has
given its value, and nothing was awaited.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import uvloop

import aionvme
from aionvme import spdk
from aionvme.mock import MockController

PATIENCE = 8.0  # seconds: what does not happen in this time does not happen
BLOCK = 512

Journey = Callable[[], Coroutine[Any, Any, None]]


def _in_asyncio(journey: Journey) -> None:
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(journey())


def _in_uvloop(journey: Journey) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(journey())


def _without_loop(journey: Journey) -> None:
    coro = journey()
    try:
        coro.send(None)
    except StopIteration:
        return
    finally:
        coro.close()
    pytest.fail("something was awaited although no loop runs")


WAYS = {"no_loop": _without_loop, "asyncio": _in_asyncio, "uvloop": _in_uvloop}


def both_ways(journey: Journey) -> Callable[[str], None]:
    """Makes tests of a journey: without a loop, on asyncio's, and on uvloop."""

    @pytest.mark.parametrize("way", list(WAYS))
    def test(way: str) -> None:
        WAYS[way](journey)

    test.__name__ = journey.__name__
    test.__doc__ = journey.__doc__
    test.__module__ = journey.__module__
    return test


def in_loop() -> bool:
    return asyncio._get_running_loop() is not None


async def value(answer: Any) -> Any:
    """What a blocking function gives: at once without a loop, and by an awaitable in one."""
    assert inspect.isawaitable(answer) == in_loop()
    return await answer if in_loop() else answer


async def breath() -> None:
    """Lets a running loop turn; without one the functions that poll see to that."""
    if in_loop():
        await asyncio.sleep(0)


async def until(condition: Callable[[], object], what: str = "it") -> None:
    """Lets the loop turn until a condition holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen"
        await breath()


@attrs.define
class Stage:
    """A mock that is attached, with a queue pair; `calls` is what was called back."""

    mock: MockController
    ctrlr: aionvme.Controller
    qp: aionvme.IoQueuePair
    ns: aionvme.Namespace
    calls: list[tuple[Any, Any]] = attrs.field(factory=list)

    def cb(self, arg: Any, cpl: Any) -> None:
        """The callback of every command."""
        self.calls.append((arg, cpl))

    async def done(self, count: int = 1) -> list[tuple[Any, Any]]:
        """Polls the queue pair until so many callbacks were called; takes them."""
        await until(lambda: self._poll(spdk.spdk_nvme_qpair_process_completions(self.qp, 0), count))
        return self._taken()

    async def admin(self, count: int = 1) -> list[tuple[Any, Any]]:
        """Polls the controller until so many callbacks were called; takes them."""
        await until(lambda: self._poll(spdk.spdk_nvme_ctrlr_process_admin_completions(self.ctrlr), count))
        return self._taken()

    def _poll(self, polled: int, count: int) -> bool:
        assert polled >= 0, f"polling gave {polled}"
        return len(self.calls) >= count

    def _taken(self) -> list[tuple[Any, Any]]:
        taken, self.calls = self.calls, []
        return taken

    async def ok(self, code: int, count: int = 1) -> None:
        """A command was submitted, and succeeds."""
        assert code == 0
        for _arg, cpl in await self.done(count):
            assert spdk.spdk_nvme_cpl_is_success(cpl), cpl.status

    async def fails(self, code: int, status: aionvme.StatusCode) -> None:
        """A command was submitted, and the controller refuses it."""
        assert code == 0
        ((_arg, cpl),) = await self.done()
        assert spdk.spdk_nvme_cpl_is_error(cpl)
        assert (cpl.status.sct, cpl.status.sc) == divmod(int(status), 256)


@asynccontextmanager
async def stage(mock: MockController | None = None, **opts: Any) -> AsyncIterator[Stage]:
    """Attaches a mock and allocates a queue pair; afterwards frees and detaches."""
    with mock or MockController(timeout=0.5) as mock:
        ctrlr = await value(spdk.spdk_nvme_connect(mock, spdk.spdk_nvme_ctrlr_opts(**opts), 0))
        assert ctrlr is not None
        qp = await value(spdk.spdk_nvme_ctrlr_alloc_io_qpair(ctrlr, None, 0))
        assert qp is not None
        ns = spdk.spdk_nvme_ctrlr_get_ns(ctrlr, spdk.spdk_nvme_ctrlr_get_first_active_ns(ctrlr))
        assert ns is not None
        try:
            yield Stage(mock, ctrlr, qp, ns)
        except BaseException:
            mock.remove()  # Else what is held would not end, and the failure not be seen.
            raise
        finally:
            mock.silent = False
            if spdk.spdk_nvme_qpair_is_connected(qp):
                assert await value(spdk.spdk_nvme_ctrlr_free_io_qpair(qp)) == 0
            if not ctrlr.closed:
                assert await value(spdk.spdk_nvme_detach(ctrlr)) == 0
            elif _is_attached(ctrlr):
                await value(spdk.spdk_nvme_detach(ctrlr))


def _is_attached(ctrlr: aionvme.Controller) -> bool:
    try:
        spdk.spdk_nvme_ctrlr_get_transport_id(ctrlr)
    except aionvme.UsageError:
        return False
    return True


def memory(data: bytes = b"", nbytes: int = BLOCK) -> memoryview:
    """DMA memory that begins with `data`."""
    buf = spdk.spdk_zmalloc(nbytes, 0)
    assert buf is not None
    buf[: len(data)] = data
    return buf
