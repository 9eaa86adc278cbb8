"""Owns Get and Set Features (NVMe Base 2.0, 5.15, 5.27): which value is meant, and which refusal it meets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from aionvme.mock.feature_table import TABLE, Entry, Value
from aionvme.mock.host_buffer import HostBuffer
from aionvme.mock.options import NamespaceConfig
from aionvme.mock.refusal import Refused
from aionvme.mock.special_features import Special
from aionvme.spec.feature import FeatureCapabilities, FeatureSelect
from aionvme.spec.opcodes import FeatureId
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.mock.machine import Machine
    from aionvme.mock.options import MockOptions
    from aionvme.mock.subsystem import Subsystem
    from aionvme.spec.entries import Sqe

_ALL_NAMESPACES = 0xFFFFFFFF
_SAVE = 1 << 31
# Scope of a feature in the page of feature identifiers, from bit 20 on (5.16.1.18).
_OF_NAMESPACE, _OF_CONTROLLER = 1 << 20, 1 << 21

Key = tuple[int, int]  # feature and namespace


class Features:
    """The features of one controller. A reset brings back what was saved, and else the defaults.

    Attributes:
        special: Those that are more than a value.
        buffer: The host memory buffer.
    """

    def __init__(self, machine: Machine, options: MockOptions, subsystem: Subsystem, member: int) -> None:
        self._options = options
        self._subsystem = subsystem
        self._member = member
        self._saved: dict[Key, Value] = {}
        self._values: dict[Key, Value] = {}
        self.buffer = HostBuffer(machine, options)
        self.special = Special(self, machine, options, subsystem, self.buffer)
        self._machine = machine
        self._effects: dict[int, Callable[[], None]] = {
            FeatureId.ARBITRATION: self._arbitrate,
            FeatureId.HOST_BEHAVIOR_SUPPORT: self._behave,
        }
        self.reset()

    def reset(self) -> None:
        """As after a controller reset."""
        self._values = dict(self._saved)
        self.special.reset()
        self.buffer.forget()
        for effect in self._effects.values():
            effect()

    # -- what the rest asks ------------------------------------------------------------------------------------

    @property
    def host_identifier(self) -> bytes:
        """8 or 16 bytes, zeros for none."""
        return self.special.host_identifier

    @property
    def queues(self) -> tuple[int, int]:
        """How many I/O queues of either kind may exist, as (submission, completion)."""
        return self.special.queues

    @property
    def queues_created(self) -> bool:
        """Some I/O queue was created since the reset."""
        return self.special.queues_created

    @queues_created.setter
    def queues_created(self, created: bool) -> None:
        self.special.queues_created = created

    def value(self, fid: int, nsid: int = 0) -> int:
        """The dword of a feature as it stands."""
        return self._current(TABLE[fid], fid, nsid).word

    def data(self, fid: int, nsid: int = 0) -> bytes:
        """The data of a feature as it stands."""
        return self._current(TABLE[fid], fid, nsid).data

    def over_temperature(self, kelvin: int) -> bool:
        """Whether this composite temperature is outside its thresholds."""
        return self.special.over_temperature(kelvin)

    def has(self, fid: int) -> bool:
        """Whether the controller has a feature."""
        entry = TABLE.get(fid)
        if entry is None or self._options.commands.features_absent >> fid & 1:
            return False
        return entry.there(self._options)

    def effects(self) -> bytes:
        """The page of feature identifiers: supported, and of what (5.16.1.18)."""
        words = (
            1 | (_OF_NAMESPACE if TABLE[fid].per_namespace else _OF_CONTROLLER) if self.has(fid) else 0
            for fid in range(256)
        )
        return b"".join(word.to_bytes(4, "little") for word in words)

    @property
    def behavior(self) -> bytes:
        """Host Behavior Support, as the host said it."""
        return self.data(FeatureId.HOST_BEHAVIOR_SUPPORT)

    # -- values ------------------------------------------------------------------------------------------------

    def _default(self, entry: Entry, nsid: int) -> Value:
        return entry.default(self._namespaces(), nsid)

    def _store(self, entry: Entry) -> dict[Key, Value]:
        return self._subsystem.feature_values if entry.shared else self._values

    def _current(self, entry: Entry, fid: int, nsid: int) -> Value:
        key = (fid, nsid if entry.per_namespace else 0)
        return self._store(entry).get(key) or self._default(entry, nsid)

    def put(self, fid: int, nsids: list[int], value: Value, *, save: bool) -> None:
        """Sets the value, and saves it, for each of these namespaces."""
        entry = TABLE[fid]
        for nsid in nsids:
            self._store(entry)[fid, nsid] = value
            if save:
                self._saved[fid, nsid] = value

    def saved(self, fid: int, nsid: int) -> Value | None:
        """What was saved."""
        return self._saved.get((fid, nsid))

    # -- get ---------------------------------------------------------------------------------------------------

    def _entry(self, fid: int) -> Entry:
        if not self.has(fid):
            raise Refused(StatusCode.INVALID_FIELD)
        return TABLE[fid]

    def get(self, sqe: Sqe) -> int:
        """Completion dword 0; data goes to the host."""
        fid, select = sqe.cdw10 & 0xFF, sqe.cdw10 >> 8 & 7
        entry = self._entry(fid)
        if select > FeatureSelect.SUPPORTED or (select and not self._selects):
            raise Refused(StatusCode.INVALID_FIELD)
        if select == FeatureSelect.SUPPORTED:
            if entry.per_namespace and sqe.nsid != _ALL_NAMESPACES:
                self._check_namespace(sqe.nsid)
            return self._capabilities(entry, fid)
        if entry.per_namespace:
            self._check_namespace(sqe.nsid)
        if fid in self.special.getters:
            return self.special.getters[fid](sqe, FeatureSelect(select))
        nsid = sqe.nsid if entry.per_namespace else 0
        value = self._current(entry, fid, nsid)
        if select != FeatureSelect.CURRENT:
            value = self._default(entry, nsid)
        if select == FeatureSelect.SAVED:
            value = self._saved.get((fid, nsid)) or value
        if entry.nbytes:
            self.give(sqe, value.data)
        return value.word

    def _namespaces(self) -> MockOptions:
        """The options with the namespaces that there are now."""
        configs = {nsid: each.config for nsid, each in self._subsystem.inventory}
        there = [configs.get(nsid, NamespaceConfig()) for nsid in range(1, self._subsystem.inventory.nn + 1)]
        return attrs.evolve(self._options, namespaces=there)

    def forget(self, nsid: int) -> None:
        """The namespace was deleted."""
        for values in (self._values, self._saved, self._subsystem.feature_values):
            for key in [key for key in list(values) if key[1] == nsid]:
                values.pop(key, None)

    @property
    def _selects(self) -> bool:
        """ONCS bit 4: the save bit and the select field are there."""
        return bool(self._options.commands.oncs >> 4 & 1)

    def _capabilities(self, entry: Entry, fid: int) -> int:
        return FeatureCapabilities(
            saveable=int(entry.saveable),
            namespace_specific=int(entry.per_namespace),
            changeable=int(not self._is_fixed(entry, fid)),
        ).value

    def _is_fixed(self, entry: Entry, fid: int) -> bool:
        return entry.fixed or bool(self._options.commands.features_fixed >> fid & 1)

    def _check_namespace(self, nsid: int) -> None:
        self._subsystem.inventory.active(nsid, self._member)

    # -- set ---------------------------------------------------------------------------------------------------

    def set(self, sqe: Sqe) -> int:
        """Completion dword 0."""
        fid, save = sqe.cdw10 & 0xFF, bool(sqe.cdw10 & _SAVE)
        entry = self._entry(fid)
        if save and not self._selects:
            raise Refused(StatusCode.INVALID_FIELD)
        if save and not entry.saveable:
            raise Refused(StatusCode.FEATURE_NOT_SAVEABLE)
        if self._is_fixed(entry, fid):
            raise Refused(StatusCode.FEATURE_NOT_CHANGEABLE)
        nsids = self._nsids(entry, sqe.nsid)
        if fid in self.special.setters:
            return self.special.setters[fid](sqe, nsids, save)
        value = Value(sqe.cdw11 & entry.mask, self.take(sqe, entry.nbytes) if entry.nbytes else b"")
        for nsid in nsids:
            entry.check(Value(sqe.cdw11, value.data), self._namespaces(), nsid)
        self.put(fid, nsids, value, save=save)
        if fid in self._effects:
            self._effects[fid]()
        return 0

    def _nsids(self, entry: Entry, nsid: int) -> list[int]:
        """The namespaces that are meant; 0 for the controller, whose features take none or all (5.27)."""
        if entry.per_namespace:
            if nsid == _ALL_NAMESPACES:
                return self._subsystem.inventory.active_nsids(self._member)
            self._check_namespace(nsid)
            return [nsid]
        if nsid in (0, _ALL_NAMESPACES):
            return [0]
        if nsid > self._subsystem.inventory.nn:
            raise Refused(StatusCode.INVALID_NAMESPACE_OR_FORMAT)
        raise Refused(StatusCode.FEATURE_NOT_NAMESPACE_SPECIFIC)

    # -- what values do ----------------------------------------------------------------------------------------

    def _arbitrate(self) -> None:
        value = self.value(FeatureId.ARBITRATION)
        burst = 0 if value & 7 == 7 else 1 << (value & 7)
        low, medium, high = ((value >> shift & 0xFF) + 1 for shift in (8, 16, 24))
        self._machine.set_arbitration(burst, low, medium, high)

    def _behave(self) -> None:
        """Host Behavior Support (5.27.1.18): only the Copy formats of bytes 5:4 make a difference here."""
        behavior = self.behavior
        self._machine.set_limits({"cdfe": int.from_bytes(behavior[4:6], "little")})

    def give(self, sqe: Sqe, data: bytes) -> None:
        """Gives the host data."""
        status = self._machine.data_in(sqe.prp1, sqe.prp2, data)
        if status:
            raise Refused.by_field(status)

    def take(self, sqe: Sqe, nbytes: int) -> bytes:
        """Takes the host's data."""
        status, data = self._machine.data_out(sqe.prp1, sqe.prp2, nbytes)
        if status:
            raise Refused.by_field(status)
        return data
