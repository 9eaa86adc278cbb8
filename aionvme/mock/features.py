"""Owns what Get and Set Features read and change (NVMe Base 2.0, 5.15, 5.27.1; NVM 1.0, 4.1.3)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from aionvme.mock.identify import ALL_NAMESPACES, WARNING_KELVIN
from aionvme.mock.refusal import Refused
from aionvme.spec.opcodes import FeatureId
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.mock.machine import Machine
    from aionvme.mock.options import MockOptions
    from aionvme.mock.subsystem import Subsystem
    from aionvme.spec.entries import Sqe

_CURRENT, _DEFAULT, _SAVED, _SUPPORTED = range(4)
_CHANGEABLE, _NAMESPACE_SPECIFIC = 1 << 2, 1 << 1
_SAVE = 1 << 31
_NO_LIMIT = 7

#: Temperatures by THSEL: over and under.
_THRESHOLDS = {0: WARNING_KELVIN, 1: 0}


@attrs.frozen
class Feature:
    """One feature.

    Attributes:
        default: Dword 0 after a reset.
        mask: Bits of dword 11 that it has.
        per_namespace: Each namespace has a value of its own.
        check: Raises `Refused` for a value that can't be.
    """

    default: int = 0
    mask: int = 0xFFFFFFFF
    per_namespace: bool = False
    check: Callable[[int], None] | None = None


def _refuse_bits(bits: int) -> Callable[[int], None]:
    def check(value: int) -> None:
        if value & bits:
            raise Refused(StatusCode.INVALID_FIELD)

    return check


# Features that are nothing but a dword.
_PLAIN = {
    FeatureId.ARBITRATION: Feature(default=_NO_LIMIT, mask=0xFFFFFF07),
    FeatureId.POWER_MANAGEMENT: Feature(mask=0xFF, check=_refuse_bits(0x1F)),  # there is power state 0 only
    FeatureId.ERROR_RECOVERY: Feature(mask=0x1FFFF, per_namespace=True, check=_refuse_bits(1 << 16)),
    FeatureId.VOLATILE_WRITE_CACHE: Feature(default=1, mask=1),
    FeatureId.INTERRUPT_COALESCING: Feature(mask=0xFFFF),
    FeatureId.WRITE_ATOMICITY: Feature(mask=1),
    FeatureId.ASYNC_EVENT_CONFIGURATION: Feature(mask=0x7FFF),
}
_SPECIAL = frozenset(
    {
        FeatureId.TEMPERATURE_THRESHOLD,
        FeatureId.NUMBER_OF_QUEUES,
        FeatureId.INTERRUPT_VECTOR_CONFIGURATION,
        FeatureId.TIMESTAMP,
        FeatureId.HOST_IDENTIFIER,
        FeatureId.HOST_BEHAVIOR_SUPPORT,
        FeatureId.RESERVATION_PERSISTENCE,
    }
)
_BEHAVIOR_BYTES = 512


class Features:
    """The features of one controller. Nothing is saveable: a reset brings the defaults back.

    Attributes:
        queues: How many I/O queues of either kind may exist, as (submission, completion).
        queues_created: Some I/O queue was created since the reset.
        host_identifier: 8 or 16 bytes, zeros for none.
    """

    def __init__(self, machine: Machine, options: MockOptions, subsystem: Subsystem, member: int) -> None:
        self._machine = machine
        self._options = options
        self._subsystem = subsystem
        self._member = member
        self._getters: dict[int, Callable[[Sqe, int], int]] = {
            FeatureId.TEMPERATURE_THRESHOLD: self._get_temperature,
            FeatureId.NUMBER_OF_QUEUES: self._get_queues,
            FeatureId.INTERRUPT_VECTOR_CONFIGURATION: self._get_vector,
            FeatureId.TIMESTAMP: self._get_timestamp,
            FeatureId.HOST_IDENTIFIER: self._get_host_identifier,
            FeatureId.HOST_BEHAVIOR_SUPPORT: self._get_behavior,
            FeatureId.RESERVATION_PERSISTENCE: self._get_persistence,
        }
        self._setters: dict[int, Callable[[Sqe], int]] = {
            FeatureId.TEMPERATURE_THRESHOLD: self._set_temperature,
            FeatureId.NUMBER_OF_QUEUES: self._set_queues,
            FeatureId.INTERRUPT_VECTOR_CONFIGURATION: self._set_vector,
            FeatureId.TIMESTAMP: self._set_timestamp,
            FeatureId.HOST_IDENTIFIER: self._set_host_identifier,
            FeatureId.HOST_BEHAVIOR_SUPPORT: self._set_behavior,
        }
        self.reset()

    def reset(self) -> None:
        """As after a controller reset."""
        self._values: dict[tuple[int, int], int] = {}  # by feature and namespace
        self._thresholds = dict(_THRESHOLDS)
        self._coalescing_off = {0}  # the admin queue's vector
        self._timestamp = (0, time.monotonic(), False)
        self.host_identifier = bytes(8)
        self._behave(bytes(_BEHAVIOR_BYTES))
        self.queues = (self._options.num_io_queues, self._options.num_io_queues)
        self.queues_created = False
        self._queues_allocated = False
        self._arbitrate()

    def value(self, fid: FeatureId) -> int:
        """A controller's feature as it stands."""
        return self._values.get((fid, 0), _PLAIN[fid].default)

    def over_temperature(self, kelvin: int) -> bool:
        """Whether this composite temperature is outside its thresholds."""
        return kelvin >= self._thresholds[0] or kelvin <= self._thresholds[1]

    # -- get -------------------------------------------------------------------------------------------------

    def get(self, sqe: Sqe) -> int:
        """Completion dword 0; data goes to the host."""
        fid, select = sqe.cdw10 & 0xFF, sqe.cdw10 >> 8 & 7
        if (fid not in _PLAIN and fid not in _SPECIAL) or select > _SUPPORTED:
            raise Refused(StatusCode.INVALID_FIELD)
        per_namespace = fid == FeatureId.RESERVATION_PERSISTENCE or (
            fid in _PLAIN and _PLAIN[FeatureId(fid)].per_namespace
        )
        if per_namespace:
            self._check_namespace(sqe.nsid)
        if select == _SUPPORTED:
            return _CHANGEABLE | (_NAMESPACE_SPECIFIC if per_namespace else 0)
        if fid in self._getters:
            return self._getters[fid](sqe, select)
        feature = _PLAIN[FeatureId(fid)]
        if select != _CURRENT:
            return feature.default
        return self._values.get((fid, sqe.nsid if per_namespace else 0), feature.default)

    def _check_namespace(self, nsid: int) -> None:
        if not 1 <= nsid <= len(self._options.namespaces):
            raise Refused(StatusCode.INVALID_NAMESPACE_OR_FORMAT)
        if not self._options.namespaces[nsid - 1].active:
            raise Refused(StatusCode.INVALID_FIELD)

    # -- set -------------------------------------------------------------------------------------------------

    def set(self, sqe: Sqe) -> int:
        """Completion dword 0."""
        fid = sqe.cdw10 & 0xFF
        if fid not in _PLAIN and fid not in _SPECIAL:
            raise Refused(StatusCode.INVALID_FIELD)
        if sqe.cdw10 & _SAVE:
            raise Refused(StatusCode.FEATURE_NOT_SAVEABLE)
        if fid in _PLAIN and _PLAIN[FeatureId(fid)].per_namespace:
            return self._set_per_namespace(fid, sqe)
        if fid == FeatureId.RESERVATION_PERSISTENCE:
            return self._set_persistence(sqe)
        self._check_no_namespace(sqe.nsid)
        if fid in self._setters:
            return self._setters[fid](sqe)
        self._values[fid, 0] = self._checked(fid, sqe.cdw11)
        if fid == FeatureId.ARBITRATION:
            self._arbitrate()
        return 0

    def _checked(self, fid: int, value: int) -> int:
        feature = _PLAIN[FeatureId(fid)]
        if feature.check is not None:
            feature.check(value)
        return value & feature.mask

    def _set_per_namespace(self, fid: int, sqe: Sqe) -> int:
        nsids = self._nsids(sqe)
        value = self._checked(fid, sqe.cdw11)
        self._values.update({(fid, nsid): value for nsid in nsids})
        return 0

    def _nsids(self, sqe: Sqe) -> list[int]:
        if sqe.nsid == ALL_NAMESPACES:
            return [nsid for nsid, config in enumerate(self._options.namespaces, 1) if config.active]
        self._check_namespace(sqe.nsid)
        return [sqe.nsid]

    def _check_no_namespace(self, nsid: int) -> None:
        """A feature of the controller takes no namespace but none or all (5.27)."""
        if nsid in (0, ALL_NAMESPACES):
            return
        if nsid > len(self._options.namespaces):
            raise Refused(StatusCode.INVALID_NAMESPACE_OR_FORMAT)
        raise Refused(StatusCode.FEATURE_NOT_NAMESPACE_SPECIFIC)

    def _arbitrate(self) -> None:
        value = self.value(FeatureId.ARBITRATION)
        burst = 0 if value & 7 == _NO_LIMIT else 1 << (value & 7)
        low, medium, high = ((value >> shift & 0xFF) + 1 for shift in (8, 16, 24))
        self._machine.set_arbitration(burst, low, medium, high)

    # -- features that are more than a dword -----------------------------------------------------------------

    def _get_temperature(self, sqe: Sqe, select: int) -> int:
        sensor, kind = sqe.cdw11 >> 16 & 0xF, sqe.cdw11 >> 20 & 3
        if kind not in _THRESHOLDS:
            raise Refused(StatusCode.INVALID_FIELD)
        if sensor:
            return 0  # there is the composite temperature only
        return self._thresholds[kind] if select == _CURRENT else _THRESHOLDS[kind]

    def _set_temperature(self, sqe: Sqe) -> int:
        sensor, kind = sqe.cdw11 >> 16 & 0xF, sqe.cdw11 >> 20 & 3
        if kind not in _THRESHOLDS or 9 <= sensor <= 0xE:
            raise Refused(StatusCode.INVALID_FIELD)
        if sensor in (0, 0xF):
            self._thresholds[kind] = sqe.cdw11 & 0xFFFF
        return 0

    def _get_queues(self, _sqe: Sqe, select: int) -> int:
        submission, completion = (self._options.num_io_queues,) * 2 if select != _CURRENT else self.queues
        return (completion - 1) << 16 | (submission - 1)

    def _set_queues(self, sqe: Sqe) -> int:
        """What was allocated does not change until a reset; no queue may have been created (5.27.1.5)."""
        submission, completion = sqe.cdw11 & 0xFFFF, sqe.cdw11 >> 16
        if submission == 0xFFFF or completion == 0xFFFF:
            raise Refused(StatusCode.INVALID_FIELD)
        if self.queues_created:
            raise Refused(StatusCode.COMMAND_SEQUENCE_ERROR)
        if not self._queues_allocated:
            most = self._options.num_io_queues
            self.queues = (min(submission + 1, most), min(completion + 1, most))
            self._queues_allocated = True
        return self._get_queues(sqe, _CURRENT)

    def _vector(self, sqe: Sqe) -> int:
        vector = sqe.cdw11 & 0xFFFF
        if vector >= max(self._options.num_irqs, 1):
            raise Refused(StatusCode.INVALID_FIELD)
        return vector

    def _get_vector(self, sqe: Sqe, select: int) -> int:
        vector = self._vector(sqe)
        off = vector in self._coalescing_off if select == _CURRENT else vector == 0
        return vector | off << 16

    def _set_vector(self, sqe: Sqe) -> int:
        vector = self._vector(sqe)
        if sqe.cdw11 >> 16 & 1:
            self._coalescing_off.add(vector)
        else:
            self._coalescing_off.discard(vector)
        return 0

    def _get_timestamp(self, sqe: Sqe, select: int) -> int:
        """Milliseconds, and whether they are the host's (5.27.1.12)."""
        start, since, from_host = self._timestamp if select == _CURRENT else (0, time.monotonic(), False)
        now = start + int((time.monotonic() - since) * 1000) & (1 << 48) - 1
        self._give(sqe, now.to_bytes(6, "little") + bytes([from_host << 1, 0]))
        return 0

    def _set_timestamp(self, sqe: Sqe) -> int:
        self._timestamp = (int.from_bytes(self._take(sqe, 8)[:6], "little"), time.monotonic(), True)
        return 0

    def _get_host_identifier(self, sqe: Sqe, select: int) -> int:
        nbytes = 16 if sqe.cdw11 & 1 else 8
        held = self.host_identifier if select == _CURRENT else bytes(nbytes)
        if any(held) and len(held) != nbytes:
            raise Refused(StatusCode.HOST_ID_INCONSISTENT_FORMAT)
        self._give(sqe, held if any(held) else bytes(nbytes))
        return 0

    def _set_host_identifier(self, sqe: Sqe) -> int:
        self.host_identifier = self._take(sqe, 16 if sqe.cdw11 & 1 else 8)
        self._subsystem.reservations.publish()
        return 0

    def _get_behavior(self, sqe: Sqe, select: int) -> int:
        self._give(sqe, self._behavior if select == _CURRENT else bytes(_BEHAVIOR_BYTES))
        return 0

    def _set_behavior(self, sqe: Sqe) -> int:
        """Host Behavior Support (5.27.1.18): only the Copy formats of bytes 5:4 make a difference here."""
        self._behave(self._take(sqe, _BEHAVIOR_BYTES))
        return 0

    @property
    def behavior(self) -> bytes:
        """Host Behavior Support, as the host said it."""
        return self._behavior

    def _behave(self, behavior: bytes) -> None:
        self._behavior = behavior
        self._machine.set_limits({"cdfe": int.from_bytes(behavior[4:6], "little")})

    def _get_persistence(self, sqe: Sqe, select: int) -> int:
        return int(select == _CURRENT and self._subsystem.reservations.persists(sqe.nsid))

    def _set_persistence(self, sqe: Sqe) -> int:
        for nsid in self._nsids(sqe):
            self._subsystem.reservations.set_persists(nsid, bool(sqe.cdw11 & 1))
        return 0

    def _give(self, sqe: Sqe, data: bytes) -> None:
        status = self._machine.data_in(sqe.prp1, sqe.prp2, data)
        if status:
            raise Refused.by_field(status)

    def _take(self, sqe: Sqe, nbytes: int) -> bytes:
        status, data = self._machine.data_out(sqe.prp1, sqe.prp2, nbytes)
        if status:
            raise Refused.by_field(status)
        return data
