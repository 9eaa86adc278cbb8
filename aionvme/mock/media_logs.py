"""Owns log pages of media and of access to them: endurance group, data placement, ANA, doubtful blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from aionvme.mock.refusal import Refused
from aionvme.spec.logs.fdp import (
    FdpAttributes,
    FdpConfiguration,
    FdpConfigurationHeader,
    FdpConfigurations,
    FdpEvents,
    FdpHandleUsage,
    FdpStatistics,
    HandleUsage,
    ReclaimUnitHandle,
)
from aionvme.spec.logs.health import EnduranceGroupLog
from aionvme.spec.logs.namespaces import (
    AnaGroup,
    AnaLog,
    AnaState,
    EventAggregate,
    LbaRange,
    LbaStatusLog,
    NamespaceLbaStatus,
)
from aionvme.spec.opcodes import LogPageId
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.mock.machine import Machine
    from aionvme.mock.options import MockOptions
    from aionvme.mock.subsystem import Subsystem
    from aionvme.spec.entries import Sqe

__all__ = ["MediaLogs"]

#: The only endurance group, and the only ANA group.
GROUP = 1
_RECLAIM_UNIT = 16 << 20
_BILLION = 10**9
# Ranges of a namespace that are listed, and 10h: what is to be done is Get LBA Status with a scan.
_MOST_RANGES = 256
_SCAN = 0x10


class MediaLogs:
    """Pages that look at the command that asks for them.

    Attributes:
        pages: Those that there are, by identifier.
        ana_state: `AnaState` of the namespaces through this controller.
        ana_changes: Change count of the ANA log.
    """

    def __init__(self, machine: Machine, options: MockOptions, subsystem: Subsystem) -> None:
        self._machine = machine
        self._options = options
        self._subsystem = subsystem
        self.ana_state: int = AnaState.OPTIMIZED
        self.ana_changes = 1
        self.pages: dict[int, Callable[[Sqe], bytes]] = {LogPageId.LBA_STATUS: self._lba_status}
        if options.ana:
            self.pages[LogPageId.ANA] = self._ana
        if options.fdp:
            self.pages |= {
                LogPageId.ENDURANCE_GROUP: self._endurance,
                LogPageId.ENDURANCE_GROUP_EVENTS: lambda _sqe: EventAggregate().encode(),
                LogPageId.FDP_CONFIGURATIONS: self._configurations,
                LogPageId.FDP_HANDLE_USAGE: self._usage,
                LogPageId.FDP_STATISTICS: self._statistics,
                LogPageId.FDP_EVENTS: self._events,
            }

    def _group(self, sqe: Sqe) -> None:
        """LSI, bits 31:16 of dword 11, is the endurance group."""
        if sqe.cdw11 >> 16 != GROUP:
            raise Refused(StatusCode.INVALID_FIELD)

    def _capacity(self) -> int:
        return sum(config.size for config in self._options.namespaces)

    def _endurance(self, sqe: Sqe) -> bytes:
        self._group(sqe)
        counted = self._machine.counters()
        return EnduranceGroupLog(
            available_spare=100,
            available_spare_threshold=10,
            data_units_read=-(-counted["bytes_read"] // _BILLION),
            data_units_written=-(-counted["bytes_written"] // _BILLION),
            media_units_written=-(-counted["bytes_written"] // _BILLION),
            host_read_commands=counted["reads"],
            host_write_commands=counted["writes"],
            tegcap=self._capacity(),
        ).encode()

    # -- data placement --------------------------------------------------------------------------------------

    def _configurations(self, sqe: Sqe) -> bytes:
        self._group(sqe)
        head = FdpConfigurationHeader(
            fdpa=FdpAttributes(valid=1).value, nrg=1, maxpids=127, nns=256, runs=_RECLAIM_UNIT
        )
        handles = (ReclaimUnitHandle(ruht=1),) * self._options.fdp
        return FdpConfigurations(configurations=(FdpConfiguration(head=head, handles=handles),)).encode()

    def _usage(self, sqe: Sqe) -> bytes:
        """The first handle is the one that namespaces have by default, specified by the controller."""
        self._group(sqe)
        handles = (HandleUsage(ruha=2), *(HandleUsage(),) * (self._options.fdp - 1))
        return FdpHandleUsage(handles=handles).encode()

    def _statistics(self, sqe: Sqe) -> bytes:
        self._group(sqe)
        written = self._machine.counters()["bytes_written"]
        return FdpStatistics(hbmw=written, mbmw=written).encode()

    def _events(self, sqe: Sqe) -> bytes:
        self._group(sqe)
        return FdpEvents().encode().ljust(4096, b"\0")

    # -- namespaces ------------------------------------------------------------------------------------------

    def _active(self) -> tuple[int, ...]:
        return tuple(nsid for nsid, config in enumerate(self._options.namespaces, 1) if config.active)

    def _ana(self, sqe: Sqe) -> bytes:
        """One group; with bit 0 of LSP (RGO) without its namespaces."""
        nsids = () if sqe.cdw10 >> 8 & 1 else self._active()
        group = AnaGroup(agid=GROUP, chgcnt=self.ana_changes, state=self.ana_state, nsids=nsids)
        return AnaLog(chgcnt=self.ana_changes, groups=(group,)).encode()

    def _lba_status(self, _sqe: Sqe) -> bytes:
        """Blocks that were made unreadable by Write Uncorrectable."""
        found = []
        for nsid in self._active():
            nblocks = self._options.namespaces[nsid - 1].nblocks
            bad = self._subsystem.shelf.bad_ranges(nsid, 0, nblocks, _MOST_RANGES)
            ranges = tuple(LbaRange(rslba=first, rnlb=count) for first, count in bad)
            if ranges:
                found.append(NamespaceLbaStatus(nsid=nsid, ratype=_SCAN, ranges=ranges))
        total = sum(item.rnlb for status in found for item in status.ranges)
        return LbaStatusLog(estulb=total, lsgc=1, namespaces=tuple(found)).encode()
