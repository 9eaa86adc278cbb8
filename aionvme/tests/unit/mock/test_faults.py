"""What tests do to a mock: hold, fail, silence, stuck, fatal, removal, foreign completions."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from aionvme.errors import AddressError, UsageError
from aionvme.spec.status import Status, StatusCode
from aionvme.tests.unit.mock.raw import ACQ, AQA, ASQ, CAP, CC, CC_ENABLE, CSTS, Raw

Make = Callable[..., Raw]
FLUSH, WRITE, READ, IDENTIFY = 0x00, 0x01, 0x02, 0x06


def test_hold_and_release(raw: Raw) -> None:
    """What is held is fetched and not executed; it is released in order, as many as asked for."""
    queue = raw.create(1)
    held = raw.mock.hold(qid=1, opcode=READ)
    for cid, opcode in enumerate((READ, FLUSH, READ, READ)):
        queue.post(opcode, cid=cid, nsid=1, prp1=raw.page_iova)
    queue.ring()
    assert raw.mock.step() == 4
    assert [cqe.cid for cqe in queue.reap()] == [1]
    assert held.commands == [(1, 0, READ), (1, 2, READ), (1, 3, READ)]
    assert raw.mock.counters.reads == 0
    assert held.release(1) == 1
    assert [cqe.cid for cqe in queue.reap()] == [0]
    held.stop()
    assert queue.run(READ, cid=9, nsid=1, prp1=raw.page_iova).cid == 9
    assert held.release() == 2
    assert [cqe.cid for cqe in queue.reap()] == [2, 3]
    assert (held.release(), held.commands) == (0, [])


def test_all_holds_end(raw: Raw) -> None:
    """After `release` a hold goes on; `end_holds` ends those that were left, and completes what they keep."""
    queue = raw.create(1)
    held, other = raw.mock.hold(opcode=READ), raw.mock.hold(opcode=FLUSH)
    held.release()
    for cid, opcode in enumerate((READ, FLUSH)):
        queue.post(opcode, cid=cid, nsid=1, prp1=raw.page_iova)
    queue.ring()
    raw.mock.step()
    assert (held.commands, other.commands) == ([(1, 0, READ)], [(1, 1, FLUSH)])
    raw.mock.end_holds()
    assert sorted(cqe.cid for cqe in queue.wait(2)) == [0, 1]
    assert queue.run(READ, cid=9, nsid=1, prp1=raw.page_iova).cid == 9


def test_hold_counts_and_matches(raw: Raw) -> None:
    """`count` bounds what is held; qid, opcode and nsid select; admin commands can be held as well."""
    first, second = raw.create(1), raw.create(2)
    with raw.mock.hold(qid=2, count=1) as held, raw.mock.hold(nsid=5) as other:
        assert first.run(FLUSH, nsid=1).status == 0
        second.post(FLUSH, cid=1, nsid=1)
        second.post(FLUSH, cid=2, nsid=1)
        second.ring()
        assert second.wait()[0].cid == 2
        first.post(FLUSH, cid=3, nsid=5)
        first.ring()
        raw.mock.step()
        assert (held.commands, other.commands) == ([(2, 1, FLUSH)], [(1, 3, FLUSH)])
    assert (second.wait()[0].cid, first.wait()[0].code) == (1, 0x0B)
    with raw.mock.hold(qid=0, opcode=IDENTIFY) as held:
        raw.admin.post(IDENTIFY, cid=4, prp1=raw.page_iova, cdw10=1)
        raw.admin.ring()
        raw.mock.step()
        assert held.commands == [(0, 4, IDENTIFY)]
    assert raw.admin.wait()[0].status == 0
    assert raw.data(12)[4:] == b"AIONVME0"


def test_fail(raw: Raw) -> None:
    """The nth command that matches fails with the status, as many times as asked; nothing is executed."""
    queue = raw.create(1)
    raw.mock.fail(StatusCode.INTERNAL_ERROR, opcode=WRITE, nth=2, count=2)
    codes = [
        queue.run(opcode, nsid=1, prp1=raw.page_iova).status for opcode in (WRITE, READ, WRITE, WRITE, WRITE)
    ]
    assert codes == [0, 0, 0x06, 0x06, 0]
    assert raw.mock.counters.writes == 2
    raw.mock.fail(Status.of(StatusCode.NAMESPACE_NOT_READY, crd=1), dnr=True, nsid=1)
    assert queue.run(FLUSH, nsid=1).status == 0x82 | 1 << 11 | 1 << 14
    raw.mock.fail(0x281, qid=1, count=None)
    assert {queue.run(READ, nsid=1, prp1=raw.page_iova).status for _ in range(5)} == {0x281}
    with pytest.raises(UsageError):
        raw.mock.fail(0x281, nth=0)


def test_silent(raw: Raw) -> None:
    """Everything is fetched, nothing completes; what was fetched then is lost, and a reset mends it."""
    queue = raw.create(1)
    raw.mock.silent = True
    queue.post(READ, cid=1, nsid=1, prp1=raw.page_iova)
    queue.ring()
    raw.admin.post(0x08, cid=2, cdw10=1 << 16 | 1)
    raw.admin.ring()
    assert raw.mock.step() == 2
    assert (raw.mock.silent, queue.reap(), raw.admin.reap()) == (True, [], [])
    assert raw.mock.queue(1).fetched == 1
    raw.mock.silent = False
    assert queue.run(FLUSH, cid=3, nsid=1).cid == 3
    raw.mock.silent = True
    raw.function.write32(CC, 0)
    assert raw.function.read32(CSTS) == 0
    raw.mock.silent = False
    raw.enable()
    assert raw.identify(1)[0].status == 0


def test_stuck(raw: Raw) -> None:
    """RDY stays what it is, in both directions, until it is let go."""
    raw.mock.stuck = True
    raw.function.write32(CC, 0)
    assert raw.function.read32(CSTS) == 1
    raw.mock.stuck = False
    assert raw.function.read32(CSTS) == 0
    raw.mock.stuck = True
    raw.function.write32(CC, CC_ENABLE)
    assert raw.function.read32(CSTS) == 0
    assert raw.mock.stuck


def test_fatal(raw: Raw) -> None:
    """CFS is set and nothing is executed; a controller reset clears it."""
    raw.mock.fatal()
    assert raw.function.read32(CSTS) == 3
    raw.admin.post(IDENTIFY, prp1=raw.page_iova, cdw10=1)
    raw.admin.ring()
    assert raw.mock.step() == 0
    raw.function.write32(CC, 0)
    assert raw.function.read32(CSTS) == 0
    raw.enable()
    assert raw.identify(1)[0].status == 0


def test_remove(raw: Raw) -> None:
    """A removed function reads as ones, ignores writes, executes nothing, and can still be closed."""
    queue = raw.create(1)
    raw.mock.remove()
    assert raw.function.read32(CSTS) == 0xFFFFFFFF
    assert raw.function.read64(CAP) == (1 << 64) - 1
    assert raw.function.config_read(0, 4) == b"\xff" * 4
    raw.function.write32(CC, 0)
    raw.function.config_write(4, b"\0\0")
    assert raw.function.read32(CC) == 0xFFFFFFFF
    queue.post(FLUSH, nsid=1)
    queue.ring()
    assert raw.mock.step() == 0
    with pytest.raises(OSError, match="No such device") as caught:
        raw.function.reset()
    assert caught.value.errno == errno.ENODEV
    raw.memory.unmap()
    raw.close()
    with pytest.raises(AddressError, match="removed"):
        raw.mock.open()


def test_inject(raw: Raw) -> None:
    """A completion that nobody asked for has every field as given, and the right phase."""
    queue = raw.create(1)
    raw.mock.inject_cqe(1, cid=0xABCD, sqid=9, sqhd=700, status=StatusCode.COMPARE_FAILURE, dw0=1, dw1=2)
    assert queue.reap() == [(1, 2, 700, 9, 0xABCD, 0x285)]
    raw.mock.inject_cqe(1, cid=4)
    assert queue.reap() == [(0, 0, 0, 1, 4, 0)]
    with pytest.raises(UsageError, match="no completion queue 2"):
        raw.mock.inject_cqe(2, cid=1)


def test_inspection(raw: Raw) -> None:
    """A queue shows what was fetched, how often its doorbell moved, its opcodes; after its deletion too."""
    queue = raw.create(1, 16, qprio=2, vector=3)
    for _ in range(3):
        queue.run(READ, nsid=1, prp1=raw.page_iova)
    queue.post(FLUSH, nsid=1)
    queue.post(FLUSH, nsid=1)
    queue.ring()
    queue.wait(2)
    state = raw.mock.queue(1)
    assert (state.fetched, state.doorbells, dict(state.opcodes)) == (5, 4, {READ: 3, FLUSH: 2})
    assert (state.entries, state.cq_entries, state.qprio, state.vector, state.ien) == (16, 16, 2, 3, True)
    assert (state.posted, state.live, raw.mock.num_queues) == (5, True, 1)
    raw.admin.run(0x00, cdw10=1)
    state = raw.mock.queue(1)
    assert (state.fetched, state.live, raw.mock.num_queues) == (5, False, 0)
    with pytest.raises(UsageError, match="never was"):
        raw.mock.queue(2)


def test_peek_and_poke(raw: Raw) -> None:
    """Storage can be read and changed past the driver; what is not there is refused."""
    raw.mock.poke(1, 2, b"abc")
    assert raw.mock.peek(1, 2)[:4] == b"abc\0"
    for call in (
        lambda: raw.mock.peek(2, 0),
        lambda: raw.mock.peek(1, 1 << 40),
        lambda: raw.mock.poke(0, 0, b""),
    ):
        with pytest.raises(UsageError):
            call()


def test_an_admin_command_that_breaks_the_mock(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake in the mock's own Python is reported, and is fatal to the controller: never a silent hang."""
    seen: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", seen.append)
    monkeypatch.setattr(raw.mock._admin, "_execute", lambda _sqe: 1 // 0)
    raw.admin.post(IDENTIFY)
    raw.admin.ring()
    raw.mock.step()
    assert [type(item.exc_value) for item in seen] == [ZeroDivisionError]
    assert raw.function.read32(CSTS) == 3


def test_registers_that_are_not_the_admin_queue(raw: Raw) -> None:
    """AQA, ASQ and ACQ that change while enabled do not move the queue."""
    before = raw.mock.queue(0)
    raw.function.write32(AQA, 1 << 16 | 1)
    raw.function.write64(ASQ, 0)
    raw.function.write64(ACQ, 0)
    assert raw.mock.queue(0) == before
    assert raw.identify(1)[0].status == 0
