"""Owns the Identify directive, the only one that the mock has (Base 2.0, 8.7.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aionvme.mock.identify import ALL_NAMESPACES
from aionvme.mock.refusal import Refused
from aionvme.spec.directives import (
    IDENTIFY_ENABLE,
    IDENTIFY_RETURN_PARAMETERS,
    DirectiveCdw11,
    DirectiveType,
    EnableCdw12,
    IdentifyDirectives,
)
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.spec.entries import Sqe

_IDENTIFY = bytes([1 << DirectiveType.IDENTIFY])


def send(sqe: Sqe) -> int:
    """Directive Send (5.11): nothing can be enabled, and the Identify directive not disabled."""
    dword, enable = DirectiveCdw11(sqe.cdw11), EnableCdw12(sqe.cdw12)
    wanted = dword.dtype == DirectiveType.IDENTIFY and dword.doper == IDENTIFY_ENABLE
    if not wanted or enable.dtype != DirectiveType.IDENTIFY or not enable.endir:
        raise Refused(StatusCode.INVALID_FIELD)
    return 0


def receive(sqe: Sqe, most: int) -> bytes:
    """Directive Receive (5.10)."""
    dword = DirectiveCdw11(sqe.cdw11)
    nbytes = (sqe.cdw10 + 1) * 4
    wanted = dword.dtype == DirectiveType.IDENTIFY and dword.doper == IDENTIFY_RETURN_PARAMETERS
    if not wanted or nbytes > most or sqe.nsid == ALL_NAMESPACES:
        raise Refused(StatusCode.INVALID_FIELD)
    page = IdentifyDirectives(supported=_IDENTIFY, enabled=_IDENTIFY).encode()
    return page[:nbytes].ljust(nbytes, b"\0")
