"""The controller's registers: their offsets and fields (NVMe Base 2.0, 3.1.3; PCIe Transport 1.0, 3.1)."""

from __future__ import annotations

from enum import IntEnum, unique

from aionvme.spec.bits import Bits, bits

NSSR_RESET = 0x4E564D65
"""What NSSR is written with for an NVM subsystem reset: "NVMe" (3.1.3.7)."""


@unique
class Reg(IntEnum):
    """Byte offsets in BAR 0."""

    CAP = 0x0
    VS = 0x8
    INTMS = 0xC
    INTMC = 0x10
    CC = 0x14
    CSTS = 0x1C
    NSSR = 0x20
    AQA = 0x24
    ASQ = 0x28
    ACQ = 0x30
    CMBLOC = 0x38
    CMBSZ = 0x3C
    BPINFO = 0x40
    BPRSEL = 0x44
    BPMBL = 0x48
    CMBMSC = 0x50
    CMBSTS = 0x58
    CMBEBS = 0x5C
    CMBSWTP = 0x60
    NSSD = 0x64
    CRTO = 0x68
    PMRCAP = 0xE00
    PMRCTL = 0xE04
    PMRSTS = 0xE08
    PMREBS = 0xE0C
    PMRSWTP = 0xE10
    PMRMSCL = 0xE14
    PMRMSCU = 0xE18
    DOORBELLS = 0x1000


#: The registers that have 64 bits (3.1.3).
REGISTERS_64 = frozenset({Reg.CAP, Reg.ASQ, Reg.ACQ, Reg.BPMBL, Reg.CMBMSC})


def sq_doorbell(qid: int, dstrd: int) -> int:
    """Offset of a submission queue's tail doorbell (PCIe Transport 1.0, 3.1.2.1)."""
    return Reg.DOORBELLS + 2 * qid * (4 << dstrd)


def cq_doorbell(qid: int, dstrd: int) -> int:
    """Offset of a completion queue's head doorbell (PCIe Transport 1.0, 3.1.2.2)."""
    return Reg.DOORBELLS + (2 * qid + 1) * (4 << dstrd)


class Cap(Bits, width=64):
    """Controller capabilities (3.1.3.1)."""

    mqes = bits(0, 16, "Maximum queue entries supported, 0's based")
    cqr = bits(16, 1, "Contiguous queues required")
    ams = bits(17, 2, "Arbitration mechanisms: bit 0 weighted round robin with urgent, bit 1 vendor specific")
    to = bits(24, 8, "Timeout of CSTS.RDY, in units of 500 ms")
    dstrd = bits(32, 4, "Doorbell stride, 2**(2 + n) bytes")
    nssrs = bits(36, 1, "NVM subsystem reset supported")
    css = bits(37, 8, "Command sets: bit 0 NVM, bit 6 one or more by I/O command set, bit 7 none but admin")
    bps = bits(45, 1, "Boot partition support")
    cps = bits(46, 2, "Controller power scope")
    mpsmin = bits(48, 4, "Smallest memory page, 2**(12 + n) bytes")
    mpsmax = bits(52, 4, "Largest memory page, 2**(12 + n) bytes")
    pmrs = bits(56, 1, "Persistent memory region supported")
    cmbs = bits(57, 1, "Controller memory buffer supported")
    nsss = bits(58, 1, "NVM subsystem shutdown supported")
    crwms = bits(59, 1, "Controller ready with media support")
    crims = bits(60, 1, "Controller ready independent of media support")


class Vs(Bits, width=32):
    """Version (3.1.3.2)."""

    ter = bits(0, 8, "Tertiary version number")
    mnr = bits(8, 8, "Minor version number")
    mjr = bits(16, 16, "Major version number")

    def __str__(self) -> str:
        return f"{self.mjr}.{self.mnr}.{self.ter}"


class Cc(Bits, width=32):
    """Controller configuration (3.1.3.5)."""

    en = bits(0, 1, "Enable")
    css = bits(4, 3, "I/O command set selected: 0 NVM, 6 all supported, 7 admin only")
    mps = bits(7, 4, "Memory page size, 2**(12 + n) bytes")
    ams = bits(
        11, 3, "Arbitration mechanism: 0 round robin, 1 weighted round robin with urgent, 7 vendor specific"
    )
    shn = bits(14, 2, "Shutdown notification: 0 none, 1 normal, 2 abrupt")
    iosqes = bits(16, 4, "I/O submission queue entry size, as a power of two")
    iocqes = bits(20, 4, "I/O completion queue entry size, as a power of two")
    crime = bits(24, 1, "Controller ready independent of media enable")


class Csts(Bits, width=32):
    """Controller status (3.1.3.6)."""

    rdy = bits(0, 1, "Ready")
    cfs = bits(1, 1, "Controller fatal status")
    shst = bits(2, 2, "Shutdown status: 0 none, 1 in progress, 2 complete")
    nssro = bits(4, 1, "NVM subsystem reset occurred")
    pp = bits(5, 1, "Processing paused")
    st = bits(6, 1, "Shutdown type: 1 for an NVM subsystem shutdown")


class Aqa(Bits, width=32):
    """Admin queue attributes (3.1.3.8)."""

    asqs = bits(0, 12, "Admin submission queue size in entries, 0's based")
    acqs = bits(16, 12, "Admin completion queue size in entries, 0's based")


class Cmbloc(Bits, width=32):
    """Controller memory buffer location (3.1.3.11)."""

    bir = bits(0, 3, "Base address register that holds the buffer")
    cqmms = bits(3, 1, "Queue mixed memory support")
    cqpds = bits(4, 1, "Queue physically discontiguous support")
    cdpmls = bits(5, 1, "Data pointer mixed locations support")
    cdpcils = bits(6, 1, "Data pointer and command independent locations support")
    cdmmms = bits(7, 1, "Data and metadata mixed memory support")
    cqda = bits(8, 1, "Queue dword alignment")
    ofst = bits(12, 20, "Offset in the BAR, in the unit of CMBSZ.SZU")


class Cmbsz(Bits, width=32):
    """Controller memory buffer size (3.1.3.12)."""

    sqs = bits(0, 1, "Submission queues may lie in it")
    cqs = bits(1, 1, "Completion queues may lie in it")
    lists = bits(2, 1, "PRP and SGL lists may lie in it")
    rds = bits(3, 1, "Data that the controller gives may lie in it")
    wds = bits(4, 1, "Data that the controller takes may lie in it")
    szu = bits(8, 4, "Unit of sizes, 2**(12 + 4n) bytes")
    sz = bits(12, 20, "Size in that unit")

    @property
    def unit(self) -> int:
        """Bytes of the unit in which this and CMBLOC.OFST count."""
        return 1 << 12 + 4 * self.szu

    @property
    def nbytes(self) -> int:
        """Size of the buffer in bytes."""
        return self.sz * self.unit


class Bpinfo(Bits, width=32):
    """Boot partition information (3.1.3.13)."""

    bpsz = bits(0, 15, "Boot partition size, in 128 KiB")
    brs = bits(24, 2, "Boot read status: 0 none requested, 1 in progress, 2 complete, 3 error")
    abpid = bits(31, 1, "Active boot partition")


class Bprsel(Bits, width=32):
    """Boot partition read select (3.1.3.14)."""

    bprsz = bits(0, 10, "Size to read, in 4 KiB")
    bprof = bits(10, 20, "Offset to read at, in 4 KiB")
    bpid = bits(31, 1, "Boot partition")


class Cmbmsc(Bits, width=64):
    """Controller memory buffer memory space control (3.1.3.16)."""

    cre = bits(0, 1, "Capabilities registers enabled")
    cmse = bits(1, 1, "Controller memory space enable")
    cba = bits(12, 52, "Controller base address, bits 63:12")


class Cmbsts(Bits, width=32):
    """Controller memory buffer status (3.1.3.17)."""

    cbai = bits(0, 1, "Controller base address invalid")


class Cmbebs(Bits, width=32):
    """Controller memory buffer elasticity buffer size (3.1.3.18)."""

    cmbszu = bits(0, 4, "Unit: 0 for 1 B, 1 for 1 KiB, 2 for 1 MiB, 3 for 1 GiB")
    cmbrbb = bits(4, 1, "Reads bypass the buffer")
    cmbwbz = bits(8, 24, "Size in that unit")


class Cmbswtp(Bits, width=32):
    """Controller memory buffer sustained write throughput (3.1.3.19)."""

    cmbswtu = bits(0, 4, "Unit: 0 for 1 B/s, 1 for 1 KiB/s, 2 for 1 MiB/s, 3 for 1 GiB/s")
    cmbswtv = bits(8, 24, "Throughput in that unit")


class Crto(Bits, width=32):
    """Controller ready timeouts (3.1.3.21)."""

    crwmt = bits(0, 16, "Ready with media timeout, in units of 500 ms")
    crimt = bits(16, 16, "Ready independent of media timeout, in units of 500 ms")


class Pmrcap(Bits, width=32):
    """Persistent memory region capabilities (3.1.3.22)."""

    rds = bits(3, 1, "Data that the controller gives may lie in it")
    wds = bits(4, 1, "Data that the controller takes may lie in it")
    bir = bits(5, 3, "Base address register that holds the region")
    pmrtu = bits(8, 2, "Unit of the timeout: 0 for 500 ms, 1 for minutes")
    pmrwbm = bits(10, 4, "Write barrier mechanisms")
    pmrto = bits(16, 8, "Timeout of NRDY following EN")
    cmss = bits(24, 1, "Controller memory space supported")


class Pmrctl(Bits, width=32):
    """Persistent memory region control (3.1.3.23)."""

    en = bits(0, 1, "Enable")


class Pmrsts(Bits, width=32):
    """Persistent memory region status (3.1.3.24)."""

    err = bits(0, 8, "Error")
    nrdy = bits(8, 1, "Not ready")
    hsts = bits(9, 3, "Health status")
    cbai = bits(12, 1, "Controller base address invalid")


class Pmrebs(Bits, width=32):
    """Persistent memory region elasticity buffer size (3.1.3.25)."""

    pmrszu = bits(0, 4, "Unit: 0 for 1 B, 1 for 1 KiB, 2 for 1 MiB, 3 for 1 GiB")
    rbb = bits(4, 1, "Reads bypass the buffer")
    pmrwbz = bits(8, 24, "Size in that unit")


class Pmrswtp(Bits, width=32):
    """Persistent memory region sustained write throughput (3.1.3.26)."""

    pmrswtu = bits(0, 4, "Unit: 0 for 1 B/s, 1 for 1 KiB/s, 2 for 1 MiB/s, 3 for 1 GiB/s")
    pmrswtv = bits(8, 24, "Throughput in that unit")


class Pmrmscl(Bits, width=32):
    """Persistent memory region memory space control, lower (3.1.3.27)."""

    cmse = bits(1, 1, "Controller memory space enable")
    cba = bits(12, 20, "Controller base address, bits 31:12; PMRMSCU holds bits 63:32")
