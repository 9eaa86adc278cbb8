"""Owns SPDK's callbacks for memory in several places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aionvme.errors import UsageError
from aionvme.qpair.sgl import SglCallbacks, segments_of

# What SPDK's callbacks give as an address for a bit bucket.
BIT_BUCKET = 0xFFFFFFFFFFFFFFFF

ResetSglCb = Callable[[Any, int], object]
NextSgeCb = Callable[[Any], Any]


class Segments:
    """`reset_sgl_fn(cb_arg, offset)` and `next_sge_fn(cb_arg)` of one command, and what they gave."""

    def __init__(self, reset_sgl_fn: ResetSglCb, next_sge_fn: NextSgeCb, cb_arg: Any) -> None:
        self._reset_sgl_fn = reset_sgl_fn
        self._next_sge_fn = next_sge_fn
        self.seen: list[Any] = []
        self.callbacks = SglCallbacks(self._reset, self._next, cb_arg)

    def _reset(self, cb_arg: Any, offset: int) -> None:
        self.seen.clear()
        self._reset_sgl_fn(cb_arg, offset)

    def _next(self, cb_arg: Any) -> Any:
        part = self._next_sge_fn(cb_arg)
        if isinstance(part, int):
            raise UsageError(f"next_sge_fn returned {part}")
        if isinstance(part, tuple) and part[0] == BIT_BUCKET:
            part = (None, *part[1:])
        self.seen.append(part)
        return part

    def all(self, nbytes: int) -> list[Any]:
        """The segments of so many bytes."""
        return segments_of(self.callbacks, nbytes)
