"""Reservations: the four commands, each type's conflicts, two hosts on two controllers of one subsystem."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from aionvme.errors import UsageError
from aionvme.mock import MockController, NamespaceConfig
from aionvme.tests.unit.mock.raw import CC_ENABLE, PAGE, Cqe, Queue, Raw

REGISTER, REPORT, ACQUIRE, RELEASE = 0x0D, 0x0E, 0x11, 0x15
FLUSH, WRITE, READ, UNCORRECTABLE, COMPARE, ZEROES, DSM, VERIFY, COPY = (
    0x00, 0x01, 0x02, 0x04, 0x05, 0x08, 0x09, 0x0C, 0x19,
)  # fmt: skip
READS, WRITES = (READ, COMPARE, VERIFY), (WRITE, ZEROES, UNCORRECTABLE, DSM, FLUSH)
WE, EA, WE_RO, EA_RO, WE_AR, EA_AR = range(1, 7)
CONFLICT, INCONSISTENT = 0x83, 0x18
IEKEY = 1 << 3
CC, CSTS, NSSR = 0x14, 0x1C, 0x20


class Host:
    """One host: its own controller of the subsystem, and its own driver."""

    def __init__(self, mock: MockController, identifier: bytes) -> None:
        self.mock = mock
        self.raw = Raw(mock)
        self.enable(identifier)

    def enable(self, identifier: bytes) -> None:
        self.raw.enable()
        self.queue: Queue = self.raw.create(1)
        self.identify(identifier)

    def identify(self, identifier: bytes) -> None:
        self.raw.memory.bytes[self.raw.page : self.raw.page + len(identifier)] = identifier
        wide = len(identifier) == 16
        assert self.raw.admin.run(0x09, cdw10=0x81, cdw11=wide, prp1=self.raw.page_iova).status == 0

    def keys(self, opcode: int, cdw10: int, *keys: int, nsid: int = 1) -> int:
        packed = struct.pack(f"<{len(keys)}Q", *keys)
        self.raw.memory.bytes[self.raw.page : self.raw.page + len(packed)] = packed
        return self.queue.run(opcode, nsid=nsid, prp1=self.raw.page_iova, cdw10=cdw10).code

    def register(self, key: int, current: int = 0, *, action: int = 0, flags: int = 0) -> int:
        return self.keys(REGISTER, action | flags, current, key)

    def acquire(self, rtype: int, key: int, preempted: int = 0, *, action: int = 0, flags: int = 0) -> int:
        return self.keys(ACQUIRE, rtype << 8 | action | flags, key, preempted)

    def release(self, rtype: int, key: int, *, action: int = 0, flags: int = 0) -> int:
        return self.keys(RELEASE, rtype << 8 | action | flags, key)

    def run(self, opcode: int) -> int:
        self.raw.memory.bytes[self.raw.page : self.raw.page + 512] = bytes(512)
        return self.queue.run(opcode, nsid=1, prp1=self.raw.page_iova, cdw10=0).code

    def report(self, *, extended: bool = True, dwords: int = 256) -> tuple[Cqe, bytes]:
        self.raw.memory.bytes[self.raw.page : self.raw.page + PAGE] = b"\xee" * PAGE
        cqe = self.queue.run(REPORT, nsid=1, prp1=self.raw.page_iova, cdw10=dwords - 1, cdw11=int(extended))
        return cqe, self.raw.data(PAGE)

    def registered(self) -> list[tuple[int, int, int, bytes]]:
        """(controller, holds, key, host) of each, by an extended report."""
        data = self.report()[1]
        count = struct.unpack_from("<H", data, 5)[0]
        found = [struct.unpack_from("<HB5xQ16s", data, 64 + 64 * index) for index in range(count)]
        return [(cntlid, holds & 1, key, host) for cntlid, holds, key, host in found]


ONE, TWO, THREE = b"1" * 16, b"2" * 16, b"3" * 16


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    """Three hosts, each with a controller of its own."""
    first = MockController(drive="step", namespaces=2, size=1 << 20)
    mocks = [first, first.second(), first.second()]
    found = [Host(mock, identifier) for mock, identifier in zip(mocks, (ONE, TWO, THREE), strict=True)]
    yield found
    for host in found:
        host.raw.close()
        host.mock.close()


def test_subsystem(hosts: list[Host]) -> None:
    """The controllers share what is stored, have identifiers of their own, and say so in Identify."""
    first, second, third = hosts
    first.mock.poke(1, 3, b"\x77" * 512)
    assert third.mock.peek(1, 3) == b"\x77" * 512
    identities = [host.raw.identify(0x01)[1] for host in hosts]
    assert [struct.unpack_from("<H", data, 78)[0] for data in identities] == [1, 2, 3]
    assert {data[76] for data in identities} == {2}
    assert len({data[768:1024] for data in identities}) == 1
    assert len({host.raw.identify(0x00, nsid=1)[1] for host in hosts}) == 1
    namespace = second.raw.identify(0x00, nsid=1)[1]
    assert (namespace[30], namespace[31]) == (1, 0xFF)
    assert struct.unpack_from("<4H", second.raw.identify(0x13)[1]) == (3, 1, 2, 3)
    third.mock.close()
    assert struct.unpack_from("<3H", second.raw.identify(0x12, nsid=1)[1]) == (2, 1, 2)


def test_members() -> None:
    """A subsystem has at most eight controllers, and none when all of them are closed."""
    first = MockController(drive="step")
    others = [first.second() for _ in range(7)]
    with pytest.raises(UsageError, match="8 controllers"):
        first.second()
    for mock in (first, *others):
        mock.close()
    with pytest.raises(UsageError, match="closed"):
        MockController(subsystem=first, drive="step")


def test_storage_outlives_the_first() -> None:
    """The storage goes with the last controller, whichever that is."""
    first = MockController(drive="step")
    second = first.second()
    first.poke(1, 0, b"\x55" * 512)
    first.close()
    assert second.peek(1, 0) == b"\x55" * 512
    second.close()


def test_register(hosts: list[Host]) -> None:
    """A key is registered, registered again only with the same key, replaced and taken back with the right one."""
    first, second, _ = hosts
    assert first.register(0xA) == 0
    assert first.register(0xA) == 0
    assert first.register(0xB) == CONFLICT
    assert second.register(0xA) == 0  # two hosts may have the same key
    assert first.register(0xB, 0xC, action=2) == CONFLICT
    assert first.register(0xB, 0xA, action=2) == 0
    assert first.registered() == [(1, 0, 0xB, ONE), (2, 0, 0xA, TWO)]
    assert first.register(0, 0xA, action=1) == CONFLICT
    assert first.register(0, 0xB, action=1) == 0
    assert first.register(0, 0xB, action=1) == CONFLICT
    assert second.register(0, 0x99, action=1, flags=IEKEY) == 0
    assert first.registered() == []
    assert first.register(0xD, 0, action=2) == CONFLICT
    assert first.register(0xD, 0, action=2, flags=IEKEY) == 0
    assert first.registered() == [(1, 0, 0xD, ONE)]


def test_invalid_fields(hosts: list[Host]) -> None:
    """Reserved actions, types and CPTPL, and IEKEY where it has no place, are invalid fields."""
    host = hosts[0]
    assert host.register(1, action=3) == 0x02
    assert host.register(1, flags=1 << 30) == 0x02
    assert host.register(1) == 0
    assert host.acquire(WE, 1, action=3) == 0x02
    for rtype in (0, 7, 0xFF):
        assert host.acquire(rtype, 1) == 0x02
    assert host.acquire(WE, 1, flags=IEKEY) == 0x02
    assert host.acquire(WE, 1) == 0
    assert host.release(EA, 1) == 0x02
    assert host.release(WE, 1, action=2) == 0x02
    assert host.release(WE, 1, flags=IEKEY) == 0x02
    assert host.acquire(WE, 1, 0, action=1) == 0x02  # no key to preempt
    for nsid, status in ((0, 0x0B), (3, 0x0B), (0xFFFFFFFF, 0x0B), (2, 0)):
        assert host.keys(REGISTER, 0, 0, 1, nsid=nsid) == status
    assert host.queue.run(REGISTER, nsid=1, prp1=0x5000_0000_0000).code == 0x04


def test_inactive_namespace() -> None:
    """A namespace that is not attached has no reservation."""
    configs = [NamespaceConfig(), NamespaceConfig(active=False)]
    with MockController(drive="step", namespaces=configs) as mock:
        host = Host(mock, ONE)
        assert host.keys(REGISTER, 0, 0, 1, nsid=2) == 0x02
        host.raw.close()


@pytest.mark.parametrize("rtype", [WE, EA, WE_RO, EA_RO, WE_AR, EA_AR])
def test_conflicts(hosts: list[Host], rtype: int) -> None:
    """What a holder, a registrant and a stranger may do, by type; all of it again after the release."""
    holder, registrant, stranger = hosts
    assert (holder.register(1), registrant.register(2)) == (0, 0)
    assert stranger.acquire(rtype, 0) == CONFLICT
    assert holder.acquire(rtype, 9) == CONFLICT
    assert holder.acquire(rtype, 1) == 0
    assert holder.acquire(rtype, 1) == 0  # it has it already
    for opcode in (*READS, *WRITES):
        assert holder.run(opcode) in (0, 0x281)
    registrant_writes = rtype not in (WE, EA)
    registrant_reads = rtype != EA
    stranger_reads = rtype in (WE, WE_RO, WE_AR)
    for host, reads, writes in (
        (registrant, registrant_reads, registrant_writes),
        (stranger, stranger_reads, False),
    ):
        assert holder.run(WRITE) == 0
        for opcode in READS:
            assert (host.run(opcode) == CONFLICT) is not reads
        for opcode in WRITES:
            assert (host.run(opcode) == CONFLICT) is not writes
        assert (host.run(COPY) == CONFLICT) is not writes
    everybody = rtype in (WE_AR, EA_AR)
    assert registrant.acquire(rtype, 2) == (0 if everybody else CONFLICT)
    assert [holds for _, holds, _, _ in holder.registered()] == [1, int(everybody)]
    assert registrant.release(rtype, 9) == CONFLICT
    if not everybody:
        assert registrant.release(rtype, 2) == 0  # of a registrant that holds nothing: nothing
        assert stranger.run(WRITE) == CONFLICT
    assert holder.release(rtype, 1) == 0
    assert [stranger.run(opcode) for opcode in (WRITE, *READS, FLUSH)] == [0] * 5


def test_flush_of_all(hosts: list[Host]) -> None:
    """Flush of all namespaces meets the reservation of one."""
    holder, _, stranger = hosts
    assert (holder.register(1), holder.acquire(WE, 1)) == (0, 0)
    assert stranger.queue.run(FLUSH, nsid=0xFFFFFFFF).code == CONFLICT
    assert stranger.queue.run(FLUSH, nsid=2).code == 0


def test_preempt_the_holder(hosts: list[Host]) -> None:
    """The key's host is unregistered, and the reservation becomes the other's, with the new type."""
    first, second, third = hosts
    for key, host in enumerate(hosts, 1):
        assert host.register(key) == 0
    assert first.acquire(WE, 1) == 0
    assert third.acquire(EA, 3, 9, action=1) == CONFLICT  # nobody has this key
    assert third.acquire(EA, 3, 1, action=1) == 0
    assert third.registered() == [(2, 0, 2, TWO), (3, 1, 3, THREE)]
    assert (first.run(READ), second.run(READ), third.run(READ)) == (CONFLICT, CONFLICT, 0)
    assert first.acquire(WE, 1) == CONFLICT


def test_preempt_a_registrant(hosts: list[Host]) -> None:
    """A key that does not hold is unregistered, and the reservation stays."""
    first, second, third = hosts
    for key, host in enumerate(hosts, 1):
        assert host.register(key) == 0
    assert first.acquire(WE_RO, 1) == 0
    assert second.run(WRITE) == 0
    assert third.acquire(EA, 3, 2, action=1) == 0
    assert first.registered() == [(1, 1, 1, ONE), (3, 0, 3, THREE)]
    assert (second.run(WRITE), second.run(READ), third.run(WRITE)) == (CONFLICT, 0, 0)


def test_preempt_without_a_reservation(hosts: list[Host]) -> None:
    """Where nobody holds, preempting only unregisters."""
    first, second, _ = hosts
    assert (first.register(1), second.register(2)) == (0, 0)
    assert first.acquire(WE, 1, 2, action=1) == 0
    assert first.registered() == [(1, 0, 1, ONE)]
    assert second.run(WRITE) == 0


def test_preempt_all_registrants(hosts: list[Host]) -> None:
    """A key of 0 preempts everybody else; a key preempts its host, and the reservation stays."""
    first, second, third = hosts
    for key, host in enumerate(hosts, 1):
        assert host.register(key) == 0
    assert first.acquire(WE_AR, 1) == 0
    assert second.acquire(EA, 2, 3, action=1) == 0
    assert first.registered() == [(1, 1, 1, ONE), (2, 1, 2, TWO)]
    assert second.acquire(EA, 2, 0, action=1) == 0
    assert second.registered() == [(2, 1, 2, TWO)]
    assert (first.run(READ), third.run(READ), second.run(READ)) == (CONFLICT, CONFLICT, 0)


def test_preempt_and_abort(hosts: list[Host]) -> None:
    """What the preempted host's controller keeps for this namespace is aborted (1Bh), and nothing else."""
    first, second, _ = hosts
    assert (first.register(1), second.register(2), first.acquire(WE, 1)) == (0, 0, 0)
    with first.mock.hold(qid=1), second.mock.hold(qid=1, opcode=READ):
        first.queue.post(READ, cid=7, nsid=1, prp1=first.raw.page_iova)
        first.queue.post(READ, cid=8, nsid=2, prp1=first.raw.page_iova)
        first.queue.ring()
        first.raw.step()
        second.queue.post(READ, cid=9, nsid=1, prp1=second.raw.page_iova)
        second.queue.ring()
        second.raw.step()
        assert second.acquire(EA, 2, 1, action=2) == 0
        assert [(cqe.cid, cqe.code) for cqe in first.queue.wait(1)] == [(7, 0x1B)]
    assert [(cqe.cid, cqe.code) for cqe in first.queue.wait(1)] == [(8, 0)]
    assert [(cqe.cid, cqe.code) for cqe in second.queue.wait(1)] == [(9, 0)]


def test_clear(hosts: list[Host]) -> None:
    """Every registrant may clear: registrations and reservation are gone."""
    first, second, third = hosts
    assert (first.register(1), second.register(2), first.acquire(EA, 1)) == (0, 0, 0)
    assert third.release(EA, 0, action=1) == CONFLICT
    assert second.release(EA, 2, action=1) == 0
    assert third.registered() == []
    assert third.run(WRITE) == 0


@pytest.mark.parametrize("rtype", [WE, EA_RO, EA_AR])
def test_unregister_a_holder(hosts: list[Host], rtype: int) -> None:
    """The reservation goes with its holder; where all hold, with the last."""
    first, second, third = hosts
    assert (first.register(1), second.register(2), first.acquire(rtype, 1)) == (0, 0, 0)
    assert first.register(0, 1, action=1) == 0
    assert third.run(WRITE) == (CONFLICT if rtype == EA_AR else 0)
    assert second.register(0, 2, action=1) == 0
    assert third.run(WRITE) == 0


def test_generation(hosts: list[Host]) -> None:
    """It counts registrations, preemptions and clearings; not acquiring and releasing."""
    first, second, _ = hosts

    def generation() -> int:
        return int(struct.unpack_from("<I", first.report()[1])[0])

    assert generation() == 0
    assert (first.register(1), second.register(2)) == (0, 0)
    assert generation() == 2
    assert (first.acquire(WE, 1), first.release(WE, 1)) == (0, 0)
    assert first.register(5) == CONFLICT
    assert generation() == 2
    assert first.acquire(WE, 1, 2, action=1) == 0
    assert generation() == 3
    assert first.release(WE, 1, action=1) == 0
    assert generation() == 4


def test_report(hosts: list[Host]) -> None:
    """Both forms, cut off or filled with zeros as NUMD says; EDS must be as long as the host's identifier."""
    first, second, third = hosts
    third.identify(b"narrow!!")
    assert (first.register(0x1111), second.register(0x2222), third.register(0x3333)) == (0, 0, 0)
    assert second.acquire(EA_RO, 0x2222) == 0
    data = first.report()[1]
    assert data[:10] == struct.pack("<IBHHB", 3, EA_RO, 3, 0, 0)
    assert data[128:192] == struct.pack("<HB5xQ16s", 2, 1, 0x2222, TWO).ljust(64, b"\0")
    assert data[256:1024] == bytes(768) and data[1024:1028] == b"\xee" * 4
    cqe, data = third.report(extended=False)
    assert cqe.status == 0
    assert data[:24] == struct.pack("<IBHHB", 3, EA_RO, 3, 0, 0).ljust(24, b"\0")
    assert data[72:96] == struct.pack("<HB5x8sQ", 3, 0, b"narrow!!", 0x3333)
    assert first.report(extended=False)[0].code == INCONSISTENT
    assert third.report(extended=True)[0].code == INCONSISTENT
    assert first.report(dwords=2)[1][:12] == struct.pack("<IBHB", 3, EA_RO, 3, 0) + b"\xee" * 4


def test_one_host_with_two_controllers(hosts: list[Host]) -> None:
    """It is the host that is registered: its other controller has the same rights, and the report names both."""
    first, second, third = hosts
    second.identify(ONE)
    assert (first.register(1), first.acquire(EA, 1)) == (0, 0)
    assert second.run(WRITE) == 0
    assert third.run(WRITE) == CONFLICT
    assert first.registered() == [(1, 1, 1, ONE), (2, 1, 1, ONE)]
    second.identify(TWO)
    assert second.run(WRITE) == CONFLICT
    second.mock.close()
    assert first.registered() == [(1, 1, 1, ONE)]


def test_reset(hosts: list[Host]) -> None:
    """A reservation outlives a controller reset, a host identifier does not; without one nothing outlives it."""
    first, second, third = hosts
    third.identify(bytes(8))
    assert (first.register(1), first.acquire(WE_RO, 1), third.register(3)) == (0, 0, 0)
    assert third.run(WRITE) == 0
    for host in (first, third):
        host.raw.function.write32(CC, CC_ENABLE & ~1)
    assert second.registered() == [(0xFFFF, 1, 1, ONE)]
    first.enable(bytes(8))
    assert first.run(WRITE) == CONFLICT
    first.identify(ONE)
    assert first.run(WRITE) == 0


def test_persistence(hosts: list[Host]) -> None:
    """PTPL is set by CPTPL or as a feature; an NVM subsystem reset ends what does not persist."""
    first, second, _ = hosts

    def feature() -> int:
        return first.raw.admin.run(0x0A, nsid=1, cdw10=0x83).dw0

    assert first.register(1, flags=3 << 30) == 0
    assert (feature(), first.report()[1][9]) == (1, 1)
    assert first.register(1, flags=2 << 30) == 0
    assert feature() == 0
    assert first.raw.admin.run(0x09, nsid=0xFFFFFFFF, cdw10=0x83, cdw11=1).status == 0
    assert feature() == 1
    assert first.raw.admin.run(0x0A, nsid=3, cdw10=0x83).code == 0x0B
    assert first.acquire(EA, 1) == 0
    second.raw.function.write32(NSSR, 0x4E564D65)
    first.raw.function.write32(CSTS, 1 << 4)  # NSSRO, which tells of the reset
    first.enable(ONE)
    assert first.registered() == [(1, 1, 1, ONE)]
    assert first.register(1, flags=2 << 30) == 0
    second.raw.function.write32(NSSR, 0x4E564D65)
    first.raw.function.write32(CSTS, 1 << 4)  # NSSRO, which tells of the reset
    first.enable(ONE)
    assert first.registered() == []


def test_threads() -> None:
    """Two controllers with threads of their own compare and write one block: no increment is lost."""
    first = MockController()
    second = first.second()
    hosts = [Host(first, ONE), Host(second, TWO)]
    rounds = 200
    with ThreadPoolExecutor() as pool:
        list(pool.map(increment, hosts, [rounds] * 2))
    assert struct.unpack_from("<Q", first.peek(1, 0))[0] == 2 * rounds
    for host in hosts:
        host.raw.close()
        host.mock.close()


def increment(host: Host, rounds: int) -> None:
    """Adds one to the number in block 0 so often, each by fused compares and writes until one succeeds."""
    while rounds:
        rounds -= increments(host)


def increments(host: Host) -> bool:
    """Tries it once."""
    raw, queue = host.raw, host.queue
    assert queue.run(READ, nsid=1, prp1=raw.page_iova).status == 0
    number = struct.unpack_from("<Q", raw.data(8))[0]
    struct.pack_into("<Q", raw.memory.bytes, raw.page + 2048, number + 1)
    queue.post(COMPARE, cid=1, flags=1, nsid=1, prp1=raw.page_iova)
    queue.post(WRITE, cid=2, flags=2, nsid=1, prp1=raw.page_iova + 2048)
    queue.ring()
    codes = [cqe.code for cqe in queue.wait(2)]
    assert codes in ([0, 0], [0x285, 0x09])
    return codes == [0, 0]
