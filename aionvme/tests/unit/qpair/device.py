"""Owns a queue pair with no controller behind it: what it posts is read from its ring, and completed by hand."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aionvme.errors import ControllerLostError
from aionvme.pci.dma import DmaBuffer, DmaSpace
from aionvme.qpair.io import IoQueuePair
from aionvme.qpair.limits import Limits
from aionvme.qpair.namespace import Namespace
from aionvme.tests.unit.pci.recording import RecordingFunction
from aionvme.tests.unit.qpair.model import Iommu

SQ_DOORBELL, CQ_DOORBELL = 0x1008, 0x100C
SQE_BYTES, CQE_BYTES = 64, 16


class Doorbells(RecordingFunction):
    """Takes register writes by message, and keeps them."""

    def __init__(self) -> None:
        super().__init__()
        self.rung: list[tuple[int, int]] = []

    def write32(self, offset: int, value: int) -> int:
        self.rung.append((offset, value))
        return 0


class Device:
    """The far side of one queue pair. One that is not "manual" belongs to the running loop, and has no interrupt."""

    def __init__(
        self,
        *,
        depth: int = 16,
        page_size: int = 4096,
        max_transfer: int = 128 << 10,
        completion: str = "manual",
        **limits: Any,
    ) -> None:
        self.function = Doorbells()
        self.dma = DmaSpace(self.function)
        self.depth = depth
        self.qp = IoQueuePair(
            function=self.function,
            dma=self.dma,
            qid=1,
            depth=depth,
            entries=depth + 1,
            page_size=page_size,
            max_transfer=max_transfer,
            limits=Limits(**{"oncs": 0xFFFF, "fuses": 1, "ocfs": 0xF} | limits),
            sq_doorbell=SQ_DOORBELL,
            cq_doorbell=CQ_DOORBELL,
            completion=completion,
            loop=asyncio.get_running_loop() if completion != "manual" else None,
        )
        self.head = self.posted = 0
        self.look: Callable[[bytes], Any] = bytes
        self._mapped = (0, 0)
        self._iommu = Iommu({})

    def namespace(self, **fields: Any) -> Namespace:
        """A namespace of this controller; by default the seventh, of 2**40 blocks of 512 bytes."""
        shape = {"nsid": 7, "block_size": 512, "nblocks": 1 << 40} | fields
        return Namespace(controller=self.dma, **shape)

    def alloc(self, nbytes: int) -> DmaBuffer:
        """Memory that the device reaches."""
        return self.dma.alloc(nbytes)

    @property
    def iommu(self) -> Iommu:
        """What the device reaches at present."""
        mapped = (self.function.calls, len(self.function.mapped))
        if mapped != self._mapped:
            self._mapped, self._iommu = mapped, Iommu(self.function.mapped)
        return self._iommu

    def fetch(self, iova: int, nbytes: int) -> bytes:
        """What the device reads there."""
        return self.iommu.fetch(iova, nbytes)

    def commands(self) -> list[bytes]:
        """The commands that the doorbell announced since the last call."""
        self.qp.process_completions()
        tails = [value for offset, value in self.function.rung if offset == SQ_DOORBELL]
        found = []
        while tails and self.head != tails[-1]:
            found.append(self.fetch(self.qp.sq_iova + SQE_BYTES * self.head, SQE_BYTES))
            self.head = (self.head + 1) % (self.depth + 1)
        return found

    def complete(self, sqe: bytes, status: int = 0) -> None:
        """Completes a command, in the queue's memory; the driver sees it when it looks."""
        phase = 1 - self.posted // (self.depth + 1) % 2
        slot = self.posted % (self.depth + 1)
        self.posted += 1
        (cid,) = struct.unpack_from("<H", sqe, 2)
        entry = struct.pack("<IIHHHH", 0, 0, self.head, 1, cid, status << 1 | phase)
        self.iommu.store(self.qp.cq_iova + CQE_BYTES * slot, entry)

    def command(self, call: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
        """The one command that a call posts, which then succeeds."""
        [sqe] = self.all_commands(call, *args, **keywords)
        return sqe

    def all_commands(self, call: Callable[..., Any], *args: Any, **keywords: Any) -> list[Any]:
        """The commands that a call posts, each as `look` shows it; they all succeed."""
        told: list[Any] = []
        request = call(*args, lambda _arg, cpl: told.append(cpl), **keywords)
        found: list[Any] = []
        while posted := self.commands():
            # Now: when they are completed their lists and the driver's memory are used for others.
            found += [self.look(sqe) for sqe in posted]
            for sqe in posted:
                self.complete(sqe)
        assert request.done()
        assert len(told) == 1
        assert not told[0].status
        return found

    def close(self) -> None:
        """Ends what there is, and gives all memory back."""
        self.qp.end_outstanding(ControllerLostError("the device is closed"), True)
        self.qp.process_completions()
        self.qp.dispose()
        self.dma.close()
        assert self.function.mapped == {}


@contextmanager
def device(**options: Any) -> Iterator[Device]:
    """A queue pair with no controller behind it, closed afterwards."""
    made = Device(**options)
    try:
        yield made
    finally:
        made.close()
