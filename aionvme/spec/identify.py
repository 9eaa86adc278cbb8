"""What Identify gives: controllers, namespaces, and lists of them.

NVMe Base 2.0, 5.17.2, and NVM Command Set 1.0, 4.1.5.
"""

from __future__ import annotations

from enum import IntEnum, unique

import attrs

from aionvme.spec.bits import Bits, bits
from aionvme.spec.errors import DecodeError
from aionvme.spec.structure import (
    Buffer,
    Structure,
    array,
    ascii_text,
    raw_bytes,
    u8,
    u16,
    u32,
    u64,
    u128,
    uint,
    utf8_text,
)

IDENTIFY_BYTES = 4096


# -- controller ----------------------------------------------------------------------------------------------


class Cmic(Bits, width=8):
    """Controller multi-path I/O and namespace sharing capabilities."""

    mps = bits(0, 1, "The subsystem may have two or more ports")
    mcs = bits(1, 1, "The subsystem may have two or more controllers")
    ft = bits(2, 1, "The controller is of an SR-IOV virtual function")
    anars = bits(3, 1, "Asymmetric namespace access reporting")


class Oacs(Bits, width=16):
    """Optional admin command support."""

    security = bits(0, 1, "Security Send and Receive")
    format_nvm = bits(1, 1, "Format NVM")
    firmware = bits(2, 1, "Firmware Commit and Image Download")
    namespace_management = bits(3, 1, "Namespace Management and Attachment")
    self_test = bits(4, 1, "Device Self-test")
    directives = bits(5, 1, "Directive Send and Receive")
    nvme_mi = bits(6, 1, "NVMe-MI Send and Receive")
    virtualization = bits(7, 1, "Virtualization Management")
    doorbell_buffer = bits(8, 1, "Doorbell Buffer Config")
    lba_status = bits(9, 1, "Get LBA Status")
    lockdown = bits(10, 1, "Command and Feature Lockdown")


class Frmw(Bits, width=8):
    """Firmware updates."""

    slot1_read_only = bits(0, 1, "The first slot is read only")
    slots = bits(1, 3, "Number of slots")
    without_reset = bits(4, 1, "Activation without a reset")
    overlap_detected = bits(5, 1, "Overlapping ranges of an image are detected")


class Lpa(Bits, width=8):
    """Log page attributes."""

    smart_per_namespace = bits(0, 1, "SMART log per namespace")
    command_effects = bits(1, 1, "Commands supported and effects log")
    extended_data = bits(2, 1, "Extended number of dwords and offset in Get Log Page")
    telemetry = bits(3, 1, "Telemetry logs")
    persistent_events = bits(4, 1, "Persistent event log")
    supported_pages = bits(5, 1, "Supported log pages, command and feature effects logs")
    telemetry_area_4 = bits(6, 1, "Data area 4 of the telemetry logs")


class EntrySizes(Bits, width=8):
    """SQES and CQES: sizes of a queue's entry, as powers of two."""

    required = bits(0, 4, "Smallest")
    maximum = bits(4, 4, "Largest")


class Oncs(Bits, width=16):
    """Optional NVM command support."""

    compare = bits(0, 1, "Compare")
    write_uncorrectable = bits(1, 1, "Write Uncorrectable")
    dataset_management = bits(2, 1, "Dataset Management")
    write_zeroes = bits(3, 1, "Write Zeroes")
    save = bits(4, 1, "Save in Set Features and Select in Get Features")
    reservations = bits(5, 1, "Reservations")
    timestamp = bits(6, 1, "Timestamp feature")
    verify = bits(7, 1, "Verify")
    copy = bits(8, 1, "Copy")
    copy_atomic = bits(9, 1, "The writes of a Copy are atomic as one write; after Base 2.0")
    copy_fast = bits(10, 1, "Every Copy is a fast one; after Base 2.0")


class Fna(Bits, width=8):
    """Format NVM attributes."""

    format_all = bits(0, 1, "A format is of all namespaces")
    erase_all = bits(1, 1, "A secure erase is of all namespaces")
    crypto_erase = bits(2, 1, "Cryptographic erase")
    no_broadcast = bits(3, 1, "NSID FFFFFFFFh is not supported")


class Vwc(Bits, width=8):
    """Volatile write cache."""

    present = bits(0, 1, "There is one")
    flush_all = bits(1, 2, "Flush with NSID FFFFFFFFh: 2 not supported, 3 supported")


class Sgls(Bits, width=32):
    """SGL support."""

    support = bits(0, 2, "0 none, 1 any alignment, 2 dword alignment and granularity")
    keyed = bits(2, 1, "Keyed data block descriptor")
    bit_bucket = bits(16, 1, "Bit bucket descriptor")
    mptr_contiguous = bits(17, 1, "A byte aligned contiguous buffer of metadata")
    longer = bits(18, 1, "SGLs longer than the data")
    mptr_sgl = bits(19, 1, "A metadata pointer to an SGL")
    offset = bits(20, 1, "Addresses that are offsets")
    transport = bits(21, 1, "Transport SGL data block descriptor")


class PowerStateFlags(Bits, width=8):
    """Byte 3 of a power state descriptor."""

    mxps = bits(0, 1, "Unit of MP: 0 for 0.01 W, 1 for 0.0001 W")
    nops = bits(1, 1, "Non-operational: no I/O is processed in it")


class ActivePower(Bits, width=8):
    """Byte 22 of a power state descriptor."""

    apw = bits(0, 3, "Active power workload")
    aps = bits(6, 2, "Active power scale: 1 for 0.0001 W, 2 for 0.01 W")


class PowerState(Structure, size=32):
    """Power state descriptor (NVMe Base 2.0, 5.17.2.1). Bytes 23 to 27 came after Base 2.0."""

    mp: int = u16(0, "Maximum power, in the unit of flags.MXPS")
    flags: int = u8(3, "Unit of MP, non-operational", bits=PowerStateFlags)
    enlat: int = u32(4, "Entry latency, microseconds")
    exlat: int = u32(8, "Exit latency, microseconds")
    rrt: int = u8(12, "Relative read throughput")
    rrl: int = u8(13, "Relative read latency")
    rwt: int = u8(14, "Relative write throughput")
    rwl: int = u8(15, "Relative write latency")
    idlp: int = u16(16, "Idle power, in the unit of IPS")
    ips: int = u8(18, "Bits 7:6: idle power scale, 1 for 0.0001 W, 2 for 0.01 W")
    actp: int = u16(20, "Active power, in the unit of APS")
    apws: int = u8(22, "Active power workload and scale", bits=ActivePower)
    epfrt: int = u8(23, "Emergency power fail recovery time")
    fqvt: int = u8(24, "Forced quiescence vault time")
    epfvt: int = u8(25, "Emergency power fail vault time")
    epfr_fqv_ts: int = u8(26, "Bits 3:0 scale of EPFRT, bits 7:4 scale of FQVT")
    epfvts: int = u8(27, "Scale of EPFVT")

    @property
    def watts(self) -> float:
        """Maximum power in watts, 0 where it is not reported."""
        return self.mp * (0.0001 if PowerStateFlags(self.flags).mxps else 0.01)


class IdentifyController(Structure, size=IDENTIFY_BYTES):
    """Identify Controller (NVMe Base 2.0, 5.17.2.1).

    Fields that came after Base 2.0 are marked with the revision that has them.
    """

    vid: int = u16(0, "PCI vendor identifier")
    ssvid: int = u16(2, "PCI subsystem vendor identifier")
    sn: str = ascii_text(4, 20, "Serial number")
    mn: str = ascii_text(24, 40, "Model number")
    fr: str = ascii_text(64, 8, "Firmware revision")
    rab: int = u8(72, "Recommended arbitration burst, 2**n commands")
    ieee: int = uint(73, 3, "IEEE organizationally unique identifier")
    cmic: int = u8(76, "Multi-path I/O and namespace sharing capabilities", bits=Cmic)
    mdts: int = u8(77, "Maximum data transfer size, 2**n pages of CAP.MPSMIN; 0 for no limit")
    cntlid: int = u16(78, "Controller identifier")
    ver: int = u32(80, "Version, as in the VS register")
    rtd3r: int = u32(84, "RTD3 resume latency, microseconds")
    rtd3e: int = u32(88, "RTD3 entry latency, microseconds")
    oaes: int = u32(92, "Optional asynchronous events supported")
    ctratt: int = u32(96, "Controller attributes")
    rrls: int = u16(100, "Read recovery levels supported, a bit each")
    bpcap: int = u8(102, "Boot partition capabilities (2.1)")
    nssl: int = u32(104, "NVM subsystem shutdown latency (2.1)")
    plsi: int = u8(110, "Power loss signaling information (2.1)")
    cntrltype: int = u8(111, "Controller type: 1 I/O, 2 discovery, 3 administrative")
    fguid: bytes = raw_bytes(112, 16, "FRU globally unique identifier")
    crdt1: int = u16(128, "Command retry delay time 1, in units of 100 ms")
    crdt2: int = u16(130, "Command retry delay time 2, in units of 100 ms")
    crdt3: int = u16(132, "Command retry delay time 3, in units of 100 ms")
    crcap: int = u8(134, "Controller reachability capabilities (2.1)")
    nvmsr: int = u8(253, "NVM subsystem report")
    vwci: int = u8(254, "VPD write cycle information")
    mec: int = u8(255, "Management endpoint capabilities")
    oacs: int = u16(256, "Optional admin command support", bits=Oacs)
    acl: int = u8(258, "Abort command limit, 0's based")
    aerl: int = u8(259, "Asynchronous event request limit, 0's based")
    frmw: int = u8(260, "Firmware updates", bits=Frmw)
    lpa: int = u8(261, "Log page attributes", bits=Lpa)
    elpe: int = u8(262, "Error log page entries, 0's based")
    npss: int = u8(263, "Number of power states, 0's based")
    avscc: int = u8(264, "Bit 0: admin vendor specific commands have the common format")
    apsta: int = u8(265, "Bit 0: autonomous power state transitions")
    wctemp: int = u16(266, "Warning composite temperature threshold, kelvin")
    cctemp: int = u16(268, "Critical composite temperature threshold, kelvin")
    mtfa: int = u16(270, "Maximum time for firmware activation, in units of 100 ms")
    hmpre: int = u32(272, "Host memory buffer preferred size, in 4 KiB")
    hmmin: int = u32(276, "Host memory buffer minimum size, in 4 KiB")
    tnvmcap: int = u128(280, "Total NVM capacity, bytes")
    unvmcap: int = u128(296, "Unallocated NVM capacity, bytes")
    rpmbs: int = u32(312, "Replay protected memory block support")
    edstt: int = u16(316, "Extended device self-test time, minutes")
    dsto: int = u8(318, "Device self-test options")
    fwug: int = u8(319, "Firmware update granularity, in 4 KiB; 0 not reported, FFh none")
    kas: int = u16(320, "Keep alive granularity, in units of 100 ms; 0 for no support")
    hctma: int = u16(322, "Host controlled thermal management attributes")
    mntmt: int = u16(324, "Minimum thermal management temperature, kelvin")
    mxtmt: int = u16(326, "Maximum thermal management temperature, kelvin")
    sanicap: int = u32(328, "Sanitize capabilities")
    hmminds: int = u32(332, "Host memory buffer minimum descriptor entry size, in 4 KiB")
    hmmaxd: int = u16(336, "Host memory buffer maximum descriptor entries")
    nsetidmax: int = u16(338, "NVM set identifier maximum")
    endgidmax: int = u16(340, "Endurance group identifier maximum")
    anatt: int = u8(342, "ANA transition time, seconds")
    anacap: int = u8(343, "Asymmetric namespace access capabilities")
    anagrpmax: int = u32(344, "ANA group identifier maximum")
    nanagrpid: int = u32(348, "Number of ANA group identifiers")
    pels: int = u32(352, "Persistent event log size, in 64 KiB")
    domainid: int = u16(356, "Domain identifier")
    kpioc: int = u8(358, "Key per I/O capabilities (2.1)")
    mptfawr: int = u16(360, "Maximum processing time for firmware activation without reset, 100 ms (2.1)")
    megcap: int = u128(368, "Maximum endurance group capacity, bytes")
    tmpthha: int = u8(384, "Temperature threshold hysteresis attributes (2.1)")
    cqt: int = u16(386, "Command quiesce time, ms (2.1)")
    sqes: int = u8(512, "Submission queue entry sizes", bits=EntrySizes)
    cqes: int = u8(513, "Completion queue entry sizes", bits=EntrySizes)
    maxcmd: int = u16(514, "Maximum outstanding commands of a queue; 0 not reported")
    nn: int = u32(516, "Largest valid namespace identifier")
    oncs: int = u16(520, "Optional NVM command support", bits=Oncs)
    fuses: int = u16(522, "Bit 0: Compare and Write fused operation")
    fna: int = u8(524, "Format NVM attributes", bits=Fna)
    vwc: int = u8(525, "Volatile write cache", bits=Vwc)
    awun: int = u16(526, "Atomic write unit normal, logical blocks, 0's based")
    awupf: int = u16(528, "Atomic write unit power fail, logical blocks, 0's based")
    icsvscc: int = u8(530, "Bit 0: I/O vendor specific commands have the common format")
    nwpc: int = u8(531, "Namespace write protection capabilities")
    acwu: int = u16(532, "Atomic compare and write unit, logical blocks, 0's based")
    ocfs: int = u16(534, "Optional copy formats supported, a bit each")
    sgls: int = u32(536, "SGL support", bits=Sgls)
    mnan: int = u32(540, "Maximum number of allowed namespaces; 0 for NN")
    maxdna: int = u128(544, "Maximum domain namespace attachments")
    maxcna: int = u32(560, "Maximum I/O controller namespace attachments")
    oaqd: int = u32(564, "Optimal aggregated queue depth (2.1)")
    rhiri: int = u8(568, "Recommended host-initiated refresh interval (2.1)")
    hirt: int = u8(569, "Host-initiated refresh time (2.1)")
    cmmrtd: int = u16(570, "Controller maximum memory range tracking descriptors (2.1)")
    nmmrtd: int = u16(572, "NVM subsystem maximum memory range tracking descriptors (2.1)")
    minmrtg: int = u8(574, "Minimum memory range tracking granularity (2.1)")
    maxmrtg: int = u8(575, "Maximum memory range tracking granularity (2.1)")
    trattr: int = u8(576, "Tracking attributes (2.1)")
    mcudmq: int = u16(578, "Maximum controller user data migration queues (2.1)")
    mnsudmq: int = u16(580, "Maximum NVM subsystem user data migration queues (2.1)")
    mcmr: int = u16(582, "Maximum controller data queue memory ranges (2.1)")
    nmcmr: int = u16(584, "NVM subsystem maximum controller data queue memory ranges (2.1)")
    mcdqpc: int = u16(586, "Maximum controller data queue PRP count (2.1)")
    subnqn: str = utf8_text(768, 256, "NVM subsystem qualified name")
    ioccsz: int = u32(1792, "I/O queue command capsule size, in 16 bytes; Fabrics")
    iorcsz: int = u32(1796, "I/O queue response capsule size, in 16 bytes; Fabrics")
    icdoff: int = u16(1800, "In capsule data offset, in 16 bytes; Fabrics")
    fcatt: int = u8(1802, "Fabrics controller attributes")
    msdbd: int = u8(1803, "Maximum SGL data block descriptors; Fabrics")
    ofcs: int = u16(1804, "Optional Fabrics commands supported")
    dctype: int = u8(1806, "Discovery controller type; Fabrics")
    psd: tuple[PowerState, ...] = array(2048, PowerState, 32, "Power state descriptors")
    vs: bytes = raw_bytes(3072, 1024, "Vendor specific")

    @property
    def power_states(self) -> tuple[PowerState, ...]:
        """The descriptors that the controller has."""
        return self.psd[: self.npss + 1]


# -- namespace -----------------------------------------------------------------------------------------------


class Nsfeat(Bits, width=8):
    """Namespace features."""

    thin = bits(0, 1, "Thin provisioning")
    natomic = bits(1, 1, "NAWUN, NAWUPF and NACWU are of this namespace")
    dulbe = bits(2, 1, "Deallocated or unwritten logical block error")
    uid_reuse = bits(3, 1, "NGUID and EUI64 are never used again")
    optperf = bits(4, 1, "NPWG, NPWA, NPDG, NPDA and NOWS are defined")


class Flbas(Bits, width=8):
    """Formatted LBA size."""

    low = bits(0, 4, "Format index, bits 3:0")
    extended = bits(4, 1, "Metadata follows each block's data; else it has a buffer of its own")
    high = bits(5, 2, "Format index, bits 5:4")


class Mc(Bits, width=8):
    """Metadata capabilities."""

    extended = bits(0, 1, "As part of an extended logical block")
    separate = bits(1, 1, "As a buffer of its own")


class Dpc(Bits, width=8):
    """End-to-end data protection capabilities."""

    type1 = bits(0, 1, "Type 1")
    type2 = bits(1, 1, "Type 2")
    type3 = bits(2, 1, "Type 3")
    first = bits(3, 1, "As the first bytes of metadata")
    last = bits(4, 1, "As the last bytes of metadata")


class Dps(Bits, width=8):
    """End-to-end data protection settings."""

    pit = bits(0, 3, "Type, 0 for none")
    first = bits(3, 1, "Protection information is the first bytes of metadata; else the last")


class Nmic(Bits, width=8):
    """Namespace multi-path I/O and sharing capabilities."""

    shared = bits(0, 1, "May be attached to two or more controllers")


class Rescap(Bits, width=8):
    """Reservation capabilities."""

    ptpl = bits(0, 1, "Persist through power loss")
    we = bits(1, 1, "Write exclusive")
    ea = bits(2, 1, "Exclusive access")
    wero = bits(3, 1, "Write exclusive, registrants only")
    earo = bits(4, 1, "Exclusive access, registrants only")
    wear = bits(5, 1, "Write exclusive, all registrants")
    eaar = bits(6, 1, "Exclusive access, all registrants")
    iekey = bits(7, 1, "Ignore existing key as of revision 1.3")


class Fpi(Bits, width=8):
    """Format progress indicator."""

    remaining = bits(0, 7, "Percent that remains to be formatted")
    supported = bits(7, 1, "The indicator is supported")


class Dlfeat(Bits, width=8):
    """Deallocate logical block features."""

    read = bits(0, 3, "A deallocated block reads as: 0 not reported, 1 zeros, 2 FFh")
    write_zeroes = bits(3, 1, "The deallocate bit of Write Zeroes is supported")
    guard = bits(4, 1, "The guard of a deallocated block is the CRC of what it reads as; else FFFFh")


class LbaFormat(Structure, size=4):
    """LBA format (NVM Command Set 1.0, 4.1.5.1)."""

    ms: int = u16(0, "Metadata size, bytes")
    lbads: int = u8(2, "LBA data size, 2**n bytes; 0 for a format that is not available")
    rp: int = u8(3, "Bits 1:0: relative performance, 0 best to 3 degraded")

    @property
    def block_size(self) -> int:
        """Data bytes of a logical block."""
        return 1 << self.lbads


class IdentifyNamespace(Structure, size=IDENTIFY_BYTES):
    """Identify Namespace, NVM command set (NVM Command Set 1.0, 4.1.5.1)."""

    nsze: int = u64(0, "Namespace size, logical blocks")
    ncap: int = u64(8, "Namespace capacity, logical blocks")
    nuse: int = u64(16, "Namespace utilization, logical blocks")
    nsfeat: int = u8(24, "Namespace features", bits=Nsfeat)
    nlbaf: int = u8(25, "Number of LBA formats, 0's based")
    flbas: int = u8(26, "Formatted LBA size", bits=Flbas)
    mc: int = u8(27, "Metadata capabilities", bits=Mc)
    dpc: int = u8(28, "End-to-end data protection capabilities", bits=Dpc)
    dps: int = u8(29, "End-to-end data protection settings", bits=Dps)
    nmic: int = u8(30, "Multi-path I/O and sharing capabilities", bits=Nmic)
    rescap: int = u8(31, "Reservation capabilities", bits=Rescap)
    fpi: int = u8(32, "Format progress indicator", bits=Fpi)
    dlfeat: int = u8(33, "Deallocate logical block features", bits=Dlfeat)
    nawun: int = u16(34, "Namespace atomic write unit normal, logical blocks, 0's based")
    nawupf: int = u16(36, "Namespace atomic write unit power fail, logical blocks, 0's based")
    nacwu: int = u16(38, "Namespace atomic compare and write unit, logical blocks, 0's based")
    nabsn: int = u16(40, "Namespace atomic boundary size normal, logical blocks, 0's based")
    nabo: int = u16(42, "Namespace atomic boundary offset, logical blocks")
    nabspf: int = u16(44, "Namespace atomic boundary size power fail, logical blocks, 0's based")
    noiob: int = u16(46, "Namespace optimal I/O boundary, logical blocks; 0 for none")
    nvmcap: int = u128(48, "NVM capacity, bytes")
    npwg: int = u16(64, "Preferred write granularity, logical blocks, 0's based")
    npwa: int = u16(66, "Preferred write alignment, logical blocks, 0's based")
    npdg: int = u16(68, "Preferred deallocate granularity, logical blocks, 0's based")
    npda: int = u16(70, "Preferred deallocate alignment, logical blocks, 0's based")
    nows: int = u16(72, "Optimal write size, logical blocks, 0's based")
    mssrl: int = u16(74, "Maximum single source range length of Copy, logical blocks")
    mcl: int = u32(76, "Maximum copy length, logical blocks")
    msrc: int = u8(80, "Maximum source range count of Copy, 0's based")
    kpios: int = u8(81, "Key per I/O status (NVM Command Set 1.1)")
    nulbaf: int = u8(82, "Number of unique attribute LBA formats")
    kpiodaag: int = u32(84, "Key per I/O data access alignment and granularity (NVM Command Set 1.1)")
    anagrpid: int = u32(92, "ANA group identifier")
    nsattr: int = u8(99, "Bit 0: write protected")
    nvmsetid: int = u16(100, "NVM set identifier")
    endgid: int = u16(102, "Endurance group identifier")
    nguid: bytes = raw_bytes(104, 16, "Namespace globally unique identifier, big endian; zeros for none")
    eui64: bytes = raw_bytes(120, 8, "IEEE extended unique identifier, big endian; zeros for none")
    lbaf: tuple[LbaFormat, ...] = array(128, LbaFormat, 64, "LBA formats")
    vs: bytes = raw_bytes(384, 3712, "Vendor specific")

    @property
    def lba_format_index(self) -> int:
        """Index of the format in use. Bits 6:5 of FLBAS count where there are more than 16 formats."""
        flbas = Flbas(self.flbas)
        return flbas.low | (flbas.high << 4 if self.nlbaf + self.nulbaf >= 16 else 0)

    @property
    def lba_format(self) -> LbaFormat:
        """The format in use."""
        return self.lbaf[self.lba_format_index]

    @property
    def lba_formats(self) -> tuple[LbaFormat, ...]:
        """The formats that the namespace has."""
        return self.lbaf[: self.nlbaf + self.nulbaf + 1]

    @property
    def block_size(self) -> int:
        """Data bytes of a logical block, without metadata."""
        return self.lba_format.block_size

    @property
    def metadata_size(self) -> int:
        """Metadata bytes of a logical block."""
        return self.lba_format.ms

    @property
    def extended(self) -> bool:
        """Each block's metadata follows its data in the same buffer."""
        return self.metadata_size > 0 and bool(Flbas(self.flbas).extended)

    @property
    def protection_type(self) -> int:
        """Type of protection information, 1 to 3; 0 for none."""
        return Dps(self.dps).pit


# -- lists ---------------------------------------------------------------------------------------------------


def decode_nsid_list(data: Buffer) -> tuple[int, ...]:
    """Namespace list (NVMe Base 2.0, 4.4.2): up to 1024 identifiers, ended by 0."""
    return _until_zero(_words(data, 4, "namespace list"))


def decode_controller_list(data: Buffer) -> tuple[int, ...]:
    """Controller list (NVMe Base 2.0, 4.4.1): a count, then up to 2047 identifiers."""
    count, *identifiers = _words(data, 2, "controller list")
    if count > len(identifiers):
        raise DecodeError(f"a controller list of {count} identifiers does not fit in {IDENTIFY_BYTES} bytes")
    return tuple(identifiers[:count])


def encode_nsid_list(nsids: tuple[int, ...]) -> bytes:
    """The 4096 bytes of a namespace list."""
    return _list_bytes(nsids, 4)


def encode_controller_list(cntlids: tuple[int, ...]) -> bytes:
    """The 4096 bytes of a controller list."""
    return _list_bytes((len(cntlids), *cntlids), 2)


def _words(data: Buffer, size: int, what: str) -> list[int]:
    if len(data) < IDENTIFY_BYTES:
        raise DecodeError(f"a {what} has {IDENTIFY_BYTES} bytes, and here are {len(data)}")
    raw = bytes(data)
    return [int.from_bytes(raw[at : at + size], "little") for at in range(0, IDENTIFY_BYTES, size)]


def _until_zero(values: list[int]) -> tuple[int, ...]:
    return tuple(values[: values.index(0)] if 0 in values else values)


def _list_bytes(values: tuple[int, ...], size: int) -> bytes:
    if len(values) * size > IDENTIFY_BYTES:
        raise ValueError(f"{len(values)} entries of {size} bytes do not fit in {IDENTIFY_BYTES} bytes")
    return b"".join(value.to_bytes(size, "little") for value in values).ljust(IDENTIFY_BYTES, b"\0")


@unique
class Nidt(IntEnum):
    """Namespace identifier type (NVMe Base 2.0, 5.17.2.3)."""

    EUI64 = 1
    NGUID = 2
    UUID = 3
    CSI = 4


_NIDL: dict[int, int] = {Nidt.EUI64: 8, Nidt.NGUID: 16, Nidt.UUID: 16, Nidt.CSI: 1}
_DESCRIPTOR_HEADER = 4


@attrs.frozen
class NamespaceDescriptor:
    """One namespace identification descriptor.

    Attributes:
        nidt: Its type: a `Nidt`, or another number.
        nid: The identifier's bytes; one byte, the I/O command set, for CSI.
    """

    nidt: int
    nid: bytes

    @property
    def csi(self) -> int | None:
        """The I/O command set, in a descriptor of that type."""
        return self.nid[0] if self.nidt == Nidt.CSI else None

    def encode(self) -> bytes:
        """Header and identifier."""
        return bytes((self.nidt, len(self.nid), 0, 0)) + self.nid


def decode_namespace_descriptors(data: Buffer) -> tuple[NamespaceDescriptor, ...]:
    """Namespace identification descriptors (NVMe Base 2.0, 5.17.2.3), ended by one of length 0."""
    raw = bytes(data[:IDENTIFY_BYTES])
    if len(raw) < IDENTIFY_BYTES:
        raise DecodeError(f"namespace descriptors have {IDENTIFY_BYTES} bytes, and here are {len(raw)}")
    found = []
    at = 0
    while at + _DESCRIPTOR_HEADER <= len(raw) and raw[at + 1]:
        nidt, nidl = raw[at], raw[at + 1]
        start = at + _DESCRIPTOR_HEADER
        at = start + nidl
        if at > len(raw) or _NIDL.get(nidt, nidl) != nidl:
            raise DecodeError(f"a namespace descriptor of type {nidt} has {nidl} bytes at {start}")
        found.append(NamespaceDescriptor(nidt, raw[start:at]))
    return tuple(found)


def encode_namespace_descriptors(descriptors: tuple[NamespaceDescriptor, ...]) -> bytes:
    """The 4096 bytes of a list of descriptors."""
    packed = b"".join(descriptor.encode() for descriptor in descriptors)
    if len(packed) > IDENTIFY_BYTES:
        raise ValueError(f"{len(packed)} bytes of descriptors do not fit in {IDENTIFY_BYTES} bytes")
    return packed.ljust(IDENTIFY_BYTES, b"\0")
