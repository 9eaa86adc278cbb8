"""Owns which namespaces a subsystem has, in which formats, how much room is left, and who has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from aionvme.errors import UsageError
from aionvme.mock.options import NamespaceConfig
from aionvme.mock.refusal import Refused
from aionvme.mock.storage import Storage
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aionvme.mock.options import MockOptions
    from aionvme.mock.subsystem import Subsystem

__all__ = ["Allocated", "Form", "Inventory"]


@attrs.frozen
class Form:
    """An LBA format: bytes of data and of metadata, bits of the guard and of the storage tag."""

    lba: int
    metadata: int = 0
    guard: int = 16
    sts: int = 0

    @classmethod
    def of(cls, config: NamespaceConfig) -> Form:
        """The format of a namespace."""
        return cls(config.lba, config.metadata, config.guard, config.sts)

    @property
    def pi_bytes(self) -> int:
        """Bytes of protection information."""
        return 8 if self.guard == 16 else 16


#: What every mock can be formatted to, besides the formats that its first namespaces have.
_COMMON = (Form(512), Form(4096), Form(512, 8), Form(4096, 8))


@attrs.define
class Allocated:
    """A namespace.

    Attributes:
        config: Size, format, protection.
        shared: It may be attached to several controllers; None: as soon as the subsystem has several.
        everywhere: It is attached to each controller that joins.
        attached: Controllers, by member.
        life: Counts those that had this identifier before, so that its names are new.
    """

    config: NamespaceConfig
    shared: bool | None = None
    everywhere: bool = False
    attached: set[int] = attrs.Factory(set)
    life: int = 0

    @property
    def mask(self) -> int:
        """A bit for each controller that has it."""
        return sum(1 << member for member in self.attached)


class Inventory:
    """The namespaces of a subsystem. Changed with the subsystem's lock held.

    Attributes:
        nn: Highest identifier.
        capacity: Bytes of all together.
        forms: LBA formats.
    """

    def __init__(self, subsystem: Subsystem, options: MockOptions) -> None:
        self._subsystem = subsystem
        self._shelf = subsystem.shelf
        self.nn = subsystem.shelf.nn
        self._lives: dict[int, int] = {}
        self._namespaces: dict[int, Allocated] = {}
        configs = options.namespaces
        self.forms = tuple(dict.fromkeys([*(Form.of(config) for config in configs), *_COMMON]))[:64]
        self.capacity = options.media.capacity or sum(config.size for config in configs)
        if self.capacity < sum(config.size for config in configs):
            raise UsageError(f"capacity {self.capacity} is less than the namespaces have together")
        self._storage = Storage(subsystem.shelf, options)
        try:
            for nsid, config in enumerate(configs, 1):
                self._storage.place(nsid, config)
                self._namespaces[nsid] = Allocated(config, everywhere=config.active)
        except BaseException:
            self._storage.close()
            raise

    def close(self) -> None:
        """Gives the storage back."""
        self._storage.close()

    # -- what there is ---------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[tuple[int, Allocated]]:
        """Identifiers in order, and their namespaces."""
        return iter(sorted(self._namespaces.items()))

    def find(self, nsid: int) -> Allocated | None:
        """The namespace, None for an identifier that none has; `Refused` for one that none can have."""
        if not 1 <= nsid <= self.nn:
            raise Refused(StatusCode.INVALID_NAMESPACE_OR_FORMAT)
        return self._namespaces.get(nsid)

    def allocated(self, nsid: int) -> Allocated:
        """The namespace; `Refused` where there is none (Base 2.0, 3.2.1.5)."""
        found = self.find(nsid)
        if found is None:
            raise Refused(StatusCode.INVALID_FIELD)
        return found

    def active(self, nsid: int, member: int) -> Allocated:
        """The namespace; `Refused` where this controller does not have it."""
        found = self.allocated(nsid)
        if member not in found.attached:
            raise Refused(StatusCode.INVALID_FIELD)
        return found

    def active_nsids(self, member: int) -> list[int]:
        """Identifiers of the namespaces that this controller has."""
        return [nsid for nsid, each in self if member in each.attached]

    @property
    def unallocated(self) -> int:
        """Bytes that no namespace has (UNVMCAP)."""
        return self.capacity - sum(each.config.size for _nsid, each in self)

    def form_index(self, config: NamespaceConfig) -> int:
        """Which of the formats a namespace has."""
        return self.forms.index(Form.of(config))

    def is_shared(self, allocated: Allocated) -> bool:
        """Whether it may be attached to several controllers (NMIC bit 0)."""
        return self._subsystem.shared if allocated.shared is None else allocated.shared

    # -- changes ---------------------------------------------------------------------------------------------

    def joined(self, member: int) -> None:
        """A controller is there: what is attached everywhere is attached to it."""
        for nsid, each in self:
            if each.everywhere:
                each.attached.add(member)
                self._publish(nsid, each)

    def left(self, member: int) -> None:
        """A controller is gone."""
        for nsid, each in self:
            if member in each.attached:
                each.attached.discard(member)
                self._publish(nsid, each)

    def create(self, config: NamespaceConfig, *, shared: bool) -> int:
        """A namespace that no controller has yet: its identifier."""
        if config.size > self.unallocated:
            raise Refused(StatusCode.NAMESPACE_INSUFFICIENT_CAPACITY)
        nsid = next((nsid for nsid in range(1, self.nn + 1) if nsid not in self._namespaces), 0)
        if not nsid:
            raise Refused(StatusCode.NAMESPACE_ID_UNAVAILABLE)
        self._lives[nsid] = self._lives.get(nsid, 0) + 1
        with self._subsystem.still():
            self._storage.place(nsid, config)
            self._shelf.erase(nsid)
        self._namespaces[nsid] = Allocated(config, shared, life=self._lives[nsid])
        return nsid

    def delete(self, nsid: int) -> set[int]:
        """There is no such namespace any more: the controllers that had it."""
        gone = self._namespaces.pop(nsid)
        self._lives.setdefault(nsid, 0)
        self._subsystem.namespace_deleted(nsid)
        with self._subsystem.still():
            self._shelf.erase(nsid)
            self._storage.remove(nsid)
        return gone.attached

    def attach(self, nsid: int, members: set[int]) -> None:
        """These controllers have it, and no others."""
        each = self._namespaces[nsid]
        each.everywhere = False
        each.attached = members
        self._publish(nsid, each)

    def _publish(self, nsid: int, each: Allocated) -> None:
        with self._subsystem.still():
            self._shelf.attach(nsid, each.mask)

    def refuse(self, nsid: int, status: int) -> None:
        """Every I/O command for it ends with this status; 0 for none."""
        with self._subsystem.still():
            self._shelf.refuse(nsid, status)

    def erase(self, nsid: int) -> None:
        """Nothing is stored in it."""
        with self._subsystem.still():
            self._shelf.erase(nsid)

    def format(self, nsid: int, config: NamespaceConfig) -> None:
        """It has another format, and nothing is stored in it."""
        each = self._namespaces[nsid]
        each.config = config
        with self._subsystem.still():
            self._shelf.erase(nsid)
            self._storage.remove(nsid)
            self._storage.place(nsid, config)
            self._shelf.erase(nsid)
            self._shelf.attach(nsid, each.mask)
        self._subsystem.reservations.publish()
