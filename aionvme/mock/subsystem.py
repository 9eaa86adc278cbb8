"""Owns what the controllers of one NVM subsystem share: namespaces, reservations, and who they are."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from aionvme.errors import UsageError
from aionvme.mock.reservations import Host, Reservations
from aionvme.mock.shelf import Shelf
from aionvme.mock.storage import Storage
from aionvme.spec.features import WriteProtection

if TYPE_CHECKING:
    from aionvme.mock.feature_table import Value
    from aionvme.mock.features import Features
    from aionvme.mock.machine import Machine
    from aionvme.mock.options import MockOptions

__all__ = ["Subsystem"]

_MOST = 8  # controllers; compiled code has a table of this size


class Subsystem:
    """Controllers join it and leave it; the storage goes with the last.

    Attributes:
        shelf: The namespaces.
        reservations: Their reservations.
        feature_values: Values of features that all controllers share, by feature and namespace.
        lock: Held while the reservations or the members are looked at or changed. Who holds it waits for no
            machine.
    """

    def __init__(self, options: MockOptions) -> None:
        self.shelf = Shelf(len(options.namespaces))
        self._storage = Storage(self.shelf, options)
        self.lock = threading.RLock()
        self.serial = options.serial
        self.feature_values: dict[tuple[int, int], Value] = {}
        self._protection: dict[int, WriteProtection] = {}
        self._machines: list[Machine | None] = []  # by member; None for one that left, or is being made
        self._features: list[Features | None] = []
        self.reservations = Reservations(self)

    def after_fork(self) -> None:
        """In a child process: locks may be held by threads that are not there."""
        self.lock = threading.RLock()
        self.shelf.after_fork()

    @property
    def shared(self) -> bool:
        """Whether it had more than one controller."""
        return len(self._machines) > 1

    def admit(self) -> int:
        """A place for one more controller: its number, from 0."""
        with self.lock:
            if self._machines and not any(self._machines):
                raise UsageError("the subsystem's controllers are all closed")
            if len(self._machines) == _MOST:
                raise UsageError(f"a subsystem has {_MOST} controllers at most")
            self._machines.append(None)
            self._features.append(None)
            return len(self._machines) - 1

    def join(self, member: int, machine: Machine, features: Features) -> None:
        """The controller in this place is made."""
        with self.lock:
            self._machines[member], self._features[member] = machine, features
            machines = [machine for machine in self._machines if machine is not None]
        if self.shared:
            for each in machines:
                with each:
                    each.share()
        self.reservations.publish()

    def leave(self, member: int) -> None:
        """The controller in this place is closed."""
        with self.lock:
            self._machines[member] = self._features[member] = None
            last = not any(self._machines)
        if last:
            self.shelf.clear()
            self._storage.close()

    # -- write protection --------------------------------------------------------------------------------------

    def write_protection(self, nsid: int) -> WriteProtection:
        """The state of a namespace (8.12)."""
        return self._protection.get(nsid, WriteProtection.NONE)

    def set_write_protection(self, nsid: int, state: WriteProtection) -> None:
        """Sets it; commands that write there are refused from then on, by every controller."""
        with self.lock:
            self._protection[nsid] = state
            self.shelf.protect(nsid, state is not WriteProtection.NONE)

    def power_cycle(self) -> None:
        """What lasts until a power cycle ends."""
        for nsid, state in list(self._protection.items()):
            if state is WriteProtection.UNTIL_POWER_CYCLE:
                self.set_write_protection(nsid, WriteProtection.NONE)

    # -- who they are ----------------------------------------------------------------------------------------

    @property
    def members(self) -> range:
        """Numbers of all that ever joined."""
        return range(len(self._machines))

    @property
    def cntlids(self) -> tuple[int, ...]:
        """Controller identifiers of those that are there."""
        return tuple(member + 1 for member, machine in enumerate(self._machines) if machine is not None)

    def host(self, member: int) -> Host:
        """Whose host it is: by the host identifier, or by the controller where it has none (5.27.1.25)."""
        features = self._features[member]
        identifier = features.host_identifier if features is not None else b""
        return identifier if any(identifier) else member

    def preempt(self, nsid: int, members: list[int]) -> None:
        """What these controllers keep for a namespace is aborted, by themselves."""
        self.shelf.preempt(nsid, members)
        for member in members:
            machine = self._machines[member]
            if machine is not None:
                machine.preempt()
