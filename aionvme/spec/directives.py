"""Directives: Identify and Streams (NVMe Base 2.0, 8.7; Directive Send and Receive are 5.11 and 5.10)."""

from __future__ import annotations

from enum import IntEnum, unique

from aionvme.spec.bits import Bits, bits
from aionvme.spec.entries import Sqe
from aionvme.spec.opcodes import AdminOpcode
from aionvme.spec.structure import Structure, raw_bytes, u8, u16, u32


@unique
class DirectiveType(IntEnum):
    """Directive types (DTYPE)."""

    IDENTIFY = 0
    STREAMS = 1
    DATA_PLACEMENT = 2
    """After Base 2.0 (TP4146)."""


IDENTIFY_RETURN_PARAMETERS = 1
IDENTIFY_ENABLE = 1
STREAMS_RETURN_PARAMETERS, STREAMS_GET_STATUS, STREAMS_ALLOCATE = 1, 2, 3
STREAMS_RELEASE_IDENTIFIER, STREAMS_RELEASE_RESOURCES = 1, 2


class DirectiveCdw11(Bits, width=32):
    """Directive Send and Receive, command dword 11."""

    doper = bits(0, 8, "Directive operation")
    dtype = bits(8, 8, "Directive type")
    dspec = bits(16, 16, "Directive specific")


class EnableCdw12(Bits, width=32):
    """Directive Send, Identify directive, Enable Directive: command dword 12 (8.7.2.2.1)."""

    endir = bits(0, 1, "Enable")
    dtype = bits(8, 8, "Which directive type")


class IdentifyDirectives(Structure, size=4096):
    """Identify directive, Return Parameters (8.7.2.1.1): a bit for each directive type."""

    supported: bytes = raw_bytes(0, 32, "Directives supported")
    enabled: bytes = raw_bytes(32, 32, "Directives enabled")
    persistent: bytes = raw_bytes(64, 32, "Enabled also after a controller level reset (2.1)")

    def supports(self, dtype: int) -> bool:
        """Whether the controller has this directive."""
        return _bit(self.supported, dtype)

    def enables(self, dtype: int) -> bool:
        """Whether it is enabled for the namespace and host."""
        return _bit(self.enabled, dtype)


class StreamsParameters(Structure, size=32):
    """Streams directive, Return Parameters (8.7.3.1.1)."""

    msl: int = u16(0, "Max streams limit of the subsystem")
    nssa: int = u16(2, "NVM subsystem streams available")
    nsso: int = u16(4, "NVM subsystem streams open")
    nssc: int = u8(6, "NVM subsystem stream capability")
    sws: int = u32(16, "Stream write size, in blocks")
    sgs: int = u16(20, "Stream granularity size, in units of SWS")
    nsa: int = u16(22, "Namespace streams allocated to this host")
    nso: int = u16(24, "Namespace streams open")


def decode_stream_status(data: bytes) -> tuple[int, ...]:
    """Streams directive, Get Status (8.7.3.1.2): the identifiers of the open streams."""
    count = int.from_bytes(data[:2], "little")
    most = len(data) // 2 - 1
    return tuple(
        int.from_bytes(data[2 + 2 * i : 4 + 2 * i], "little") for i in range(min(count, max(most, 0)))
    )


def directive_send(
    *, dtype: int, doper: int, dspec: int = 0, nsid: int = 0, nbytes: int = 0, cdw12: int = 0, cdw13: int = 0
) -> bytes:
    """Directive Send (NVMe Base 2.0, 5.11)."""
    return _directive(AdminOpcode.DIRECTIVE_SEND, dtype, doper, dspec, nsid, nbytes, cdw12, cdw13)


def directive_receive(
    *, dtype: int, doper: int, dspec: int = 0, nsid: int = 0, nbytes: int = 0, cdw12: int = 0, cdw13: int = 0
) -> bytes:
    """Directive Receive (NVMe Base 2.0, 5.10)."""
    return _directive(AdminOpcode.DIRECTIVE_RECEIVE, dtype, doper, dspec, nsid, nbytes, cdw12, cdw13)


def _directive(
    opcode: int, dtype: int, doper: int, dspec: int, nsid: int, nbytes: int, cdw12: int, cdw13: int
) -> bytes:
    if nbytes < 0 or nbytes % 4:
        raise ValueError(f"a directive's data is a number of dwords, not {nbytes} bytes")
    return Sqe(
        opc=opcode,
        nsid=nsid,
        cdw10=nbytes // 4 - 1 if nbytes else 0,
        cdw11=DirectiveCdw11(doper=doper, dtype=dtype, dspec=dspec).value,
        cdw12=cdw12,
        cdw13=cdw13,
    ).encode()


def _bit(field: bytes, number: int) -> bool:
    if not 0 <= number < 256:
        raise ValueError(f"directive type {number}: does not fit in 8 bits")
    return bool(field[number // 8] >> number % 8 & 1)
