"""Log pages that carry data of the vendor's: telemetry, and the boot partitions."""

from __future__ import annotations

import attrs

from aionvme.spec.bits import Bits, bits
from aionvme.spec.listing import Cursor, Listing
from aionvme.spec.structure import Buffer, Structure, raw_bytes, u8, u16, u32, uint

TELEMETRY_BLOCK = 512
BOOT_PARTITION_UNIT = 128 << 10

#: LSP of the host-initiated telemetry log: bit 0 has the controller capture its state anew (NVMe Base 2.0, 5.16.1.8).
CREATE_TELEMETRY = 1


class TelemetryHeader(Structure, size=TELEMETRY_BLOCK):
    """First block of a telemetry log, pages 07h and 08h (NVMe Base 2.0, 5.16.1.8 and 5.16.1.9).

    Data areas begin at block 1 and hold one another: area 3 has all the blocks of area 2. An area without blocks of its
    own has the last block of the one before.
    """

    lpi: int = u8(0, "Log page identifier")
    ieee: int = uint(5, 3, "IEEE organizationally unique identifier of who can read the data")
    dalb1: int = u16(8, "Last block of data area 1")
    dalb2: int = u16(10, "Last block of data area 2")
    dalb3: int = u16(12, "Last block of data area 3")
    dalb4: int = u32(
        16, "Last block of data area 4; 0 unless the host enabled it (Host Behavior Support, ETDAS)"
    )
    scope: int = u8(380, "Scope of host-initiated data; after Base 2.0")
    hostdgn: int = u8(381, "Generation of host-initiated data; after Base 2.0")
    ctrlavail: int = u8(382, "1: there is controller-initiated data, kept until it was read")
    ctrldgn: int = u8(383, "Generation of controller-initiated data")
    rsnident: bytes = raw_bytes(384, 128, "Reason identifier, vendor specific")

    def last_block(self, area: int) -> int:
        """The last block of a data area, 1 to 4, and of those that it holds; 0 where they are empty."""
        if not 1 <= area <= 4:
            raise ValueError(f"area must be from 1 to 4, not {area}")
        return max((self.dalb1, self.dalb2, self.dalb3, self.dalb4)[:area])


class BootPartitionInfo(Bits, width=32):
    """Boot partition information, as in the BPINFO register (NVMe Base 2.0, 3.1.3.13)."""

    bpsz = bits(0, 15, "Size of a boot partition, in 128 KiB")
    abpid = bits(31, 1, "Which one is active")


class BootPartitionHeader(Structure, size=16):
    """Of the boot partition log (NVMe Base 2.0, 5.16.1.21)."""

    lid: int = u8(0, "Log page identifier")
    bpinfo: int = u32(4, "Size, and which one is active", bits=BootPartitionInfo)


@attrs.frozen(kw_only=True)
class BootPartition(Listing):
    """Boot partition, log page 15h (NVMe Base 2.0, 5.16.1.21): the one that LSP bit 0 names.

    Attributes:
        head: Its fixed part.
        data: The partition's data.
    """

    head: BootPartitionHeader
    data: bytes = b""

    @property
    def active(self) -> int:
        """Which boot partition is active, 0 or 1."""
        return BootPartitionInfo(self.head.bpinfo).abpid

    @classmethod
    def decode(cls, data: Buffer) -> BootPartition:
        """From the header and as much data as it says."""
        cursor = Cursor(data, "the boot partition log")
        head = cursor.take(BootPartitionHeader)
        return cls(head=head, data=cursor.raw(BootPartitionInfo(head.bpinfo).bpsz * BOOT_PARTITION_UNIT))

    def encode(self) -> bytes:
        """Header and data."""
        if len(self.data) != BootPartitionInfo(self.head.bpinfo).bpsz * BOOT_PARTITION_UNIT:
            raise ValueError(f"data: {len(self.data)} bytes are not what head.bpinfo says")
        return self.head.encode() + self.data


def boot_partition_bytes(data: bytes) -> int:
    """Bytes of the boot partition log, by its header."""
    head = BootPartitionHeader.decode(data)
    return BootPartitionHeader.SIZE + BootPartitionInfo(head.bpinfo).bpsz * BOOT_PARTITION_UNIT
