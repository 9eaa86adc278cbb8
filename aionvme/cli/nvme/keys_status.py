"""Owns nvme-cli's keys of LBA status and of reservations."""

from __future__ import annotations

from typing import Any

from aionvme.cli.nvme.document import Document, Keys
from aionvme.spec.lba_status import LbaStatusDescriptor, LbaStatusHead
from aionvme.spec.reservation import (
    RegisteredController,
    RegisteredControllerExtended,
    ReservationHeader,
    reservation_status_bytes,
)

__all__ = ["lba_status", "reservation"]

_CONDITIONS = {
    0: "No indication of the completion condition",
    1: "There is more than there was room for, or the scan did not complete",
    2: "All of the range was looked at, and all that was found is here",
}


def lba_status(raw: bytes) -> Document:
    """What Get LBA Status gave, as far as it was transferred."""
    head = LbaStatusHead.decode(raw)
    document = Document(
        {
            "Number of LBA Status Descriptors (NLSD)": head.nlsd,
            "Completion Condition (CMPC)": head.cmpc,
        }
    )
    if head.cmpc in _CONDITIONS:
        document["cmpc-definition"] = _CONDITIONS[head.cmpc]
    size = LbaStatusDescriptor.SIZE
    room = (len(raw) - LbaStatusHead.SIZE) // size
    for number in range(min(head.nlsd, room)):
        found = LbaStatusDescriptor.decode(raw[LbaStatusHead.SIZE + size * number :])
        document[f"LSD entry {number}"] = {
            "DSLBA": f"{found.dslba:#018x}",
            "NLB": f"{found.nlb:#010x}",
            "status": f"{found.status:#04x}",
        }
    return document


_HEADER = Keys(ReservationHeader, "gen rtype regctl ptpls")
_REGISTERED = Keys(RegisteredController, "cntlid rcsts hostid:x rkey:x")
_EXTENDED = Keys(RegisteredControllerExtended, "cntlid rcsts rkey:x hostid")


def reservation(raw: bytes, *, extended: bool) -> Document:
    """A reservation status, with the controllers that it has room for."""
    document = _HEADER.document(raw)
    keys, name = (_EXTENDED, "regctlext") if extended else (_REGISTERED, "regctls")
    start, size = reservation_status_bytes(0, extended=extended), keys.kind.SIZE
    room = max(0, len(raw) - start) // size
    found: list[Any] = []
    for number in range(min(document["regctl"], room)):
        at = start + number * size
        found.append(keys.document(raw[at : at + size]))
    document[name] = found
    return document
