"""Owns the model of descriptors: memory as the device sees it, and how a controller walks PRPs and SGLs.

Written from the specification (NVMe Base 2.0, 4.1.1 and 4.1.2), and from nothing of the driver.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterable

from aionvme.pci.backing import PAGE

# A stretch of memory: its I/O address, None for a bit bucket, and its bytes.
Run = tuple[int | None, int]
Fetch = Callable[[int, int], bytes]

DATA_BLOCK, BIT_BUCKET, SEGMENT, LAST_SEGMENT = range(4)


def merged(runs: Iterable[Run]) -> list[Run]:
    """The same memory with neighbours in one run, and without empty ones."""
    found: list[Run] = []
    for iova, nbytes in runs:
        if not nbytes:
            continue
        if found:
            before, length = found[-1]
            if before == iova is None or (
                before is not None and iova is not None and before + length == iova
            ):
                found[-1] = (before, length + nbytes)
                continue
        found.append((iova, nbytes))
    return found


def part(runs: Iterable[Run], offset: int, nbytes: int) -> list[Run]:
    """So many bytes of them, from a byte on."""
    found: list[Run] = []
    for iova, length in runs:
        skipped = min(offset, length)
        offset -= skipped
        taken = min(length - skipped, nbytes)
        nbytes -= taken
        found.append((None if iova is None else iova + skipped, taken))
    return merged(found)


def total(runs: Iterable[Run]) -> int:
    """Their bytes."""
    return sum(nbytes for _, nbytes in runs)


# -- what the device reaches -------------------------------------------------------------------------------------------


class Iommu:
    """The mappings of a `RecordingFunction`, looked up in both directions, page by page."""

    def __init__(self, mapped: dict[int, tuple[int, int]]) -> None:
        self.by_address: dict[int, int] = {}
        self.by_iova: dict[int, int] = {}
        for iova, (address, nbytes) in mapped.items():
            for offset in range(0, nbytes, PAGE):
                self.by_address[address + offset] = iova + offset
                self.by_iova[iova + offset] = address + offset

    def runs(self, address: int, nbytes: int) -> list[Run]:
        """Where the device finds memory of this process, as far as it does without a gap."""
        found: list[Run] = []
        while nbytes:
            taken = min(nbytes, PAGE - address % PAGE)
            iova = self.by_address.get(address // PAGE * PAGE)
            if iova is None:
                break
            found.append((iova + address % PAGE, taken))
            address, nbytes = address + taken, nbytes - taken
        return merged(found)

    def fetch(self, iova: int, nbytes: int) -> bytes:
        """What the device reads at an I/O address."""
        found = b""
        while nbytes:
            taken = min(nbytes, PAGE - iova % PAGE)
            address = self.by_iova[iova // PAGE * PAGE] + iova % PAGE
            found += ctypes.string_at(address, taken)
            iova, nbytes = iova + taken, nbytes - taken
        return found

    def store(self, iova: int, data: bytes) -> None:
        """What the device writes there, within one page."""
        assert iova // PAGE == (iova + len(data) - 1) // PAGE
        ctypes.memmove(self.by_iova[iova // PAGE * PAGE] + iova % PAGE, data, len(data))


# -- how a controller walks ------------------------------------------------------------------------------------------


def walk_prps(prp1: int, prp2: int, nbytes: int, page_size: int, fetch: Fetch) -> list[Run]:
    """The memory of a transfer, as PRP1, PRP2 and a list say it (NVMe Base 2.0, 4.1.1)."""
    if nbytes == 0:
        assert (prp1, prp2) == (0, 0)
        return []
    assert prp1 % 4 == 0
    first = min(nbytes, page_size - prp1 % page_size)
    runs: list[Run] = [(prp1, first)]
    left = nbytes - first
    if left == 0:
        assert prp2 == 0
        return merged(runs)
    if left <= page_size:
        pages = [prp2]
    else:
        count = -(-left // page_size)
        assert prp2 % 8 == 0
        # A list that went on behind its page would need a pointer to the next as its last entry.
        assert prp2 // page_size == (prp2 + 8 * count - 1) // page_size
        pages = [entry for (entry,) in struct.iter_unpack("<Q", fetch(prp2, 8 * count))]
    for page in pages:
        assert page % page_size == 0
        runs.append((page, min(left, page_size)))
        left -= min(left, page_size)
    assert left == 0
    return merged(runs)


def walk_sgl(descriptor: bytes, fetch: Fetch) -> list[Run]:
    """The memory of a transfer, as the descriptor in the command and what it leads to say (NVMe Base 2.0, 4.1.2)."""
    address, length, kind = _descriptor(descriptor)
    if kind == DATA_BLOCK:
        return merged([(address, length)])
    assert kind == LAST_SEGMENT
    assert length % 16 == 0
    assert length > 0
    runs: list[Run] = []
    raw = fetch(address, length)
    for at in range(0, length, 16):
        start, nbytes, inner = _descriptor(raw[at : at + 16])
        assert inner in (DATA_BLOCK, BIT_BUCKET)
        assert nbytes
        runs.append((None if inner == BIT_BUCKET else start, nbytes))
    return merged(runs)


def descriptors(descriptor: bytes) -> int:
    """How many descriptors the one in the command leads to; 0 if it is a data block itself."""
    _, length, kind = _descriptor(descriptor)
    return 0 if kind == DATA_BLOCK else length // 16


def _descriptor(raw: bytes) -> tuple[int, int, int]:
    address, length, reserved, kind = struct.unpack("<QI3sB", raw)
    assert reserved == b"\0\0\0"
    assert kind & 0xF == 0  # the address is no offset
    return address, length, kind >> 4


# -- how far a description can go --------------------------------------------------------------------------------------


def prp_prefix(runs: list[Run], page_size: int, entries: int) -> int:
    """How many bytes PRPs can describe, with room for so many entries in a list."""
    runs = merged(runs)
    done = 0
    while True:
        rest = part(runs, done, total(runs) - done)
        iova, length = rest[0] if rest else (None, 0)
        if iova is None:
            return done
        if done == 0 and iova % 4:
            return 0
        if done and (iova % page_size or entries == 0):
            return done
        chunk = page_size - iova % page_size
        entries -= done > 0
        done += min(chunk, length)
        if length < chunk:
            return done
