"""Owns what the controllers of one NVM subsystem share: namespaces, reservations, and who they are."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from aionvme.errors import UsageError
from aionvme.mock.clock import Clock
from aionvme.mock.inventory import Inventory
from aionvme.mock.locks import Lockdown
from aionvme.mock.refusal import Refused
from aionvme.mock.reservations import Host, Reservations
from aionvme.mock.sanitizing import Sanitizing
from aionvme.mock.self_test import SelfTest
from aionvme.mock.shelf import Shelf
from aionvme.spec.features import WriteProtection
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.mock.admin import Admin
    from aionvme.mock.feature_table import Value
    from aionvme.mock.machine import Machine
    from aionvme.mock.options import MockOptions

__all__ = ["Subsystem"]

_MOST = 8  # controllers; compiled code has a table of this size


class Subsystem:
    """Controllers join it and leave it; the storage goes with the last.

    Attributes:
        shelf: The blocks of the namespaces.
        inventory: The namespaces.
        reservations: Their reservations.
        feature_values: Values of features that all controllers share, by feature and namespace.
        formatting: When the format of a namespace began, and when it ends, by identifier.
        sanitizing, self_test: What goes on in the background.
        lockdown: What is prohibited.
        clock: The time of all that takes time.
        lock: Held while any of these, or the members, are looked at or changed. Who holds it waits for no machine.
    """

    def __init__(self, options: MockOptions) -> None:
        self.shelf = Shelf(max(len(options.namespaces), options.media.max_namespaces), options.media.no_data)
        self.lock = threading.RLock()
        self.clock = Clock()
        self.serial = options.serial
        self.feature_values: dict[tuple[int, int], Value] = {}
        self._protection: dict[int, WriteProtection] = {}
        self._machines: list[Machine | None] = []  # by member; None for one that left, or is being made
        self._admins: list[Admin | None] = []
        self._changes: list[set[int]] = []  # namespaces that a controller has not been told of yet
        self._resets: dict[int, weakref.WeakMethod[Callable[[], None]]] = {}
        self.reservations = Reservations(self)
        self.formatting: dict[int, tuple[float, float]] = {}
        self.sanitizing = Sanitizing(self, options.media)
        self.self_test = SelfTest(self, options.media)
        self.lockdown = Lockdown()
        self.inventory = Inventory(self, options)

    def after_fork(self) -> None:
        """In a child process: locks may be held by threads that are not there."""
        self.lock = threading.RLock()
        self.shelf.after_fork()
        self.clock.after_fork()

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
            self._admins.append(None)
            self._changes.append(set())
            return len(self._machines) - 1

    def join(self, member: int, machine: Machine, admin: Admin, reset: Callable[[], None]) -> None:
        """The controller in this place is made; `reset` is what an NVM subsystem reset does to it."""
        with self.lock:
            self._machines[member], self._admins[member] = machine, admin
            self._resets[member] = weakref.WeakMethod(reset)
            machines = [machine for machine in self._machines if machine is not None]
        if self.shared:
            for each in machines:
                with each:
                    each.share()
        with self.machine(member), self.lock:
            self.inventory.joined(member)
        self.reservations.publish()

    def reset(self) -> None:
        """NVM subsystem reset: of one controller after the other, in whatever state it is."""
        for reset in [reset for reset in self._resets.values() if reset() is not None]:
            call = reset()
            if call is not None:
                call()

    def leave(self, member: int) -> None:
        """The controller in this place is closed."""
        with self.lock:
            self._machines[member] = self._admins[member] = None
            self.inventory.left(member)
            self._resets.pop(member, None)
            last = not any(self._machines)
        if last:
            self.clock.close()
            self.shelf.clear()
            self.inventory.close()

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """No controller executes an I/O command inside. Who has one controller alone holds its machine, too."""
        with self.shelf if self.shared else contextlib.nullcontext():
            yield

    @contextlib.contextmanager
    def machine(self, member: int) -> Iterator[None]:
        """This controller stands still inside, where it is still there. To be entered before `lock`."""
        with self._machines[member] or contextlib.nullcontext():
            yield

    # -- what happens ----------------------------------------------------------------------------------------

    def namespaces_changed(self, members: Iterable[int], nsid: int, by: int) -> None:
        """These controllers report it: the one that stands still for it (`by`) at once, the others by and by."""
        for member in members:
            self._changes[member].add(nsid)
            machine, admin = self._machines[member], self._admins[member]
            if member == by and admin is not None:
                admin.hear_news()
            elif machine is not None:
                machine.tell_news()

    def take_changes(self, member: int) -> list[int]:
        """Namespaces that changed for this controller since it last asked."""
        with self.lock:
            changes, self._changes[member] = self._changes[member], set()
            return sorted(changes)

    def report(self, member: int, kind: int, information: int, page: int) -> None:
        """An asynchronous event of a controller that stands still."""
        admin = self._admins[member]
        if admin is not None:
            admin.events.report(kind, information, page)

    def namespace_deleted(self, nsid: int) -> None:
        """Nothing that was said of a namespace holds for the next one of its identifier."""
        self.reservations.forget(nsid)
        self._protection.pop(nsid, None)
        for admin in self._admins:
            if admin is not None:
                admin.features.forget(nsid)

    def check_write(self, nsids: list[int], member: int) -> None:
        """Refuses an admin command that changes what is protected, or kept from this controller by a reservation."""
        self.reservations.check_write(nsids, member)
        if any(self.write_protection(nsid) is not WriteProtection.NONE for nsid in nsids):
            raise Refused(StatusCode.NAMESPACE_WRITE_PROTECTED)

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
        self.lockdown.power_cycle()
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
        admin = self._admins[member]
        identifier = admin.features.host_identifier if admin is not None else b""
        return identifier if any(identifier) else member

    def preempt(self, nsid: int, members: list[int]) -> None:
        """What these controllers keep for a namespace is aborted, by themselves."""
        self.shelf.preempt(nsid, members)
        for member in members:
            machine = self._machines[member]
            if machine is not None:
                machine.preempt()
