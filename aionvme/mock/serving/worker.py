"""Owns the thread that executes requests while the one that receives goes on to receive answers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aionvme.pci.vfio_user.channel import Message

__all__ = ["Worker"]

_MOST = 8 << 20  # bytes of requests that wait
_EACH = 256  # what one takes besides its payload


class Worker:
    """Executes messages in order, in a thread that is started with the first.

    Args:
        execute: What is done with each; it does not raise.
        name: Of the thread.
    """

    def __init__(self, execute: Callable[[Message], None], name: str) -> None:
        self._execute = execute
        self._name = name
        self._thread: threading.Thread | None = None
        self._queue: deque[Message] = deque()
        self._nbytes = 0
        self._changed = threading.Condition()
        self._closed = False

    @property
    def idle(self) -> bool:
        """Whether everything that was submitted has been executed."""
        return not self._queue

    def submit(self, message: Message) -> None:
        """Has it executed after those before; waits while too much does."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._nbytes < _MOST or self._closed)
            if self._closed:
                message.close()
                return
            self._queue.append(message)
            self._nbytes += len(message.payload) + _EACH
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closed)
                if self._closed:
                    return
                message = self._queue[0]
            self._execute(message)
            with self._changed:
                # Only now: `idle` is about what was executed.
                if self._queue:
                    self._queue.popleft()
                    self._nbytes -= len(message.payload) + _EACH
                self._changed.notify_all()

    def close(self) -> None:
        """Drops what waits, and ends the thread."""
        with self._changed:
            self._closed = True
            dropped, self._queue = self._queue, deque()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        for message in dropped:
            message.close()
