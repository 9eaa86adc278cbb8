"""Owns which functions this process has, or is taking: so that nothing is taken twice."""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable

__all__ = ["Claim", "claimed", "take"]

_lock = threading.Lock()
_claims: dict[Hashable, Claim] = {}


class Claim:
    """One function is this process's, from before it is opened until after it was closed."""

    def __init__(self, key: Hashable) -> None:
        self._key = key

    def release(self) -> None:
        """Another may take it. May be called twice."""
        with _lock:
            if _claims.get(self._key) is self:
                del _claims[self._key]


def take(key: Hashable) -> Claim | None:
    """Claims a function; None if it is claimed already. Of several threads one gets it.

    Args:
        key: What the function is known by.
    """
    claim = Claim(key)
    with _lock:
        return claim if _claims.setdefault(key, claim) is claim else None


def claimed(key: Hashable) -> bool:
    """Whether a function is claimed."""
    return key in _claims


def _after_fork() -> None:
    # What the parent has, the child has not; and another thread may have held the lock.
    global _lock
    _lock = threading.Lock()
    _claims.clear()


os.register_at_fork(after_in_child=_after_fork)
