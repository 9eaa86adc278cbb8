"""Owns reservations (NVMe Base 2.0, 7.2 to 7.5 and 8.19): who is registered, who holds, and what that denies."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import attrs

from aionvme.mock.refusal import Refused
from aionvme.spec.opcodes import NvmOpcode
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.mock.machine import Machine
    from aionvme.mock.subsystem import Subsystem
    from aionvme.spec.entries import Sqe

__all__ = ["Host", "Reservations"]

#: A host identifier, or the number of a controller whose host has none.
Host = bytes | int

WRITE_EXCLUSIVE, EXCLUSIVE_ACCESS, WRITE_EXCLUSIVE_RO, EXCLUSIVE_ACCESS_RO = 1, 2, 3, 4
WRITE_EXCLUSIVE_AR, EXCLUSIVE_ACCESS_AR = 5, 6
_ALL_REGISTRANTS = (WRITE_EXCLUSIVE_AR, EXCLUSIVE_ACCESS_AR)
_HOLDER_ONLY = (WRITE_EXCLUSIVE, EXCLUSIVE_ACCESS)
_READS_DENIED = (EXCLUSIVE_ACCESS, EXCLUSIVE_ACCESS_RO, EXCLUSIVE_ACCESS_AR)
_NO_CONTROLLER = 0xFFFF


@attrs.define
class State:
    """Of one namespace.

    Attributes:
        keys: Registration keys by host, in the order of registering.
        holder: Who acquired it; with a type for all registrants, each of them holds it.
        rtype: Type of the reservation, 0 for none.
        generation: Counts registrations, preemptions and clearings.
        ptpl: Persists through power loss.
    """

    keys: dict[Host, int] = attrs.Factory(dict)
    holder: Host | None = None
    rtype: int = 0
    generation: int = 0
    ptpl: bool = False

    def holds(self, host: Host) -> bool:
        """Whether this host holds the reservation."""
        if self.rtype in _ALL_REGISTRANTS:
            return host in self.keys
        return self.rtype != 0 and self.holder == host

    def release(self) -> None:
        """There is no reservation."""
        self.holder, self.rtype = None, 0

    def remove(self, host: Host) -> None:
        """Unregisters; the reservation goes with its only holder."""
        held = self.holds(host)
        del self.keys[host]
        if held and (self.rtype not in _ALL_REGISTRANTS or not self.keys):
            self.release()

    def count(self) -> None:
        """Another generation."""
        self.generation = (self.generation + 1) & 0xFFFFFFFF

    def denies(self, host: Host) -> tuple[bool, bool]:
        """Whether this host may not read, and not write (figure of 8.19.2)."""
        if not self.rtype:
            return False, False
        allowed = self.holds(host) if self.rtype in _HOLDER_ONLY else host in self.keys
        return not allowed and self.rtype in _READS_DENIED, not allowed


class Reservations:
    """The reservations of a subsystem, and the four commands."""

    def __init__(self, subsystem: Subsystem) -> None:
        self._subsystem = subsystem
        self._states = {nsid: State() for nsid in range(1, subsystem.shelf.nn + 1)}
        self._commands = {
            NvmOpcode.RESERVATION_REGISTER: self._register,
            NvmOpcode.RESERVATION_REPORT: self._report,
            NvmOpcode.RESERVATION_ACQUIRE: self._acquire,
            NvmOpcode.RESERVATION_RELEASE: self._release,
        }

    # -- what the rest asks ----------------------------------------------------------------------------------

    def execute(self, machine: Machine, member: int, raw: bytes, sqe: Sqe) -> None:
        """One command on a namespace that is active; raises `Refused`."""
        with self._subsystem.lock:
            command = _Command(machine, member, raw, sqe, self._subsystem.host(member))
            self._commands[NvmOpcode(sqe.opc)](command, self._states[sqe.nsid])
            self._publish(sqe.nsid)

    def publish(self) -> None:
        """A host identifier or the members changed: what is denied to whom, anew."""
        with self._subsystem.lock:
            for nsid, state in self._states.items():
                if state.rtype:
                    self._publish(nsid)

    def _publish(self, nsid: int) -> None:
        state, subsystem = self._states[nsid], self._subsystem
        denied = [state.denies(subsystem.host(member)) for member in subsystem.members]
        subsystem.shelf.reserve(nsid, state.rtype, denied)

    def controller_was_reset(self, member: int) -> None:
        """What a host without an identifier registered does not outlive the controller's reset."""
        with self._subsystem.lock:
            for nsid, state in self._states.items():
                if member in state.keys:
                    state.remove(member)
                    self._publish(nsid)
        self.publish()

    def power_loss(self) -> None:
        """An NVM subsystem reset: only what persists is left."""
        with self._subsystem.lock:
            for nsid, state in self._states.items():
                if not state.ptpl and state.keys:
                    state.keys.clear()
                    state.release()
                    self._publish(nsid)

    def forget(self, nsid: int) -> None:
        """The namespace is deleted, and its reservation and registrations with it."""
        self._states[nsid] = State()

    def check_write(self, nsids: list[int], member: int) -> None:
        """Refuses an admin command that changes namespaces which a reservation keeps this controller from writing."""
        with self._subsystem.lock:
            host = self._subsystem.host(member)
            if any(self._states[nsid].denies(host)[1] for nsid in nsids):
                raise _conflict()

    def persists(self, nsid: int) -> bool:
        """PTPL of a namespace."""
        return self._states[nsid].ptpl

    def set_persists(self, nsid: int, on: bool) -> None:
        """Sets PTPL."""
        with self._subsystem.lock:
            self._states[nsid].ptpl = on

    # -- the commands ----------------------------------------------------------------------------------------

    def _register(self, command: _Command, state: State) -> None:
        current, new = command.keys(2)
        action, ignore, persist = command.action, command.ignores, command.cdw10 >> 30
        if action > 2 or persist == 1:
            raise Refused(StatusCode.INVALID_FIELD)
        registered = command.host in state.keys
        if action == 0:
            if registered and state.keys[command.host] != new:
                raise _conflict()
            state.keys[command.host] = new
        elif not registered or not (ignore or state.keys[command.host] == current):
            if not (action == 2 and ignore):
                raise _conflict()
            state.keys[command.host] = new  # replaces whatever there is, even nothing
        elif action == 1:
            state.remove(command.host)
        else:
            state.keys[command.host] = new
        if persist:
            state.ptpl = persist == 3
        state.count()

    def _acquire(self, command: _Command, state: State) -> None:
        current, preempted = command.keys(2)
        if command.action > 2 or command.ignores or not 1 <= command.rtype <= 6:
            raise Refused(StatusCode.INVALID_FIELD)
        command.check_key(state, current)
        if command.action:
            self._preempt(command, state, preempted)
            return
        if state.rtype and not (state.holds(command.host) and state.rtype == command.rtype):
            raise _conflict()
        if not state.rtype:
            state.holder, state.rtype = command.host, command.rtype

    def _preempt(self, command: _Command, state: State, key: int) -> None:
        everybody = state.rtype in _ALL_REGISTRANTS
        if key == 0 and not everybody:
            raise Refused(StatusCode.INVALID_FIELD)
        if everybody and key == 0:
            victims = [host for host in state.keys if host != command.host]
            replaces = True
        else:
            victims = [host for host, held in state.keys.items() if held == key]
            replaces = any(state.holds(host) for host in victims) and not everybody
            if not victims:
                raise _conflict()
        if replaces:
            victims = [host for host in victims if host != command.host]
            state.release()
        for host in victims:
            state.remove(host)
        if replaces or (not state.rtype and command.host in state.keys and everybody):
            state.holder, state.rtype = command.host, command.rtype
        state.count()
        if command.action == 2:
            members = [
                member for member in self._subsystem.members if self._subsystem.host(member) in victims
            ]
            self._subsystem.preempt(command.nsid, members)

    def _release(self, command: _Command, state: State) -> None:
        (current,) = command.keys(1)
        if command.action > 1 or command.ignores:
            raise Refused(StatusCode.INVALID_FIELD)
        command.check_key(state, current)
        if command.action == 1:
            state.keys.clear()
            state.release()
            state.count()
        elif state.holds(command.host):
            if state.rtype != command.rtype:
                raise Refused(StatusCode.INVALID_FIELD)
            state.release()

    def _report(self, command: _Command, state: State) -> None:
        extended = bool(command.cdw11 & 1)
        if isinstance(command.host, bytes) and (len(command.host) == 16) != extended:
            raise Refused(StatusCode.HOST_ID_INCONSISTENT_FORMAT)
        entries = [
            _entry(cntlid, state.holds(host), host, key, extended)
            for host, key in state.keys.items()
            for cntlid in self._cntlids(host)
        ]
        head = struct.pack("<IBHHB", state.generation, state.rtype, len(entries), 0, state.ptpl)
        command.give(head.ljust(64 if extended else 24, b"\0") + b"".join(entries))

    def _cntlids(self, host: Host) -> list[int]:
        """Controllers that this host uses; FFFFh when it uses none now."""
        subsystem = self._subsystem
        found = [cntlid for cntlid in subsystem.cntlids if subsystem.host(cntlid - 1) == host]
        return found or [_NO_CONTROLLER]


def _conflict() -> Refused:
    return Refused(StatusCode.RESERVATION_CONFLICT, dnr=False)


def _entry(cntlid: int, holds: bool, host: Host, key: int, extended: bool) -> bytes:
    """One registered controller."""
    identifier = host if isinstance(host, bytes) else b""
    if extended:
        return struct.pack("<HB5xQ16s", cntlid, holds, key, identifier).ljust(64, b"\0")
    return struct.pack("<HB5x8sQ", cntlid, holds, identifier[:8], key)


@attrs.frozen
class _Command:
    """A reservation command, with its dword 10 cut up."""

    machine: Machine
    member: int
    raw: bytes
    sqe: Sqe
    host: Host

    @property
    def cdw10(self) -> int:
        return self.sqe.cdw10

    @property
    def cdw11(self) -> int:
        return self.sqe.cdw11

    @property
    def nsid(self) -> int:
        return self.sqe.nsid

    @property
    def action(self) -> int:
        return self.sqe.cdw10 & 7

    @property
    def ignores(self) -> bool:
        """IEKEY."""
        return bool(self.sqe.cdw10 >> 3 & 1)

    @property
    def rtype(self) -> int:
        return self.sqe.cdw10 >> 8 & 0xFF

    def check_key(self, state: State, key: int) -> None:
        """The host is registered with this key."""
        if state.keys.get(self.host) != key or self.host not in state.keys:
            raise _conflict()

    def keys(self, count: int) -> tuple[int, ...]:
        """The keys in the host's memory."""
        status, data = self.machine.command_out(self.raw, 8 * count)
        if status:
            raise Refused.by_field(status)
        return struct.unpack(f"<{count}Q", data)

    def give(self, data: bytes) -> None:
        """As much of this as NUMD says, zeros beyond its end."""
        nbytes = 4 * (self.cdw10 + 1)
        if nbytes > self.machine.max_transfer:
            raise Refused(StatusCode.INVALID_FIELD)
        status = self.machine.command_in(self.raw, data[:nbytes].ljust(nbytes, b"\0"))
        if status:
            raise Refused.by_field(status)
