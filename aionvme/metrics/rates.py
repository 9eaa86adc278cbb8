"""Owns what lies between two snapshots: commands and bytes a second, percentiles of the times, mean queue depth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import reduce
from typing import Any

import attrs

from aionvme.metrics.snapshot import KINDS, Counts, Snapshot

__all__ = ["PERCENTILES", "Interval", "KindRates", "between", "merged"]

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
_NOTHING = Counts()


def merged(counts: Iterable[Counts]) -> Counts:
    """As if it had been counted together."""
    return reduce(_plus, counts, _NOTHING)


def _plus(one: Counts, other: Counts) -> Counts:
    return _combine(one, other, 1)


def _minus(one: Counts, other: Counts) -> Counts:
    return _combine(one, other, -1)


def _combine(one: Counts, other: Counts, sign: int) -> Counts:
    buckets: Counter[tuple[int, int]] = Counter()
    for of, by in ((one, 1), (other, sign)):
        for least, greatest, count in of.buckets:
            buckets[least, greatest] += by * count
    return Counts(
        completed=one.completed + sign * other.completed,
        failed=one.failed + sign * other.failed,
        nbytes=one.nbytes + sign * other.nbytes,
        total_ns=one.total_ns + sign * other.total_ns,
        buckets=tuple((*key, count) for key, count in sorted(buckets.items()) if count),
    )


@attrs.frozen
class KindRates:
    """The commands of one kind in an interval.

    Attributes:
        counts: What was counted in it.
        seconds: How long it was.
    """

    counts: Counts
    seconds: float

    @property
    def iops(self) -> float:
        """Commands that ended well, a second."""
        return self.counts.completed / self.seconds

    @property
    def bytes_per_second(self) -> float:
        """Bytes of data a second."""
        return self.counts.nbytes / self.seconds

    @property
    def mean_depth(self) -> float:
        """How many the device had on average: the sum of their times over the interval (Little's law)."""
        return self.counts.total_ns / 1e9 / self.seconds

    @property
    def mean_us(self) -> float | None:
        """The mean time in microseconds; None without a command."""
        count = sum(count for _, _, count in self.counts.buckets)
        return self.counts.total_ns / count / 1000 if count else None

    def percentile_us(self, q: float) -> float | None:
        """The time in microseconds that `q` percent are not above, or at most 1/128 more; None without a command."""
        total = sum(count for _, _, count in self.counts.buckets)
        seen = 0
        for _, greatest, count in self.counts.buckets:
            seen += count
            if seen * 100 >= q * total:
                return greatest / 1000
        return None

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "iops": self.iops,
            "bytes_per_second": self.bytes_per_second,
            "failed": self.counts.failed,
            "mean_depth": self.mean_depth,
            "latency_us": {
                "mean": self.mean_us,
                **{f"p{q:g}": self.percentile_us(q) for q in PERCENTILES},
            },
        }


@attrs.frozen
class Interval:
    """Two snapshots of one controller, the earlier one first.

    Attributes:
        before, after: The snapshots.
    """

    before: Snapshot
    after: Snapshot

    @property
    def seconds(self) -> float:
        """How long it was."""
        return max((self.after.when_ns - self.before.when_ns) / 1e9, 1e-9)

    def io(self, kind: str, qid: int | None = None) -> KindRates:
        """The I/O commands of one kind, of one queue pair or of all."""
        return KindRates(_minus(_sum(self.after, kind, qid), _sum(self.before, kind, qid)), self.seconds)

    def all_io(self, qid: int | None = None) -> KindRates:
        """I/O commands of every kind."""
        return KindRates(merged(self.io(kind, qid).counts for kind in KINDS), self.seconds)

    def admin(self) -> KindRates:
        """Admin commands."""
        return self.io("other", 0)

    @property
    def outstanding(self) -> int:
        """I/O commands that the device had at the end."""
        return sum(queue.outstanding for queue in self.after.queues if queue.qid)

    def as_json(self) -> dict[str, Any]:
        """For programs: the rates, beside the later snapshot."""
        return {
            "seconds": self.seconds,
            "rates": {kind: self.io(kind).as_json() for kind in KINDS} | {"admin": self.admin().as_json()},
            "outstanding": self.outstanding,
            "snapshot": self.after.as_json(),
        }


def _sum(snapshot: Snapshot, kind: str, qid: int | None) -> Counts:
    return merged(
        queue.kinds[kind] for queue in snapshot.queues if (queue.qid == qid if qid is not None else queue.qid)
    )


def between(before: Iterable[Snapshot], after: Iterable[Snapshot]) -> list[Interval]:
    """The controllers that are in both, each with its snapshots."""
    known = {(snapshot.pid, snapshot.address): snapshot for snapshot in before}
    return [
        Interval(known[snapshot.pid, snapshot.address], snapshot)
        for snapshot in after
        if (snapshot.pid, snapshot.address) in known
    ]
