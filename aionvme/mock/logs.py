"""Owns the log pages (NVMe Base 2.0, 5.16.1)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from aionvme.clock import monotonic
from aionvme.mock.commands import RESERVATIONS
from aionvme.mock.identify import ALL_NAMESPACES, subsystem_nqn, vendor_of
from aionvme.mock.intel import IntelLogs
from aionvme.mock.media_logs import MediaLogs
from aionvme.mock.persistent import PersistentEvents
from aionvme.mock.refusal import Refused
from aionvme.mock.telemetry import Telemetry
from aionvme.spec.identify import Lpa
from aionvme.spec.logs.namespaces import ReservationNotification
from aionvme.spec.opcodes import AdminOpcode, LogPageId, NvmOpcode
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.mock.features import Features
    from aionvme.mock.firmware import Firmware
    from aionvme.mock.machine import Machine
    from aionvme.mock.options import MockOptions
    from aionvme.mock.subsystem import Subsystem
    from aionvme.spec.entries import Sqe

COMPOSITE_KELVIN = 310
_ADMIN_COMMANDS = (
    AdminOpcode.DELETE_IO_SQ,
    AdminOpcode.CREATE_IO_SQ,
    AdminOpcode.GET_LOG_PAGE,
    AdminOpcode.DELETE_IO_CQ,
    AdminOpcode.CREATE_IO_CQ,
    AdminOpcode.IDENTIFY,
    AdminOpcode.ABORT,
    AdminOpcode.SET_FEATURES,
    AdminOpcode.GET_FEATURES,
    AdminOpcode.ASYNC_EVENT_REQUEST,
    AdminOpcode.FIRMWARE_DOWNLOAD,
    AdminOpcode.FIRMWARE_COMMIT,
    AdminOpcode.SECURITY_SEND,
    AdminOpcode.SECURITY_RECEIVE,
    AdminOpcode.DIRECTIVE_SEND,
    AdminOpcode.DIRECTIVE_RECEIVE,
    AdminOpcode.LOCKDOWN,
    AdminOpcode.GET_LBA_STATUS,
    AdminOpcode.DEVICE_SELF_TEST,
)
# Effects as well: 1 block content, 2 capabilities, 3 inventory of namespaces.
_CHANGING_COMMANDS = {
    AdminOpcode.NAMESPACE_MANAGEMENT: 1 | 1 << 3,
    AdminOpcode.NAMESPACE_ATTACHMENT: 1 | 1 << 3,
    AdminOpcode.FORMAT_NVM: 1 | 1 << 1 | 1 << 2,
    AdminOpcode.SANITIZE: 1 | 1 << 1,
}
# Effects: bit 0 supported, bit 1 logical block content changes.
_CHANGES_CONTENT = (
    NvmOpcode.WRITE,
    NvmOpcode.WRITE_UNCORRECTABLE,
    NvmOpcode.WRITE_ZEROES,
    NvmOpcode.DATASET_MANAGEMENT,
    NvmOpcode.COPY,
)


class LogPages:
    """The log pages of one controller.

    `answer` looks a page up in three tables: pages that a test gave (`script`), pages that look at the command, and
    those that do not.

    Attributes:
        changed: Namespaces whose attributes changed since the list was last read.
        warning: Critical warnings that were made true from outside.
        telemetry, persistent, media, intel: The parts with a state of their own; `intel` is None for others' devices.
    """

    def __init__(
        self,
        machine: Machine,
        options: MockOptions,
        features: Features,
        firmware: Firmware,
        subsystem: Subsystem,
        member: int,
    ) -> None:
        self._machine = machine
        self._options = options
        self._features = features
        self._started = monotonic()
        self.changed: list[int] = []
        self.warning = 0
        self.telemetry = Telemetry(options.telemetry, lambda: bool(features.behavior[1] & 1))
        self.persistent = PersistentEvents(
            options, vendor_of(options), member + 1,
            smart=self._smart, firmware=lambda: firmware.revision, nqn=subsystem_nqn(subsystem),
        )  # fmt: skip
        self.media = MediaLogs(machine, options, subsystem)
        self.intel = IntelLogs(machine) if options.intel else None
        self._scripted: dict[tuple[int, int | None], Callable[[], bytes]] = {}
        self._asked: dict[int, Callable[[Sqe], bytes]] = self._optional() | self.media.pages
        self._pages: dict[int, Callable[[], bytes]] = {
            LogPageId.SUPPORTED_LOG_PAGES: self._supported,
            LogPageId.ERROR_INFORMATION: self._errors,
            LogPageId.SMART: self._smart,
            LogPageId.FIRMWARE_SLOT: firmware.log_page,
            LogPageId.CHANGED_NAMESPACES: self._changed,
            LogPageId.COMMAND_EFFECTS: self._effects,
            LogPageId.FEATURE_EFFECTS: features.effects,
        }
        if options.commands.oncs & RESERVATIONS:
            self._pages[LogPageId.RESERVATION_NOTIFICATION] = ReservationNotification().encode

    def _optional(self) -> dict[int, Callable[[Sqe], bytes]]:
        """The pages that LPA tells of."""
        pages: dict[int, Callable[[Sqe], bytes]] = {}
        if self._lpa.telemetry:
            pages[LogPageId.TELEMETRY_HOST] = self.telemetry.host_page
            pages[LogPageId.TELEMETRY_CONTROLLER] = lambda _sqe: self.telemetry.own_page()
        if self._lpa.persistent_events:
            pages[LogPageId.PERSISTENT_EVENTS] = self.persistent.page
        return pages

    @property
    def _lpa(self) -> Lpa:
        return Lpa(self._options.lpa)

    def script(self, lid: int, page: Callable[[], bytes] | None, lsi: int | None) -> None:
        """Puts a page in the place of what there is, of one identifier (LSI) or all; None takes it out again."""
        if page is None:
            self._scripted.pop((lid, lsi), None)
        else:
            self._scripted[lid, lsi] = page

    def reset(self) -> None:
        """A controller reset."""
        self.persistent.came_up()

    def was_read(self, lid: int) -> None:
        """A page was read, and its event not retained."""
        if lid == LogPageId.CHANGED_NAMESPACES:
            self.changed.clear()
        elif lid == LogPageId.TELEMETRY_CONTROLLER:
            self.telemetry.own_was_read()

    def add(self, lid: LogPageId, build: Callable[[], bytes]) -> None:
        """One more page, of another part of the controller."""
        self._pages[lid] = build

    def answer(self, sqe: Sqe) -> bytes:
        """The part of the page that the command asks for; zeros beyond its end."""
        if not self._has(sqe.cdw10 & 0xFF):
            raise Refused(StatusCode.INVALID_LOG_PAGE)
        # Without extended data (LPA bit 2) the number of dwords has 12 bits, and there is no offset.
        numd = (
            (sqe.cdw11 & 0xFFFF) << 16 | sqe.cdw10 >> 16
            if self._lpa.extended_data
            else sqe.cdw10 >> 16 & 0xFFF
        )
        nbytes = numd * 4 + 4
        offset = sqe.cdw13 << 32 | sqe.cdw12 if self._lpa.extended_data else 0
        # No page is kept by namespace, none is reached by index (CDW14 bit 23), and there are no UUIDs (bits 6:0).
        if sqe.nsid not in (0, ALL_NAMESPACES) or sqe.cdw14 >> 23 & 1 or sqe.cdw14 & 0x7F:
            raise Refused(StatusCode.INVALID_FIELD)
        if nbytes > self._options.max_transfer or offset & 3:
            raise Refused(StatusCode.INVALID_FIELD)
        page = self._build(sqe)
        if offset > len(page):
            raise Refused(StatusCode.INVALID_FIELD)
        return page[offset : offset + nbytes].ljust(nbytes, b"\0")

    def _build(self, sqe: Sqe) -> bytes:
        lid, lsi = sqe.cdw10 & 0xFF, sqe.cdw11 >> 16
        for key in ((lid, lsi), (lid, None)):
            if key in self._scripted:
                return self._scripted[key]()
        if lid in self._asked:
            return self._asked[lid](sqe)
        if lid not in self._plain:
            raise Refused(StatusCode.INVALID_FIELD)  # scripted, of another LSI
        return self._plain[lid]()

    @property
    def _plain(self) -> dict[int, Callable[[], bytes]]:
        return self._pages | self.intel.pages if self.intel is not None else self._pages

    def _has(self, lid: int) -> bool:
        if (
            lid in {LogPageId.SUPPORTED_LOG_PAGES, LogPageId.FEATURE_EFFECTS}
            and not self._lpa.supported_pages
        ):
            return False
        if lid == LogPageId.COMMAND_EFFECTS and not self._lpa.command_effects:
            return False
        return (
            lid in self._plain or lid in self._asked or any(lid == scripted for scripted, _ in self._scripted)
        )

    def _supported(self) -> bytes:
        return b"".join(int(self._has(lid)).to_bytes(4, "little") for lid in range(256))

    def _errors(self) -> bytes:
        """64 bytes an entry, the latest first. No entry says which parameter it was (FFFFh)."""
        entries = (
            struct.pack("<QHHHHQI", count, sqid, cid, status << 1, 0xFFFF, lba, nsid).ljust(64, b"\0")
            for count, sqid, cid, status, lba, nsid in self._machine.errors()
        )
        return b"".join(entries).ljust(64 * 64, b"\0")

    def _smart(self) -> bytes:
        counted = self._machine.counters()
        warning = self.warning | (2 if self._features.over_temperature(COMPOSITE_KELVIN) else 0)
        head = struct.pack("<BHBBB", warning, COMPOSITE_KELVIN, 100, 10, 0).ljust(32, b"\0")
        hours = int((monotonic() - self._started) / 3600)
        numbers = (
            _thousands(counted["bytes_read"]),
            _thousands(counted["bytes_written"]),
            counted["reads"],
            counted["writes"],
            0,  # busy time, minutes
            1,  # power cycles
            hours,
            0,  # unsafe shutdowns
            0,  # media errors
            counted["errors"],
        )
        return (head + b"".join(number.to_bytes(16, "little") for number in numbers)).ljust(512, b"\0")

    def _changed(self) -> bytes:
        changed = sorted(set(self.changed))
        nsids = [ALL_NAMESPACES] if len(changed) > 1024 else changed
        return b"".join(nsid.to_bytes(4, "little") for nsid in nsids).ljust(4096, b"\0")

    def _effects(self) -> bytes:
        page = bytearray(4096)
        for opcode in _ADMIN_COMMANDS:
            page[4 * opcode] = 1
        for opcode, effects in _CHANGING_COMMANDS.items():
            page[4 * opcode] = effects
        page[4 * AdminOpcode.KEEP_ALIVE] = self._options.commands.kas > 0
        page[4 * AdminOpcode.DOORBELL_BUFFER_CONFIG] = self._options.shadow_doorbells
        for io_opcode in filter(self._options.commands.has, NvmOpcode):
            page[1024 + 4 * io_opcode] = 3 if io_opcode in _CHANGES_CONTENT else 1
        return bytes(page)


def _thousands(nbytes: int) -> int:
    """Thousands of 512 bytes, rounded up."""
    return -(-nbytes // 512000)
