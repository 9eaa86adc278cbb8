"""Owns what the contenders read from: a mock on the second processor, and whether it did what they say."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import attrs

import aionvme
from aionvme.mock import MockController

__all__ = ["Device", "Sample", "new_threads_on", "open_device", "pinned", "processors"]

BLOCK = 4096
SIZE = 64 << 20


@attrs.frozen
class Sample:
    """One run of one contender.

    Attributes:
        commands: Reads that completed.
        seconds: In what time.
        thread_ns: CPU time of the thread that drives.
        extra: What else it has to say.
    """

    commands: int
    seconds: float
    thread_ns: int
    extra: dict[str, Any] = attrs.field(factory=dict)

    @property
    def rate(self) -> float:
        """Commands a second."""
        return self.commands / self.seconds


@attrs.define(eq=False)
class Device:
    """A mock that is connected.

    Attributes:
        mock, ctrlr, ns: It.
        cpus: The processors of the thread that drives; None for all.
    """

    mock: MockController
    ctrlr: aionvme.Controller
    ns: aionvme.Namespace
    cpus: frozenset[int] | None

    @contextlib.contextmanager
    def checked(self) -> Iterator[list[int]]:
        """Nobody is flattered: what was reported, put into the list, was read by the device, and nothing failed.

        Raises:
            RuntimeError: The device read less, or refused something.
        """
        before = self.mock.counters
        reported: list[int] = []
        yield reported
        after = self.mock.counters
        read, errors = after.reads - before.reads, after.errors - before.errors
        if errors or read < sum(reported) or after.bytes_read - before.bytes_read != read * BLOCK:
            raise RuntimeError(
                f"{sum(reported)} reads of {BLOCK} bytes were reported, but the device read {read} times, "
                f"{after.bytes_read - before.bytes_read} bytes, and had {errors} errors"
            )


def processors() -> tuple[frozenset[int] | None, frozenset[int] | None]:
    """For the driving thread and for the device's: one each, if there are two."""
    there = sorted(os.sched_getaffinity(0))
    if len(there) < 2:
        return None, None
    return frozenset(there[:1]), frozenset(there[1:2])


@contextlib.contextmanager
def pinned(cpus: frozenset[int] | None) -> Iterator[None]:
    """This thread on these processors."""
    before = os.sched_getaffinity(0)
    if cpus is not None:
        os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def new_threads_on(cpus: frozenset[int] | None) -> Iterator[None]:
    """Threads that are begun inside have these processors; the mock's is one."""
    before = {thread.ident for thread in threading.enumerate()}
    yield
    for thread in threading.enumerate():
        if thread.ident not in before and thread.native_id is not None and cpus is not None:
            os.sched_setaffinity(thread.native_id, cpus)


async def _write_all(ctrlr: aionvme.Controller) -> None:
    # What was never written is one page of zeros, which lies in the nearest cache and is copied for less.
    ns, nbytes = ctrlr.namespaces[1], 1 << 20
    async with ctrlr.alloc_io_qpair(depth=4) as qp:
        with ctrlr.dma_alloc(nbytes) as buf:
            memoryview(buf)[:] = os.urandom(nbytes)
            for lba in range(0, ns.nblocks, nbytes // BLOCK):
                await qp.write(ns, buf, lba, nbytes // BLOCK)


@contextlib.asynccontextmanager
async def open_device(*, no_data: bool = False, **options: Any) -> AsyncIterator[Device]:
    """A mock with blocks of 4 KiB, written or without data, whose thread has a processor to itself if there are two."""
    driver, device = processors()
    with contextlib.ExitStack() as stack:
        with new_threads_on(device):
            mock = stack.enter_context(MockController(lba=BLOCK, size=SIZE, no_data=no_data, **options))
        async with aionvme.connect(mock) as ctrlr:
            if not no_data:
                await _write_all(ctrlr)
            yield Device(mock, ctrlr, ctrlr.namespaces[1], driver)
