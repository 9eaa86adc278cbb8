"""Owns lists of block ranges: checking them, and cutting them into what one command takes."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from aionvme.errors import UsageError

if TYPE_CHECKING:
    from aionvme.qpair.limits import Limits
    from aionvme.qpair.namespace import Namespace

Range = tuple[int, int]

# NR is 8 bits, 0's based (NVM Command Set 1.0, 3.2.2 and 3.2.3).
_MOST_RANGES = 256
# The length of a range is 32 bits in Dataset Management, and 16 bits, 0's based, in Copy.
_DSM_MOST_BLOCKS = 0xFFFFFFFF
_COPY_MOST_BLOCKS = 65536


def checked(ranges: Iterable[Any], capacity: int) -> list[Range]:
    """Pairs of whole numbers, each within a namespace of `capacity` blocks.

    Raises:
        UsageError: There is none, one is no pair, or it is outside.
    """
    pairs = []
    if not isinstance(ranges, Iterable):
        raise TypeError(f"ranges must be (lba, nblocks) pairs, not {ranges!r}")
    for index, pair in enumerate(ranges):
        try:
            lba, nblocks = (operator.index(number) for number in pair)
        except (TypeError, ValueError):
            raise UsageError(f"ranges[{index}] is (lba, nblocks), not {pair!r}") from None
        if nblocks == 0:
            raise UsageError(f"ranges[{index}]: nblocks must be 1 or more, not 0")
        if not 0 <= lba < capacity or not 1 <= nblocks <= capacity - lba:
            raise UsageError(
                f"ranges[{index}]: lba {lba}, nblocks {nblocks} is outside of the namespace, which has {capacity} "
                "blocks (nblocks counts from 1)"
            )
        pairs.append((lba, nblocks))
    if not pairs:
        raise UsageError("ranges: give at least one (lba, nblocks)")
    return pairs


def _cut(pairs: Iterable[Range], most: int) -> Iterator[Range]:
    for lba, nblocks in pairs:
        while nblocks:
            part = min(nblocks, most)
            yield lba, part
            lba += part
            nblocks -= part


def _group(pairs: Iterable[Range], most_ranges: int, most_blocks: int) -> Iterator[list[Range]]:
    """Ranges that one command takes together; a range is cut where the blocks of a command are used up."""
    group: list[Range] = []
    left = most_blocks
    for lba, nblocks in pairs:
        while nblocks:
            if len(group) == most_ranges or left == 0:
                yield group
                group, left = [], most_blocks
            part = min(nblocks, left)
            group.append((lba, part))
            lba, nblocks, left = lba + part, nblocks - part, left - part
    yield group


def for_dsm(pairs: list[Range], limits: Limits) -> Iterator[list[Range]]:
    """Ranges for one Dataset Management command each (DMRL, DMRSL, DMSL of Identify, CNS 06h)."""
    longest = limits.dsm_range_blocks or _DSM_MOST_BLOCKS
    return _group(
        _cut(pairs, longest),
        min(limits.dsm_ranges or _MOST_RANGES, _MOST_RANGES),
        limits.dsm_blocks or 1 << 64,
    )


def for_copy(
    pairs: list[Range], dest_lba: int, ns: Namespace, source: Namespace, most_ranges: int
) -> Iterator[list[Range]]:
    """Ranges for one Copy command each (MSSRL, MCL, MSRC of Identify Namespace), at most `most_ranges` of them.

    Raises:
        UsageError: What is written does not fit, or lies over what is read.
    """
    total = sum(nblocks for _, nblocks in pairs)
    if dest_lba >= ns.nblocks or total > ns.nblocks - dest_lba:
        raise UsageError(
            f"dest_lba {dest_lba}: {total} blocks from there on are outside of the namespace, which has "
            f"{ns.nblocks} blocks"
        )
    if source is ns and any(lba < dest_lba + total and dest_lba < lba + nblocks for lba, nblocks in pairs):
        raise UsageError(f"ranges: one overlaps the {total} blocks from dest_lba {dest_lba} on")
    data = ns.data
    if not data.mssrl or not data.mcl:
        raise UsageError(f"ns: {ns!r} takes no copy (MSSRL and MCL are 0)")
    longest = min(data.mssrl, _COPY_MOST_BLOCKS)
    return _group(_cut(pairs, longest), min(data.msrc + 1, _MOST_RANGES, most_ranges), data.mcl)


def copy_source(ns: Namespace, source_ns: Namespace | None, form: int, limits: Limits) -> Namespace:
    """The namespace that a copy reads.

    Raises:
        UsageError: The descriptor format is not there, or does not go with `source_ns`.
    """
    if form not in (0, 1, 2, 3):
        raise UsageError(f"format must be 0 or 1 (the same namespace), or 2 or 3 (source_ns), not {form!r}")
    if not limits.ocfs >> form & 1:
        raise UsageError(f"format {form}: {limits.name} does not have it (OCFS is {limits.ocfs:#x})")
    if ns.pi_type and form & 1 != (ns.pi_size == 16):
        raise UsageError(
            f"format {form}: 0 and 2 are for guards of 16 bits, 1 and 3 for longer ones, unlike that of {ns!r}"
        )
    if form < 2 and source_ns is not None and source_ns is not ns:
        raise UsageError("source_ns: another namespace is read with format=2 or 3")
    if form >= 2 and source_ns is None:
        raise UsageError(f"format {form}: say which namespace is read, by source_ns")
    source = ns if source_ns is None else source_ns
    if (source.block_size, source.metadata_size) != (ns.block_size, ns.metadata_size):
        raise UsageError(f"source_ns: {source!r} has other blocks than {ns!r}")
    if _protection(source) != _protection(ns):
        raise UsageError(f"source_ns: {source!r} has other protection information than {ns!r}")
    return source


def _protection(ns: Namespace) -> tuple[int, ...]:
    return ns.pi_type, ns.pi_size, ns.tag_bits if ns.pi_type else 0, ns.storage_tag_bits
