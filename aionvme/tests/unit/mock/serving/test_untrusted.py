"""Entries that change while they are read: each is copied once, and only the copy is judged and used.

A thread of the test changes them all the time, as a client in another process can. What then happens to a command is
what one of the two contents says; memory and blocks that neither names stay as they are.
"""

from __future__ import annotations

import ctypes
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from aionvme.tests.unit.mock.raw import IOVA, Pages, Queue
from aionvme.tests.unit.mock.serving.client import RemoteFunction, RemoteRaw, shared_memory
from aionvme.tests.unit.mock.serving.conftest import Stage

Make = Callable[..., Stage]
PAGE = 4096
WRITE, READ, DSM, COPY = 1, 2, 9, 0x19
# Success, invalid field, data transfer error; of SGLs the segment, count, length, type; PRP offset; LBA, size limit.
EXPECTED = {0x00, 0x02, 0x04, 0x0D, 0x0E, 0x0F, 0x11, 0x13, 0x80, 0x183}
GUARD = b"\x5a" * PAGE
SECONDS = 0.4
OUTSIDE = 0x7000_0000


class Arena:
    """A client's memory: pages for the test between two that are not mapped, and the queues' elsewhere.

    Attributes:
        memory: The whole file: a guard in page 0, eight pages at `IOVA`, a guard in page 9, the queues' pages.
        raw: A driver that is enabled.
        queue: Its queue.
    """

    def __init__(self, served: Stage) -> None:
        client = served.negotiated()
        fd, self.memory = shared_memory(32 * PAGE)
        client.map(IOVA, 8 * PAGE, fd, PAGE)
        client.map(IOVA + (1 << 30), 22 * PAGE, fd, 10 * PAGE)
        os.close(fd)
        self.memory[:PAGE] = self.memory[9 * PAGE : 10 * PAGE] = GUARD
        pages = Pages(self.memory, IOVA + (1 << 30) - 10 * PAGE)
        pages.take(10)
        self.raw = RemoteRaw(served.mock, reached=(RemoteFunction(client), pages))
        self.raw.enable()
        self.queue: Queue = self.raw.create(1)

    def intact(self) -> bool:
        """Whether what is not mapped is as it was."""
        return self.memory[:PAGE] == GUARD and self.memory[9 * PAGE : 10 * PAGE] == GUARD


@contextmanager
def changing(memory: object, offset: int, values: Sequence[int]) -> Iterator[None]:
    """Stores one after the other of some values in a qword of memory, over and over."""
    word = ctypes.c_uint64.from_buffer(memory, offset)  # type: ignore[arg-type]
    ended = threading.Event()

    def change() -> None:
        while not ended.is_set():
            for _ in range(64):
                for value in values:
                    word.value = value

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def run_many(arena: Arena, **fields: int) -> set[int]:
    """The same command for a while; the codes with which it ended."""
    seen = set()
    end = time.monotonic() + SECONDS
    cid = 0
    while time.monotonic() < end:
        for _ in range(16):
            arena.queue.post(cid=cid % 32, **fields)
            cid += 1
        arena.queue.ring()
        seen |= {cqe.code for cqe in arena.queue.wait(16)}
    assert seen <= EXPECTED, seen
    assert arena.intact()
    return seen


def test_prp_list(stage: Make) -> None:
    """An entry of a list that is now a page of the client's, now one that is not mapped, now no page at all."""
    arena = Arena(stage())
    listed = arena.raw.memory.take(1)
    iova = arena.raw.memory.iova + listed
    struct.pack_into("<3Q", arena.memory, listed, IOVA + PAGE, IOVA + 2 * PAGE, IOVA + 3 * PAGE)
    values = (IOVA + 2 * PAGE, OUTSIDE, IOVA - PAGE, IOVA + 2 * PAGE + 8, IOVA + 8 * PAGE)
    with changing(arena.memory, listed + 8, values):
        seen = run_many(arena, opcode=READ, nsid=1, prp1=IOVA, prp2=iova, cdw12=31)
    assert seen & {0, 0x04, 0x13}


def test_sgl_length(stage: Make) -> None:
    """The length and the type of a descriptor, which is first checked and then used."""
    arena = Arena(stage())
    segment = arena.raw.memory.take(1)
    iova = arena.raw.memory.iova + segment
    struct.pack_into("<QQQQ", arena.memory, segment, IOVA, 4 * PAGE, IOVA + 4 * PAGE, 4 * PAGE)
    # The low half is the length, the last byte the type.
    values = (4 * PAGE, 64 * PAGE, 0xFFFFFFFF, 0, 4 * PAGE | 0x40 << 56, 0x20 << 56 | 32)
    with changing(arena.memory, segment + 24, values):
        seen = run_many(arena, opcode=READ, flags=0x40, nsid=1, prp1=iova, prp2=32 | 0x30 << 56, cdw12=63)
    assert seen & {0, 0x0D, 0x0F, 0x11}


def test_sgl_address(stage: Make) -> None:
    """The address of a descriptor: the client's last page, and what comes after it."""
    arena = Arena(stage())
    segment = arena.raw.memory.take(1)
    iova = arena.raw.memory.iova + segment
    struct.pack_into("<QQ", arena.memory, segment, IOVA + 7 * PAGE, PAGE)
    with changing(arena.memory, segment, (IOVA + 7 * PAGE, IOVA + 7 * PAGE + 8, OUTSIDE, (1 << 64) - 8)):
        seen = run_many(arena, opcode=READ, flags=0x40, nsid=1, prp1=iova, prp2=16 | 0x30 << 56, cdw12=7)
    assert seen & {0, 0x04}


def test_submission_entry(stage: Make) -> None:
    """A whole entry, of which the number of blocks and the pointer change between what can be and what can't."""
    served = stage(size=8 * PAGE)
    arena = Arena(served)
    queue = arena.queue
    template = struct.Struct("<BBHIIIQQQIIIIII")
    for slot in range(queue.entries):
        template.pack_into(
            arena.memory,
            queue.sq + 64 * slot,
            READ,
            0,
            slot,
            1,
            0,
            0,
            0,
            IOVA + 7 * PAGE,
            0,
            0,
            0,
            7,
            0,
            0,
            0,
        )
    seen: set[int] = set()
    # Of the first entry: PRP1 at 24, NLB and the flags beside it at 48.
    at = queue.sq
    with (
        changing(arena.memory, at + 24, (IOVA + 7 * PAGE, OUTSIDE, IOVA + 8 * PAGE - 8)),
        changing(arena.memory, at + 48, (7, 0xFFFF, 63, 1 << 32 | 7)),
    ):
        end = time.monotonic() + 2 * SECONDS
        while time.monotonic() < end:
            queue.tail = (queue.tail + 16) % queue.entries
            queue.ring()
            seen |= {cqe.code for cqe in queue.wait(16)}
    assert seen <= EXPECTED
    assert arena.intact()


def test_ranges(stage: Make) -> None:
    """Ranges of Dataset Management, and sources of Copy: where they are beyond the end, they are refused."""
    served = stage(size=16 * PAGE)
    arena = Arena(served)
    served.mock.poke(1, 64, GUARD)
    nblocks = 16 * PAGE // 512
    struct.pack_into("<IIQ", arena.memory, PAGE, 0, 8, 0)
    # Attributes and length; then the address.
    with (
        changing(arena.memory, PAGE, (8 << 32, nblocks << 32, 0xFFFFFFFF << 32)),
        changing(arena.memory, PAGE + 8, (0, 56, nblocks - 8, nblocks, (1 << 64) - 8)),
    ):
        seen = run_many(arena, opcode=DSM, nsid=1, prp1=IOVA, cdw10=0, cdw11=0)
    assert seen & {0, 0x80}
    assert served.mock.peek(1, 64, 8) == GUARD
    struct.pack_into("<QQQQ", arena.memory, 2 * PAGE, 0, 0, 7, 0)
    with changing(arena.memory, 2 * PAGE + 8, (0, nblocks - 8, nblocks - 1, (1 << 64) - 8)):
        seen = run_many(arena, opcode=COPY, nsid=1, prp1=IOVA + PAGE, cdw10=32, cdw12=0)
    assert seen & {0, 0x80}


def test_doorbells(stage: Make) -> None:
    """A tail that jumps beyond the queue: what is beyond is ignored, and no entry outside of it is read."""
    arena = Arena(stage())
    queue = arena.queue
    for slot in range(queue.entries):
        struct.pack_into("<BBHI", arena.memory, queue.sq + 64 * slot, 0, 0, slot, 1)
    function = arena.raw.function
    at = queue.sq_doorbell - function.first
    end = time.monotonic() + SECONDS
    word = ctypes.c_uint32.from_buffer(function.mapped, at)
    while time.monotonic() < end:
        for value in (1, 200, 5, 0xFFFFFFFF, 63, 64, 0x10000, 0):
            word.value = value
        queue.reap()
    del word
    arena.raw.step()
    assert arena.raw.admin.run(0x06, prp1=arena.raw.page_iova, cdw10=1).status == 0
    assert arena.intact()
