"""Owns what a namespace is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aionvme.spdk import constants
from aionvme.spdk.handles import ctrlr_of

if TYPE_CHECKING:
    from aionvme import Controller, IdentifyNamespace, Namespace


def spdk_nvme_ns_get_id(ns: Namespace) -> int:
    """Its identifier."""
    return ns.nsid


def spdk_nvme_ns_get_ctrlr(ns: Namespace) -> Controller | None:
    """The controller that it is of; None once that was detached, or the namespace went away in a reset."""
    return ctrlr_of(ns)


def spdk_nvme_ns_get_data(ns: Namespace) -> IdentifyNamespace | Any:
    """Identify Namespace."""
    return ns.data


def spdk_nvme_ns_is_active(ns: Namespace) -> bool:
    """Whether the controller has it."""
    return ctrlr_of(ns) is not None


def spdk_nvme_ns_get_sector_size(ns: Namespace) -> int:
    """Bytes of data in a block."""
    return ns.block_size


def spdk_nvme_ns_get_extended_sector_size(ns: Namespace) -> int:
    """Bytes of data and metadata of a block."""
    return ns.block_size + ns.metadata_size


def spdk_nvme_ns_get_num_sectors(ns: Namespace) -> int:
    """Blocks."""
    return ns.nblocks


def spdk_nvme_ns_get_size(ns: Namespace) -> int:
    """Bytes of data."""
    return ns.nbytes


def spdk_nvme_ns_get_md_size(ns: Namespace) -> int:
    """Bytes of metadata of a block."""
    return ns.metadata_size


def spdk_nvme_ns_get_pi_type(ns: Namespace) -> int:
    """Type of end-to-end protection, 0 for none."""
    return int(ns.data.protection_type)


def spdk_nvme_ns_supports_extended_lba(ns: Namespace) -> bool:
    """Whether metadata follows each block in the same buffer."""
    return ns.extended


def spdk_nvme_ns_supports_compare(ns: Namespace) -> bool:
    """Whether there is Compare."""
    return bool(spdk_nvme_ns_get_flags(ns) & constants.SPDK_NVME_NS_COMPARE_SUPPORTED)


def spdk_nvme_ns_supports_write_uncorrectable(ns: Namespace) -> bool:
    """Whether there is Write Uncorrectable."""
    return bool(spdk_nvme_ns_get_flags(ns) & constants.SPDK_NVME_NS_WRITE_UNCORRECTABLE_SUPPORTED)


def spdk_nvme_ns_get_optimal_io_boundary(ns: Namespace) -> int:
    """In blocks, 0 for none."""
    return ns.boundary


def spdk_nvme_ns_get_max_io_xfer_size(ns: Namespace) -> int:
    """Most bytes of one command, 0 for no limit; longer transfers are split."""
    ctrlr = ctrlr_of(ns)
    return ctrlr.max_transfer if ctrlr is not None else 0


def spdk_nvme_ns_get_flags(ns: Namespace) -> int:
    """SPDK_NVME_NS_*_SUPPORTED; 0 for a namespace whose controller was detached."""
    ctrlr = ctrlr_of(ns)
    if ctrlr is None:
        return 0
    oncs = ctrlr.data.oncs
    has = {
        constants.SPDK_NVME_NS_DEALLOCATE_SUPPORTED: oncs >> 2 & 1,
        constants.SPDK_NVME_NS_FLUSH_SUPPORTED: ctrlr.data.vwc & 1,
        constants.SPDK_NVME_NS_RESERVATION_SUPPORTED: ns.data.rescap,
        constants.SPDK_NVME_NS_WRITE_ZEROES_SUPPORTED: oncs >> 3 & 1,
        constants.SPDK_NVME_NS_DPS_PI_SUPPORTED: ns.data.protection_type,
        constants.SPDK_NVME_NS_EXTENDED_LBA_SUPPORTED: ns.extended,
        constants.SPDK_NVME_NS_WRITE_UNCORRECTABLE_SUPPORTED: oncs >> 1 & 1,
        constants.SPDK_NVME_NS_COMPARE_SUPPORTED: oncs & 1,
    }
    return sum(flag for flag, present in has.items() if present)
