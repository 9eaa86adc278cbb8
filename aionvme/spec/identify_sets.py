"""What Identify gives of each I/O command set (CNS 05h, 06h), and of a namespace whatever its set (08h)."""

from __future__ import annotations

from aionvme.spec.bits import Bits, bits
from aionvme.spec.identify import IDENTIFY_BYTES, Nmic, Rescap
from aionvme.spec.structure import Structure, array, raw_bytes, u8, u16, u32, u64


class IdentifyIndependentNamespace(Structure, size=IDENTIFY_BYTES):
    """I/O command set independent Identify Namespace, CNS 08h (NVMe Base 2.0, 5.17.2.8)."""

    nsfeat: int = u8(0, "Common namespace features")
    nmic: int = u8(1, "Multi-path I/O and sharing capabilities", bits=Nmic)
    rescap: int = u8(2, "Reservation capabilities", bits=Rescap)
    fpi: int = u8(3, "Format progress indicator")
    anagrpid: int = u32(4, "ANA group identifier")
    nsattr: int = u8(8, "Bit 0: write protected")
    nvmsetid: int = u16(10, "NVM set identifier")
    endgid: int = u16(12, "Endurance group identifier")
    nstat: int = u8(14, "Bit 0: ready")


# -- NVM command set -----------------------------------------------------------------------------------------


class IdentifyNvmController(Structure, size=IDENTIFY_BYTES):
    """Identify Controller for the NVM command set, CNS 06h and CSI 00h (NVM Command Set 1.0, 4.1.5)."""

    vsl: int = u8(0, "Verify size limit, 2**n pages of CAP.MPSMIN; 0 for none")
    wzsl: int = u8(1, "Write Zeroes size limit, 2**n pages of CAP.MPSMIN; 0 for none")
    wusl: int = u8(2, "Write Uncorrectable size limit, 2**n pages of CAP.MPSMIN; 0 for none")
    dmrl: int = u8(3, "Dataset Management ranges limit; 0 for none")
    dmrsl: int = u32(4, "Dataset Management range size limit, logical blocks; 0 for none")
    dmsl: int = u64(8, "Dataset Management size limit, logical blocks; 0 for none")
    aocs: int = u16(18, "Admin optional command support (NVM Command Set 1.1)")


class Pic(Bits, width=8):
    """Protection information capabilities."""

    sts16 = bits(0, 1, "A storage tag with the 16 bit guard (16BPISTS)")
    stm16 = bits(1, 1, "LBSTM is all ones with the 16 bit guard (16BPISTM)")
    stcrs = bits(2, 1, "The storage tag is checked by reads; after NVM Command Set 1.0")
    qpifs = bits(3, 1, "Qualified protection information formats; after NVM Command Set 1.0")


class ExtendedFormatBits(Bits, width=32):
    """Extended LBA format."""

    sts = bits(0, 7, "Storage tag size, bits")
    pif = bits(7, 2, "Protection information format: guard of 0 16 bits, 1 32 bits, 2 64 bits; 3 see QPIF")
    qpif = bits(9, 4, "Qualified protection information format (NVM Command Set 1.1)")


class ExtendedFormat(Structure, size=4):
    """Extended LBA format (NVM Command Set 1.0, 4.1.5)."""

    value: int = u32(0, "Storage tag size and protection information format", bits=ExtendedFormatBits)


class IdentifyNvmNamespace(Structure, size=IDENTIFY_BYTES):
    """Identify Namespace for the NVM command set, CNS 05h and CSI 00h (NVM Command Set 1.0, 4.1.5).

    Fields from byte 268 on came with NVM Command Set 1.1.
    """

    lbstm: int = u64(0, "Logical block storage tag mask")
    pic: int = u8(8, "Protection information capabilities", bits=Pic)
    pifa: int = u8(9, "Protection information format attribute (NVM Command Set 1.1)")
    elbaf: tuple[ExtendedFormat, ...] = array(12, ExtendedFormat, 64, "Extended LBA formats")
    npdgl: int = u32(268, "Preferred deallocate granularity, logical blocks")
    nprg: int = u32(272, "Preferred read granularity, logical blocks")
    npra: int = u32(276, "Preferred read alignment, logical blocks")
    nors: int = u32(280, "Optimal read size, logical blocks")
    npdal: int = u32(284, "Preferred deallocate alignment, logical blocks")
    lbapss: int = u32(288, "LBA format placement shard size")
    tlbaag: int = u32(292, "Tracked LBA allocation granularity")


# -- zoned namespaces ----------------------------------------------------------------------------------------


class IdentifyZonedController(Structure, size=IDENTIFY_BYTES):
    """Identify Controller for zoned namespaces, CNS 06h and CSI 02h (Zoned Namespace 1.1, 4.1.5)."""

    zasl: int = u8(0, "Zone Append size limit, 2**n pages of CAP.MPSMIN; 0 for MDTS")


class ZonedFormat(Structure, size=16):
    """LBA format extension (Zoned Namespace 1.1, 4.1.5)."""

    zsze: int = u64(0, "Zone size, logical blocks")
    zdes: int = u8(8, "Zone descriptor extension size, in 64 bytes")


class IdentifyZonedNamespace(Structure, size=IDENTIFY_BYTES):
    """Identify Namespace for zoned namespaces, CNS 05h and CSI 02h (Zoned Namespace 1.1, 4.1.5)."""

    zoc: int = u16(0, "Zone operation characteristics")
    ozcs: int = u16(2, "Optional zoned command support")
    mar: int = u32(4, "Maximum active resources, 0's based; FFFFFFFFh for no limit")
    mor: int = u32(8, "Maximum open resources, 0's based; FFFFFFFFh for no limit")
    rrl: int = u32(12, "Reset recommended limit, seconds")
    frl: int = u32(16, "Finish recommended limit, seconds")
    rrl1: int = u32(20, "Reset recommended limit 1, seconds")
    rrl2: int = u32(24, "Reset recommended limit 2, seconds")
    rrl3: int = u32(28, "Reset recommended limit 3, seconds")
    frl1: int = u32(32, "Finish recommended limit 1, seconds")
    frl2: int = u32(36, "Finish recommended limit 2, seconds")
    frl3: int = u32(40, "Finish recommended limit 3, seconds")
    numzrwa: int = u32(44, "Number of zone random write area resources")
    zrwafg: int = u16(48, "Zone random write area flush granularity")
    zrwasz: int = u16(50, "Zone random write area size")
    zrwacap: int = u8(52, "Zone random write area capability")
    lbafe: tuple[ZonedFormat, ...] = array(2816, ZonedFormat, 64, "LBA format extensions")
    vs: bytes = raw_bytes(3840, 256, "Vendor specific")
