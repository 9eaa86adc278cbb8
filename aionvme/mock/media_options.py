"""Owns how a mock's namespaces can be managed, formatted, sanitized and tested: options of its whole subsystem."""

from __future__ import annotations

from typing import Any, TypedDict

import attrs

from aionvme.errors import UsageError

__all__ = ["MediaKeywords", "MediaOptions"]


class MediaKeywords(TypedDict, total=False):
    """`MediaOptions`, as keywords of `MockController`."""

    max_namespaces: int
    capacity: int
    format_time: float
    sanitize_time: float
    sanitize_fails: bool
    self_test_time: float
    self_test_result: int
    no_data: bool
    latency: float


def _seconds(_instance: Any, attribute: attrs.Attribute[Any], value: float) -> None:
    if not 0 <= value <= 1e6:
        raise UsageError(f"{attribute.name} must be from 0 to 1e6 seconds, not {value}")


def _namespaces(_instance: Any, _attribute: Any, value: int) -> None:
    if not 0 <= value <= 1024:
        raise UsageError(f"max_namespaces must be from 1 to 1024, not {value}")


@attrs.frozen(kw_only=True)
class MediaOptions:
    """Options of `MockController`. Times are of the mock's clock, which `MockController.advance` moves.

    Attributes:
        max_namespaces: Highest namespace identifier (NN); 0 for as many as there are at the beginning.
        capacity: Bytes of all namespaces together (TNVMCAP); 0 for those that there are at the beginning.
        format_time: Seconds that a format takes.
        sanitize_time: Seconds that a sanitize operation takes.
        sanitize_fails: Sanitize operations fail at their end.
        self_test_time: Seconds that a self-test takes.
        self_test_result: What it ends with: 0 for no error, 5 to 7 for a failure.
        no_data: For measuring what a driver costs: reads and writes are checked as ever, with the I/O address of every
            PRP and SGL entry, but move no bytes. For namespaces in memory, without metadata.
        latency: Seconds from when a command of an I/O queue is taken until it is executed, by the real clock; other
            commands are taken meanwhile.
    """

    max_namespaces: int = attrs.field(default=0, validator=_namespaces)
    capacity: int = 0
    format_time: float = attrs.field(default=0.0, validator=_seconds)
    sanitize_time: float = attrs.field(default=0.0, validator=_seconds)
    sanitize_fails: bool = False
    self_test_time: float = attrs.field(default=0.0, validator=_seconds)
    self_test_result: int = 0
    no_data: bool = False
    latency: float = attrs.field(default=0.0, validator=_seconds)
