"""Owns what the flow tests share.

A rig of mock, controller and queue pair, and how to wait for what the mock has seen.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs

import aionvme
from aionvme.mock import MockController

if TYPE_CHECKING:
    from aionvme.qpair.core import QueuePair

__all__ = [
    "Recorder",
    "Rig",
    "bare_admin",
    "closed_rig",
    "fetched",
    "kinds",
    "quiet",
    "rig",
    "turns",
    "until",
]

PATIENCE = 8.0  # seconds: what does not happen in this time does not happen
BLOCK = 512
READ, WRITE, FLUSH = 2, 1, 0
ABORT, CREATE_SQ, CREATE_CQ, DELETE_SQ, DELETE_CQ, IDENTIFY, SET_FEATURES = (
    0x08,
    0x01,
    0x05,
    0x00,
    0x04,
    0x06,
    0x09,
)


@attrs.frozen
class Rig:
    """A connected mock, one queue pair, one namespace, and a buffer of one block for each of 256 commands."""

    mock: MockController
    ctrlr: aionvme.Controller
    qp: aionvme.IoQueuePair
    ns: aionvme.Namespace
    buf: aionvme.DmaBuffer

    def read(self, lba: int = 0, **keywords: Any) -> aionvme.Request:
        """A read of one block."""
        return self.qp.read(self.ns, self.buf, lba, 1, **keywords)

    def reads(self, count: int, **keywords: Any) -> list[aionvme.Request]:
        """As many reads, of the blocks from 0 on."""
        return [self.read(lba, **keywords) for lba in range(count)]

    async def works(self) -> None:
        """The queue pair takes a command, and it succeeds."""
        cpl = await self.read()
        assert not cpl.status


@asynccontextmanager
async def rig(
    mock: MockController | None = None,
    *,
    depth: int = 128,
    completion: str = "poll",
    **opts: Any,
) -> AsyncIterator[Rig]:
    """Brings a mock up and allocates a queue pair; afterwards closes all of it, and the mock is as before.

    Args:
        mock: With its options; by default a plain one.
        depth: Of the queue pair.
        completion: Of the queue pair.
        opts: `ControllerOptions`.
    """
    with mock or MockController(timeout=0.5) as mock:
        ctrlr = await aionvme.connect(mock, aionvme.ControllerOptions(**opts))
        try:
            qp = await ctrlr.alloc_io_qpair(depth=depth, completion=completion)
            async with asyncio.timeout(PATIENCE):
                yield Rig(mock, ctrlr, qp, ctrlr.namespaces[1], ctrlr.dma_alloc(BLOCK))
        except BaseException:
            mock.remove()  # Else what is held would not end, and the failure not be seen.
            raise
        finally:
            mock.silent = False
            await ctrlr.close()
            assert ctrlr.closed
        closed_rig(mock)


def closed_rig(mock: MockController) -> None:
    """The driver has let go of a mock: it is disabled, may be opened again, and saw no wrong doorbell."""
    counters = mock.counters
    assert (counters.bad_doorbell_registers, counters.bad_doorbell_values) == (0, 0)
    assert mock.num_queues == 0
    try:
        function = mock.open()
    except aionvme.AddressError as error:
        if "was removed" in str(error):
            return
        raise
    assert function.read32(0x14) & 1 == 0  # CC.EN
    function.close()


async def until(condition: Callable[[], object], what: str = "it") -> None:
    """Lets the loop turn until a condition holds that another thread brings about."""
    end = time.monotonic() + PATIENCE
    # There is nothing to await: the mock tells nobody what it has fetched.
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen"
        await asyncio.sleep(0)


async def turns(count: int = 20) -> None:
    """Lets the loop turn a number of times: long enough for what would be wrong to happen."""
    for _ in range(count):
        await asyncio.sleep(0)


async def fetched(mock: MockController, count: int, qid: int = 1) -> None:
    """Waits until the mock has taken so many commands from a queue."""
    await until(lambda: mock.queue(qid).fetched >= count, f"fetching {count} commands")


async def kinds(awaitables: Iterable[Awaitable[Any]]) -> list[type[BaseException] | None]:
    """Awaits all; the class of what each raised, or None."""
    ended = await asyncio.gather(*awaitables, return_exceptions=True)
    return [type(end) if isinstance(end, BaseException) else None for end in ended]


class Recorder:
    """What the loop's exception handler is told while the context lasts, and nobody else is."""

    def __init__(self) -> None:
        self.contexts: list[dict[str, Any]] = []

    @property
    def messages(self) -> list[str]:
        """The messages in order."""
        return [context["message"] for context in self.contexts]

    def __enter__(self) -> Recorder:
        self._loop = asyncio.get_running_loop()
        self._before = self._loop.get_exception_handler()
        self._loop.set_exception_handler(lambda _loop, context: self.contexts.append(context))
        return self

    def __exit__(self, *_exc: object) -> None:
        self._loop.set_exception_handler(self._before)


def quiet() -> None:
    """Silences the driver's log for a test that makes it complain."""
    logging.getLogger("aionvme").setLevel(logging.CRITICAL)


def bare_admin(ctrlr: aionvme.Controller) -> QueuePair:
    """The admin queue pair, to look at."""
    return ctrlr._admin
