"""Owns keep alive (NVMe Base 2.0, 3.9): the controller is told now and then that its host lives, and has to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from aionvme.admin.core import State, logger
from aionvme.errors import NvmeError, UsageError
from aionvme.spec import entries
from aionvme.spec.opcodes import FeatureId
from aionvme.spec.status import StatusCode

if TYPE_CHECKING:
    from aionvme.admin.core import Core
    from aionvme.qpair.request import Completion

_UNIT_MS = 100  # of KAS
_TRAFFIC_BASED = 1 << 6  # of CTRATT


class KeepAlive:
    """The timer of one controller. It runs only where `ControllerOptions.keep_alive_timeout` asks for it."""

    def __init__(self, core: Core, escalate: Callable[[str], None]) -> None:
        self._core = core
        self._escalate = escalate
        self._timer: asyncio.TimerHandle | None = None
        self._seconds = 0.0
        self._seen = -1

    async def start(self) -> None:
        """At every bring-up: sets the timer of the controller, and begins to keep it from running out.

        Raises:
            UsageError: It was asked for, and the controller does not have it.
            StatusError: The controller refused the time.
        """
        self.stop()
        core, data = self._core, self._core.data
        asked = core.opts.keep_alive_timeout
        if not asked or data is None:
            return
        if not data.kas:
            raise UsageError(
                f"keep_alive_timeout: {core} has no keep alive (KAS is 0 in Identify Controller)"
            )
        unit = data.kas * _UNIT_MS
        kato = max(-(-int(asked * 1000) // unit), 1) * unit
        await core.urgent.set_feature(FeatureId.KEEP_ALIVE_TIMER, cdw11=kato)
        core.opts.keep_alive_timeout = kato / 1000
        # Half of the time at most goes by without a sign of life. Where traffic counts (TBKAS), it is looked for twice
        # as often: what came just after a look is as old as two of them when it is missed.
        by_traffic = bool(data.ctratt & _TRAFFIC_BASED)
        self._seconds = core.opts.keep_alive_timeout / (4 if by_traffic else 2)
        self._seen = self._traffic() if by_traffic else -1
        self._arm()

    def stop(self) -> None:
        """The controller is reset, closed or gone."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None

    def _arm(self) -> None:
        self._timer = self._core.loop.call_later(self._seconds, self._due)

    def _traffic(self) -> int:
        """Commands that have completed, on whatever queue."""
        return sum(qp.counters["completions"] for qp in self._core.all_queues())

    def _due(self) -> None:
        core = self._core
        if core.state in (State.ENDED, State.CLOSED) or core.admin.closed:
            return
        self._arm()
        if core.state in (State.STARTING, State.RESETTING):
            return  # There is traffic, and the bring-up is bounded by itself.
        if self._seen >= 0:
            seen, self._seen = self._seen, self._traffic()
            if seen != self._seen:
                return
        try:
            core.admin.submit_admin(
                entries.keep_alive(), cb_fn=self._answered, timeout=core.opts.keep_alive_timeout / 2
            )
        except NvmeError as error:
            logger.info("%s: Keep Alive could not be sent: %s", core, error)

    def _answered(self, _cb_arg: object, cpl: Completion) -> None:
        # Late, it was aborted, which has gone the way of every command that is late.
        ended = (StatusCode.ABORTED_BY_REQUEST, StatusCode.COMMAND_ABORTED_BY_HOST)
        if cpl.status and cpl.status.code not in ended and self._core.state is State.LIVE:
            self._escalate(f"Keep Alive ended with {cpl.status}")
