"""Owns what is known of a controller at one moment, and its form in JSON, which programs send each other."""

from __future__ import annotations

import json
from typing import Any

import attrs

from aionvme.errors import DecodeError

__all__ = ["KINDS", "Counts", "Health", "QueueCounts", "Snapshot"]

#: Of commands; on the admin queue pair all are "other".
KINDS = ("read", "write", "other")


@attrs.frozen(kw_only=True)
class Counts:
    """The commands of one kind on one queue pair, since it was first looked at.

    Attributes:
        completed: Those that ended well.
        failed: Those that ended with an error.
        nbytes: Of data that the former moved, metadata apart.
        total_ns: The sum of all times, from the doorbell to the completion's being seen.
        buckets: (least, greatest, how many) of those times in nanoseconds, in order; none is wider than 1/128.
    """

    completed: int = 0
    failed: int = 0
    nbytes: int = 0
    total_ns: int = 0
    buckets: tuple[tuple[int, int, int], ...] = ()


@attrs.frozen(kw_only=True)
class QueueCounts:
    """One queue pair.

    Attributes:
        qid: Its identifier, 0 for admin commands.
        depth: Commands that may be outstanding; 0 for one that is closed.
        outstanding: Commands that the device has now.
        completion: "poll", "interrupt", "adaptive" or "manual"; "closed".
        kinds: The commands by kind.
        untimed: Commands that were posted before anybody looked.
        dropped: Commands that ended without a completion: the controller was reset or lost.
        foreign: Completions that could not be ours.
        missed_interrupts: Completions that no interrupt told of in time.
    """

    qid: int
    depth: int
    outstanding: int
    completion: str
    kinds: dict[str, Counts]
    untimed: int = 0
    dropped: int = 0
    foreign: int = 0
    missed_interrupts: int = 0


@attrs.frozen(kw_only=True)
class Health:
    """What the SMART / Health log page says (NVMe Base 2.0, 5.16.1.3), and how long ago it was read.

    Attributes:
        age: Seconds.
        temperature_c: Composite temperature, degrees Celsius.
        critical_warning: Its bits.
        available_spare, available_spare_threshold, percentage_used: Percent.
        data_units_read, data_units_written: Of 512,000 bytes.
        media_errors, error_log_entries, power_on_hours, power_cycles, unsafe_shutdowns: Counts.
    """

    age: float
    temperature_c: int
    critical_warning: int
    available_spare: int
    available_spare_threshold: int
    percentage_used: int
    data_units_read: int
    data_units_written: int
    media_errors: int
    error_log_entries: int
    power_on_hours: int
    power_cycles: int
    unsafe_shutdowns: int


@attrs.frozen(kw_only=True)
class Snapshot:
    """A controller and its queue pairs.

    Attributes:
        when_ns: By the clock that all programs of this machine share (CLOCK_MONOTONIC).
        pid, program: Who drives it.
        address, model, serial, firmware: What it is.
        state: "live", "being reset" and so on.
        namespaces: How many it has.
        queues: Its queue pairs, those that are closed too.
        health: None where the log page could not be read.
    """

    when_ns: int
    pid: int
    program: str
    address: str
    model: str
    serial: str
    firmware: str
    state: str
    namespaces: int
    queues: tuple[QueueCounts, ...]
    health: Health | None = None

    def as_json(self) -> dict[str, Any]:
        """For `json.dumps`; `from_json` reads it."""
        return attrs.asdict(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Snapshot:
        """What another program sent.

        Raises:
            DecodeError: It is not a snapshot: perhaps of another version of aionvme.
        """
        try:
            return _snapshot(json.loads(text))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DecodeError(
                f"that is no snapshot of this version of aionvme ({error}): use one version on both sides"
            ) from error


def _snapshot(values: dict[str, Any]) -> Snapshot:
    numbers: dict[str, Any] = {name: int(values[name]) for name in ("when_ns", "pid", "namespaces")}
    texts: dict[str, Any] = {
        name: _printable(values[name])
        for name in ("program", "address", "model", "serial", "firmware", "state")
    }
    health = values["health"]
    return Snapshot(
        **numbers,
        **texts,
        queues=tuple(_queue(queue) for queue in values["queues"]),
        health=None if health is None else Health(**{name: _number(value) for name, value in health.items()}),
    )


def _queue(values: dict[str, Any]) -> QueueCounts:
    others = {name: int(value) for name, value in values.items() if name not in ("kinds", "completion")}
    kinds = {name: _counts(values["kinds"][name]) for name in KINDS}
    return QueueCounts(completion=_printable(values["completion"]), kinds=kinds, **others)


def _counts(values: dict[str, Any]) -> Counts:
    buckets = tuple((int(least), int(greatest), int(count)) for least, greatest, count in values["buckets"])
    return Counts(buckets=buckets, **{name: int(n) for name, n in values.items() if name != "buckets"})


def _number(value: Any) -> Any:
    if not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number")
    return value


def _printable(value: str) -> str:
    # It goes to a terminal, and comes from a program that need not mean well.
    return "".join(char if char.isprintable() else "?" for char in value)
