"""Owns the keep alive timer (NVMe Base 2.0, 3.9, 5.18, 5.27.1.12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aionvme.clock import monotonic
from aionvme.spec.opcodes import FeatureId
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.mock.machine import Machine
    from aionvme.mock.options import MockOptions
    from aionvme.mock.special_features import Special
    from aionvme.spec.entries import Sqe
    from aionvme.spec.feature import FeatureSelect

_UNIT_MS = 100  # of KAS


class KeepAlive:
    """The timer of one controller, looked at when a register is read and when an admin command comes.

    A host that does neither for longer is not found out: nothing else here has a clock of its own.
    """

    def __init__(self, machine: Machine, options: MockOptions, special: Special) -> None:
        self._machine = machine
        self._options = options
        special.getters[FeatureId.KEEP_ALIVE_TIMER] = self._get
        special.setters[FeatureId.KEEP_ALIVE_TIMER] = self._set
        self.reset()

    def reset(self) -> None:
        """As after a controller reset: switched off, as is the default on PCIe."""
        self._kato_ms = 0
        self._deadline = 0.0
        self._fetched = 0

    def _get(self, _sqe: Sqe, select: FeatureSelect) -> int:
        return 0 if select else self._kato_ms

    def _set(self, sqe: Sqe, _nsids: list[int], _save: bool) -> int:
        """Rounds up to the granularity; 0 switches it off."""
        granularity = self._options.commands.kas * _UNIT_MS
        self._kato_ms = min(-(-sqe.cdw11 // granularity) * granularity, 0xFFFFFFFF)
        self._restart()
        return 0

    def keep_alive(self, _sqe: Sqe) -> int:
        """The Keep Alive command restarts the timer."""
        self._restart()
        return 0

    def _restart(self) -> None:
        self._deadline = monotonic() + self._kato_ms / 1000
        self._fetched = self._count()

    def _count(self) -> int:
        """Commands that were taken so far, of all queues."""
        queues = (self._machine.queue(qid) for qid in range(self._options.num_io_queues + 1))
        return sum(queue["fetched"] for queue in queues if queue is not None)

    def expired(self) -> bool:
        """Whether the time is over: told once. With traffic based keep alive any command in it restarts the timer."""
        if not self._kato_ms or monotonic() < self._deadline:
            return False
        if self._options.commands.tbkas and self._count() != self._fetched:
            self._restart()
            return False
        self._kato_ms = 0
        self._machine.note_error(0, 0xFFFF, 0, StatusCode.KEEP_ALIVE_EXPIRED)
        return True
