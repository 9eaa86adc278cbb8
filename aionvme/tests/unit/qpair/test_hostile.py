"""A device that writes what it likes to its completion queue: an error, or the end of the queue pair, and nothing else.

No command succeeds that the device did not say had succeeded, none ends twice, and what the device still has it keeps
until the queue pair is ended. AIONVME_FUZZ=N has N times as many examples; `make full` sets it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aionvme.errors import ControllerFailedError, ControllerLostError
from aionvme.tests.unit.qpair.device import CQE_BYTES, Device, device

MORE = int(os.environ.get("AIONVME_FUZZ", "1"))
DEPTH = 5
ENTRIES = DEPTH + 1

# What the device does: bytes from anywhere in the queue on, or an entry that is right but for what is drawn.
BYTES = st.tuples(
    st.just("bytes"), st.integers(0, ENTRIES * CQE_BYTES - 1), st.binary(min_size=1, max_size=64)
)
ENTRY = st.tuples(
    st.just("entry"),
    st.integers(0, DEPTH),  # of which command: there may be none
    st.sampled_from(["right"] * 6 + ["cid", "sqid", "sqhd", "phase", "torn"]),
    st.integers(0, 0xFFFF),
)
SUBMIT = st.tuples(st.just("submit"), st.sampled_from(["read", "long", "batch", "flush", "compare", "fused"]))
POLL = st.tuples(st.just("poll"), st.integers(0, 3))
ACTIONS = st.lists(st.one_of(SUBMIT, SUBMIT, ENTRY, ENTRY, POLL, POLL, BYTES), max_size=40)


class Hostile:
    """The device, and what it said."""

    def __init__(self, far: Device) -> None:
        self.far = far
        self.ns = far.namespace(nblocks=1 << 20)
        self.buf = far.alloc(512 << 10)
        self.posted: list[tuple[int, int]] = []
        self.said: set[int] = set()
        self.answered: set[int] = set()
        self.ended: dict[int, list[Any]] = {}
        self.requests: list[Any] = []
        self.kinds: list[str] = []
        self.at = 0

    def submit(self, kind: str) -> None:
        """One request; refused once the queue pair is broken."""
        number = len(self.requests)
        done = self.ended.setdefault(number, [])
        calls: dict[str, Callable[[], Any]] = {
            "read": lambda: self.far.qp.submit_read(self.ns, self.buf, 0, 1, self._told, done),
            "long": lambda: self.far.qp.submit_read(self.ns, self.buf, 0, 1024, self._told, done),
            "batch": lambda: self.far.qp.read_batch(self.ns, self.buf, np.arange(4), 1, check=False),
            "flush": lambda: self.far.qp.submit_flush(self.ns, self._told, done),
            "compare": lambda: self.far.qp.submit_compare(self.ns, self.buf, 0, 1, self._told, done),
            "fused": lambda: self.far.qp.submit_compare_and_write(
                self.ns, self.buf, self.buf, 0, 1, self._told, done
            ),
        }
        with suppress(ControllerFailedError):
            self.requests.append(calls[kind]())
            self.kinds.append(kind)

    @staticmethod
    def _told(done: list[Any], cpl: Any) -> None:
        done.append(cpl)

    def write(self, offset: int, data: bytes) -> None:
        """Bytes in the completion queue, which ends where it ends; what they say is looked at entry by entry."""
        data = data[: ENTRIES * CQE_BYTES - offset]
        self.far.iommu.store(self.far.qp.cq_iova + offset, data)
        whole = self.far.iommu.fetch(self.far.qp.cq_iova, ENTRIES * CQE_BYTES)
        for _, _, sqhd, sqid, cid, status in struct.iter_unpack("<IIHHHH", whole):
            if sqid == 1 and sqhd < ENTRIES:
                self.answered.add(cid)
                if not status >> 1:
                    self.said.add(cid)

    def entry(self, which: int, wrong: str, value: int) -> None:
        """An entry where the next one is due."""
        self.posted += [struct.unpack_from("<BxH", sqe) for sqe in self.far.commands()]
        cid = self.posted[which % len(self.posted)][1] if self.posted else value
        phase = 1 - self.at // ENTRIES % 2
        words = {"sqhd": self.far.head, "sqid": 1, "cid": cid, "phase": phase}
        if wrong in words:
            words[wrong] = value & 1 if wrong == "phase" else value
        # Mostly success: that is what must not be believed.
        status = value >> 1 if value & 3 == 3 else 0
        packed = struct.pack(
            "<IIHHHH",
            value,
            value,
            words["sqhd"],
            words["sqid"],
            words["cid"],
            status << 1 & 0xFFFE | words["phase"],
        )
        begin = self.at % ENTRIES * CQE_BYTES
        self.write(begin + 8 if wrong == "torn" else begin, packed[8:] if wrong == "torn" else packed)
        self.at += 1

    def check(self) -> None:
        """What must be true at any time."""
        for request, kind, done in zip(self.requests, self.kinds, self.ended.values(), strict=False):
            assert len(done) <= 1
            if request.done() and request.cpl is not None and not request.cpl.status:
                # Commands of a batch that failed are in its result, not in its completion.
                believed = self.answered if kind == "batch" else self.said
                assert request.cpl.cid in believed, "success of a command that did not end"
        assert 0 <= self.far.qp.outstanding <= DEPTH


@settings(max_examples=100 * MORE)
@given(ACTIONS)
def test_anything_in_the_completion_queue(actions: list[tuple[Any, ...]]) -> None:
    """Whatever is in the queue, each request ends once, and successfully only if the device said so."""
    with device(depth=DEPTH) as far:
        hostile = Hostile(far)
        for name, *arguments in actions:
            if name == "poll":
                far.qp.process_completions(*arguments)
            else:
                getattr(hostile, "write" if name == "bytes" else name)(*arguments)
            hostile.check()
        far.qp.process_completions()
        hostile.check()
        far.qp.end_outstanding(ControllerLostError("the end"), True)
        far.qp.process_completions()
        hostile.check()
        assert far.qp.outstanding == 0
        assert all(request.done() for request in hostile.requests)
        for request in hostile.requests:
            with suppress(Exception):
                request.exception()
        hostile.buf.close()
