"""A driver in another process, as far as one thread can be that: bring-up, commands, interrupts, the next client."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

import pytest

from aionvme.tests.unit.mock.serving.client import Client
from aionvme.tests.unit.mock.serving.conftest import Stage

Make = Callable[..., Stage]
FLUSH, WRITE, READ = 0, 1, 2
PAGE = 4096


@pytest.mark.parametrize("doorbells", ["mapped", "message"])
def test_write_and_read(stage: Make, doorbells: str) -> None:
    """Queues, data and completions in memory of the client's; doorbells by either way."""
    served = stage(doorbells=doorbells)
    raw = served.raw()
    raw.enable()
    queue = raw.create(1, 16)
    place = raw.memory.take(2)
    raw.memory.bytes[place : place + PAGE] = b"aionvme!" * 512
    iova = raw.memory.iova + place
    for cid in range(40):
        assert queue.run(WRITE, cid=cid, nsid=1, prp1=iova, cdw10=8, cdw12=7).status == 0
    assert served.mock.peek(1, 8, 8) == b"aionvme!" * 512
    assert queue.run(READ, nsid=1, prp1=iova + PAGE, cdw10=8, cdw12=7).status == 0
    assert raw.memory.bytes[place + PAGE : place + 2 * PAGE] == b"aionvme!" * 512
    assert served.mock.counters.bad_doorbell_values == 0


def test_interrupts(stage: Make) -> None:
    """Each vector signals its own eventfd."""
    served = stage()
    raw = served.raw()
    client: Client = raw.function.client
    fds = [os.eventfd(0) for _ in range(3)]
    client.set_irqs(2, 1, fds)
    raw.enable()
    queue = raw.create(1, vector=3)
    assert queue.run(FLUSH, nsid=1).status == 0
    assert os.eventfd_read(fds[2]) == 1
    for fd in fds:
        os.close(fd)


def test_next_client(stage: Make) -> None:
    """When one has gone, in the midst of whatever, the next finds the controller disabled, and its data."""
    served = stage()
    for number in range(3):
        raw = served.raw()
        assert raw.function.read32(0x1C) == 0
        raw.enable()
        queue = raw.create(1)
        place = raw.memory.take(1)
        struct.pack_into("<I", raw.memory.bytes, place, number)
        assert queue.run(WRITE, nsid=1, prp1=raw.memory.iova + place, cdw10=number).status == 0
        raw.admin.post(0x0C)  # an event request, which stays
        raw.admin.ring()
        raw.close()
    assert [served.mock.peek(1, n)[0] for n in range(3)] == [0, 1, 2]
