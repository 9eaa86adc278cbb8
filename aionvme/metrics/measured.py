"""Owns having a controller of this process counted, and its snapshots."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from aionvme.admin import recording
from aionvme.errors import NvmeError
from aionvme.metrics.meter import Meter
from aionvme.metrics.snapshot import KINDS, Counts, Health, QueueCounts, Snapshot
from aionvme.spec.opcodes import LogPageId

if TYPE_CHECKING:
    from aionvme.admin.controller import Controller
    from aionvme.qpair.namespace import Namespace
    from aionvme.spec.logs import SmartLog

__all__ = ["Measured", "measure"]

#: The controller is asked for its health no more often than this.
HEALTH_SECONDS = 10.0
# A controller that is being reset answers late; figures need not wait for it.
_HEALTH_TIMEOUT = 1.0
_NO_COUNTS: dict[str, Any] = {"kinds": {kind: attrs.asdict(Counts()) for kind in KINDS}}


@contextmanager
def measure(ctrlr: Controller) -> Iterator[Measured]:
    """Meanwhile each command of all queue pairs of a controller is counted and timed; docs/top.md says at what cost."""
    measured = Measured(ctrlr)
    try:
        yield measured
    finally:
        measured.stop()


class Measured:
    """A controller that is counted, until `stop`.

    Attributes:
        ctrlr: The controller.
    """

    def __init__(self, ctrlr: Controller) -> None:
        self.ctrlr = ctrlr
        self._meter = Meter(self._namespace)
        self._health: Health | None = None
        self._asked: float | None = None
        self._stop = recording.listen(ctrlr, self._meter)

    def stop(self) -> None:
        """Counts no more; what was counted stays."""
        self._stop()

    def _namespace(self, nsid: int) -> Namespace | None:
        return self.ctrlr.namespaces.get(nsid)

    async def snapshot(self, *, health: bool = True) -> Snapshot:
        """What was counted so far, and what its health is; call it in the controller's loop.

        Args:
            health: Whether the controller may be asked for its SMART log page, which is done every 10 s at most.
        """
        if health:
            await self._look_at_health()
        return self.now()

    def now(self) -> Snapshot:
        """What was counted so far, with the health as it was read last."""
        data, health = self.ctrlr.data, self._health
        if health is not None and self._asked is not None:
            health = attrs.evolve(health, age=time.monotonic() - self._asked)
        return Snapshot(
            when_ns=time.monotonic_ns(),
            pid=os.getpid(),
            program=_program(),
            address=self.ctrlr.pci_dev.bdf,
            model=data.mn.strip(),
            serial=data.sn.strip(),
            firmware=data.fr.strip(),
            state=recording.state(self.ctrlr),
            namespaces=len(self.ctrlr.namespaces),
            queues=tuple(self._queues()),
            health=health,
        )

    def _queues(self) -> Iterator[QueueCounts]:
        counted = self._meter.counts()
        there = {qp.qid: qp for qp in recording.queues(self.ctrlr)}
        for qid in sorted(there.keys() | counted.keys()):
            counts, qp = counted.get(qid, _NO_COUNTS), there.get(qid)
            yield QueueCounts(
                qid=qid,
                depth=qp.depth if qp is not None else 0,
                outstanding=qp.outstanding if qp is not None else 0,
                completion=qp.completion if qp is not None else "closed",
                kinds={kind: _counts(counts["kinds"][kind]) for kind in KINDS},
                untimed=counts.get("untimed", 0),
                dropped=counts.get("dropped", 0),
                foreign=qp.counters["foreign"] if qp is not None else 0,
                missed_interrupts=qp.counters["missed_interrupts"] if qp is not None else 0,
            )

    async def _look_at_health(self) -> None:
        now = time.monotonic()
        if self.ctrlr.closed or (self._asked is not None and now - self._asked < HEALTH_SECONDS):
            return
        self._asked = now
        try:
            async with asyncio.timeout(_HEALTH_TIMEOUT):
                page: SmartLog = await self.ctrlr.get_log_page(LogPageId.SMART)
        except (NvmeError, TimeoutError):
            # One without the page, or that is being reset: its counters are as good.
            self._health = None
            return
        self._health = Health(
            age=0.0,
            temperature_c=page.temperature_c,
            critical_warning=page.critical_warning,
            available_spare=page.available_spare,
            available_spare_threshold=page.available_spare_threshold,
            percentage_used=page.percentage_used,
            data_units_read=page.data_units_read,
            data_units_written=page.data_units_written,
            media_errors=page.media_errors,
            error_log_entries=page.error_log_entries,
            power_on_hours=page.power_on_hours,
            power_cycles=page.power_cycles,
            unsafe_shutdowns=page.unsafe_shutdowns,
        )


def _program() -> str:
    """What a person would call this process: the script's name, or the package that was run by -m."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return (spec.parent if spec is not None else "") or Path(sys.argv[0] or sys.executable).name


def _counts(values: dict[str, Any]) -> Counts:
    return Counts(**{**values, "buckets": tuple(values["buckets"])})
