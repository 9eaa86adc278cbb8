"""The NVM command set: what its commands carry beyond the common 64 bytes, and the 64 bytes of each.

A builder leaves the command identifier and the data pointers at zero, as those of `aionvme.spec.entries` do. Blocks
are counted from 1 in all arguments; the 0's based fields stay in the tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntFlag
from typing import Any

from aionvme.spec.bits import Bits, bits
from aionvme.spec.entries import Sqe, SqeFlags
from aionvme.spec.opcodes import NvmOpcode
from aionvme.spec.structure import Row, Structure, u16, u32, u64

BLOCKS_PER_COMMAND = 65536
"""What NLB, 16 bits and 0's based, can say."""

RANGES_PER_COMMAND = 256
"""Ranges of one Dataset Management or Copy command: NR is 8 bits, 0's based."""


class IoFlags(IntFlag):
    """Flags of the I/O commands, as bits of command dword 12 (NVM Command Set 1.0, 3.2).

    Those of protection information belong to namespaces that are formatted with it (NVM Command Set 1.0, 5.2).

    Attributes:
        STORAGE_TAG_CHECK: The controller checks the storage tag.
        PRCHK_REF: It checks the reference tag against `ref_tag`, which grows by one with each block but in type 3.
        PRCHK_APP: It checks the application tag against `app_tag`, in the bits that are set in `app_mask`.
        PRCHK_GUARD: It checks the guard, a CRC over the block.
        PRACT: It inserts the protection information in a write and strips it in a read, if metadata is nothing else.
        FORCE_UNIT_ACCESS: The data is on (or comes from) the medium when the command completes, not a volatile cache.
        LIMITED_RETRY: It gives up early instead of trying everything to recover the data.
    """

    STORAGE_TAG_CHECK = 1 << 24
    PRCHK_REF = 1 << 26
    PRCHK_APP = 1 << 27
    PRCHK_GUARD = 1 << 28
    PRACT = 1 << 29
    FORCE_UNIT_ACCESS = 1 << 30
    LIMITED_RETRY = 1 << 31


DEALLOCATE = 1 << 25
"""DEAC, bit 25 of command dword 12 in Write Zeroes."""

_FLAGS = sum(IoFlags)


# -- command dwords ------------------------------------------------------------------------------------------


class TransferCdw12(Bits, width=32):
    """Read, Write, Compare and Verify, command dword 12 (NVM Command Set 1.0, 3.2.1, 3.2.4 to 3.2.6)."""

    nlb = bits(0, 16, "Number of logical blocks, 0's based")
    dtype = bits(20, 4, "Directive type; of Write")
    stc = bits(24, 1, "Storage tag check")
    prchk = bits(26, 3, "Protection information check: 1 reference tag, 2 application tag, 4 guard")
    pract = bits(29, 1, "Protection information action: insert or strip")
    fua = bits(30, 1, "Force unit access")
    lr = bits(31, 1, "Limited retry")


class WriteZeroesCdw12(Bits, width=32):
    """Write Zeroes, command dword 12 (NVM Command Set 1.0, 3.2.8)."""

    nlb = bits(0, 16, "Number of logical blocks, 0's based")
    stc = bits(24, 1, "Storage tag check")
    deac = bits(25, 1, "Deallocate")
    prchk = bits(26, 3, "Protection information check: 1 reference tag, 2 application tag, 4 guard")
    pract = bits(29, 1, "Protection information action: insert")
    fua = bits(30, 1, "Force unit access")
    lr = bits(31, 1, "Limited retry")


class WriteUncorrectableCdw12(Bits, width=32):
    """Write Uncorrectable, command dword 12 (NVM Command Set 1.0, 3.2.7)."""

    nlb = bits(0, 16, "Number of logical blocks, 0's based")
    dtype = bits(20, 4, "Directive type")


class TransferCdw13(Bits, width=32):
    """Read and Write, command dword 13 (NVM Command Set 1.0, 3.2.4 and 3.2.6)."""

    freq = bits(0, 4, "Access frequency")
    latency = bits(4, 2, "Access latency: 1 idle, 2 normal, 3 low")
    sequential = bits(6, 1, "Part of a sequential transfer")
    incompressible = bits(7, 1, "Data does not compress")
    dspec = bits(16, 16, "Directive specific; of Write")


class TagsCdw15(Bits, width=32):
    """Command dword 15 of the commands that check protection information (NVM Command Set 1.0, 3.2)."""

    lbat = bits(0, 16, "Application tag: expected in a read, to write in a write")
    lbatm = bits(16, 16, "Its mask: the bits that are checked")


class DsmCdw10(Bits, width=32):
    """Dataset Management, command dword 10 (NVM Command Set 1.0, 3.2.3)."""

    nr = bits(0, 8, "Number of ranges, 0's based")


class DsmCdw11(Bits, width=32):
    """Dataset Management, command dword 11 (NVM Command Set 1.0, 3.2.3)."""

    idr = bits(0, 1, "Integral dataset for read")
    idw = bits(1, 1, "Integral dataset for write")
    ad = bits(2, 1, "Deallocate")


class CopyCdw12(Bits, width=32):
    """Copy, command dword 12 (NVM Command Set 1.0, 3.2.2)."""

    nr = bits(0, 8, "Number of source ranges, 0's based")
    desfmt = bits(8, 4, "Format of the source ranges")
    prinfor = bits(12, 4, "Reads: 1 reference tag, 2 application tag, 4 guard, 8 action")
    dtype = bits(20, 4, "Directive type")
    stcw = bits(24, 1, "Storage tag check, writes")
    stcr = bits(25, 1, "Storage tag check, reads")
    prinfow = bits(26, 4, "Writes: 1 reference tag, 2 application tag, 4 guard, 8 action")
    fua = bits(30, 1, "Force unit access")
    lr = bits(31, 1, "Limited retry")


class CopyCdw13(Bits, width=32):
    """Copy, command dword 13 (NVM Command Set 1.0, 3.2.2)."""

    dspec = bits(16, 16, "Directive specific")


# -- data that the commands carry ----------------------------------------------------------------------------


class DsmAttributes(Bits, width=32):
    """Context attributes of a range (NVM Command Set 1.0, 3.2.3.1)."""

    af = bits(0, 4, "Access frequency")
    al = bits(4, 2, "Access latency: 1 idle, 2 normal, 3 low")
    sr = bits(8, 1, "Sequential read range")
    sw = bits(9, 1, "Sequential write range")
    wp = bits(10, 1, "Write prepare")
    cas = bits(24, 8, "Command access size, logical blocks")


class DsmRange(Structure, size=16):
    """Range of Dataset Management (NVM Command Set 1.0, 3.2.3)."""

    cattr: int = u32(0, "Context attributes", bits=DsmAttributes)
    nlb: int = u32(4, "Length in logical blocks, not 0's based")
    slba: int = u64(8, "First logical block")


def _tag80(offset: int, doc: str) -> Any:
    # QEMU and libnvme both have the most significant byte first here. In formats 0h and 2h, QEMU, SPDK and older
    # libnvme have tags in little-endian order as everything else, and newer libnvme has not.
    def unpack(raw: bytes) -> int:
        return int.from_bytes(raw, "big")

    def pack(value: int) -> bytes:
        return int(value).to_bytes(10, "big")

    return Row(offset, 10, doc, default=0, unpack=unpack, pack=pack)


class CopyRange0(Structure, size=32):
    """Source range of Copy, format 0h: 16-bit guard (NVM Command Set 1.0, 3.2.2)."""

    slba: int = u64(8, "First logical block")
    nlb: int = u16(16, "Number of logical blocks, 0's based")
    elbt: int = u32(24, "Expected reference tag of the first block, below the storage tag")
    elbat: int = u16(28, "Expected application tag")
    elbatm: int = u16(30, "Its mask")


class CopyRange1(Structure, size=40):
    """Source range of Copy, format 1h: 32-bit and 64-bit guard (NVM Command Set 1.0, 3.2.2)."""

    slba: int = u64(8, "First logical block")
    nlb: int = u16(16, "Number of logical blocks, 0's based")
    elbt: int = _tag80(26, "Expected reference tag of the first block, below the storage tag")
    elbat: int = u16(36, "Expected application tag")
    elbatm: int = u16(38, "Its mask")


class CopyOptions(Bits, width=16):
    """Source options of formats 2h and 3h (NVM Command Set 1.1)."""

    fco = bits(15, 1, "Fast copy only: fail if the copy were no faster than reads and writes")


class CopyRange2(Structure, size=32):
    """Source range of Copy, format 2h: as 0h, of any namespace (NVM Command Set 1.1; TP4130)."""

    snsid: int = u32(0, "Source namespace")
    slba: int = u64(8, "First logical block")
    nlb: int = u16(16, "Number of logical blocks, 0's based")
    sopt: int = u16(22, "Source options", bits=CopyOptions)
    elbt: int = u32(24, "Expected reference tag of the first block, below the storage tag")
    elbat: int = u16(28, "Expected application tag")
    elbatm: int = u16(30, "Its mask")


class CopyRange3(Structure, size=40):
    """Source range of Copy, format 3h: as 1h, of any namespace (NVM Command Set 1.1; TP4130)."""

    snsid: int = u32(0, "Source namespace")
    slba: int = u64(8, "First logical block")
    nlb: int = u16(16, "Number of logical blocks, 0's based")
    sopt: int = u16(22, "Source options", bits=CopyOptions)
    elbt: int = _tag80(26, "Expected reference tag of the first block, below the storage tag")
    elbat: int = u16(36, "Expected application tag")
    elbatm: int = u16(38, "Its mask")


CopyRange = CopyRange0 | CopyRange1 | CopyRange2 | CopyRange3
COPY_RANGES: dict[int, type[CopyRange]] = {0: CopyRange0, 1: CopyRange1, 2: CopyRange2, 3: CopyRange3}
"""Source ranges of Copy by their format."""

Extent = Sequence[int]
"""Logical block and number of blocks: a pair, or a row of an array."""


def pack_dsm_ranges(pairs: Iterable[Extent], *, cattr: int = 0) -> bytes:
    """The data of Dataset Management (NVM Command Set 1.0, 3.2.3).

    Args:
        pairs: (logical block, number of blocks) of each range, 1 to 256 of them.
        cattr: `DsmAttributes` of all ranges.

    Raises:
        ValueError: Too many ranges or none, or a value that does not fit in its field.
    """
    ranges = [DsmRange(cattr=cattr, nlb=int(nblocks), slba=int(lba)) for lba, nblocks in pairs]
    _nr(len(ranges))
    return b"".join(each.encode() for each in ranges)


def pack_copy_ranges(
    format: int,
    pairs: Iterable[Extent],
    *,
    snsid: int | None = None,
    fast_only: bool = False,
    ref_tags: Sequence[int] | None = None,
    app_tag: int = 0,
    app_mask: int = 0,
) -> bytes:
    """The data of Copy (NVM Command Set 1.0, 3.2.2): the source ranges.

    Args:
        format: Of the ranges: 0 and 1 within one namespace, 2 and 3 from any; 1 and 3 for guards of 32 and 64 bits.
        pairs: (logical block, number of blocks) of each range, 1 to 256 of them; each of 1 to 65536 blocks.
        snsid: Source namespace, in formats 2 and 3, which need it.
        fast_only: Fast copy only, in formats 2 and 3.
        ref_tags: Expected reference tag of the first block of each range; None for zeros.
        app_tag, app_mask: Expected application tag, and the bits of it that are checked.

    Raises:
        ValueError: An unknown format, an argument that the format has not (or needs), too many ranges or none, or a
            value that does not fit in its field.
    """
    kind = COPY_RANGES.get(format)
    if kind is None:
        raise ValueError(f"format {format}: source ranges of Copy have formats 0 to 3")
    common: dict[str, int] = {"elbat": app_tag, "elbatm": app_mask}
    if "snsid" in kind.ROWS:
        if snsid is None:
            raise ValueError(f"format {format}: names the source namespace, and snsid is missing")
        common |= {"snsid": snsid, "sopt": CopyOptions(fco=int(fast_only)).value}
    elif snsid is not None or fast_only:
        raise ValueError(f"format {format}: has no source namespace and no options; formats 2 and 3 have")
    extents = list(pairs)
    _nr(len(extents))
    tags = [0] * len(extents) if ref_tags is None else ref_tags
    return b"".join(
        kind(slba=int(lba), nlb=_nlb(int(nblocks)), elbt=tag, **common).encode()
        for (lba, nblocks), tag in zip(extents, tags, strict=True)
    )


# -- builders ------------------------------------------------------------------------------------------------


def flush(nsid: int) -> bytes:
    """Flush (NVMe Base 2.0, 7.1)."""
    return Sqe(opc=NvmOpcode.FLUSH, nsid=nsid).encode()


def transfer(
    opcode: int,
    nsid: int,
    lba: int,
    nblocks: int,
    *,
    flags: int = 0,
    dtype: int = 0,
    dspec: int = 0,
    dsm: int = 0,
    ref_tag: int = 0,
    app_tag: int = 0,
    app_mask: int = 0,
    fuse: int = 0,
) -> bytes:
    """Read, Write or Compare (NVM Command Set 1.0, 3.2.1, 3.2.4, 3.2.6).

    Args:
        opcode: Which of them: `NvmOpcode`.
        nsid: Namespace.
        lba: First logical block.
        nblocks: Number of blocks, 1 to 65536.
        flags: `IoFlags`.
        dtype, dspec: Directive type and what it specifies; of a write.
        dsm: Dataset management hints, the low byte of `TransferCdw13`; of a read or a write.
        ref_tag: Reference tag of the first block; where the format has storage tags or larger guards, the 80 bits of
            both, the reference tag lowest (NVM Command Set 1.0, 5.2.1.4).
        app_tag, app_mask: Application tag, and the bits of it that are checked.
        fuse: 1 for the first and 2 for the second command of a fused operation (NVM Command Set 1.0, 2.1.4).

    Raises:
        ValueError: A flag that the command has not, or a value that does not fit in its field.
    """
    if not 0 <= dsm < 0x100:
        raise ValueError(f"dsm {dsm}: does not fit in 8 bits")
    return _block_command(
        opcode,
        nsid,
        lba,
        TransferCdw12(_checked(flags, _FLAGS), nlb=_nlb(nblocks), dtype=dtype).value,
        cdw13=TransferCdw13(dsm, dspec=dspec).value,
        ref_tag=ref_tag,
        app_tag=app_tag,
        app_mask=app_mask,
        fuse=fuse,
    )


def verify(
    nsid: int,
    lba: int,
    nblocks: int,
    *,
    flags: int = 0,
    ref_tag: int = 0,
    app_tag: int = 0,
    app_mask: int = 0,
) -> bytes:
    """Verify (NVM Command Set 1.0, 3.2.5). Arguments and errors as in `transfer`."""
    cdw12 = TransferCdw12(_checked(flags, _FLAGS), nlb=_nlb(nblocks)).value
    return _block_command(
        NvmOpcode.VERIFY, nsid, lba, cdw12, ref_tag=ref_tag, app_tag=app_tag, app_mask=app_mask
    )


def write_zeroes(
    nsid: int,
    lba: int,
    nblocks: int,
    *,
    deallocate: bool = False,
    flags: int = 0,
    ref_tag: int = 0,
    app_tag: int = 0,
    app_mask: int = 0,
) -> bytes:
    """Write Zeroes (NVM Command Set 1.0, 3.2.8). Other arguments and errors as in `transfer`.

    Args:
        deallocate: DEAC: the controller may deallocate the blocks, if they read as zeros then. The flag `DEALLOCATE`
            says the same.
    """
    cdw12 = WriteZeroesCdw12(_checked(flags, _FLAGS | DEALLOCATE), nlb=_nlb(nblocks))
    cdw12.deac |= int(deallocate)
    return _block_command(
        NvmOpcode.WRITE_ZEROES,
        nsid,
        lba,
        cdw12.value,
        ref_tag=ref_tag,
        app_tag=app_tag,
        app_mask=app_mask,
    )


def write_uncorrectable(nsid: int, lba: int, nblocks: int, *, dtype: int = 0, dspec: int = 0) -> bytes:
    """Write Uncorrectable (NVM Command Set 1.0, 3.2.7). It has no flags; arguments and errors as in `transfer`."""
    return _block_command(
        NvmOpcode.WRITE_UNCORRECTABLE,
        nsid,
        lba,
        WriteUncorrectableCdw12(nlb=_nlb(nblocks), dtype=dtype).value,
        cdw13=TransferCdw13(dspec=dspec).value,
    )


def dataset_management(
    nsid: int,
    nranges: int,
    *,
    deallocate: bool = False,
    integral_read: bool = False,
    integral_write: bool = False,
) -> bytes:
    """Dataset Management (NVM Command Set 1.0, 3.2.3). Its data is what `pack_dsm_ranges` gives.

    Raises:
        ValueError: `nranges` is not 1 to 256.
    """
    return Sqe(
        opc=NvmOpcode.DATASET_MANAGEMENT,
        nsid=nsid,
        cdw10=DsmCdw10(nr=_nr(nranges)).value,
        cdw11=DsmCdw11(idr=int(integral_read), idw=int(integral_write), ad=int(deallocate)).value,
    ).encode()


def copy(
    nsid: int,
    dest_lba: int,
    nranges: int,
    *,
    format: int = 0,
    flags: int = 0,
    dtype: int = 0,
    dspec: int = 0,
    prinfor: int = 0,
    storage_tag_check_read: bool = False,
    ref_tag: int = 0,
    app_tag: int = 0,
    app_mask: int = 0,
) -> bytes:
    """Copy (NVM Command Set 1.0, 3.2.2). Its data is what `pack_copy_ranges` gives.

    Args:
        nsid: Namespace to write, and that of the sources but in formats 2 and 3.
        dest_lba: First logical block to write.
        nranges: Source ranges, 1 to 256.
        format: Of the source ranges, 0 to 3.
        flags: `IoFlags`; those of protection information are for the writes.
        dtype, dspec: Directive type and what it specifies.
        prinfor: Protection information of the reads, `CopyCdw12.prinfor`.
        storage_tag_check_read: Check the storage tag of what is read.
        ref_tag, app_tag, app_mask: Tags of what is written, as in `transfer`; those expected in the sources are in
            the source ranges.

    Raises:
        ValueError: A flag that the command has not, or a value that does not fit in its field.
    """
    cdw12 = CopyCdw12(
        _checked(flags, _FLAGS),
        nr=_nr(nranges),
        desfmt=format,
        prinfor=prinfor,
        dtype=dtype,
        stcr=int(storage_tag_check_read),
    )
    return _block_command(
        NvmOpcode.COPY,
        nsid,
        dest_lba,
        cdw12.value,
        cdw13=CopyCdw13(dspec=dspec).value,
        ref_tag=ref_tag,
        app_tag=app_tag,
        app_mask=app_mask,
    )


def _block_command(
    opcode: int,
    nsid: int,
    lba: int,
    cdw12: int,
    *,
    cdw13: int = 0,
    ref_tag: int = 0,
    app_tag: int = 0,
    app_mask: int = 0,
    fuse: int = 0,
) -> bytes:
    if not 0 <= ref_tag < 1 << 80:
        raise ValueError(f"ref_tag {ref_tag:#x}: does not fit in 80 bits")
    return Sqe(
        opc=opcode,
        flags=SqeFlags(fuse=fuse).value,
        nsid=nsid,
        cdw2=ref_tag >> 64,
        cdw3=ref_tag >> 32 & 0xFFFFFFFF,
        cdw10=lba & 0xFFFFFFFF,
        cdw11=lba >> 32,
        cdw12=cdw12,
        cdw13=cdw13,
        cdw14=ref_tag & 0xFFFFFFFF,
        cdw15=TagsCdw15(lbat=app_tag, lbatm=app_mask).value,
    ).encode()


def _nlb(nblocks: int) -> int:
    if not 1 <= nblocks <= BLOCKS_PER_COMMAND:
        raise ValueError(f"nblocks {nblocks}: 1 to {BLOCKS_PER_COMMAND} blocks fit in a command or range")
    return nblocks - 1


def _nr(nranges: int) -> int:
    if not 1 <= nranges <= RANGES_PER_COMMAND:
        raise ValueError(f"{nranges} ranges: 1 to {RANGES_PER_COMMAND} fit in a command")
    return nranges - 1


def _checked(flags: int, known: int) -> int:
    if flags & ~known:
        raise ValueError(
            f"flags {flags:#x}: {flags & ~known:#x} does not fit, the command has only {known:#x}"
        )
    return int(flags)
