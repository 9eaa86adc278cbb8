"""Queues: creation and deletion with every refusal, wrapping, back-pressure, arbitration, interrupts."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from aionvme.tests.unit.mock.raw import CC, CC_ENABLE, CSTS, DNR, INTMC, INTMS, Queue, Raw

Make = Callable[..., Raw]
DELETE_SQ, CREATE_SQ, DELETE_CQ, CREATE_CQ = 0x00, 0x01, 0x04, 0x05
FLUSH, READ = 0x00, 0x02


def create_cq(raw: Raw, *, qid: int = 1, entries: int = 16, prp1: int | None = None, cdw11: int = 1) -> int:
    """Creates a completion queue; the status code."""
    base = raw.memory.iova + raw.memory.take(1) if prp1 is None else prp1
    cqe = raw.admin.run(CREATE_CQ, prp1=base, cdw10=(entries - 1) << 16 | qid, cdw11=cdw11)
    assert cqe.status in (0, cqe.code | DNR)
    return cqe.code


def create_sq(
    raw: Raw, *, qid: int = 1, cqid: int = 1, entries: int = 16, prp1: int | None = None, pc: int = 1
) -> int:
    """Creates a submission queue; the status code."""
    base = raw.memory.iova + raw.memory.take(1) if prp1 is None else prp1
    cqe = raw.admin.run(CREATE_SQ, prp1=base, cdw10=(entries - 1) << 16 | qid, cdw11=cqid << 16 | pc)
    return cqe.code


def test_completion_queue_refusals(make: Make) -> None:
    """Identifier, size, contiguity, vector and offset of a completion queue are each refused."""
    raw = make(num_io_queues=4, queue_entries=64, num_irqs=3)
    assert create_cq(raw, qid=0) == 0x101
    assert create_cq(raw, qid=5) == 0x101
    assert create_cq(raw, entries=1) == 0x102
    assert create_cq(raw, entries=65) == 0x102
    assert create_cq(raw, cdw11=0) == 0x002
    assert create_cq(raw, cdw11=3 << 16 | 3) == 0x108
    assert create_cq(raw, prp1=raw.page_iova + 64) == 0x013
    assert create_cq(raw) == 0
    assert create_cq(raw) == 0x101


def test_submission_queue_refusals(make: Make) -> None:
    """Identifier, size, contiguity, completion queue and offset of a submission queue are each refused."""
    raw = make(num_io_queues=4, queue_entries=64)
    assert create_sq(raw) == 0x100
    assert create_cq(raw) == 0
    assert create_sq(raw, qid=0) == 0x101
    assert create_sq(raw, qid=5) == 0x101
    assert create_sq(raw, entries=1) == 0x102
    assert create_sq(raw, entries=65) == 0x102
    assert create_sq(raw, cqid=0) == 0x101
    assert create_sq(raw, cqid=5) == 0x101
    assert create_sq(raw, cqid=2) == 0x100
    assert create_sq(raw, pc=0) == 0x002
    assert create_sq(raw, prp1=raw.page_iova + 4) == 0x013
    assert create_sq(raw) == 0
    assert create_sq(raw) == 0x101


def test_deletion_refusals(raw: Raw) -> None:
    """A queue that is not there, the admin queue, and a completion queue in use can't be deleted."""
    assert raw.admin.run(DELETE_SQ, cdw10=0).code == 0x101
    assert raw.admin.run(DELETE_CQ, cdw10=0).code == 0x101
    assert raw.admin.run(DELETE_SQ, cdw10=3).code == 0x101
    assert raw.admin.run(DELETE_CQ, cdw10=3).code == 0x101
    raw.create(1)
    assert raw.admin.run(DELETE_CQ, cdw10=1).code == 0x10C
    assert raw.admin.run(DELETE_SQ, cdw10=1).code == 0
    assert raw.admin.run(DELETE_CQ, cdw10=1).code == 0
    raw.create(1)


def test_entry_sizes(make: Make) -> None:
    """A queue can't be created while CC has other entry sizes than Identify Controller."""
    raw = make()
    raw.function.write32(CC, 1 | 6 << 16)
    assert create_cq(raw) == 0x102
    raw.function.write32(CC, CC_ENABLE)
    assert create_cq(raw) == 0
    raw.function.write32(CC, 1 | 4 << 20)
    assert create_sq(raw) == 0x102


def test_deleting_a_queue_with_commands(raw: Raw) -> None:
    """Commands that were fetched are aborted with status 08h before the deletion completes; the others go."""
    queue = raw.create(1)
    held = raw.mock.hold(qid=1)
    queue.post(READ, cid=5, nsid=1, prp1=raw.page_iova)
    queue.ring()
    raw.step()
    raw.admin.post(DELETE_SQ, cdw10=1)
    raw.admin.ring()
    assert raw.admin.wait()[0].status == 0
    (cqe,) = queue.reap()
    assert (cqe.cid, cqe.status) == (5, 0x08)
    assert held.commands == []


def test_phase_wraps(raw: Raw) -> None:
    """Many passes through a ring of five entries: phase, order and head stay right."""
    queue = raw.create(1, 5)
    for round_ in range(40):
        for index in range(4):
            queue.post(FLUSH, cid=round_ * 4 + index, nsid=1)
        queue.ring()
        cqes = queue.wait(4)
        assert [cqe.cid for cqe in cqes] == list(range(round_ * 4, round_ * 4 + 4))
        assert cqes[-1].sqhd == queue.tail
        assert all(cqe.sqid == 1 and cqe.status == 0 for cqe in cqes)


def test_full_completion_queue(raw: Raw) -> None:
    """A completion queue of 4 entries takes 3; the rest waits for the head doorbell, and none is lost."""
    queue = raw.create(1, 32, cq_entries=4)
    for cid in range(20):
        queue.post(FLUSH, cid=cid, nsid=1)
    queue.ring()
    assert raw.mock.step() == 3
    assert raw.mock.step() == 0
    found: list[int] = []
    while len(found) < 20:
        got = queue.reap(most=2)
        assert got
        found += [cqe.cid for cqe in got]
        raw.mock.step()
    assert found == list(range(20))


def test_held_commands_wait_for_room(raw: Raw) -> None:
    """More completions at once than a completion queue holds are stored as room comes, in order."""
    queue = raw.create(1, 32, cq_entries=4)
    held = raw.mock.hold(qid=1)
    for cid in range(10):
        queue.post(FLUSH, cid=cid, nsid=1)
    queue.ring()
    assert raw.mock.step() == 10
    assert held.release() == 10
    assert raw.mock.queue(1).waiting == 7
    assert [cqe.cid for cqe in queue.wait(10)] == list(range(10))
    assert raw.mock.queue(1).waiting == 0


def test_stepping_is_exact(raw: Raw) -> None:
    """step(n) executes n commands, and goes on where it stopped."""
    queue = raw.create(1)
    for cid in range(10):
        queue.post(FLUSH, cid=cid, nsid=1)
    queue.ring()
    assert [raw.mock.step(3) for _ in range(5)] == [3, 3, 3, 1, 0]
    assert len(queue.reap()) == 10


def fill(raw: Raw, qid: int, qprio: int, count: int) -> Queue:
    """A queue with this many commands announced."""
    queue = raw.create(qid, qprio=qprio)
    for cid in range(count):
        queue.post(FLUSH, cid=cid, nsid=1)
    return queue


def order_of(raw: Raw, queues: list[Queue], steps: int) -> list[int]:
    """Which queue each of the next commands came from."""
    order = []
    for _ in range(steps):
        before = {queue.qid: raw.mock.queue(queue.qid).fetched for queue in queues}
        assert raw.mock.step(1) == 1
        order += [qid for qid, fetched in before.items() if raw.mock.queue(qid).fetched != fetched]
    return order


def test_round_robin_with_burst(raw: Raw) -> None:
    """Round robin takes at most a burst of 2**AB from a queue in its turn, whatever its priority."""
    queues = [fill(raw, 1, 3, 6), fill(raw, 2, 0, 6)]
    assert raw.admin.run(0x09, cdw10=1, cdw11=1).status == 0
    for queue in queues:
        queue.ring()
    assert order_of(raw, queues, 12) == [1, 1, 2, 2] * 3


def test_weighted_round_robin(make: Make) -> None:
    """Urgent first of all, then high, medium and low by their weights; a class without work gives way."""
    raw = make(enable=False, wrr=True)
    raw.enable(cc=CC_ENABLE | 1 << 11)
    queues = [fill(raw, 1, 3, 6), fill(raw, 2, 2, 6), fill(raw, 3, 1, 6), fill(raw, 4, 0, 3)]
    # High 3, medium 2, low 1 (0's based), no limit of bursts.
    assert raw.admin.run(0x09, cdw10=1, cdw11=2 << 24 | 1 << 16 | 0 << 8 | 7).status == 0
    for queue in queues:
        queue.ring()
    assert order_of(raw, queues, 21) == [4, 4, 4, *[3, 3, 3, 2, 2, 1] * 2, 2, 2, 1, 1, 1, 1]


def test_urgent_overtakes(make: Make) -> None:
    """An urgent command that comes later goes before what waits in other classes."""
    raw = make(enable=False, wrr=True)
    raw.enable(cc=CC_ENABLE | 1 << 11)
    queues = [fill(raw, 1, 1, 4), fill(raw, 2, 0, 1)]
    assert raw.admin.run(0x09, cdw10=1, cdw11=0).status == 0
    queues[0].ring()
    assert order_of(raw, queues, 2) == [1, 1]
    queues[1].ring()
    assert order_of(raw, queues, 3) == [2, 1, 1]


def test_bad_doorbells(raw: Raw) -> None:
    """A value outside the queue, a head beyond the tail, a queue that is not there: counted, and no harm."""
    queue = raw.create(1, 8)
    raw.function.write32(queue.sq_doorbell, 8)
    raw.mock.step()
    assert raw.mock.counters.bad_doorbell_values == 1
    raw.function.write32(queue.cq_doorbell, 5)
    raw.mock.step()
    assert raw.mock.counters.bad_doorbell_values == 2
    raw.function.write32(0x1000 + 2 * 7 * 4, 1)
    raw.mock.step()
    assert raw.mock.counters.bad_doorbell_registers == 1
    queue.ring()
    raw.function.write32(queue.cq_doorbell, 0)
    assert queue.run(FLUSH, nsid=1).status == 0


def test_bad_doorbell_event(raw: Raw) -> None:
    """A bad doorbell value is an asynchronous event of type error, once until its log page was read."""
    queue = raw.create(1, 8)
    raw.admin.post(0x0C, cid=77)
    raw.admin.ring()
    raw.mock.step()
    raw.function.write32(queue.sq_doorbell, 100)
    raw.mock.step()
    (cqe,) = raw.admin.wait()
    assert (cqe.cid, cqe.status, cqe.dw0) == (77, 0, 1 << 16 | 1 << 8 | 0)


def test_command_identifier_conflict(raw: Raw) -> None:
    """A CID that is outstanding on the same queue is refused with 03h."""
    queue = raw.create(1)
    with raw.mock.hold(qid=1, count=1):
        queue.post(FLUSH, cid=3, nsid=1)
        queue.post(FLUSH, cid=3, nsid=1)
        queue.ring()
        (cqe,) = queue.wait()
        assert cqe.code == 0x03
    assert queue.wait()[0].status == 0
    assert queue.run(FLUSH, cid=3, nsid=1).status == 0


def test_queue_memory_that_is_unmapped(raw: Raw) -> None:
    """A queue whose memory is gone is fatal: CSTS.CFS."""
    raw.memory.unmap()
    raw.admin.ring()
    raw.function.write32(raw.admin.sq_doorbell, 1)
    raw.mock.step()
    assert raw.function.read32(CSTS) & 2


def test_interrupts(raw: Raw) -> None:
    """A queue with interrupts signals its vector's eventfd when entries were posted; one without does not."""
    fds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(3)]
    raw.function.set_irqs(fds)
    with_irq, without = raw.create(1, vector=2), raw.create(2)
    assert os.eventfd_read(fds[0]) >= 1  # the admin queue's
    with_irq.run(FLUSH, nsid=1)
    without.run(FLUSH, nsid=1)
    assert os.eventfd_read(fds[2]) == 1
    assert raw.mock.queue(1).interrupts == 1
    with pytest.raises(BlockingIOError):
        os.eventfd_read(fds[1])
    raw.function.set_irqs([])
    with_irq.run(FLUSH, nsid=1)
    with pytest.raises(BlockingIOError):
        os.eventfd_read(fds[2])
    for fd in fds:
        os.close(fd)


def test_masked_interrupts(raw: Raw) -> None:
    """A masked vector signals nothing until its mask is cleared, and then once."""
    fds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
    raw.function.set_irqs(fds)
    queue = raw.create(1, vector=1)
    raw.function.write32(INTMS, 2)
    queue.run(FLUSH, nsid=1)
    queue.run(FLUSH, nsid=1)
    with pytest.raises(BlockingIOError):
        os.eventfd_read(fds[1])
    raw.function.write32(INTMC, 2)
    assert os.eventfd_read(fds[1]) == 1
    for fd in fds:
        os.close(fd)


def test_a_shared_completion_queue(raw: Raw) -> None:
    """Two submission queues may complete into one queue; SQID says whose each completion is."""
    queue = raw.create(1)
    second = Queue(raw, 2, 16)
    assert raw.admin.run(CREATE_SQ, prp1=second.sq_iova, cdw10=15 << 16 | 2, cdw11=1 << 16 | 1).status == 0
    second.post(FLUSH, cid=1, nsid=1)
    queue.post(FLUSH, cid=2, nsid=1)
    second.ring()
    queue.ring()
    assert {(cqe.sqid, cqe.cid) for cqe in queue.wait(2)} == {(1, 2), (2, 1)}
    assert raw.admin.run(DELETE_SQ, cdw10=1).status == 0
    assert raw.admin.run(DELETE_CQ, cdw10=1).code == 0x10C
