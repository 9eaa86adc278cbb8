"""Owns what the mock's features are by themselves: defaults, what can be saved, and values that can't be.

NVMe Base 2.0, 5.27.1; NVM Command Set 1.0, 4.1.3.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import attrs

from aionvme.mock.commands import RESERVATIONS, TIMESTAMP
from aionvme.mock.refusal import Refused
from aionvme.spec.features import FEATURES
from aionvme.spec.features_data import (
    ApstEntry,
    AutonomousPowerStateTransition,
    LbaRange,
    LbaRangeType,
)
from aionvme.spec.identify import PowerState, PowerStateFlags
from aionvme.spec.intel_features import INTEL_FEATURES, IntelFeatureId, PowerGovernorSetting
from aionvme.spec.opcodes import FeatureId
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.mock.options import MockOptions

__all__ = ["MAX_TMT", "MIN_TMT", "POWER_STATES", "TABLE", "WARNING_KELVIN", "Value"]

WARNING_KELVIN = 343
#: Host controlled thermal management takes temperatures in this range.
MIN_TMT, MAX_TMT = 303, 373
_NO_LIMIT = 7
# Of Intel's, for the last logical block: more than there is. Command specific status C0h, not to be retried.
_EXCEEDS_CAPACITY = 1 << 14 | 1 << 8 | 0xC0

_IDLE = PowerStateFlags(nops=1).value
#: What the mock has: full, slow, and one in which it does nothing.
POWER_STATES = (
    PowerState(mp=2500),
    PowerState(mp=1000, rrt=1, rrl=1, rwt=1, rwl=1, enlat=10, exlat=10),
    PowerState(mp=50, flags=_IDLE, rrt=2, rrl=2, rwt=2, rwl=2, enlat=1000, exlat=2000),
)


@attrs.frozen
class Value:
    """Of a feature: its dword, and its data."""

    word: int = 0
    data: bytes = b""


Check = Callable[[Value, "MockOptions", int], None]


def _fine(_value: Value, _options: MockOptions, _nsid: int) -> None:
    return


def _plain(_options: MockOptions, _nsid: int) -> Value:
    return Value()


def _always(_options: MockOptions) -> bool:
    return True


@attrs.frozen(kw_only=True)
class Entry:
    """One feature.

    Attributes:
        mask: Bits of the dword that it has.
        nbytes: Bytes of its data.
        per_namespace: Each namespace has a value of its own.
        shared: That is the same for every controller of the subsystem.
        saveable: A value can be saved.
        fixed: It can't be changed.
        default: The value that nobody set, of a namespace where it is of one.
        check: Raises `Refused` for a value that can't be.
        there: Whether a mock with these options has it.
    """

    mask: int = 0
    nbytes: int = 0
    per_namespace: bool = False
    shared: bool = False
    saveable: bool = False
    fixed: bool = False
    default: Callable[[MockOptions, int], Value] = _plain
    check: Check = _fine
    there: Callable[[MockOptions], bool] = _always


def _word(value: int) -> Callable[[MockOptions, int], Value]:
    return lambda _options, _nsid: Value(value)


def _data(nbytes: int) -> Callable[[MockOptions, int], Value]:
    return lambda _options, _nsid: Value(0, bytes(nbytes))


def _refuse() -> Refused:
    return Refused(StatusCode.INVALID_FIELD)


# -- what can't be ---------------------------------------------------------------------------------------------


def _power(value: Value, _options: MockOptions, _nsid: int) -> None:
    if value.word & 0x1F >= len(POWER_STATES):
        raise _refuse()


def _recovery(value: Value, _options: MockOptions, _nsid: int) -> None:
    if value.word >> 16 & 1:
        raise _refuse()  # NSFEAT says that there is no such error


def _cache(value: Value, _options: MockOptions, _nsid: int) -> None:
    if value.word & ~1:
        raise _refuse()


def _thermal(value: Value, _options: MockOptions, _nsid: int) -> None:
    high, low = value.word & 0xFFFF, value.word >> 16
    if any(each and not MIN_TMT <= each <= MAX_TMT for each in (high, low)) or (low and high and low >= high):
        raise _refuse()


def _transitions(value: Value, _options: MockOptions, _nsid: int) -> None:
    """A state goes to one that does nothing, and that there is (5.27.1.9)."""
    entries = AutonomousPowerStateTransition.decode(value.data).entries
    for entry in map(ApstEntry, entries):
        to = POWER_STATES[entry.itps] if entry.itps < len(POWER_STATES) else None
        if entry.itpt and (to is None or not PowerStateFlags(to.flags).nops):
            raise _refuse()


def _recovery_level(value: Value, options: MockOptions, _nsid: int) -> None:
    if not options.commands.rrls >> (value.word & 0xF) & 1:
        raise _refuse()


def _ranges(value: Value, options: MockOptions, nsid: int) -> None:
    """Ranges are of blocks that there are, and none overlaps another."""
    end = options.namespaces[nsid - 1].nblocks
    ranges = LbaRangeType.from_get(value.word, value.data).used
    if any(each.slba > end or each.nlb > end - each.slba for each in ranges):
        raise Refused(StatusCode.LBA_OUT_OF_RANGE)
    used = sorted((each.slba, each.slba + each.nlb) for each in ranges if each.nlb)
    if any(later[0] < earlier[1] for earlier, later in pairwise(used)):
        raise Refused(StatusCode.OVERLAPPING_RANGE)


def _whole(options: MockOptions, nsid: int) -> Value:
    """One range that is the whole namespace."""
    value = LbaRangeType.of([LbaRange(nlb=options.namespaces[nsid - 1].nblocks, attributes=1)])
    return Value(value.cdw11, value.encode())


def _reservations(options: MockOptions) -> bool:
    return bool(options.commands.oncs & RESERVATIONS)


def _placed(options: MockOptions) -> bool:
    return options.fdp > 0


# -- Intel's -----------------------------------------------------------------------------------------------------


def _intel(options: MockOptions) -> bool:
    return options.intel


def _last_block(options: MockOptions, _nsid: int) -> Value:
    return Value(options.namespaces[0].nblocks - 1 & 0xFFFFFFFF)


def _max_lba(value: Value, options: MockOptions, _nsid: int) -> None:
    if value.word >= options.namespaces[0].nblocks:
        raise Refused.by_field(_EXCEEDS_CAPACITY)


def _governor(value: Value, _options: MockOptions, _nsid: int) -> None:
    if value.word > max(PowerGovernorSetting):
        raise _refuse()


_INTEL: dict[int, Entry] = {
    IntelFeatureId.MAX_LBA: Entry(
        mask=0xFFFFFFFF, saveable=True, default=_last_block, check=_max_lba, there=_intel
    ),
    IntelFeatureId.NATIVE_MAX_LBA: Entry(default=_last_block, fixed=True, there=_intel),
    IntelFeatureId.POWER_GOVERNOR: Entry(mask=0xFF, saveable=True, check=_governor, there=_intel),
    IntelFeatureId.SMBUS_ADDRESS: Entry(mask=0x1FE, saveable=True, default=_word(0xD4), there=_intel),
    IntelFeatureId.LED_PATTERN: Entry(mask=0xFFFFFFFF, there=_intel),
    IntelFeatureId.RESET_TIMED_WORKLOAD_COUNTERS: Entry(mask=1, there=_intel),
    IntelFeatureId.LATENCY_TRACKING: Entry(mask=1, saveable=True, there=_intel),
}


#: The features of the mock. It has no NVM sets and no rotating media, and not what is for those.
TABLE: dict[int, Entry] = {
    FeatureId.ARBITRATION: Entry(mask=0xFFFFFF07, default=_word(_NO_LIMIT)),
    FeatureId.POWER_MANAGEMENT: Entry(mask=0xFF, saveable=True, check=_power),
    FeatureId.LBA_RANGE_TYPE: Entry(
        mask=0x3F, nbytes=4096, per_namespace=True, saveable=True, default=_whole, check=_ranges
    ),
    FeatureId.TEMPERATURE_THRESHOLD: Entry(saveable=True),
    FeatureId.ERROR_RECOVERY: Entry(mask=0x1FFFF, per_namespace=True, saveable=True, check=_recovery),
    FeatureId.VOLATILE_WRITE_CACHE: Entry(mask=1, saveable=True, default=_word(1), check=_cache),
    FeatureId.NUMBER_OF_QUEUES: Entry(),
    FeatureId.INTERRUPT_COALESCING: Entry(mask=0xFFFF, saveable=True),
    FeatureId.INTERRUPT_VECTOR_CONFIGURATION: Entry(),
    FeatureId.WRITE_ATOMICITY: Entry(mask=1, saveable=True),
    FeatureId.ASYNC_EVENT_CONFIGURATION: Entry(mask=0x7FFF),
    FeatureId.AUTONOMOUS_POWER_STATE_TRANSITION: Entry(
        mask=1, nbytes=256, saveable=True, default=_data(256), check=_transitions
    ),
    FeatureId.HOST_MEMORY_BUFFER: Entry(there=lambda options: options.commands.hmpre > 0),
    FeatureId.TIMESTAMP: Entry(there=lambda options: bool(options.commands.oncs & TIMESTAMP)),
    FeatureId.KEEP_ALIVE_TIMER: Entry(there=lambda options: options.commands.kas > 0),
    FeatureId.HOST_CONTROLLED_THERMAL_MANAGEMENT: Entry(mask=0xFFFFFFFF, saveable=True, check=_thermal),
    FeatureId.NON_OPERATIONAL_POWER_STATE: Entry(mask=1, saveable=True),
    FeatureId.READ_RECOVERY_LEVEL: Entry(
        saveable=True, check=_recovery_level, there=lambda options: options.commands.rrls > 0
    ),
    FeatureId.LBA_STATUS_INFORMATION: Entry(mask=0xFFFF, saveable=True),
    FeatureId.HOST_BEHAVIOR_SUPPORT: Entry(nbytes=512, default=_data(512)),
    FeatureId.SANITIZE_CONFIG: Entry(mask=1, saveable=True),
    FeatureId.FLEXIBLE_DATA_PLACEMENT: Entry(shared=True, there=_placed),
    FeatureId.FDP_EVENTS: Entry(per_namespace=True, shared=True, there=_placed),
    FeatureId.ENHANCED_CONTROLLER_METADATA: Entry(nbytes=4096, default=_data(4096)),
    FeatureId.CONTROLLER_METADATA: Entry(nbytes=4096, default=_data(4096)),
    FeatureId.NAMESPACE_METADATA: Entry(nbytes=4096, per_namespace=True, shared=True, default=_data(4096)),
    FeatureId.SOFTWARE_PROGRESS_MARKER: Entry(mask=0xFF, saveable=True),
    FeatureId.HOST_IDENTIFIER: Entry(),
    FeatureId.RESERVATION_NOTIFICATION_MASK: Entry(mask=0xE, per_namespace=True, there=_reservations),
    FeatureId.RESERVATION_PERSISTENCE: Entry(per_namespace=True, shared=True, there=_reservations),
    FeatureId.NAMESPACE_WRITE_PROTECTION: Entry(
        per_namespace=True, shared=True, there=lambda options: options.commands.nwpc > 0
    ),
    **_INTEL,
}
assert TABLE.keys() <= FEATURES.keys() | INTEL_FEATURES.keys()
