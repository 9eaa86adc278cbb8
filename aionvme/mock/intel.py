"""Owns Intel's log pages, of a mock that was told to be a device of Intel's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from aionvme.spec.intel import (
    IntelLatency,
    IntelLogDirectory,
    IntelLogPageId,
    IntelMarketingName,
    IntelSmart,
    IntelSmartAttribute,
    IntelSmartCode,
    IntelTemperature,
)

if TYPE_CHECKING:
    from aionvme.mock.machine import Machine

__all__ = ["IntelLogs"]

MARKETING_NAME = "aionvme mock of an Intel SSD"
_TEMPERATURE = 37
# Units of the bytes written, as in Intel's specification: 32 MiB.
_UNIT = 32 << 20


class IntelLogs:
    """The pages by identifier, without an argument: none of them looks at the command.

    Attributes:
        pages: What gives each page.
        tracks_latency: Whether latency is tracked (feature E2h).
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.tracks_latency = False
        self.pages: dict[int, Callable[[], bytes]] = {
            IntelLogPageId.DIRECTORY: self._directory,
            IntelLogPageId.READ_LATENCY: lambda: self._latency("reads"),
            IntelLogPageId.WRITE_LATENCY: lambda: self._latency("writes"),
            IntelLogPageId.TEMPERATURE: self._temperature,
            IntelLogPageId.SMART: self._smart,
            IntelLogPageId.MARKETING_NAME: lambda: IntelMarketingName(name=MARKETING_NAME).encode(),
        }

    def _directory(self) -> bytes:
        """Each page that there is has a length of one unit of 512 bytes."""
        lengths = tuple(int(lid in self.pages) for lid in range(1, 256))
        return IntelLogDirectory(version=1, lengths=lengths).encode()

    def _latency(self, counter: str) -> bytes:
        """Commands of memory take less than 32 us."""
        count = self._machine.counters()[counter] & 0xFFFFFFFF if self.tracks_latency else 0
        return IntelLatency(major=3, buckets_32us=(count,)).encode()

    def _temperature(self) -> bytes:
        return IntelTemperature(
            current=_TEMPERATURE, highest=_TEMPERATURE, lowest=_TEMPERATURE, maximum_operating=70
        ).encode()

    def _smart(self) -> bytes:
        written = -(-self._machine.counters()["bytes_written"] // _UNIT)
        raw = {IntelSmartCode.HOST_BYTES_WRITTEN: written, IntelSmartCode.NAND_BYTES_WRITTEN: written}
        attributes = tuple(
            IntelSmartAttribute(code=code, normalized=100, raw=raw.get(code, 0)) for code in IntelSmartCode
        )
        return IntelSmart(attributes=attributes).encode()
