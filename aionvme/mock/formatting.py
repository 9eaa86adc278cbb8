"""Owns Format NVM as a mock executes it (NVMe Base 2.0, 5.14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aionvme.mock.ns_management import configured
from aionvme.mock.refusal import Refused
from aionvme.spec.identify import Fna
from aionvme.spec.media import FormatCdw10, SecureErase
from aionvme.spec.namespaces import ALL_NAMESPACES
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.mock.machine import Machine
    from aionvme.mock.options import NamespaceConfig
    from aionvme.mock.subsystem import Subsystem
    from aionvme.spec.entries import Sqe

__all__ = ["FNA", "Formatting"]

#: Each namespace has its own format; all of them are named by FFFFFFFFh.
FNA = Fna(crypto_erase=1).value


class Formatting:
    """The command, of one controller. It stays outstanding while it takes time."""

    def __init__(self, machine: Machine, subsystem: Subsystem, member: int, seconds: float) -> None:
        self._machine = machine
        self._subsystem = subsystem
        self._member = member
        self._seconds = seconds
        self._resets = 0

    def reset(self) -> None:
        """Controller reset: nobody waits for the completion any more; the format goes on."""
        self._resets += 1

    def execute(self, sqe: Sqe) -> int | None:
        """Format NVM; None where it takes time."""
        dword = FormatCdw10(sqe.cdw10)
        if dword.ses not in list(SecureErase):
            raise Refused(StatusCode.INVALID_FIELD)
        with self._subsystem.lock:
            formats = {nsid: self._configured(nsid, dword) for nsid in self._nsids(sqe.nsid)}
            self._subsystem.check_write(list(formats), self._member)
            if formats.keys() & self._subsystem.formatting.keys():
                raise Refused(StatusCode.FORMAT_IN_PROGRESS, dnr=False)
            for nsid in formats:
                self._subsystem.self_test.formatted(nsid)
            if not self._seconds:
                self._end(formats)
                return 0
            self._begin(formats, sqe.cid)
        return None

    def _nsids(self, nsid: int) -> list[int]:
        inventory = self._subsystem.inventory
        if nsid == ALL_NAMESPACES:
            return inventory.active_nsids(self._member)
        inventory.active(nsid, self._member)
        return [nsid]

    def _configured(self, nsid: int, dword: FormatCdw10) -> NamespaceConfig:
        inventory = self._subsystem.inventory
        index = dword.lbafl | (dword.lbafu << 4 if len(inventory.forms) > 16 else 0)
        if index >= len(inventory.forms):
            raise Refused(StatusCode.INVALID_FORMAT)
        form = inventory.forms[index]
        nblocks = inventory.allocated(nsid).config.size // form.lba
        if not nblocks:
            raise Refused(StatusCode.INVALID_FORMAT)
        return configured(form, nblocks, dword.pi, first=bool(dword.pil), extended=bool(dword.mset))

    def _begin(self, formats: dict[int, NamespaceConfig], cid: int) -> None:
        subsystem, clock = self._subsystem, self._subsystem.clock
        now = clock.now()
        for nsid in formats:
            subsystem.formatting[nsid] = (now, now + self._seconds)
            subsystem.inventory.refuse(nsid, StatusCode.FORMAT_IN_PROGRESS)
        self._machine.set_busy(0, cid)
        resets = self._resets

        def end() -> None:
            with self._machine, subsystem.lock:
                self._end(formats)
                if resets == self._resets and self._machine.has_sq(0):
                    self._machine.complete(0, cid, StatusCode.SUCCESS, 0, 0)

        clock.at(now + self._seconds, end)

    def _end(self, formats: dict[int, NamespaceConfig]) -> None:
        subsystem = self._subsystem
        for nsid, config in formats.items():
            subsystem.formatting.pop(nsid, None)
            allocated = subsystem.inventory.find(nsid)
            if allocated is None:
                continue  # deleted meanwhile
            subsystem.inventory.format(nsid, config)
            subsystem.namespaces_changed(allocated.attached, nsid, self._member)
