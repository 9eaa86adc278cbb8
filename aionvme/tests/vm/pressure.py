"""Owns what processes of their own do where memory is short: one eats it, and one has to do with what is left."""

from __future__ import annotations

import asyncio
import mmap
import os
import resource
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aionvme
from aionvme.tests.journeys.device import fill, pattern
from aionvme.tests.vm.attempt import become

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from multiprocessing.connection import Connection

MIB = 1 << 20
STEP = 4 * MIB
PIECES = 24


def available() -> int:
    """Bytes that the guest can still give out, as its kernel says."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("MemAvailable:"))
    return int(line.split()[1]) * 1024


def eat(connection: Connection[Any, Any], leave: int) -> None:
    """Fill memory until so many bytes are left, say so, and keep it until killed.

    Should the kernel have to kill a process for want of memory, it is this one.
    """
    Path("/proc/self/oom_score_adj").write_text("1000")
    eaten = []
    while available() > leave + STEP:
        eaten.append(mmap.mmap(-1, STEP, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE))
    connection.send(available())
    while True:
        signal.pause()


@dataclass(frozen=True)
class Limits:
    """What the process may have.

    Attributes:
        uid: the user to become.
        memlock: bytes that it may lock.
        group: the folder of a control group to enter.
    """

    uid: int | None = None
    memlock: int | None = None
    group: str | None = None

    def enter(self) -> None:
        """Have them from now on."""
        if self.group is not None:
            Path(self.group, "cgroup.procs").write_text(str(os.getpid()))
        if self.memlock is not None:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (self.memlock, self.memlock))
        if self.uid is not None:
            become(self.uid)


@dataclass(frozen=True)
class Ended:
    """How it went.

    Attributes:
        error: the name of the class of the exception for too much memory.
        message: what the exception says.
        written: where pieces were written that were read back right, by byte.
    """

    error: str
    message: str
    written: tuple[int, ...]


def use(address: str, offset: int, too_much: int, limits: Limits) -> Ended:
    """Ask for more memory than there is in mid-work, and go on working; then begin anew, and work.

    Args:
        address: of the drive.
        offset: the byte of the drive from which on it may write `PIECES` pages.
        too_much: how many bytes to ask for.
        limits: what to have first.
    """
    limits.enter()
    return asyncio.run(_use(address, offset, too_much))


def piece(number: int) -> bytes:
    """The data of one page."""
    return pattern(31_000 + number, mmap.PAGESIZE)


async def _use(address: str, offset: int, too_much: int) -> Ended:
    error: Exception | None = None
    async with aionvme.connect(address) as ctrlr:
        written = await _write(ctrlr, offset, range(PIECES // 3))
        try:
            ctrlr.dma_alloc(too_much)
        except (MemoryError, aionvme.NvmeError, OSError) as caught:
            error = caught.with_traceback(None)
        written += await _write(ctrlr, offset, range(PIECES // 3, 2 * PIECES // 3))
    async with aionvme.connect(address) as ctrlr:
        written += await _write(ctrlr, offset, range(2 * PIECES // 3, PIECES))
    return Ended(type(error).__name__, str(error), tuple(written))


async def _write(ctrlr: aionvme.Controller, offset: int, numbers: range) -> list[int]:
    """Write pieces with all of them in flight, read them back, and return where they are."""
    ns = ctrlr.namespaces[1]
    nblocks = mmap.PAGESIZE // ns.block_size
    places = [offset + number * mmap.PAGESIZE for number in numbers]
    data = b"".join(map(piece, numbers))

    def each(call: Callable[..., Awaitable[object]], buf: aionvme.DmaBuffer) -> Awaitable[object]:
        starts = range(0, len(data), mmap.PAGESIZE)
        return asyncio.gather(
            *(
                call(ns, memoryview(buf)[start:], place // ns.block_size, nblocks)
                for start, place in zip(starts, places, strict=True)
            )
        )

    async with ctrlr.alloc_io_qpair(depth=len(numbers)) as qp:
        out, back = fill(ctrlr.dma_alloc(len(data)), data), ctrlr.dma_alloc(len(data))
        await each(qp.write, out)
        await each(qp.read, back)
        assert bytes(back) == data
    return places
