"""Owns where the data of a command lies: how many bytes it transfers, and the memory that its PRPs or SGLs name."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Protocol

from aionvme.spec.entries import SglDescriptor, SglType, Sqe
from aionvme.spec.nvm import CopyCdw12, CopyRange0, CopyRange1, DsmRange
from aionvme.spec.opcodes import AdminOpcode, NvmOpcode

__all__ = ["Memory", "data_of", "nbytes_of"]

#: Of Identify (NVMe Base 2.0, 5.17).
_IDENTIFY_BYTES = 4096
# Two keys, or one (NVMe Base 2.0, 7.2, 7.3 and 7.5).
_OF_KEYS = {
    int(NvmOpcode.RESERVATION_REGISTER): 16,
    int(NvmOpcode.RESERVATION_ACQUIRE): 16,
    int(NvmOpcode.RESERVATION_RELEASE): 8,
}
# Descriptors that are followed: more are a loop, or nothing that we made.
_MOST_DESCRIPTORS = 1 << 16


class Memory(Protocol):
    """What is to be known of the host's side."""

    page_size: int

    def unit(self, nsid: int) -> int:
        """Bytes that are transferred for each block of a namespace; 0 for one that there is not."""

    def reach(self, iova: int, nbytes: int) -> bytes | None:
        """What is at an I/O address; None where that is not mapped."""


def nbytes_of(qid: int, entry: Sqe, unit: int) -> int:
    """How many bytes a command transfers; 0 where its entry does not say, and for one without data.

    Args:
        qid: Its queue.
        entry: The command.
        unit: Bytes that are transferred for each block of its namespace.
    """
    if qid == 0:
        if entry.opc == AdminOpcode.IDENTIFY:
            return _IDENTIFY_BYTES
        if entry.opc == AdminOpcode.GET_LOG_PAGE:
            # NUMDL in dword 10, NUMDU in dword 11 (NVMe Base 2.0, 5.16).
            return ((entry.cdw10 >> 16 | (entry.cdw11 & 0xFFFF) << 16) + 1) * 4
        return 0
    if entry.opc in (NvmOpcode.READ, NvmOpcode.WRITE, NvmOpcode.COMPARE):
        return ((entry.cdw12 & 0xFFFF) + 1) * unit
    if entry.opc == NvmOpcode.DATASET_MANAGEMENT:
        return ((entry.cdw10 & 0xFF) + 1) * DsmRange.SIZE
    if entry.opc == NvmOpcode.COPY:
        cdw12 = CopyCdw12(entry.cdw12)
        return (cdw12.nr + 1) * (CopyRange1.SIZE if cdw12.desfmt & 1 else CopyRange0.SIZE)
    if entry.opc == NvmOpcode.RESERVATION_REPORT:
        return (entry.cdw10 + 1) * 4
    return _OF_KEYS.get(entry.opc, 0)


def data_of(qid: int, sqe: bytes, memory: Memory) -> bytes | None:
    """What is in a command's data buffer now; None without one, or where it is not to be found.

    Metadata in a buffer of its own is no part of it.
    """
    entry = Sqe.decode(sqe)
    nbytes = nbytes_of(qid, entry, memory.unit(entry.nsid))
    if not nbytes:
        return None
    pieces = _sgl(sqe[24:40], memory) if entry.psdt else _prps(entry.prp1, entry.prp2, nbytes, memory)
    found = []
    for iova, length in pieces:
        # A bit bucket takes what nobody wants to have.
        piece = bytes(length) if iova is None else memory.reach(iova, length)
        if piece is None:
            return None
        found.append(piece)
    data = b"".join(found)
    return data[:nbytes] if len(data) >= nbytes else None


def _prps(prp1: int, prp2: int, nbytes: int, memory: Memory) -> Iterator[tuple[int | None, int]]:
    """The pieces that two PRP entries name (NVMe Base 2.0, 4.1.1)."""
    page = memory.page_size
    first = min(nbytes, page - prp1 % page)
    yield prp1, first
    left = nbytes - first
    if 0 < left <= page:
        yield prp2, left
        return
    at = prp2
    while left:
        wanted, room = -(-left // page), (page - at % page) // 8
        packed = memory.reach(at, min(wanted, room) * 8)
        if packed is None:
            return
        entries = [entry for (entry,) in struct.iter_unpack("<Q", packed)]
        if wanted > room:
            at = entries.pop()
            if not entries:
                return
        for entry in entries:
            yield entry, min(page, left)
            left -= min(page, left)


def _sgl(first: bytes, memory: Memory) -> Iterator[tuple[int | None, int]]:
    """The pieces that an SGL names, segment by segment (NVMe Base 2.0, 4.1.2)."""
    waiting = [first]
    for _ in range(_MOST_DESCRIPTORS):
        if not waiting:
            return
        found = SglDescriptor.decode(waiting.pop(0))
        kind = found.sglid >> 4
        if kind == SglType.DATA_BLOCK:
            yield found.addr, found.length
        elif kind == SglType.BIT_BUCKET:
            yield None, found.length
        elif kind in (SglType.SEGMENT, SglType.LAST_SEGMENT):
            segment = memory.reach(found.addr, found.length)
            if segment is None or len(segment) % SglDescriptor.SIZE:
                return
            size = SglDescriptor.SIZE
            waiting = [segment[at : at + size] for at in range(0, len(segment), size)]
        else:
            return
