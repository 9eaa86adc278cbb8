"""Owns the mock's PCI configuration space: a type 0 header (PCI 3.0, 6.1) and three capabilities.

Offsets and bits are those of include/uapi/linux/pci_regs.h.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from aionvme.errors import UsageError

if TYPE_CHECKING:
    from aionvme.mock.machine import Machine

VENDOR, DEVICE = 0x1B36, 0x0010  # those of QEMU's NVMe controller, which are for software devices
NBYTES = 4096
_COMMAND, _BAR0, _PM, _MSIX, _EXPRESS = 0x04, 0x10, 0x40, 0x50, 0x60
_BUS_MASTER = 0x4
_POWER = _PM + 4  # power management control; its state is in bits 1:0
_DEVICE_CONTROL = _EXPRESS + 8
_FLR = 1 << 15  # Initiate Function Level Reset; it reads as 0


class ConfigSpace:
    """4096 bytes, and a mask of the bits that can be written.

    Attributes:
        num_irqs: Entries of the MSI-X table.
        removed: The device is gone: all bytes read as ones.
        reset_registers: Called by a function level reset.
    """

    def __init__(self, machine: Machine, num_irqs: int, table_offset: int, vendor: int) -> None:
        self._machine = machine
        self.num_irqs = num_irqs
        self._table_offset = table_offset
        self._vendor = vendor
        self.removed = False
        self.reset_registers: Callable[[], None] = lambda: None
        self._writable = bytearray(NBYTES)
        self._bytes = bytearray(NBYTES)
        self.reset()

    def function_level_reset(self) -> None:
        """PCI Express 3.0, 6.6.2. Called with the machine standing still."""
        self.reset()
        self.reset_registers()

    def reset(self) -> None:
        """As after a reset: memory space and bus mastering off."""
        self._bytes = bytearray(NBYTES)
        put = self._put
        put(
            0x00, "<HHHHBBBB", self._vendor, DEVICE, 0, 0x0010, 0, 0x02, 0x08, 0x01
        )  # status: capability list
        put(_COMMAND, "<H", 0, writable=0x0547)
        size_mask = ~(self._machine.bar_size - 1) & 0xFFFFFFFF
        put(_BAR0, "<II", 0x4, 0, writable=size_mask)  # memory, 64 bits wide
        put(_BAR0 + 4, "<I", 0, writable=0xFFFFFFFF)
        put(0x0C, "<B", 0, writable=0xFF)  # cache line size: for software only
        put(0x2C, "<HH", self._vendor, 0x1100)
        put(0x34, "<B", _PM)
        put(0x3C, "<BB", 0, 0, writable=0xFF)  # no interrupt pin: there are MSI-X vectors only
        put(
            _PM, "<BBHH", 0x01, _MSIX if self.num_irqs else _EXPRESS, 0x0003, 0x0008
        )  # version 3, no soft reset
        put(_POWER, "<H", 0x0008, writable=0x0003)
        if self.num_irqs:
            put(_MSIX, "<BBHII", 0x11, _EXPRESS, self.num_irqs - 1, self._table_offset, self._pba_offset)
            put(_MSIX + 2, "<H", self.num_irqs - 1, writable=0xC000)
        # PCI Express endpoint, version 2; function level reset is there (device capabilities, bit 28).
        put(_EXPRESS, "<BBHIHH", 0x10, 0, 0x0002, 0x10008001, 0, 0)
        put(_DEVICE_CONTROL, "<H", 0x2810, writable=0x78FF)
        put(_EXPRESS + 12, "<IHH", 0x00000043, 0, 0x1043)  # 8 GT/s, four lanes
        put(_EXPRESS + 16, "<H", 0, writable=0x00C3)  # ASPM, common clock, extended synch
        put(_EXPRESS + 36, "<IH", 0x00000010, 0)  # a completion timeout can be disabled
        put(_EXPRESS + 40, "<H", 0, writable=0x0010)
        put(_EXPRESS + 44, "<I", 0x0000000E)  # 2.5, 5 and 8 GT/s
        put(_EXPRESS + 48, "<H", 0x0003, writable=0x000F)
        self._machine.set_bus_master(False)

    @property
    def _pba_offset(self) -> int:
        return self._table_offset + 16 * self.num_irqs

    def _put(self, offset: int, form: str, *values: int, writable: int = 0) -> None:
        struct.pack_into(form, self._bytes, offset, *values)
        first = struct.calcsize("<" + form[1])
        self._writable[offset : offset + first] = writable.to_bytes(first, "little")

    def _check(self, offset: int, nbytes: int) -> None:
        if offset < 0 or nbytes < 0 or offset + nbytes > NBYTES:
            raise UsageError(
                f"{nbytes} bytes at {offset:#x} are not within configuration space ({NBYTES} bytes)"
            )

    def read(self, offset: int, nbytes: int) -> bytes:
        """Bytes, all ones once the device was removed."""
        self._check(offset, nbytes)
        return b"\xff" * nbytes if self.removed else bytes(self._bytes[offset : offset + nbytes])

    def write(self, offset: int, data: bytes) -> None:
        """Changes the bits that can be written."""
        self._check(offset, len(data))
        if self.removed:
            return
        with self._machine:
            for index, byte in enumerate(data, offset):
                mask = self._writable[index]
                self._bytes[index] = self._bytes[index] & ~mask | byte & mask
            # Only in D0 does a function initiate anything.
            awake = not self._bytes[_POWER] & 3
            self._machine.set_bus_master(awake and bool(self._bytes[_COMMAND] & _BUS_MASTER))
            written = range(offset, offset + len(data))
            if _DEVICE_CONTROL + 1 in written and data[_DEVICE_CONTROL + 1 - offset] & _FLR >> 8:
                self.function_level_reset()
