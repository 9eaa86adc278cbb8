"""Owns a controller's figures while a program uses it: counted here, told to other programs, and to Prometheus.

`publish` has `aionvme top` find the controller, as the environment variable AIONVME_METRICS=1 does for each that a
program connects to; `serve` has Prometheus scrape it, `Collector` has it in a registry that the program has already;
`snapshots` asks what all programs of this user publish. Nothing is counted before one of them is called.
"""

from aionvme.metrics.finding import snapshots
from aionvme.metrics.measured import Measured, measure
from aionvme.metrics.prometheus import Collector, Served, serve
from aionvme.metrics.publishing import Publication, publish
from aionvme.metrics.rates import Interval, KindRates
from aionvme.metrics.snapshot import Counts, Health, QueueCounts, Snapshot

__all__ = [
    "Collector",
    "Counts",
    "Health",
    "Interval",
    "KindRates",
    "Measured",
    "Publication",
    "QueueCounts",
    "Served",
    "Snapshot",
    "measure",
    "publish",
    "serve",
    "snapshots",
]
