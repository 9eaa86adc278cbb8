"""Owns the time that the mock's long operations take: real or virtual, moved forward by who will not wait."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from math import ceil

from aionvme.clock import is_virtual_now, monotonic, watch

__all__ = ["Clock"]


class Clock:
    """Seconds since some moment. What is due is called by a thread of its own, or by `advance`.

    Who calls `at` may hold a machine's lock; what is called then holds none.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ahead = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._timer: threading.Timer | None = None
        self._closed = False
        watch(self._look, self._due_ns)

    def now(self) -> float:
        """The time."""
        return monotonic() + self._ahead

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Has `call` called at that time."""
        with self._lock:
            heapq.heappush(self._due, (when, next(self._numbers), call))
            self._arm()

    def advance(self, seconds: float) -> None:
        """It is so much later; what is due by then is called before this returns."""
        with self._lock:
            self._ahead += seconds
        self._call_due()

    def close(self) -> None:
        """Nothing is called any more."""
        with self._lock:
            self._closed = True
            self._due.clear()
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
            if timer is not threading.current_thread():
                timer.join()

    def after_fork(self) -> None:
        """In a child process: the thread is not there, and the lock may be held by nobody."""
        self._lock = threading.Lock()
        self._timer = None

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # A virtual clock looks by itself.
        if self._due and not self._closed and not is_virtual_now():
            self._timer = threading.Timer(max(self._due[0][0] - self.now(), 0), self._call_due)
            self._timer.daemon = True
            self._timer.start()

    def _due_ns(self) -> int:
        with self._lock:
            return max(1, ceil((self._due[0][0] - self._ahead) * 1e9)) if self._due else 0

    def _look(self) -> bool:
        with self._lock:
            due = bool(self._due) and self._due[0][0] <= self.now()
        if due:
            self._call_due()
        return due

    def _call_due(self) -> None:
        while True:
            with self._lock:
                if self._closed:
                    return
                if not self._due or self._due[0][0] > self.now():
                    self._arm()
                    return
                _when, _number, call = heapq.heappop(self._due)
            call()
