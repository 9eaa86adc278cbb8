"""Intel's features (the DC P3700's specification; SPDK's `nvme_intel.h` has the same layouts)."""

from __future__ import annotations

from enum import IntEnum, unique

from aionvme.spec.feature import Feature, cdw11

__all__ = ["INTEL_FEATURES", "IntelFeatureId", "PowerGovernorSetting"]


@unique
class IntelFeatureId(IntEnum):
    """Identifiers of Intel's features."""

    MAX_LBA = 0xC1
    NATIVE_MAX_LBA = 0xC2
    POWER_GOVERNOR = 0xC6
    SMBUS_ADDRESS = 0xC8
    LED_PATTERN = 0xC9
    RESET_TIMED_WORKLOAD_COUNTERS = 0xD5
    LATENCY_TRACKING = 0xE2


class IntelMaxLba(Feature, fid=IntelFeatureId.MAX_LBA):
    """The last logical block that there is to the host; set, it takes capacity away or gives it back."""

    max_lba: int = cdw11(0, 32, "Last logical block, lower half")


class IntelNativeMaxLba(Feature, fid=IntelFeatureId.NATIVE_MAX_LBA):
    """The last logical block that there can be. It is not set."""

    max_lba: int = cdw11(0, 32, "Last logical block, lower half")


@unique
class PowerGovernorSetting(IntEnum):
    """What the device may take."""

    WATTS_25 = 0
    WATTS_20 = 1
    WATTS_10 = 2


class IntelPowerGovernor(Feature, fid=IntelFeatureId.POWER_GOVERNOR):
    """Power governor."""

    setting: int = cdw11(0, 8, "`PowerGovernorSetting`")


class IntelSmbusAddress(Feature, fid=IntelFeatureId.SMBUS_ADDRESS):
    """SMBus address."""

    address: int = cdw11(1, 8, "Address of the controller")


class IntelLedPattern(Feature, fid=IntelFeatureId.LED_PATTERN):
    """Activity LED."""

    options: int = cdw11(0, 24, "Options")
    value: int = cdw11(24, 8, "Pattern")


class IntelResetTimedWorkloadCounters(Feature, fid=IntelFeatureId.RESET_TIMED_WORKLOAD_COUNTERS):
    """Resets the attributes E2h, E3h and E4h of the additional SMART page. It is not read."""

    reset: int = cdw11(0, 1, "1: resets them")


class IntelLatencyTracking(Feature, fid=IntelFeatureId.LATENCY_TRACKING):
    """Whether the latency pages are kept."""

    enable: int = cdw11(0, 32, "1: yes")


#: By identifier.
INTEL_FEATURES: dict[int, type[Feature]] = {
    kind.FID: kind
    for kind in (
        IntelMaxLba,
        IntelNativeMaxLba,
        IntelPowerGovernor,
        IntelSmbusAddress,
        IntelLedPattern,
        IntelResetTimedWorkloadCounters,
        IntelLatencyTracking,
    )
}
