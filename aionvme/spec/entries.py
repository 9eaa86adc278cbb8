"""Submission and completion queue entries, and the 64 bytes of each admin command.

A builder leaves the command identifier and, but for the creation of queues, the data pointer at zero: whoever
posts the entry fills them in. The tables of command dwords serve both sides: the driver builds by them, a
controller in software reads by them.
"""

from __future__ import annotations

from enum import IntEnum, unique

from aionvme.spec.bits import Bits, bits
from aionvme.spec.opcodes import AdminOpcode
from aionvme.spec.status import Status
from aionvme.spec.structure import Structure, raw_bytes, u8, u16, u32, u64

ALL_NAMESPACES = 0xFFFFFFFF
"""NSID that means every namespace, or the controller as a whole."""


class SqeFlags(Bits, width=8):
    """The second byte of command dword 0 (NVMe Base 2.0, 3.3.3.1)."""

    fuse = bits(0, 2, "0 normal, 1 first and 2 second command of a fused operation")
    psdt = bits(6, 2, "0 PRP; 1 SGL, metadata pointer to a buffer; 2 SGL, metadata pointer to an SGL segment")


class Sqe(Structure, size=64):
    """Submission queue entry, common format (NVMe Base 2.0, 3.3.3.1)."""

    opc: int = u8(0, "Opcode")
    flags: int = u8(1, "Fused operation, and PRP or SGL", bits=SqeFlags)
    cid: int = u16(2, "Command identifier")
    nsid: int = u32(4, "Namespace identifier")
    cdw2: int = u32(8)
    cdw3: int = u32(12)
    mptr: int = u64(16, "Metadata pointer")
    prp1: int = u64(24, "PRP entry 1; the address of SGL entry 1")
    prp2: int = u64(32, "PRP entry 2; the rest of SGL entry 1")
    cdw10: int = u32(40)
    cdw11: int = u32(44)
    cdw12: int = u32(48)
    cdw13: int = u32(52)
    cdw14: int = u32(56)
    cdw15: int = u32(60)

    @property
    def fuse(self) -> int:
        """0 normal, 1 first and 2 second command of a fused operation."""
        return SqeFlags(self.flags).fuse

    @property
    def psdt(self) -> int:
        """0 for PRPs, 1 and 2 for SGLs."""
        return SqeFlags(self.flags).psdt


class CqeStatus(Bits, width=16):
    """The last word of a completion queue entry (NVMe Base 2.0, 3.3.3.2)."""

    p = bits(0, 1, "Phase tag")
    sc = bits(1, 8, "Status code")
    sct = bits(9, 3, "Status code type")
    crd = bits(12, 2, "Command retry delay")
    m = bits(14, 1, "More")
    dnr = bits(15, 1, "Do not retry")


class Cqe(Structure, size=16):
    """Completion queue entry (NVMe Base 2.0, 3.3.3.2)."""

    dw0: int = u32(0, "Command specific")
    dw1: int = u32(4, "Command specific")
    sqhd: int = u16(8, "Submission queue head pointer")
    sqid: int = u16(10, "Submission queue identifier")
    cid: int = u16(12, "Command identifier")
    sf: int = u16(14, "Phase tag and status field", bits=CqeStatus)

    @property
    def phase(self) -> int:
        """Phase tag."""
        return self.sf & 1

    @property
    def status(self) -> Status:
        """The status, without the phase tag."""
        return Status.from_field(self.sf >> 1)


SQE_BYTES = Sqe.SIZE
CQE_BYTES = Cqe.SIZE


@unique
class SglType(IntEnum):
    """Types of SGL descriptor (NVMe Base 2.0, 4.1.2). What lies at `addr` depends on them."""

    DATA_BLOCK = 0x0
    BIT_BUCKET = 0x1
    SEGMENT = 0x2
    LAST_SEGMENT = 0x3
    KEYED_DATA_BLOCK = 0x4
    TRANSPORT_DATA_BLOCK = 0x5
    VENDOR_SPECIFIC = 0xF


@unique
class SglSubtype(IntEnum):
    """Subtypes of SGL descriptor (NVMe Base 2.0, 4.1.2). PCIe knows ADDRESS only."""

    ADDRESS = 0x0
    OFFSET = 0x1
    TRANSPORT = 0xA


class SglId(Bits, width=8):
    """The last byte of an SGL descriptor (NVMe Base 2.0, 4.1.2)."""

    subtype = bits(0, 4, "`SglSubtype`")
    type = bits(4, 4, "`SglType`")


class SglDescriptor(Structure, size=16):
    """SGL descriptor, as data block, bit bucket, segment and last segment have it (NVMe Base 2.0, 4.1.2)."""

    addr: int = u64(0, "Address")
    length: int = u32(8, "Length in bytes")
    reserved: bytes = raw_bytes(12, 3)
    sglid: int = u8(15, "Type in bits 7:4, subtype in bits 3:0", bits=SglId)

    @property
    def type(self) -> int:
        """An `SglType`, by its number."""
        return SglId(self.sglid).type


# -- command dwords ------------------------------------------------------------------------------------------


class IdentifyCdw10(Bits, width=32):
    """Identify, command dword 10 (NVMe Base 2.0, 5.17)."""

    cns = bits(0, 8, "Controller or namespace structure")
    cntid = bits(16, 16, "Controller identifier")


class IdentifyCdw11(Bits, width=32):
    """Identify, command dword 11 (NVMe Base 2.0, 5.17)."""

    cnssid = bits(0, 16, "CNS specific identifier")
    csi = bits(24, 8, "Command set identifier")


class UuidCdw14(Bits, width=32):
    """Command dword 14 of Identify, Get Features and Set Features (NVMe Base 2.0, 5.17, 5.15, 5.27)."""

    uidx = bits(0, 7, "UUID index")


class GetLogPageCdw10(Bits, width=32):
    """Get Log Page, command dword 10 (NVMe Base 2.0, 5.16)."""

    lid = bits(0, 8, "Log page identifier")
    lsp = bits(8, 7, "Log specific parameter")
    rae = bits(15, 1, "Retain asynchronous event")
    numdl = bits(16, 16, "Number of dwords, 0's based, lower half")


class GetLogPageCdw11(Bits, width=32):
    """Get Log Page, command dword 11 (NVMe Base 2.0, 5.16)."""

    numdu = bits(0, 16, "Number of dwords, 0's based, upper half")
    lsi = bits(16, 16, "Log specific identifier")


class GetLogPageCdw14(Bits, width=32):
    """Get Log Page, command dword 14 (NVMe Base 2.0, 5.16)."""

    uidx = bits(0, 7, "UUID index")
    ot = bits(23, 1, "Offset type: the offset is an index")
    csi = bits(24, 8, "Command set identifier")


class GetFeaturesCdw10(Bits, width=32):
    """Get Features, command dword 10 (NVMe Base 2.0, 5.15)."""

    fid = bits(0, 8, "Feature identifier")
    sel = bits(8, 3, "0 current, 1 default, 2 saved, 3 supported capabilities")


class SetFeaturesCdw10(Bits, width=32):
    """Set Features, command dword 10 (NVMe Base 2.0, 5.27)."""

    fid = bits(0, 8, "Feature identifier")
    sv = bits(31, 1, "Save")


class AbortCdw10(Bits, width=32):
    """Abort, command dword 10 (NVMe Base 2.0, 5.1)."""

    sqid = bits(0, 16, "Submission queue of the command to abort")
    cid = bits(16, 16, "Its command identifier")


class QueueCdw10(Bits, width=32):
    """Creation and deletion of I/O queues, command dword 10 (NVMe Base 2.0, 5.4 to 5.7)."""

    qid = bits(0, 16, "Queue identifier")
    qsize = bits(16, 16, "Queue size in entries, 0's based; reserved in a deletion")


class CreateCqCdw11(Bits, width=32):
    """Create I/O Completion Queue, command dword 11 (NVMe Base 2.0, 5.4)."""

    pc = bits(0, 1, "Physically contiguous")
    ien = bits(1, 1, "Interrupts enabled")
    iv = bits(16, 16, "Interrupt vector")


class CreateSqCdw11(Bits, width=32):
    """Create I/O Submission Queue, command dword 11 (NVMe Base 2.0, 5.5)."""

    pc = bits(0, 1, "Physically contiguous")
    qprio = bits(1, 2, "Priority: 0 urgent, 1 high, 2 medium, 3 low")
    cqid = bits(16, 16, "Completion queue identifier")


# -- builders ------------------------------------------------------------------------------------------------


def identify(
    cns: int, *, nsid: int = 0, cntid: int = 0, csi: int = 0, cns_specific: int = 0, uuid_index: int = 0
) -> bytes:
    """Identify (NVMe Base 2.0, 5.17)."""
    return Sqe(
        opc=AdminOpcode.IDENTIFY,
        nsid=nsid,
        cdw10=IdentifyCdw10(cns=cns, cntid=cntid).value,
        cdw11=IdentifyCdw11(cnssid=cns_specific, csi=csi).value,
        cdw14=UuidCdw14(uidx=uuid_index).value,
    ).encode()


def get_log_page(
    lid: int,
    *,
    nbytes: int,
    nsid: int = ALL_NAMESPACES,
    offset: int = 0,
    lsp: int = 0,
    lsi: int = 0,
    retain_event: bool = False,
    uuid_index: int = 0,
    csi: int = 0,
) -> bytes:
    """Get Log Page (NVMe Base 2.0, 5.16).

    Args:
        lid: Log page identifier.
        nbytes: Bytes to transfer, a multiple of 4.
        nsid: Namespace, or all.
        offset: Byte offset into the page, a multiple of 4.
        lsp: Log specific parameter.
        lsi: Log specific identifier.
        retain_event: RAE: the event that belongs to the page stays.
        uuid_index: UUID index, of vendor specific pages.
        csi: I/O command set, of pages that have one each.

    Raises:
        ValueError: `nbytes` or `offset` is no multiple of 4, or a value does not fit in its field.
    """
    if nbytes < 4 or nbytes % 4 or offset % 4:
        raise ValueError(f"a log page is read in dwords, not {nbytes} bytes at {offset}")
    numd = nbytes // 4 - 1
    return Sqe(
        opc=AdminOpcode.GET_LOG_PAGE,
        nsid=nsid,
        cdw10=GetLogPageCdw10(lid=lid, lsp=lsp, rae=int(retain_event), numdl=numd & 0xFFFF).value,
        cdw11=GetLogPageCdw11(numdu=numd >> 16, lsi=lsi).value,
        cdw12=offset & 0xFFFFFFFF,
        cdw13=offset >> 32,
        cdw14=GetLogPageCdw14(uidx=uuid_index, csi=csi).value,
    ).encode()


def get_features(fid: int, *, cdw11: int = 0, nsid: int = 0, select: int = 0, uuid_index: int = 0) -> bytes:
    """Get Features (NVMe Base 2.0, 5.15)."""
    return Sqe(
        opc=AdminOpcode.GET_FEATURES,
        nsid=nsid,
        cdw10=GetFeaturesCdw10(fid=fid, sel=select).value,
        cdw11=cdw11,
        cdw14=UuidCdw14(uidx=uuid_index).value,
    ).encode()


def set_features(
    fid: int,
    *,
    cdw11: int = 0,
    cdw12: int = 0,
    cdw13: int = 0,
    cdw14: int = 0,
    cdw15: int = 0,
    nsid: int = 0,
    save: bool = False,
) -> bytes:
    """Set Features (NVMe Base 2.0, 5.27). Dword 14 holds the UUID index but for the host memory buffer."""
    return Sqe(
        opc=AdminOpcode.SET_FEATURES,
        nsid=nsid,
        cdw10=SetFeaturesCdw10(fid=fid, sv=int(save)).value,
        cdw11=cdw11,
        cdw12=cdw12,
        cdw13=cdw13,
        cdw14=cdw14,
        cdw15=cdw15,
    ).encode()


def abort(*, sqid: int, cid: int) -> bytes:
    """Abort (NVMe Base 2.0, 5.1)."""
    return Sqe(opc=AdminOpcode.ABORT, cdw10=AbortCdw10(sqid=sqid, cid=cid).value).encode()


def create_io_cq(*, qid: int, entries: int, iova: int, vector: int | None = None) -> bytes:
    """Create I/O Completion Queue in contiguous memory (NVMe Base 2.0, 5.4).

    Args:
        qid: Queue identifier, from 1.
        entries: Size of the ring, counted from 1.
        iova: Its address, page aligned.
        vector: Interrupt vector; None for a queue that raises no interrupts.
    """
    return Sqe(
        opc=AdminOpcode.CREATE_IO_CQ,
        prp1=iova,
        cdw10=QueueCdw10(qid=qid, qsize=entries - 1).value,
        cdw11=CreateCqCdw11(pc=1, ien=int(vector is not None), iv=vector or 0).value,
    ).encode()


def create_io_sq(*, qid: int, cqid: int, entries: int, iova: int, qprio: int = 0) -> bytes:
    """Create I/O Submission Queue in contiguous memory (NVMe Base 2.0, 5.5).

    Args:
        qid: Queue identifier, from 1.
        cqid: The completion queue that its completions go to.
        entries: Size of the ring, counted from 1.
        iova: Its address, page aligned.
        qprio: 0 urgent, 1 high, 2 medium, 3 low; for weighted round robin.
    """
    return Sqe(
        opc=AdminOpcode.CREATE_IO_SQ,
        prp1=iova,
        cdw10=QueueCdw10(qid=qid, qsize=entries - 1).value,
        cdw11=CreateSqCdw11(pc=1, qprio=qprio, cqid=cqid).value,
    ).encode()


def delete_io_sq(qid: int) -> bytes:
    """Delete I/O Submission Queue (NVMe Base 2.0, 5.7)."""
    return Sqe(opc=AdminOpcode.DELETE_IO_SQ, cdw10=QueueCdw10(qid=qid).value).encode()


def delete_io_cq(qid: int) -> bytes:
    """Delete I/O Completion Queue (NVMe Base 2.0, 5.6)."""
    return Sqe(opc=AdminOpcode.DELETE_IO_CQ, cdw10=QueueCdw10(qid=qid).value).encode()


def async_event_request() -> bytes:
    """Asynchronous Event Request (NVMe Base 2.0, 5.2)."""
    return Sqe(opc=AdminOpcode.ASYNC_EVENT_REQUEST).encode()


def keep_alive() -> bytes:
    """Keep Alive (NVMe Base 2.0, 5.18)."""
    return Sqe(opc=AdminOpcode.KEEP_ALIVE).encode()


def doorbell_buffer_config(*, shadow_iova: int, event_iova: int) -> bytes:
    """Doorbell Buffer Config (NVMe Base 2.0, 5.8): a page of shadow doorbells, and a page of event indices."""
    return Sqe(opc=AdminOpcode.DOORBELL_BUFFER_CONFIG, prp1=shadow_iova, prp2=event_iova).encode()
