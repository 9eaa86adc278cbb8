"""Owns the features that are more than a value that is kept (NVMe Base 2.0, 5.27.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from aionvme.clock import monotonic
from aionvme.mock.feature_table import TABLE, WARNING_KELVIN, Value
from aionvme.mock.refusal import Refused
from aionvme.spec.errors import DecodeError
from aionvme.spec.feature import FeatureSelect
from aionvme.spec.features import WriteProtection
from aionvme.spec.features_data import ControllerMetadata, HostMemoryBuffer, MetadataAction, MetadataElement
from aionvme.spec.intel_features import IntelFeatureId
from aionvme.spec.opcodes import FeatureId
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.mock.features import Features
    from aionvme.mock.host_buffer import HostBuffer
    from aionvme.mock.machine import Machine
    from aionvme.mock.options import MockOptions
    from aionvme.mock.subsystem import Subsystem
    from aionvme.spec.entries import Sqe

__all__ = ["Special"]

#: Temperatures by THSEL: over and under.
_THRESHOLDS = {0: WARNING_KELVIN, 1: 0}
_METADATA = (
    FeatureId.ENHANCED_CONTROLLER_METADATA,
    FeatureId.CONTROLLER_METADATA,
    FeatureId.NAMESPACE_METADATA,
)
# Types of FDP events: unit not fully written, time limit, controller reset, invalid placement; media reallocated.
_FDP_EVENTS = (0x00, 0x01, 0x02, 0x03, 0x80)
_LEVEL = 4  # of read recovery, where nobody set one

Getter = Callable[["Sqe", FeatureSelect], int]
Setter = Callable[["Sqe", list[int], bool], int]


class Special:
    """Getters give completion dword 0 for a selection; setters are told the namespaces, and whether to save.

    Attributes:
        queues: How many I/O queues of either kind may exist, as (submission, completion).
        queues_created: Some I/O queue was created since the reset.
        host_identifier: 8 or 16 bytes, zeros for none.
    """

    def __init__(
        self,
        features: Features,
        machine: Machine,
        options: MockOptions,
        subsystem: Subsystem,
        buffer: HostBuffer,
    ) -> None:
        self._features = features
        self._machine = machine
        self._options = options
        self._subsystem = subsystem
        self._buffer = buffer
        self._saved_thresholds: dict[int, int] = {}
        self._events: dict[tuple[int, int], set[int]] = {}  # enabled ones, by namespace and placement handle
        self.getters: dict[int, Getter] = {
            FeatureId.TEMPERATURE_THRESHOLD: self._get_temperature,
            FeatureId.NUMBER_OF_QUEUES: self._get_queues,
            FeatureId.INTERRUPT_VECTOR_CONFIGURATION: self._get_vector,
            FeatureId.HOST_MEMORY_BUFFER: self._get_buffer,
            FeatureId.TIMESTAMP: self._get_timestamp,
            FeatureId.READ_RECOVERY_LEVEL: self._get_level,
            FeatureId.FLEXIBLE_DATA_PLACEMENT: self._get_placement,
            FeatureId.FDP_EVENTS: self._get_placement_events,
            IntelFeatureId.RESET_TIMED_WORKLOAD_COUNTERS: self._unreadable,
            FeatureId.HOST_IDENTIFIER: self._get_host_identifier,
            FeatureId.RESERVATION_PERSISTENCE: self._get_persistence,
            FeatureId.NAMESPACE_WRITE_PROTECTION: self._get_protection,
        }
        self.setters: dict[int, Setter] = {
            FeatureId.TEMPERATURE_THRESHOLD: self._set_temperature,
            FeatureId.NUMBER_OF_QUEUES: self._set_queues,
            FeatureId.INTERRUPT_VECTOR_CONFIGURATION: self._set_vector,
            FeatureId.HOST_MEMORY_BUFFER: self._set_buffer,
            FeatureId.TIMESTAMP: self._set_timestamp,
            FeatureId.READ_RECOVERY_LEVEL: self._set_level,
            FeatureId.FLEXIBLE_DATA_PLACEMENT: self._set_placement,
            FeatureId.FDP_EVENTS: self._set_placement_events,
            FeatureId.HOST_IDENTIFIER: self._set_host_identifier,
            FeatureId.RESERVATION_PERSISTENCE: self._set_persistence,
            FeatureId.NAMESPACE_WRITE_PROTECTION: self._set_protection,
            **dict.fromkeys(_METADATA, self._set_metadata),
        }
        self.reset()

    def reset(self) -> None:
        """As after a controller reset."""
        self._thresholds = _THRESHOLDS | self._saved_thresholds
        self._coalescing_off = {0}  # the admin queue's vector
        self._timestamp = (0, monotonic(), False)
        self.host_identifier = bytes(8)
        self.queues = (self._options.num_io_queues, self._options.num_io_queues)
        self.queues_created = False
        self._queues_allocated = False

    # -- temperature -------------------------------------------------------------------------------------------

    def over_temperature(self, kelvin: int) -> bool:
        """Whether this composite temperature is outside its thresholds."""
        return kelvin >= self._thresholds[0] or kelvin <= self._thresholds[1]

    def _get_temperature(self, sqe: Sqe, select: FeatureSelect) -> int:
        sensor, kind = sqe.cdw11 >> 16 & 0xF, sqe.cdw11 >> 20 & 3
        if kind not in _THRESHOLDS:
            raise Refused(StatusCode.INVALID_FIELD)
        if sensor:
            return 0  # there is the composite temperature only
        if select == FeatureSelect.CURRENT:
            return self._thresholds[kind]
        saved = self._saved_thresholds if select == FeatureSelect.SAVED else {}
        return saved.get(kind, _THRESHOLDS[kind])

    def _set_temperature(self, sqe: Sqe, _nsids: list[int], save: bool) -> int:
        sensor, kind = sqe.cdw11 >> 16 & 0xF, sqe.cdw11 >> 20 & 3
        if kind not in _THRESHOLDS or 9 <= sensor <= 0xE:
            raise Refused(StatusCode.INVALID_FIELD)
        if sensor in (0, 0xF):
            self._thresholds[kind] = sqe.cdw11 & 0xFFFF
            if save:
                self._saved_thresholds[kind] = sqe.cdw11 & 0xFFFF
        return 0

    # -- queues and vectors ------------------------------------------------------------------------------------

    def _get_queues(self, _sqe: Sqe, select: FeatureSelect) -> int:
        most = (self._options.num_io_queues,) * 2
        submission, completion = most if select != FeatureSelect.CURRENT else self.queues
        return (completion - 1) << 16 | (submission - 1)

    def _set_queues(self, sqe: Sqe, _nsids: list[int], _save: bool) -> int:
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
        return self._get_queues(sqe, FeatureSelect.CURRENT)

    def _vector(self, sqe: Sqe) -> int:
        vector = sqe.cdw11 & 0xFFFF
        if vector >= max(self._options.num_irqs, 1):
            raise Refused(StatusCode.INVALID_FIELD)
        return vector

    def _get_vector(self, sqe: Sqe, select: FeatureSelect) -> int:
        vector = self._vector(sqe)
        off = vector in self._coalescing_off if select == FeatureSelect.CURRENT else vector == 0
        return vector | off << 16

    def _set_vector(self, sqe: Sqe, _nsids: list[int], _save: bool) -> int:
        vector = self._vector(sqe)
        if sqe.cdw11 >> 16 & 1:
            self._coalescing_off.add(vector)
        else:
            self._coalescing_off.discard(vector)
        return 0

    # -- host memory buffer ------------------------------------------------------------------------------------

    def _get_buffer(self, sqe: Sqe, select: FeatureSelect) -> int:
        value = self._buffer.value if select == FeatureSelect.CURRENT else HostMemoryBuffer()
        self._features.give(sqe, value.encode())
        return value.ehm

    def _set_buffer(self, sqe: Sqe, _nsids: list[int], _save: bool) -> int:
        if not sqe.cdw11 & 1:
            self._buffer.disable()
            return 0
        if self._buffer.value.ehm:
            raise Refused(StatusCode.COMMAND_SEQUENCE_ERROR)
        value = HostMemoryBuffer(
            ehm=1,
            mr=sqe.cdw11 >> 1 & 1,
            hsize=sqe.cdw12,
            hmdlal=sqe.cdw13,
            hmdlau=sqe.cdw14,
            hmdlec=sqe.cdw15,
        )
        self._buffer.enable(value)
        return 0

    # -- timestamp ---------------------------------------------------------------------------------------------

    def _get_timestamp(self, sqe: Sqe, select: FeatureSelect) -> int:
        """Milliseconds, and whether they are the host's (5.27.1.11)."""
        start, since, from_host = (
            self._timestamp if select == FeatureSelect.CURRENT else (0, monotonic(), False)
        )
        now = start + int((monotonic() - since) * 1000) & (1 << 48) - 1
        self._features.give(sqe, now.to_bytes(6, "little") + bytes([from_host << 1, 0]))
        return 0

    def _set_timestamp(self, sqe: Sqe, _nsids: list[int], _save: bool) -> int:
        start = int.from_bytes(self._features.take(sqe, 8)[:6], "little")
        self._timestamp = (start, monotonic(), True)
        return 0

    # -- read recovery level -----------------------------------------------------------------------------------

    def _get_level(self, _sqe: Sqe, select: FeatureSelect) -> int:
        saved = self._features.saved(FeatureId.READ_RECOVERY_LEVEL, 0)
        if select == FeatureSelect.SAVED:
            return saved.word if saved else _LEVEL
        # One more than the level is kept: 0 is for none.
        kept = self._features.value(FeatureId.READ_RECOVERY_LEVEL) if select == FeatureSelect.CURRENT else 0
        return kept or _LEVEL

    def _set_level(self, sqe: Sqe, nsids: list[int], save: bool) -> int:
        """Of dword 12; there are no NVM sets, so that dword 11 does not matter (5.27.1.15)."""
        value = Value(sqe.cdw12 & 0xF)
        TABLE[FeatureId.READ_RECOVERY_LEVEL].check(value, self._options, 0)
        self._features.put(FeatureId.READ_RECOVERY_LEVEL, nsids, value, save=save)
        return 0

    # -- flexible data placement -------------------------------------------------------------------------------

    def _group(self, sqe: Sqe) -> None:
        if sqe.cdw11 & 0xFFFF != 1:
            raise Refused(StatusCode.INVALID_FIELD)  # there is one endurance group

    def _get_placement(self, sqe: Sqe, _select: FeatureSelect) -> int:
        """Enabled, with the one configuration that there is (Base 2.1, 5.1.25.1.20)."""
        self._group(sqe)
        return 1

    def _set_placement(self, sqe: Sqe, _nsids: list[int], _save: bool) -> int:
        """It is not changed while there are namespaces in the group."""
        self._group(sqe)
        if sqe.cdw12 & 0xFF01 != 1:
            raise Refused(StatusCode.COMMAND_SEQUENCE_ERROR)
        return 0

    def _handle(self, sqe: Sqe) -> int:
        if sqe.cdw11 & 0xFFFF >= self._options.fdp:
            raise Refused(StatusCode.INVALID_FIELD)
        return sqe.cdw11 & 0xFFFF

    def _get_placement_events(self, sqe: Sqe, select: FeatureSelect) -> int:
        """Which types there are, and are enabled, for a handle (Base 2.1, 5.1.25.1.21)."""
        enabled = self._events.get((sqe.nsid, self._handle(sqe)), set())
        enabled = enabled if select == FeatureSelect.CURRENT else set()
        room = sqe.cdw11 >> 16 & 0xFF
        listed = b"".join(bytes([kind, kind in enabled]) for kind in _FDP_EVENTS)
        if room:
            self._features.give(sqe, listed[: 2 * room].ljust(2 * room, b"\0"))
        return len(_FDP_EVENTS)

    def _set_placement_events(self, sqe: Sqe, nsids: list[int], _save: bool) -> int:
        handle, count = self._handle(sqe), sqe.cdw11 >> 16 & 0xFF
        kinds = set(self._features.take(sqe, count)) if count else set()
        if not kinds <= set(_FDP_EVENTS):
            raise Refused(StatusCode.INVALID_FIELD)
        for nsid in nsids:
            held = self._events.setdefault((nsid, handle), set())
            held.update(kinds) if sqe.cdw12 & 1 else held.difference_update(kinds)
        return 0

    def _unreadable(self, _sqe: Sqe, _select: FeatureSelect) -> int:
        raise Refused(StatusCode.INVALID_FIELD)

    # -- the host ----------------------------------------------------------------------------------------------

    def _get_host_identifier(self, sqe: Sqe, select: FeatureSelect) -> int:
        nbytes = 16 if sqe.cdw11 & 1 else 8
        held = self.host_identifier if select == FeatureSelect.CURRENT else bytes(nbytes)
        if any(held) and len(held) != nbytes:
            raise Refused(StatusCode.HOST_ID_INCONSISTENT_FORMAT)
        self._features.give(sqe, held if any(held) else bytes(nbytes))
        return 0

    def _set_host_identifier(self, sqe: Sqe, _nsids: list[int], _save: bool) -> int:
        self.host_identifier = self._features.take(sqe, 16 if sqe.cdw11 & 1 else 8)
        self._subsystem.reservations.publish()
        return 0

    def _get_persistence(self, sqe: Sqe, select: FeatureSelect) -> int:
        return int(select == FeatureSelect.CURRENT and self._subsystem.reservations.persists(sqe.nsid))

    def _set_persistence(self, sqe: Sqe, nsids: list[int], _save: bool) -> int:
        for nsid in nsids:
            self._subsystem.reservations.set_persists(nsid, bool(sqe.cdw11 & 1))
        return 0

    def _set_metadata(self, sqe: Sqe, nsids: list[int], _save: bool) -> int:
        """Adds, updates and deletes elements (5.27.1.23); more than one of a type are added by Add only."""
        fid = sqe.cdw10 & 0xFF
        try:
            given = ControllerMetadata.decode(self._features.take(sqe, 4096)).elements
            action = MetadataAction(sqe.cdw11 >> 13 & 3)
        except (DecodeError, ValueError):
            raise Refused(StatusCode.INVALID_FIELD) from None
        for nsid in nsids:
            held = list(ControllerMetadata.decode(self._features.data(fid, nsid)).elements)
            changed = _change(held, given, action)
            try:
                data = ControllerMetadata.of(*changed).encode()
            except ValueError:
                raise Refused(StatusCode.INVALID_FIELD) from None
            self._features.put(fid, [nsid], Value(0, data), save=False)
        return 0

    # -- write protection --------------------------------------------------------------------------------------

    def _get_protection(self, sqe: Sqe, select: FeatureSelect) -> int:
        """There is no default, and nothing is saved (5.27.1.28)."""
        if select != FeatureSelect.CURRENT:
            raise Refused(StatusCode.INVALID_FIELD)
        return self._subsystem.write_protection(sqe.nsid)

    def _set_protection(self, sqe: Sqe, nsids: list[int], _save: bool) -> int:
        """Only the plain state is left by this command; the others until a power cycle, or never (8.12)."""
        wanted = sqe.cdw11 & 7
        allowed = {WriteProtection.NONE, WriteProtection.WRITE_PROTECT}
        allowed |= {WriteProtection.UNTIL_POWER_CYCLE} if self._options.commands.nwpc & 2 else set()
        allowed |= {WriteProtection.PERMANENT} if self._options.commands.nwpc & 4 else set()
        if wanted not in allowed:
            raise Refused(StatusCode.INVALID_FIELD)
        for nsid in nsids:
            now = self._subsystem.write_protection(nsid)
            if now >= WriteProtection.UNTIL_POWER_CYCLE and wanted != now:
                raise Refused(StatusCode.FEATURE_NOT_CHANGEABLE)
        for nsid in nsids:
            self._subsystem.set_write_protection(nsid, WriteProtection(wanted))
        return 0


def _change(
    held: list[MetadataElement], given: tuple[MetadataElement, ...], action: MetadataAction
) -> list[MetadataElement]:
    if action is MetadataAction.ADD:
        return [*held, *given]
    types = {element.type for element in given}
    kept = [element for element in held if element.type not in types]
    return kept if action is MetadataAction.DELETE else [*kept, *given]
