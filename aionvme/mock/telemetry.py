"""Owns a mock controller's telemetry: what it captured of itself, for the host or by itself (Base 2.0, 8.24)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from aionvme.spec.logs.captures import CREATE_TELEMETRY, TELEMETRY_BLOCK, TelemetryHeader
from aionvme.spec.opcodes import LogPageId

if TYPE_CHECKING:
    from aionvme.spec.entries import Sqe

__all__ = ["Telemetry"]


class Telemetry:
    """The two telemetry logs.

    Args:
        nbytes: Of data areas 1 to 3 together, a multiple of 512; area 4 has half as much again.
        knows_area_4: Whether the host has said that it knows data area 4.
    """

    def __init__(self, nbytes: int, knows_area_4: Callable[[], bool]) -> None:
        self._blocks = nbytes // TELEMETRY_BLOCK
        self._knows_area_4 = knows_area_4
        self._host = b""
        self._host_generation = 0
        self._own = b""
        self._own_generation = 0
        self._available = False

    def host_page(self, sqe: Sqe) -> bytes:
        """Page 07h; with bit 0 of LSP it is captured anew."""
        if sqe.cdw10 >> 8 & CREATE_TELEMETRY:
            self._host_generation = (self._host_generation + 1) & 0xFF
            self._host = self._data(self._host_generation)
        return self._header(LogPageId.TELEMETRY_HOST, self._host) + self._host

    def own_page(self) -> bytes:
        """Page 08h."""
        return self._header(LogPageId.TELEMETRY_CONTROLLER, self._own) + self._own

    def capture(self) -> None:
        """The controller captures its state, unless there is a capture that nobody has read."""
        if self._available:
            return
        self._available = True
        self._own_generation = (self._own_generation + 1) & 0xFF
        self._own = self._data(self._own_generation)

    def own_was_read(self) -> None:
        """Page 08h was read without retaining: the capture may be overwritten."""
        self._available = False

    def _header(self, lid: int, data: bytes) -> bytes:
        # Areas hold one another; a quarter and a half are in the first two.
        last = min(len(data) // TELEMETRY_BLOCK, self._blocks)
        return TelemetryHeader(
            lpi=lid,
            dalb1=last // 4,
            dalb2=last // 2,
            dalb3=last,
            dalb4=len(data) // TELEMETRY_BLOCK if self._knows_area_4() else 0,
            hostdgn=self._host_generation,
            ctrlavail=self._available,
            ctrldgn=self._own_generation,
            rsnident=b"mock",
        ).encode()

    def _data(self, generation: int) -> bytes:
        """Blocks that say which they are, and of which capture."""
        blocks = self._blocks + self._blocks // 2
        return b"".join(
            struct.pack("<II", generation, number) * (TELEMETRY_BLOCK // 8) for number in range(1, blocks + 1)
        )
