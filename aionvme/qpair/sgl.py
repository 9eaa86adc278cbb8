"""Owns the forms in which a caller says that a transfer's memory is in several places."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from aionvme.errors import UsageError

MOST_SEGMENTS = 1 << 20


@attrs.frozen
class SglCallbacks:
    """Two callbacks that give the segments of a transfer one by one, as SPDK's `readv` and `writev` take them.

    Attributes:
        reset_sgl_fn: `reset_sgl_fn(cb_arg, offset)`: the next segment is to begin at this byte of the transfer.
        next_sge_fn: `next_sge_fn(cb_arg)` gives a buffer, or (address, length); an address of None is a bit bucket.
        cb_arg: Handed to both.
    """

    reset_sgl_fn: Callable[[Any, int], object]
    next_sge_fn: Callable[[Any], Any]
    cb_arg: Any = None


def segments_of(iov: Sequence[Any] | SglCallbacks, needed: int) -> list[Any]:
    """The segments of `needed` bytes: buffers, and (address or None, length) pairs of numbers.

    Raises:
        UsageError: One has no length, or callbacks never come to an end.
        TypeError: `iov` is neither.
    """
    if isinstance(iov, SglCallbacks):
        return _from_callbacks(iov, needed)
    if isinstance(iov, (bytes, bytearray, memoryview)) or not hasattr(iov, "__iter__"):
        raise TypeError(
            "iov is a sequence of buffers, or SglCallbacks; for one buffer use read, write or compare"
        )
    return [_checked(part, index) for index, part in enumerate(iov)]


def _from_callbacks(callbacks: SglCallbacks, needed: int) -> list[Any]:
    callbacks.reset_sgl_fn(callbacks.cb_arg, 0)
    parts: list[Any] = []
    total = 0
    while total < needed:
        part = _checked(callbacks.next_sge_fn(callbacks.cb_arg), len(parts))
        length = part[1] if isinstance(part, tuple) else memoryview(part).nbytes
        if length == 0 or len(parts) == MOST_SEGMENTS:
            raise UsageError(f"next_sge_fn gave {total} of {needed} bytes, and then nothing")
        parts.append(part)
        total += length
    return parts


def _checked(part: Any, index: int) -> Any:
    if not isinstance(part, tuple):
        return part
    if len(part) != 2:
        raise UsageError(f"iov[{index}] is a buffer or (address, length), not {part!r}")
    address, length = part
    length = operator.index(length)
    if not 0 <= length < 1 << 48:
        raise UsageError(f"iov[{index}]: a length of {length} bytes cannot be")
    if address is None:
        return None, length
    address = operator.index(address)
    if not 0 < address < 1 << 64:
        raise UsageError(f"iov[{index}]: {address:#x} is no address; None is a bit bucket")
    return address, length
