"""SPDK's constants have SPDK's numbers."""

from __future__ import annotations

from aionvme import spdk


def test_flags() -> None:
    """Flags of I/O commands are bits of command dword 12, and of the fused operation."""
    assert spdk.SPDK_NVME_IO_FLAGS_FUSE_FIRST == 0x1
    assert spdk.SPDK_NVME_IO_FLAGS_FUSE_SECOND == 0x2
    assert spdk.SPDK_NVME_IO_FLAGS_FUSE_MASK == 0x3
    assert spdk.SPDK_NVME_IO_FLAGS_STREAMS_DIRECTIVE == 0x0010_0000
    assert spdk.SPDK_NVME_IO_FLAGS_PRCHK_REFTAG == 0x0400_0000
    assert spdk.SPDK_NVME_IO_FLAGS_PRCHK_APPTAG == 0x0800_0000
    assert spdk.SPDK_NVME_IO_FLAGS_PRCHK_GUARD == 0x1000_0000
    assert spdk.SPDK_NVME_IO_FLAGS_PRACT == 0x2000_0000
    assert spdk.SPDK_NVME_IO_FLAGS_FORCE_UNIT_ACCESS == 0x4000_0000
    assert spdk.SPDK_NVME_IO_FLAGS_LIMITED_RETRY == 0x8000_0000


def test_numbers() -> None:
    """Priorities, tags, opcodes, log pages, features and statuses."""
    assert spdk.SPDK_NVME_GLOBAL_NS_TAG == 0xFFFF_FFFF
    assert (spdk.SPDK_NVME_QPRIO_URGENT, spdk.SPDK_NVME_QPRIO_LOW) == (0, 3)
    assert (spdk.SPDK_NVME_OPC_READ, spdk.SPDK_NVME_OPC_RESERVATION_RELEASE) == (0x02, 0x15)
    assert (spdk.SPDK_NVME_OPC_NS_MANAGEMENT, spdk.SPDK_NVME_OPC_NS_ATTACHMENT) == (0x0D, 0x15)
    assert (spdk.SPDK_NVME_LOG_ERROR, spdk.SPDK_NVME_LOG_SANITIZE_STATUS) == (0x01, 0x81)
    assert (spdk.SPDK_NVME_FEAT_ARBITRATION, spdk.SPDK_NVME_FEAT_HOST_RESERVE_PERSIST) == (0x01, 0x83)
    assert (spdk.SPDK_NVME_SCT_GENERIC, spdk.SPDK_NVME_SCT_VENDOR_SPECIFIC) == (0, 7)
    assert spdk.SPDK_NVME_SC_COMPARE_FAILURE == 0x85
    assert spdk.SPDK_NVME_DSM_ATTR_DEALLOCATE == 4
    assert spdk.SPDK_NVME_RESERVE_PTPL_PERSIST_POWER_LOSS == 3
    assert spdk.SPDK_NVME_RESERVE_EXCLUSIVE_ACCESS_ALL_REGS == 6
    assert spdk.SPDK_NVME_TRANSPORT_PCIE == 256
