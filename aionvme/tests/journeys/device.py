"""Owns what a journey is given: a device, what is known of it without the driver, and the record of its writes."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

import aionvme

if TYPE_CHECKING:
    from aionvme.qpair.opening import Opening

MiB = 1 << 20
STALE = 0xA5


def _no_metadata(lba: int, metadata: bytes) -> None:
    raise AssertionError("this device has no metadata to record")


def _no_warnings(bits: int) -> None:
    raise AssertionError("nobody can warn of this device")


@dataclass(frozen=True)
class Layout:
    """What a block has besides its data.

    Attributes:
        metadata: bytes of metadata.
        extended: it follows its block in the host's memory, and is not in a buffer of its own.
        pi: type of protection information, 0 for none.
        pi_first: that is the first of the metadata, not the last.
        guard: bits of its guard.
    """

    metadata: int = 0
    extended: bool = False
    pi: int = 0
    pi_first: bool = False
    guard: int = 16

    @property
    def pi_bytes(self) -> int:
        """Bytes of protection information."""
        return self.guard // 4 if self.guard == 64 else 8


@dataclass(frozen=True)
class Device:
    """A controller with a namespace of 64 MiB or more; with metadata it may have 2 MiB.

    Journeys write below `scratch` only what they `record` in the end, and from there on what they like.

    Attributes:
        address: what `connect` takes.
        serial: the serial number.
        block_size, nblocks: of the namespace.
        record: `record(byte_offset, data)` after a write that was acknowledged and is the last there.
        many: how many commands are a lot, on this tier.
        weighted: whether it has weighted round robin.
        nsid: the namespace; number 1 but where there is metadata.
        lacks: optional commands that the controller does not have, by their method's names; "bit buckets" too, and
            "status of a copy's check" where a copy that fails a check ends with an internal error, and "zeroes of
            protection information" where write zeroes without PRACT does not write that.
        layout: of the blocks.
        record_metadata: `record_metadata(lba, metadata)`, like `record`.
        warn: from outside, has these critical warnings of the SMART / health log be true, and no others.
    """

    address: Any
    serial: str
    block_size: int
    nblocks: int
    record: Callable[[int, bytes], None]
    many: int = 400
    weighted: bool = False
    nsid: int = 1
    lacks: frozenset[str] = frozenset()
    layout: Layout = Layout()
    record_metadata: Callable[[int, bytes], None] = _no_metadata
    warn: Callable[[int], None] = _no_warnings

    @property
    def scratch(self) -> int:
        """The first block that nobody looks at afterwards."""
        return 32 * MiB // self.block_size

    def connect(self, **options: Any) -> Opening[aionvme.Controller]:
        """Connect with these options."""
        return aionvme.connect(self.address, aionvme.ControllerOptions(**options))

    @asynccontextmanager
    async def queue_pair(self, **options: Any) -> AsyncIterator[tuple[Any, Any, Any]]:
        """The controller, its namespace and a queue pair, until the block ends."""
        async with self.connect() as ctrlr, ctrlr.alloc_io_qpair(**options) as qp:
            yield ctrlr, ctrlr.namespaces[self.nsid], qp

    def blocks(self, nbytes: int) -> int:
        """How many blocks make up so many bytes; at least one."""
        return max(nbytes // self.block_size, 1)

    def record_blocks(self, lba: int, data: bytes) -> None:
        """Record data that was written from a block on."""
        self.record(lba * self.block_size, data)


Journey = Callable[[Device], Awaitable[None]]


def pattern(seed: int, nbytes: int) -> bytes:
    """Bytes that no other seed has."""
    return random.Random(seed).randbytes(nbytes)


def fill(buf: Any, data: bytes) -> Any:
    """Put data at the beginning of a buffer; return the buffer."""
    memoryview(buf).cast("B")[: len(data)] = data
    return buf


def stale(ctrlr: aionvme.Controller, nbytes: int) -> Any:
    """A buffer of bytes that are neither zero nor of a pattern: what is read later came from the device."""
    return fill(ctrlr.dma_alloc(nbytes), bytes([STALE]) * nbytes)


async def refused(request: Awaitable[Any], code: aionvme.StatusCode) -> None:
    """The controller ends the command with this status."""
    with pytest.raises(aionvme.StatusError) as caught:
        await request
    assert caught.value.status == code
