"""Owns the figures in Prometheus' form, and the endpoint that it scrapes. Needs the extra `metrics`.

Names follow Prometheus' conventions: base units (seconds, bytes), `_total` on counters, `aionvme_` in front. Times are
histograms with bounds that suit an NVMe drive; the finer ones stay in `aionvme top`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from aionvme.errors import AddressError, UsageError
from aionvme.metrics.measured import Measured
from aionvme.metrics.snapshot import Counts, Health, Snapshot
from aionvme.qpair.opening import Opening

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from aionvme.admin.controller import Controller

__all__ = ["Collector", "Served", "endpoint", "serve"]

#: Upper bounds of the buckets of times, microseconds.
BOUNDS_US = (
    2, 5, 10, 20, 50, 75, 100, 150, 200, 300, 500, 1000, 2000, 5000, 10_000, 50_000, 100_000, 1_000_000,
)  # fmt: skip
_CONTROLLER = ["pid", "address", "serial"]
_QUEUE = [*_CONTROLLER, "qid"]
_KIND = [*_QUEUE, "kind"]
# A scrape of a program whose loop does not turn fails, and does not wait for ever.
_SECONDS = 2.0
_UNIT_BYTES = 512_000

_Table = dict[str, tuple[str, Callable[[Health], float]]]

_HEALTH: _Table = {
    "temperature_celsius": ("Composite temperature", lambda health: health.temperature_c),
    "critical_warning": ("Bits of the critical warning", lambda health: health.critical_warning),
    "available_spare_ratio": ("Spare capacity left", lambda health: health.available_spare / 100),
    "endurance_used_ratio": ("Of the endurance, may exceed 1", lambda health: health.percentage_used / 100),
}
_HEALTH_TOTALS: _Table = {
    "media_errors": ("Unrecovered data integrity errors", lambda health: health.media_errors),
    "error_log_entries": ("Entries of the error log", lambda health: health.error_log_entries),
    "device_read_bytes": (
        "Read from the device in its life",
        lambda health: health.data_units_read * _UNIT_BYTES,
    ),
    "device_written_bytes": (
        "Written to the device in its life",
        lambda health: health.data_units_written * _UNIT_BYTES,
    ),
    "unsafe_shutdowns": ("Losses of power without notice", lambda health: health.unsafe_shutdowns),
}


def _library() -> Any:
    try:
        import prometheus_client
    except ImportError as error:
        raise UsageError("prometheus_client is missing: pip install 'aionvme[metrics]'") from error
    return prometheus_client


class Collector:
    """What a registry of prometheus_client collects from: `REGISTRY.register(Collector(read))`.

    Args:
        read: Gives the snapshots of a scrape; called in whatever thread scrapes. `aionvme.metrics.snapshots` has those
            that programs publish.
    """

    def __init__(self, read: Callable[[], Iterable[Snapshot]]) -> None:
        _library()
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Nothing: it is not scraped for being registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The metrics, read now."""
        there = list(self._read())
        yield from _about_controllers(there)
        yield from _about_queues(there)
        yield from _about_health(there)


def _labels(snapshot: Snapshot, *more: object) -> list[str]:
    return [str(snapshot.pid), snapshot.address, snapshot.serial, *map(str, more)]


def _about_controllers(there: list[Snapshot]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    info = GaugeMetricFamily(
        "aionvme_controller_info",
        "A controller in use",
        labels=[*_CONTROLLER, "program", "model", "firmware", "state"],
    )
    for each in there:
        info.add_metric(_labels(each, each.program, each.model, each.firmware, each.state), 1)
    yield info


def _about_queues(there: list[Snapshot]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    commands = CounterMetricFamily("aionvme_commands", "Commands that ended well", labels=_KIND)
    failed = CounterMetricFamily("aionvme_commands_failed", "Commands that ended with an error", labels=_KIND)
    data = CounterMetricFamily("aionvme_data_bytes", "Bytes of data that were moved", labels=_KIND)
    times = HistogramMetricFamily(
        "aionvme_command_duration_seconds", "From the doorbell to the completion", labels=_KIND
    )
    outstanding = GaugeMetricFamily("aionvme_outstanding_commands", "That the device has", labels=_QUEUE)
    depth = GaugeMetricFamily("aionvme_queue_depth", "Commands that may be outstanding", labels=_QUEUE)
    for each in there:
        for queue in each.queues:
            outstanding.add_metric(_labels(each, queue.qid), queue.outstanding)
            depth.add_metric(_labels(each, queue.qid), queue.depth)
            for kind, counts in queue.kinds.items():
                labels = _labels(each, queue.qid, kind)
                commands.add_metric(labels, counts.completed)
                failed.add_metric(labels, counts.failed)
                data.add_metric(labels, counts.nbytes)
                times.add_metric(labels, _buckets(counts), counts.total_ns / 1e9)
    yield from (commands, failed, data, times, outstanding, depth)


def _buckets(counts: Counts) -> list[tuple[str, float]]:
    """Cumulative counts under each bound; a fine bucket that a bound cuts counts above it."""
    found, seen, at = [], 0, 0
    for bound in BOUNDS_US:
        while at < len(counts.buckets) and counts.buckets[at][1] <= bound * 1000:
            seen += counts.buckets[at][2]
            at += 1
        found.append((f"{bound / 1e6:g}", float(seen)))
    total = seen + sum(count for _, _, count in counts.buckets[at:])
    return [*found, ("+Inf", float(total))]


def _about_health(there: list[Snapshot]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    tables: tuple[tuple[Any, _Table], ...] = (
        (GaugeMetricFamily, _HEALTH),
        (CounterMetricFamily, _HEALTH_TOTALS),
    )
    for make, table in tables:
        for name, (text, value) in table.items():
            family = make(f"aionvme_{name}", text, labels=_CONTROLLER)
            for each in there:
                if each.health is not None:
                    family.add_metric(_labels(each), value(each.health))
            yield family


def endpoint(
    read: Callable[[], Iterable[Snapshot]], port: int, host: str = "127.0.0.1"
) -> tuple[int, Callable[[], None]]:
    """Serves /metrics in a thread; gives the port, and what ends it.

    Args:
        read: As of `Collector`.
        port: 0 for any that is free.
        host: Where it listens; "0.0.0.0" or "::" for everybody.

    Raises:
        AddressError: It can't listen there.
        UsageError: prometheus_client is not installed.
    """
    library = _library()
    registry = library.CollectorRegistry()
    registry.register(Collector(read))
    try:
        server, thread = library.start_http_server(port, host, registry)
    except OSError as error:
        raise AddressError(
            f"http://{host}:{port} cannot be served: {error.strerror or error}: choose another port"
        ) from error

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return server.server_port, stop


def serve(ctrlr: Controller, *, port: int, host: str = "127.0.0.1") -> Opening[Served]:
    """Has Prometheus scrape a controller's figures at http://host:port/metrics: `async with serve(ctrlr, port=9950):`.

    The controller's commands are counted meanwhile, as by `publish`.

    Args:
        ctrlr: The controller, of the running loop.
        port: 0 for any that is free; `Served.port` says which.
        host: Where it listens; by default only programs of this machine reach it.

    Raises:
        AddressError: It can't listen there.
        UsageError: prometheus_client is not installed, or the controller is closed.
    """
    return Opening(lambda: _serve(ctrlr, port, host), "serve()")


async def _serve(ctrlr: Controller, port: int, host: str) -> Served:
    return Served(ctrlr, port, host)


class Served:
    """A controller that Prometheus can scrape. Made by `serve`; `close` ends it.

    Attributes:
        port: Where it listens.
        measured: What is counted.
    """

    def __init__(self, ctrlr: Controller, port: int, host: str) -> None:
        self._loop = asyncio.get_running_loop()
        self.measured = Measured(ctrlr)
        try:
            self.port, self._stop = endpoint(self._read, port, host)
        except BaseException:
            self.measured.stop()
            raise

    def _read(self) -> list[Snapshot]:
        # In the thread of the scrape.
        asked = asyncio.run_coroutine_threadsafe(self.measured.snapshot(), self._loop)
        return [asked.result(_SECONDS)]

    async def close(self) -> None:
        """Nothing listens and nothing is counted any more."""
        self.measured.stop()
        # A scrape that is under way waits for this loop.
        await self._loop.run_in_executor(None, self._stop)
