"""Owns the log pages (NVMe Base 2.0, 5.16.1)."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from aionvme.mock.identify import ALL_NAMESPACES
from aionvme.mock.refusal import Refused
from aionvme.spec.opcodes import AdminOpcode, LogPageId, NvmOpcode
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.mock.features import Features
    from aionvme.mock.firmware import Firmware
    from aionvme.mock.machine import Machine
    from aionvme.mock.options import MockOptions
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
)
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

    Attributes:
        changed: Namespaces whose attributes changed since the list was last read.
        warning: Critical warnings that were made true from outside.
    """

    def __init__(
        self, machine: Machine, options: MockOptions, features: Features, firmware: Firmware
    ) -> None:
        self._machine = machine
        self._options = options
        self._features = features
        self._started = time.monotonic()
        self.changed: list[int] = []
        self.warning = 0
        self._pages: dict[int, Callable[[], bytes]] = {
            LogPageId.SUPPORTED_LOG_PAGES: self._supported,
            LogPageId.ERROR_INFORMATION: self._errors,
            LogPageId.SMART: self._smart,
            LogPageId.FIRMWARE_SLOT: firmware.log_page,
            LogPageId.CHANGED_NAMESPACES: self._changed,
            LogPageId.COMMAND_EFFECTS: self._effects,
            LogPageId.FEATURE_EFFECTS: features.effects,
        }

    def answer(self, sqe: Sqe) -> bytes:
        """The part of the page that the command asks for; zeros beyond its end."""
        build = self._pages.get(sqe.cdw10 & 0xFF)
        if build is None:
            raise Refused(StatusCode.INVALID_LOG_PAGE)
        nbytes = ((sqe.cdw11 & 0xFFFF) << 16 | sqe.cdw10 >> 16) * 4 + 4
        offset = sqe.cdw13 << 32 | sqe.cdw12
        # No page is kept by namespace, and none is reached by index (CDW14 bit 23).
        if sqe.nsid not in (0, ALL_NAMESPACES) or sqe.cdw14 >> 23 & 1:
            raise Refused(StatusCode.INVALID_FIELD)
        if nbytes > self._options.max_transfer or offset & 3:
            raise Refused(StatusCode.INVALID_FIELD)
        page = build()
        if offset > len(page):
            raise Refused(StatusCode.INVALID_FIELD)
        return page[offset : offset + nbytes].ljust(nbytes, b"\0")

    def _supported(self) -> bytes:
        return b"".join((int(lid in self._pages)).to_bytes(4, "little") for lid in range(256))

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
        hours = int((time.monotonic() - self._started) / 3600)
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
        page[4 * AdminOpcode.DOORBELL_BUFFER_CONFIG] = self._options.shadow_doorbells
        for io_opcode in filter(self._options.commands.has, NvmOpcode):
            page[1024 + 4 * io_opcode] = 3 if io_opcode in _CHANGES_CONTENT else 1
        return bytes(page)


def _thousands(nbytes: int) -> int:
    """Thousands of 512 bytes, rounded up."""
    return -(-nbytes // 512000)
