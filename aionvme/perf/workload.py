"""Owns what a workload is: the words of `aionvme perf`, what goes with what, and which blocks it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from aionvme.errors import UsageError

if TYPE_CHECKING:
    from aionvme.qpair.namespace import Namespace

__all__ = ["COMPLETIONS", "MODES", "PATTERNS", "Region", "Workload"]

#: Of SPDK's perf; each with whether the places are random, and the share of reads (None: as is asked for).
PATTERNS: dict[str, tuple[bool, int | None]] = {
    "read": (False, 100),
    "write": (False, 0),
    "rw": (False, None),
    "randread": (True, 100),
    "randwrite": (True, 0),
    "randrw": (True, None),
}
MODES = ("await", "callback", "batch")
#: "manual" has nobody here to call `process_completions`.
COMPLETIONS = ("poll", "interrupt", "adaptive")

_VERIFIED_BYTES = 1 << 30


def _one_of(words: tuple[str, ...]) -> Any:
    def check(_instance: Any, attribute: attrs.Attribute[str], value: str) -> None:
        if value not in words:
            raise UsageError(f"{attribute.name} is one of {', '.join(words)}, not {value!r}")

    return check


def _at_least(least: float) -> Any:
    def check(_instance: Any, attribute: attrs.Attribute[Any], value: float | None) -> None:
        if value is not None and not value >= least:
            raise UsageError(f"{attribute.name} must be {least} or more, not {value}")

    return check


def _positive(_instance: Any, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not 0 < value < float("inf"):
        raise UsageError(f"{attribute.name} must be more than 0, not {value}")


@attrs.frozen
class Region:
    """The blocks that a workload is for.

    Attributes:
        first: LBA.
        nblocks: How many.
    """

    first: int
    nblocks: int


@attrs.frozen(kw_only=True)
class Workload:
    """What is to be run and measured.

    Attributes:
        pattern: One of `PATTERNS`.
        io_size: Bytes of one command.
        depth: Commands under way at once on each queue pair.
        queue_pairs: How many.
        read_percent: Of "rw" and "randrw": how many of a hundred commands read; None for 50.
        seconds, warmup: Of the measurement, and before it.
        mode: One of `MODES`.
        completion: How completions are learnt of, one of `COMPLETIONS`.
        rate: Commands a second over all queue pairs; None for as many as there can be.
        latency: Whether that of each command is measured; a batch has no such thing.
        verify: Whether blocks are written first, and each that is read is compared.
        offset, size: The region in bytes from the namespace's beginning; a size of None is all the rest, and of what
            is verified 1 GiB at most.
        seed: Of places, of what is read and what is written, and of the data.

    Raises:
        UsageError: What can't be, or does not go together.
    """

    pattern: str = attrs.field(default="randread", validator=_one_of(tuple(PATTERNS)))
    io_size: int = attrs.field(default=4096, validator=_positive)
    depth: int = attrs.field(default=32, validator=_at_least(1))
    queue_pairs: int = attrs.field(default=1, validator=_at_least(1))
    read_percent: int | None = None
    seconds: float = attrs.field(default=10.0, validator=_positive)
    warmup: float = attrs.field(default=1.0, validator=_at_least(0))
    mode: str = attrs.field(default="await", validator=_one_of(MODES))
    completion: str = attrs.field(default="poll", validator=_one_of(COMPLETIONS))
    rate: float | None = attrs.field(default=None, validator=_positive)
    latency: bool = True
    verify: bool = False
    offset: int = attrs.field(default=0, validator=_at_least(0))
    size: int | None = attrs.field(default=None, validator=_positive)
    seed: int = 1

    def __attrs_post_init__(self) -> None:
        if self.read_percent is not None and PATTERNS[self.pattern][1] is not None:
            raise UsageError(
                f"read_percent is for rw and randrw: all commands of {self.pattern} are of one kind"
            )
        if not 0 <= self.reads <= 100:
            raise UsageError(f"read_percent must be from 0 to 100, not {self.read_percent}")
        if self.verify and self.reads == 0:
            raise UsageError(
                f"{self.pattern} reads nothing, so that there is nothing to verify: take rw or randrw, "
                "or read afterwards"
            )

    @property
    def random(self) -> bool:
        """Whether places are random."""
        return PATTERNS[self.pattern][0]

    @property
    def reads(self) -> int:
        """How many of a hundred commands read."""
        share = PATTERNS[self.pattern][1]
        if share is not None:
            return share
        return 50 if self.read_percent is None else self.read_percent

    @property
    def mixed(self) -> bool:
        """Whether some commands read and some write."""
        return 0 < self.reads < 100

    @property
    def destroys(self) -> bool:
        """Whether it overwrites what is stored."""
        return self.reads < 100 or self.verify

    @property
    def times_commands(self) -> bool:
        """Whether the latency of each command is measured."""
        return self.latency and self.mode != "batch"

    def nblocks_in(self, ns: Namespace) -> int:
        """Blocks of one command.

        Raises:
            UsageError: The namespace has no blocks of which it could be a multiple, or blocks with metadata.
        """
        if ns.metadata_size:
            raise UsageError(
                f"the blocks of namespace {ns.nsid} have {ns.metadata_size} bytes of metadata, which a workload does "
                "not carry: choose another namespace"
            )
        if self.io_size % ns.block_size:
            raise UsageError(
                f"io_size must be a multiple of the {ns.block_size} bytes of a block of namespace {ns.nsid}, "
                f"not {self.io_size}"
            )
        return self.io_size // ns.block_size

    def region_in(self, ns: Namespace) -> Region:
        """Which blocks.

        Raises:
            UsageError: They are not in the namespace, or too few.
        """
        nblocks = self.nblocks_in(ns)
        if self.offset % ns.block_size or (self.size or 0) % ns.block_size:
            raise UsageError(f"offset and size must be multiples of the {ns.block_size} bytes of a block")
        first, end = self.offset // ns.block_size, ns.nblocks
        if self.size is not None:
            end = first + self.size // ns.block_size
        elif self.verify:
            end = min(end, first + max(_VERIFIED_BYTES // ns.block_size, nblocks))
        if end > ns.nblocks or end - first < nblocks:
            raise UsageError(
                f"there are {max(min(end, ns.nblocks) - first, 0) * ns.block_size} bytes from offset {self.offset} on "
                f"in namespace {ns.nsid}, which has {ns.nblocks * ns.block_size}: choose another offset or size"
            )
        return Region(first, end - first)
