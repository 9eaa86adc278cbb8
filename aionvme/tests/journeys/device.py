"""Owns what a journey is given: a device, what is known of it without the driver, and the record of its writes."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aionvme

if TYPE_CHECKING:
    from aionvme.qpair.opening import Opening

MiB = 1 << 20
STALE = 0xA5


@dataclass(frozen=True)
class Device:
    """A controller with one namespace, number 1, of 64 MiB or more.

    Journeys write below `scratch` only what they `record` in the end, and from there on what they like.

    Attributes:
        address: what `connect` takes.
        serial: the serial number.
        block_size, nblocks: of the namespace.
        record: `record(byte_offset, data)` after a write that was acknowledged and is the last there.
        many: how many commands are a lot, on this tier.
        weighted: whether it has weighted round robin.
    """

    address: Any
    serial: str
    block_size: int
    nblocks: int
    record: Callable[[int, bytes], None]
    many: int = 400
    weighted: bool = False

    @property
    def scratch(self) -> int:
        """The first block that nobody looks at afterwards."""
        return 32 * MiB // self.block_size

    def connect(self, **options: Any) -> Opening[aionvme.Controller]:
        """Connect with these options."""
        return aionvme.connect(self.address, aionvme.ControllerOptions(**options))

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
