"""Intel's log pages and features, and how the registry knows them: an entry of its own among the vendors'.

Layouts are those of Intel's DC P3700 specification, by way of SPDK's nvme_intel.h.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import IntEnum, unique
from typing import Any

from aionvme.spec.feature import Feature
from aionvme.spec.identify import IdentifyController
from aionvme.spec.intel_features import INTEL_FEATURES, IntelFeatureId
from aionvme.spec.structure import Structure, array, ascii_text, u8, u16, u64, uint, uints
from aionvme.spec.vendors import Vendor, VendorFeature, VendorLogPage

INTEL_VID = 0x8086


@unique
class IntelLogPageId(IntEnum):
    """Intel's log pages."""

    DIRECTORY = 0xC0
    READ_LATENCY = 0xC1
    WRITE_LATENCY = 0xC2
    TEMPERATURE = 0xC5
    SMART = 0xCA
    MARKETING_NAME = 0xDD


class IntelController(Structure, size=90):
    """The vendor's part of Identify Controller, from byte 3072 on (nvme-cli's intel-nvme.c, nvme_vu_id_ctrl_field)."""

    ss: int = u8(3, "Smart status")
    health: str = ascii_text(4, 20, "State of health; empty for healthy")
    cls: int = u8(24, "Current link speed")
    nlw: int = u8(25, "Negotiated link width")
    scap: int = u8(26, "Sanitize capabilities")
    sstat: int = u8(27, "Sanitize status")
    bl: str = ascii_text(28, 8, "Boot loader version")
    ww: int = u64(74, "World wide name")
    mic_bl: str = ascii_text(82, 4, "Boot loader version of the microcontroller")
    mic_fw: str = ascii_text(86, 4, "Firmware version of the microcontroller")


class IntelLogDirectory(Structure, size=512):
    """Which log pages there are, page C0h: two bytes for each identifier, a length that is 0 for no such page."""

    version: int = u16(0, "Of the directory")
    lengths: tuple[int, ...] = uints(2, 2, 255, "By log page identifier, from 1 on; in units of 512 bytes")

    def has(self, lid: int) -> bool:
        """Whether it lists a page; byte 0 of the two is the length."""
        return 1 <= lid <= 255 and bool(self.lengths[lid - 1] & 0xFF)


class IntelLatency(Structure, size=380):
    """Statistics of read commands, page C1h, or of write commands, C2h: commands by how long they took."""

    major: int = u16(0, "Major revision")
    minor: int = u16(2, "Minor revision")
    buckets_32us: tuple[int, ...] = uints(4, 4, 32, "Steps of 32 us, from 0 to 1024 us")
    buckets_1ms: tuple[int, ...] = uints(132, 4, 31, "Steps of 1 ms, from 1 to 32 ms")
    buckets_32ms: tuple[int, ...] = uints(256, 4, 31, "Steps of 32 ms, from 32 to 1024 ms")


class IntelTemperature(Structure, size=112):
    """Temperature statistics, page C5h, in degrees Celsius."""

    current: int = u64(0, "Now")
    overtemp_shutdown_last: int = u64(8, "Whether the last shutdown was for it")
    overtemp_shutdown_life: int = u64(16, "Whether any shutdown was for it")
    highest: int = u64(24, "Highest ever")
    lowest: int = u64(32, "Lowest ever")
    maximum_operating: int = u64(80, "Specified maximum")
    minimum_operating: int = u64(96, "Specified minimum")
    estimated_offset: int = u64(104, "Estimated offset, in two's complement")


@unique
class IntelSmartCode(IntEnum):
    """Attributes of the additional SMART page."""

    PROGRAM_FAIL_COUNT = 0xAB
    ERASE_FAIL_COUNT = 0xAC
    WEAR_LEVELING_COUNT = 0xAD
    END_TO_END_ERROR_COUNT = 0xB8
    CRC_ERROR_COUNT = 0xC7
    MEDIA_WEAR = 0xE2
    HOST_READ_PERCENTAGE = 0xE3
    WORKLOAD_TIMER = 0xE4
    THERMAL_THROTTLE_STATUS = 0xEA
    RETRY_BUFFER_OVERFLOWS = 0xF0
    PLL_LOCK_LOSS_COUNT = 0xF3
    NAND_BYTES_WRITTEN = 0xF4
    HOST_BYTES_WRITTEN = 0xF5


class IntelSmartAttribute(Structure, size=12):
    """One attribute of the additional SMART page."""

    code: int = u8(0, "`IntelSmartCode`; 0 for an unused entry")
    normalized: int = u8(3, "From 100 downwards")
    raw: int = uint(5, 6, "As the attribute counts")


class IntelSmart(Structure, size=156):
    """Additional SMART attributes, page CAh."""

    attributes: tuple[IntelSmartAttribute, ...] = array(0, IntelSmartAttribute, 13, "In no particular order")

    def attribute(self, code: int) -> IntelSmartAttribute | None:
        """The attribute of a code, None where the controller does not give it."""
        return next((item for item in self.attributes if item.code == code), None)


class IntelMarketingName(Structure, size=512):
    """Marketing name, page DDh."""

    name: str = ascii_text(0, 512, "What the product is sold as")


def _listed(lid: int) -> Callable[[IdentifyController, Any], bool]:
    def supported(_data: IdentifyController, directory: Any) -> bool:
        return isinstance(directory, IntelLogDirectory) and directory.has(lid)

    return supported


def _has_directory(_data: IdentifyController, directory: Any) -> bool:
    return isinstance(directory, IntelLogDirectory)


LOG_PAGES = (
    VendorLogPage(
        lid=IntelLogPageId.DIRECTORY,
        name="log page directory",
        size=IntelLogDirectory.SIZE,
        decode=IntelLogDirectory.decode,
        supported=_has_directory,
    ),
    *(
        VendorLogPage(lid=lid, name=name, size=kind.SIZE, decode=kind.decode, supported=_listed(lid))
        for lid, name, kind in (
            (IntelLogPageId.READ_LATENCY, "read latency", IntelLatency),
            (IntelLogPageId.WRITE_LATENCY, "write latency", IntelLatency),
            (IntelLogPageId.TEMPERATURE, "temperature statistics", IntelTemperature),
            (IntelLogPageId.SMART, "additional SMART", IntelSmart),
            (IntelLogPageId.MARKETING_NAME, "marketing name", IntelMarketingName),
        )
    ),
)


def _feature(kind: type[Feature]) -> VendorFeature:
    def encode(value: Feature) -> tuple[int, bytes | None]:
        return value.cdw11, value.payload()

    words = re.sub(r"(?<!^)(?=[A-Z])", " ", kind.__name__).lower()
    return VendorFeature(
        fid=kind.FID,
        name=words.removeprefix("intel "),
        decode=kind.from_get,
        encode=encode,
        readable=kind.FID != IntelFeatureId.RESET_TIMED_WORKLOAD_COUNTERS,
        writable=kind.FID != IntelFeatureId.NATIVE_MAX_LBA,
    )


#: Intel's features.
FEATURES: tuple[VendorFeature, ...] = tuple(_feature(kind) for kind in INTEL_FEATURES.values())

INTEL = Vendor(
    name="intel",
    vid=INTEL_VID,
    log_pages=LOG_PAGES,
    features=FEATURES,
    directory=IntelLogPageId.DIRECTORY,
)
