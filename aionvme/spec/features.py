"""The features of the base and of the NVM command set, each as a typed value, and the table of them.

NVMe Base 2.0, 5.27.1, and NVM Command Set 1.0, 4.1.3. What came later is marked with the revision that has it. Features
that are nothing but a dword are here, those with data in `features_data`.
"""

from __future__ import annotations

from enum import IntEnum, unique

from aionvme.spec.feature import Feature, Scope, argument, cdw11, cdw12
from aionvme.spec.features_data import (
    AutonomousPowerStateTransition,
    ControllerMetadata,
    EnhancedControllerMetadata,
    FdpEvents,
    HostBehaviorSupport,
    HostIdentifier,
    HostMemoryBuffer,
    LbaRangeType,
    NamespaceMetadata,
    PredictableLatencyModeConfig,
    Timestamp,
)
from aionvme.spec.opcodes import FeatureId

__all__ = ["FEATURES", "WriteProtection"]


class Arbitration(Feature, fid=FeatureId.ARBITRATION):
    """Arbitration (Base 2.0, 5.27.1.1). Weights are 0's based."""

    ab: int = cdw11(0, 3, "Arbitration burst, 2**n commands; 7 for no limit")
    lpw: int = cdw11(8, 8, "Low priority weight")
    mpw: int = cdw11(16, 8, "Medium priority weight")
    hpw: int = cdw11(24, 8, "High priority weight")


class PowerManagement(Feature, fid=FeatureId.POWER_MANAGEMENT):
    """Power management (Base 2.0, 5.27.1.2)."""

    ps: int = cdw11(0, 5, "Power state")
    wh: int = cdw11(5, 3, "Workload hint")


class TemperatureThreshold(Feature, fid=FeatureId.TEMPERATURE_THRESHOLD):
    """Temperature threshold (Base 2.0, 5.27.1.3): one of each sensor and kind."""

    tmpth: int = cdw11(0, 16, "Threshold, kelvin")
    tmpsel: int = argument(16, 4, "Sensor: 0 composite, 1 to 8 one of them, Fh all (Set Features only)")
    thsel: int = argument(20, 2, "0 over, 1 under")
    tmpthh: int = cdw11(22, 3, "Hysteresis, kelvin (2.1)")


class ErrorRecovery(Feature, fid=FeatureId.ERROR_RECOVERY, scope=Scope.NAMESPACE):
    """Error recovery (NVM Command Set 1.0, 4.1.3)."""

    tler: int = cdw11(0, 16, "Time limited error recovery, in units of 100 ms; 0 for no limit")
    dulbe: int = cdw11(16, 1, "Deallocated or unwritten logical blocks read as an error")


class VolatileWriteCache(Feature, fid=FeatureId.VOLATILE_WRITE_CACHE):
    """Volatile write cache (Base 2.0, 5.27.1.4)."""

    wce: int = cdw11(0, 1, "Enabled")


class NumberOfQueues(Feature, fid=FeatureId.NUMBER_OF_QUEUES):
    """Number of queues (Base 2.0, 5.27.1.5): requested by Set Features, allocated in both answers. 0's based."""

    nsq: int = cdw11(0, 16, "I/O submission queues")
    ncq: int = cdw11(16, 16, "I/O completion queues")

    @property
    def queue_pairs(self) -> int:
        """Pairs of one submission and one completion queue, counted from 1."""
        return min(self.nsq, self.ncq) + 1


class InterruptCoalescing(Feature, fid=FeatureId.INTERRUPT_COALESCING):
    """Interrupt coalescing (Base 2.0, 5.27.1.6)."""

    thr: int = cdw11(0, 8, "Completion queue entries that make an interrupt, 0's based")
    time: int = cdw11(8, 8, "Time that an interrupt waits at most, in units of 100 microseconds; 0 for none")


class InterruptVectorConfiguration(Feature, fid=FeatureId.INTERRUPT_VECTOR_CONFIGURATION):
    """Interrupt vector configuration (Base 2.0, 5.27.1.7)."""

    iv: int = argument(0, 16, "Interrupt vector", out=True)
    cd: int = cdw11(16, 1, "Coalescing disabled")


class WriteAtomicity(Feature, fid=FeatureId.WRITE_ATOMICITY):
    """Write atomicity normal (NVM Command Set 1.0, 4.1.3)."""

    dn: int = cdw11(0, 1, "Disable normal: AWUN and NAWUN do not count, AWUPF and NAWUPF do")


class AsyncEventConfiguration(Feature, fid=FeatureId.ASYNC_EVENT_CONFIGURATION):
    """Asynchronous event configuration (Base 2.0, 5.27.1.8): which events are reported."""

    spare: int = cdw11(0, 1, "Critical warning: available spare is low")
    temperature: int = cdw11(1, 1, "Critical warning: temperature is over or under a threshold")
    reliability: int = cdw11(2, 1, "Critical warning: reliability is degraded")
    read_only: int = cdw11(3, 1, "Critical warning: all media is read only")
    backup_failed: int = cdw11(4, 1, "Critical warning: the backup of volatile memory failed")
    pmr: int = cdw11(5, 1, "Critical warning: the persistent memory region is unreliable or read only")
    nsan: int = cdw11(8, 1, "Attached namespace attribute notices")
    fan: int = cdw11(9, 1, "Firmware activation notices")
    tln: int = cdw11(10, 1, "Telemetry log notices")
    anacn: int = cdw11(11, 1, "Asymmetric namespace access change notices")
    plealcn: int = cdw11(12, 1, "Predictable latency event aggregate log change notices")
    lsin: int = cdw11(13, 1, "LBA status information alert notices")
    egealcn: int = cdw11(14, 1, "Endurance group event aggregate log change notices")
    nnsshdn: int = cdw11(15, 1, "Normal NVM subsystem shutdown")
    tthr: int = cdw11(16, 1, "Temperature threshold hysteresis recovery (2.1)")
    rassn: int = cdw11(17, 1, "Reachability association (2.1)")
    rgrp0: int = cdw11(18, 1, "Reachability group (2.1)")
    ansan: int = cdw11(19, 1, "Allocated namespace attribute notices (2.1)")
    zdcn: int = cdw11(27, 1, "Zone descriptor changed notices")
    pmdrlpcn: int = cdw11(28, 1, "Pull model discovery request log page change; Fabrics (2.1)")
    adlpcn: int = cdw11(29, 1, "AVE discovery log page change; Fabrics (2.1)")
    hdlpcn: int = cdw11(30, 1, "Host discovery log page change; Fabrics (2.1)")
    dlpcn: int = cdw11(31, 1, "Discovery log page change; Fabrics")


class KeepAliveTimer(Feature, fid=FeatureId.KEEP_ALIVE_TIMER):
    """Keep alive timer (Base 2.0, 5.27.1.12)."""

    kato: int = cdw11(0, 32, "Timeout, milliseconds; 0 for none")


class HostControlledThermalManagement(Feature, fid=FeatureId.HOST_CONTROLLED_THERMAL_MANAGEMENT):
    """Host controlled thermal management (Base 2.0, 5.27.1.13); 0 for a part that is off."""

    tmt2: int = cdw11(0, 16, "From this temperature on, kelvin, whatever it does to performance")
    tmt1: int = cdw11(16, 16, "From this temperature on, kelvin, with the least effect on performance")


class NonOperationalPowerState(Feature, fid=FeatureId.NON_OPERATIONAL_POWER_STATE):
    """Non-operational power state config (Base 2.0, 5.27.1.14)."""

    noppme: int = cdw11(0, 1, "Background work may exceed the power of a non-operational state")


class ReadRecoveryLevel(Feature, fid=FeatureId.READ_RECOVERY_LEVEL, scope=Scope.NVM_SET):
    """Read recovery level config (Base 2.0, 5.27.1.15)."""

    nvmsetid: int = argument(0, 16, "NVM set")
    rrl: int = cdw12(0, 4, "Level: 4 default, 15 fast fail")


class PredictableLatencyModeWindow(
    Feature, fid=FeatureId.PREDICTABLE_LATENCY_MODE_WINDOW, scope=Scope.NVM_SET
):
    """Predictable latency mode window (Base 2.0, 5.27.1.17)."""

    nvmsetid: int = argument(0, 16, "NVM set")
    wsel: int = cdw12(0, 3, "Window: 1 deterministic, 2 non-deterministic")


class LbaStatusInformation(Feature, fid=FeatureId.LBA_STATUS_INFORMATION):
    """LBA status information attributes (NVM Command Set 1.0, 4.1.3)."""

    lsiri: int = cdw11(0, 16, "Report interval, in units of 100 ms")
    lsipi: int = cdw11(16, 16, "Poll interval, in units of 100 ms; not changed by Set Features")


class SanitizeConfig(Feature, fid=FeatureId.SANITIZE_CONFIG, scope=Scope.SUBSYSTEM):
    """Sanitize config (Base 2.0, 5.27.1.19)."""

    nodrm: int = cdw11(0, 1, "No-deallocate: 1 a warning, 0 an error")


class EnduranceGroupEventConfiguration(
    Feature, fid=FeatureId.ENDURANCE_GROUP_EVENT_CONFIGURATION, scope=Scope.ENDURANCE_GROUP
):
    """Endurance group event configuration (Base 2.0, 5.27.1.20)."""

    endgid: int = argument(0, 16, "Endurance group")
    egcw: int = cdw11(16, 8, "Critical warnings that are reported: bit 0 spare, 2 reliability, 3 read only")


class CommandSetProfile(Feature, fid=FeatureId.COMMAND_SET_PROFILE):
    """I/O command set profile (Base 2.0, 5.27.1.21)."""

    iocsci: int = cdw11(0, 9, "Index of a combination of I/O command sets")


class SpinupControl(Feature, fid=FeatureId.SPINUP_CONTROL, scope=Scope.SUBSYSTEM):
    """Spinup control (Base 2.0, 5.27.1.22)."""

    sce: int = cdw11(0, 1, "Enabled: no spinning up without being told")


class FlexibleDataPlacement(Feature, fid=FeatureId.FLEXIBLE_DATA_PLACEMENT, scope=Scope.ENDURANCE_GROUP):
    """Flexible data placement (Base 2.1, 5.1.25.1; TP4146)."""

    endgid: int = argument(0, 16, "Endurance group")
    fdpe: int = cdw12(0, 1, "Enabled")
    fdpcidx: int = cdw12(8, 8, "Index of a configuration")


class SoftwareProgressMarker(Feature, fid=FeatureId.SOFTWARE_PROGRESS_MARKER):
    """Software progress marker (Base 2.0, 5.27.1.24)."""

    pbslc: int = cdw11(0, 8, "Loads of pre-boot software since the operating system last cleared it")


class ReservationNotificationMask(
    Feature, fid=FeatureId.RESERVATION_NOTIFICATION_MASK, scope=Scope.NAMESPACE
):
    """Reservation notification mask (Base 2.0, 5.27.1.26): a notice whose bit is 1 is not reported."""

    regpre: int = cdw11(1, 1, "Registration preempted")
    resrel: int = cdw11(2, 1, "Reservation released")
    respre: int = cdw11(3, 1, "Reservation preempted")


class ReservationPersistence(Feature, fid=FeatureId.RESERVATION_PERSISTENCE, scope=Scope.NAMESPACE):
    """Reservation persistence (Base 2.0, 5.27.1.27)."""

    ptpl: int = cdw11(0, 1, "Persist through power loss")


@unique
class WriteProtection(IntEnum):
    """States of write protection (NVMe Base 2.0, 8.12)."""

    NONE = 0
    WRITE_PROTECT = 1
    UNTIL_POWER_CYCLE = 2
    PERMANENT = 3


class NamespaceWriteProtection(Feature, fid=FeatureId.NAMESPACE_WRITE_PROTECTION, scope=Scope.NAMESPACE):
    """Namespace write protection config (Base 2.0, 5.27.1.28)."""

    wps: int = cdw11(0, 3, "State: `WriteProtection`")


def _table(*kinds: type[Feature]) -> dict[int, type[Feature]]:
    table = {kind.FID: kind for kind in kinds}
    if len(table) != len(kinds):
        raise TypeError("two features have the same identifier")
    return table


#: The features by identifier.
FEATURES: dict[int, type[Feature]] = _table(
    Arbitration,
    PowerManagement,
    LbaRangeType,
    TemperatureThreshold,
    ErrorRecovery,
    VolatileWriteCache,
    NumberOfQueues,
    InterruptCoalescing,
    InterruptVectorConfiguration,
    WriteAtomicity,
    AsyncEventConfiguration,
    AutonomousPowerStateTransition,
    HostMemoryBuffer,
    Timestamp,
    KeepAliveTimer,
    HostControlledThermalManagement,
    NonOperationalPowerState,
    ReadRecoveryLevel,
    PredictableLatencyModeConfig,
    PredictableLatencyModeWindow,
    LbaStatusInformation,
    HostBehaviorSupport,
    SanitizeConfig,
    EnduranceGroupEventConfiguration,
    CommandSetProfile,
    SpinupControl,
    FlexibleDataPlacement,
    FdpEvents,
    EnhancedControllerMetadata,
    ControllerMetadata,
    NamespaceMetadata,
    SoftwareProgressMarker,
    HostIdentifier,
    ReservationNotificationMask,
    ReservationPersistence,
    NamespaceWriteProtection,
)
