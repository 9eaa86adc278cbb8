"""Owns the kernel's numbers and structures of VFIO and iommufd, under the kernel's own names.

They are declared here because the build includes no kernel header, and the headers of older distributions
have no iommufd. Source: include/uapi/linux/vfio.h and include/uapi/linux/iommufd.h of Linux 6.12, with
which the VM tier compares this table. A unit test compares the older part with the system's own header.

Each structure is a class of the kernel's name in another case: `VfioIrqSet` is `struct vfio_irq_set`.
"""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_uint16, c_uint32, c_uint64

# -- ioctl numbers
# ---------------------------------------------------------------------------------------------------

# Both interfaces number their ioctls by _IO(';', n): the type in bits 15:8, no direction and no size
# (include/uapi/asm-generic/ioctl.h).
_TYPE = ord(";") << 8
_VFIO_BASE = 100

VFIO_API_VERSION = 0

# On the container, /dev/vfio/vfio.
VFIO_GET_API_VERSION = _TYPE | _VFIO_BASE + 0
VFIO_CHECK_EXTENSION = _TYPE | _VFIO_BASE + 1
VFIO_SET_IOMMU = _TYPE | _VFIO_BASE + 2
VFIO_IOMMU_GET_INFO = _TYPE | _VFIO_BASE + 12
VFIO_IOMMU_MAP_DMA = _TYPE | _VFIO_BASE + 13
VFIO_IOMMU_UNMAP_DMA = _TYPE | _VFIO_BASE + 14

# On a group, /dev/vfio/N.
VFIO_GROUP_GET_STATUS = _TYPE | _VFIO_BASE + 3
VFIO_GROUP_SET_CONTAINER = _TYPE | _VFIO_BASE + 4
VFIO_GROUP_UNSET_CONTAINER = _TYPE | _VFIO_BASE + 5
VFIO_GROUP_GET_DEVICE_FD = _TYPE | _VFIO_BASE + 6

# On a device.
VFIO_DEVICE_GET_INFO = _TYPE | _VFIO_BASE + 7
VFIO_DEVICE_GET_REGION_INFO = _TYPE | _VFIO_BASE + 8
VFIO_DEVICE_GET_IRQ_INFO = _TYPE | _VFIO_BASE + 9
VFIO_DEVICE_SET_IRQS = _TYPE | _VFIO_BASE + 10
VFIO_DEVICE_RESET = _TYPE | _VFIO_BASE + 11
VFIO_DEVICE_BIND_IOMMUFD = _TYPE | _VFIO_BASE + 18
VFIO_DEVICE_ATTACH_IOMMUFD_PT = _TYPE | _VFIO_BASE + 19
VFIO_DEVICE_DETACH_IOMMUFD_PT = _TYPE | _VFIO_BASE + 20

# On /dev/iommu.
IOMMU_DESTROY = _TYPE | 0x80
IOMMU_IOAS_ALLOC = _TYPE | 0x81
IOMMU_IOAS_IOVA_RANGES = _TYPE | 0x84
IOMMU_IOAS_MAP = _TYPE | 0x85
IOMMU_IOAS_UNMAP = _TYPE | 0x86

# -- flags, indexes and identifiers
# ----------------------------------------------------------------------------------

VFIO_TYPE1_IOMMU = 1
VFIO_TYPE1v2_IOMMU = 3

VFIO_GROUP_FLAGS_VIABLE = 1 << 0
VFIO_GROUP_FLAGS_CONTAINER_SET = 1 << 1

VFIO_DEVICE_FLAGS_RESET = 1 << 0
VFIO_DEVICE_FLAGS_PCI = 1 << 1

VFIO_REGION_INFO_FLAG_READ = 1 << 0
VFIO_REGION_INFO_FLAG_WRITE = 1 << 1
VFIO_REGION_INFO_FLAG_MMAP = 1 << 2
VFIO_REGION_INFO_FLAG_CAPS = 1 << 3
VFIO_REGION_INFO_CAP_SPARSE_MMAP = 1

VFIO_PCI_BAR0_REGION_INDEX = 0
VFIO_PCI_CONFIG_REGION_INDEX = 7

VFIO_PCI_INTX_IRQ_INDEX = 0
VFIO_PCI_MSI_IRQ_INDEX = 1
VFIO_PCI_MSIX_IRQ_INDEX = 2
VFIO_PCI_ERR_IRQ_INDEX = 3
VFIO_PCI_REQ_IRQ_INDEX = 4

VFIO_IRQ_INFO_EVENTFD = 1 << 0
VFIO_IRQ_INFO_NORESIZE = 1 << 3

VFIO_IRQ_SET_DATA_NONE = 1 << 0
VFIO_IRQ_SET_DATA_EVENTFD = 1 << 2
VFIO_IRQ_SET_ACTION_TRIGGER = 1 << 5

VFIO_IOMMU_INFO_PGSIZES = 1 << 0
VFIO_IOMMU_INFO_CAPS = 1 << 1
VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE = 1

VFIO_DMA_MAP_FLAG_READ = 1 << 0
VFIO_DMA_MAP_FLAG_WRITE = 1 << 1

IOMMU_IOAS_MAP_FIXED_IOVA = 1 << 0
IOMMU_IOAS_MAP_WRITEABLE = 1 << 1
IOMMU_IOAS_MAP_READABLE = 1 << 2

# -- structures of VFIO
# ----------------------------------------------------------------------------------------------


class VfioInfoCapHeader(ctypes.Structure):
    """Head of one capability; `next` counts from the start of the whole buffer, 0 ends the chain."""

    _fields_ = [("id", c_uint16), ("version", c_uint16), ("next", c_uint32)]


class VfioGroupStatus(ctypes.Structure):
    """Answer of VFIO_GROUP_GET_STATUS."""

    _fields_ = [("argsz", c_uint32), ("flags", c_uint32)]


class VfioDeviceInfo(ctypes.Structure):
    """Answer of VFIO_DEVICE_GET_INFO."""

    # `pad` is not in the headers before 6.5; an older kernel leaves it alone.
    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("num_regions", c_uint32),
        ("num_irqs", c_uint32),
        ("cap_offset", c_uint32),
        ("pad", c_uint32),
    ]


class VfioRegionInfo(ctypes.Structure):
    """Question and answer of VFIO_DEVICE_GET_REGION_INFO; capabilities may follow."""

    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("index", c_uint32),
        ("cap_offset", c_uint32),
        ("size", c_uint64),
        ("offset", c_uint64),
    ]


class VfioRegionInfoCapSparseMmap(ctypes.Structure):
    """The capability that lists which areas of a region can be mapped; `nr_areas` areas follow."""

    _fields_ = [("header", VfioInfoCapHeader), ("nr_areas", c_uint32), ("reserved", c_uint32)]


class VfioRegionSparseMmapArea(ctypes.Structure):
    """One area of a region that can be mapped."""

    _fields_ = [("offset", c_uint64), ("size", c_uint64)]


class VfioIrqInfo(ctypes.Structure):
    """Question and answer of VFIO_DEVICE_GET_IRQ_INFO."""

    _fields_ = [("argsz", c_uint32), ("flags", c_uint32), ("index", c_uint32), ("count", c_uint32)]


class VfioIrqSet(ctypes.Structure):
    """Head of VFIO_DEVICE_SET_IRQS; `count` descriptors (int32) follow."""

    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("index", c_uint32),
        ("start", c_uint32),
        ("count", c_uint32),
    ]


class VfioIommuType1Info(ctypes.Structure):
    """Answer of VFIO_IOMMU_GET_INFO; capabilities may follow."""

    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("iova_pgsizes", c_uint64),
        ("cap_offset", c_uint32),
        ("pad", c_uint32),
    ]


class VfioIommuType1InfoCapIovaRange(ctypes.Structure):
    """The capability that lists the I/O addresses that can be mapped; `nr_iovas` ranges follow."""

    _fields_ = [("header", VfioInfoCapHeader), ("nr_iovas", c_uint32), ("reserved", c_uint32)]


class VfioIovaRange(ctypes.Structure):
    """I/O addresses that can be mapped; both ends belong to it."""

    _fields_ = [("start", c_uint64), ("end", c_uint64)]


class VfioIommuType1DmaMap(ctypes.Structure):
    """VFIO_IOMMU_MAP_DMA."""

    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("vaddr", c_uint64),
        ("iova", c_uint64),
        ("size", c_uint64),
    ]


class VfioIommuType1DmaUnmap(ctypes.Structure):
    """VFIO_IOMMU_UNMAP_DMA; `size` comes back as what was unmapped."""

    _fields_ = [("argsz", c_uint32), ("flags", c_uint32), ("iova", c_uint64), ("size", c_uint64)]


class VfioDeviceBindIommufd(ctypes.Structure):
    """VFIO_DEVICE_BIND_IOMMUFD."""

    _fields_ = [("argsz", c_uint32), ("flags", c_uint32), ("iommufd", c_int32), ("out_devid", c_uint32)]


class VfioDeviceAttachIommufdPt(ctypes.Structure):
    """VFIO_DEVICE_ATTACH_IOMMUFD_PT."""

    _fields_ = [("argsz", c_uint32), ("flags", c_uint32), ("pt_id", c_uint32)]


class VfioDeviceDetachIommufdPt(ctypes.Structure):
    """VFIO_DEVICE_DETACH_IOMMUFD_PT."""

    _fields_ = [("argsz", c_uint32), ("flags", c_uint32)]


# -- structures of iommufd
# -------------------------------------------------------------------------------------------


class IommuDestroy(ctypes.Structure):
    """IOMMU_DESTROY."""

    _fields_ = [("size", c_uint32), ("id", c_uint32)]


class IommuIoasAlloc(ctypes.Structure):
    """IOMMU_IOAS_ALLOC."""

    _fields_ = [("size", c_uint32), ("flags", c_uint32), ("out_ioas_id", c_uint32)]


class IommuIovaRange(ctypes.Structure):
    """I/O addresses that can be mapped; both ends belong to it."""

    _fields_ = [("start", c_uint64), ("last", c_uint64)]


class IommuIoasIovaRanges(ctypes.Structure):
    """IOMMU_IOAS_IOVA_RANGES; `allowed_iovas` is the address of an array of `num_iovas` ranges."""

    _fields_ = [
        ("size", c_uint32),
        ("ioas_id", c_uint32),
        ("num_iovas", c_uint32),
        ("__reserved", c_uint32),
        ("allowed_iovas", c_uint64),
        ("out_iova_alignment", c_uint64),
    ]


class IommuIoasMap(ctypes.Structure):
    """IOMMU_IOAS_MAP."""

    _fields_ = [
        ("size", c_uint32),
        ("flags", c_uint32),
        ("ioas_id", c_uint32),
        ("__reserved", c_uint32),
        ("user_va", c_uint64),
        ("length", c_uint64),
        ("iova", c_uint64),
    ]


class IommuIoasUnmap(ctypes.Structure):
    """IOMMU_IOAS_UNMAP; `length` comes back as what was unmapped."""

    _fields_ = [("size", c_uint32), ("ioas_id", c_uint32), ("iova", c_uint64), ("length", c_uint64)]


# -- the same as figures
# ---------------------------------------------------------------------------------------------


def _layouts(structures: dict[str, type[ctypes.Structure]]) -> dict[str, tuple[int, dict[str, int]]]:
    layouts = {}
    for name, structure in structures.items():
        offsets = {field[0]: getattr(structure, field[0]).offset for field in structure._fields_}
        layouts[name] = (ctypes.sizeof(structure), offsets)
    return layouts


#: Size and offsets of the fields, in bytes, by the kernel's names.
STRUCTS = _layouts(
    {
        "vfio_info_cap_header": VfioInfoCapHeader,
        "vfio_group_status": VfioGroupStatus,
        "vfio_device_info": VfioDeviceInfo,
        "vfio_region_info": VfioRegionInfo,
        "vfio_region_info_cap_sparse_mmap": VfioRegionInfoCapSparseMmap,
        "vfio_region_sparse_mmap_area": VfioRegionSparseMmapArea,
        "vfio_irq_info": VfioIrqInfo,
        "vfio_irq_set": VfioIrqSet,
        "vfio_iommu_type1_info": VfioIommuType1Info,
        "vfio_iommu_type1_info_cap_iova_range": VfioIommuType1InfoCapIovaRange,
        "vfio_iova_range": VfioIovaRange,
        "vfio_iommu_type1_dma_map": VfioIommuType1DmaMap,
        "vfio_iommu_type1_dma_unmap": VfioIommuType1DmaUnmap,
        "vfio_device_bind_iommufd": VfioDeviceBindIommufd,
        "vfio_device_attach_iommufd_pt": VfioDeviceAttachIommufdPt,
        "vfio_device_detach_iommufd_pt": VfioDeviceDetachIommufdPt,
        "iommu_destroy": IommuDestroy,
        "iommu_ioas_alloc": IommuIoasAlloc,
        "iommu_iova_range": IommuIovaRange,
        "iommu_ioas_iova_ranges": IommuIoasIovaRanges,
        "iommu_ioas_map": IommuIoasMap,
        "iommu_ioas_unmap": IommuIoasUnmap,
    }
)
