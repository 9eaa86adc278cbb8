"""Owns a raw driver for the tests: entries written by hand, doorbells rung, completions polled."""

from __future__ import annotations

import ctypes
import mmap
import struct
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from aionvme.mock import MockController, MockFunction

PAGE = 4096
IOVA = 0x1000_0000
CAP, VS, INTMS, INTMC, CC, CSTS, NSSR = 0x00, 0x08, 0x0C, 0x10, 0x14, 0x1C, 0x20
AQA, ASQ, ACQ = 0x24, 0x28, 0x30
CC_ENABLE = 4 << 20 | 6 << 16 | 1
DNR = 0x4000

_SQE = struct.Struct("<BBHIIIQQQIIIIII")
_CQE = struct.Struct("<IIHHHH")
SECONDS = 20.0


class Cqe(NamedTuple):
    """A completion, without its phase."""

    dw0: int
    dw1: int
    sqhd: int
    sqid: int
    cid: int
    status: int

    @property
    def code(self) -> int:
        """Status code type and status code."""
        return self.status & 0x7FF


class Pages:
    """Memory that a function may reach, cut into pages that are never given back."""

    def __init__(self, memory: mmap.mmap, iova: int = IOVA) -> None:
        self.bytes = memory
        self.nbytes = len(memory)
        self.iova = iova
        self._next = 0

    def take(self, npages: int) -> int:
        """Offset of the first of some pages."""
        offset = self._next
        self._next += npages * PAGE
        assert self._next <= self.nbytes
        return offset

    def forget(self, offset: int) -> None:
        """All that was taken from this offset on is zeroed and may be taken again."""
        self.bytes[offset : self._next] = bytes(self._next - offset)
        self._next = offset


class Memory(Pages):
    """Memory of this process that is mapped for a function."""

    def __init__(self, function: MockFunction, nbytes: int, iova: int = IOVA) -> None:
        super().__init__(mmap.mmap(-1, nbytes), iova)
        self._anchor = ctypes.c_char.from_buffer(self.bytes)
        self.function = function
        self.address = ctypes.addressof(self._anchor)
        function.map_dma(self.address, nbytes, iova)

    def unmap(self) -> None:
        """Takes it from the function."""
        self.function.unmap_dma(self.iova, self.nbytes)


class Queue:
    """A submission and a completion queue, as a driver has them."""

    def __init__(self, driver: Raw, qid: int, entries: int, cq_entries: int | None = None) -> None:
        self.driver, self.qid, self.entries = driver, qid, entries
        self.cq_entries = cq_entries or entries
        memory = driver.memory
        self.sq = memory.take(-(-entries * 64 // PAGE))
        self.cq = memory.take(-(-self.cq_entries * 16 // PAGE))
        self.sq_iova, self.cq_iova = memory.iova + self.sq, memory.iova + self.cq
        self.sq_doorbell = 0x1000 + 2 * qid * driver.stride
        self.cq_doorbell = self.sq_doorbell + driver.stride
        self.tail = self.head = 0
        self.phase = 1

    def post(
        self, opcode: int, *, cid: int = 0, flags: int = 0, nsid: int = 0, prp1: int = 0, prp2: int = 0,
        mptr: int = 0, cdw2: int = 0, cdw3: int = 0, cdw10: int = 0, cdw11: int = 0, cdw12: int = 0,
        cdw13: int = 0, cdw14: int = 0, cdw15: int = 0,
    ) -> None:  # fmt: skip
        """Writes an entry; the doorbell is not rung."""
        _SQE.pack_into(
            self.driver.memory.bytes, self.sq + 64 * self.tail, opcode, flags, cid, nsid, cdw2, cdw3, mptr,
            prp1, prp2, cdw10, cdw11, cdw12, cdw13, cdw14, cdw15,
        )  # fmt: skip
        self.tail = (self.tail + 1) % self.entries

    def ring(self) -> None:
        """Tells the controller of all that was posted."""
        self.driver.function.write32(self.sq_doorbell, self.tail)

    def reap(self, most: int = 1 << 30) -> list[Cqe]:
        """What has completed; the head doorbell is written for it."""
        found: list[Cqe] = []
        memory = self.driver.memory.bytes
        while len(found) < most:
            dw0, dw1, sqhd, sqid, cid, status = _CQE.unpack_from(memory, self.cq + 16 * self.head)
            if status & 1 != self.phase:
                break
            found.append(Cqe(dw0, dw1, sqhd, sqid, cid, status >> 1))
            self.head += 1
            if self.head == self.cq_entries:
                self.head = 0
                self.phase ^= 1
        if found:
            self.driver.function.write32(self.cq_doorbell, self.head)
        return found

    def wait(self, count: int = 1) -> list[Cqe]:
        """This many completions, in the order in which they came."""
        found: list[Cqe] = []
        deadline = time.monotonic() + SECONDS
        while True:
            self.driver.step()
            found += self.reap()
            if len(found) >= count:
                assert len(found) == count
                return found
            assert time.monotonic() < deadline, f"{len(found)} of {count} completions"
            time.sleep(0)

    def run(self, opcode: int, **fields: int) -> Cqe:
        """One command, posted, rung and completed."""
        self.post(opcode, **fields)
        self.ring()
        (cqe,) = self.wait()
        return cqe


class Raw:
    """A driver of a mock that is as small as can be.

    Args:
        mock: The mock, which it opens.
        memory: Bytes of memory for everything.
        owned: Closing the function closes the mock.
        reached: A function and its memory, where it is not opened here.
    """

    def __init__(
        self,
        mock: MockController,
        *,
        memory: int = 8 << 20,
        owned: bool = False,
        reached: tuple[Any, Any] | None = None,
    ) -> None:
        self.mock = mock
        self.function: Any
        self.memory: Memory
        if reached is None:
            self.function = mock.open(owned=owned)
            self.memory = Memory(self.function, memory)
        else:
            self.function, self.memory = reached
        self.stride = 4 << (self.function.read64(CAP) >> 32 & 0xF)
        self.page = self.memory.take(1)
        self.page_iova = self.memory.iova + self.page

    def step(self) -> None:
        """Lets a stepped mock work."""
        if self.mock.options.drive == "step":
            self.mock.step()

    def enable(self, entries: int = 32, cc: int = CC_ENABLE) -> Queue:
        """Admin queue, CC.EN, RDY; the admin queue."""
        self.function.set_bus_master(True)
        self.admin = Queue(self, 0, entries)
        self.function.write32(AQA, (entries - 1) << 16 | (entries - 1))
        self.function.write64(ASQ, self.admin.sq_iova)
        self.function.write64(ACQ, self.admin.cq_iova)
        self.function.write32(CC, cc)
        assert self.function.read32(CSTS) == 1
        return self.admin

    def create(
        self,
        qid: int,
        entries: int = 64,
        *,
        cq_entries: int | None = None,
        qprio: int = 0,
        vector: int | None = None,
    ) -> Queue:
        """An I/O queue of both kinds."""
        queue = Queue(self, qid, entries, cq_entries)
        cqe = self.admin.run(
            0x05, cid=1, prp1=queue.cq_iova, cdw10=(queue.cq_entries - 1) << 16 | qid,
            cdw11=(vector or 0) << 16 | (vector is not None) << 1 | 1,
        )  # fmt: skip
        assert cqe.status == 0
        cqe = self.admin.run(
            0x01, cid=2, prp1=queue.sq_iova, cdw10=(entries - 1) << 16 | qid, cdw11=qid << 16 | qprio << 1 | 1
        )
        assert cqe.status == 0
        return queue

    def data(self, nbytes: int) -> bytes:
        """The start of the page that admin commands use."""
        return self.memory.bytes[self.page : self.page + nbytes]

    def identify(self, cns: int, *, nsid: int = 0, cntid: int = 0, csi: int = 0) -> tuple[Cqe, bytes]:
        """Identify, and the 4096 bytes."""
        self.memory.bytes[self.page : self.page + PAGE] = b"\xee" * PAGE
        cqe = self.admin.run(0x06, nsid=nsid, prp1=self.page_iova, cdw10=cntid << 16 | cns, cdw11=csi << 24)
        return cqe, self.data(PAGE)

    def close(self) -> None:
        """Closes the function."""
        self.function.close()

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
