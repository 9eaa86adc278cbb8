"""Owns the clock by which commands are due: a timer of the kernel that the event loop waits for.

Loops of asyncio count in milliseconds; between two of them there may have to be a thousand commands. A timerfd
(timerfd_create(2)) is precise to some microseconds, and an idle loop sleeps meanwhile.
"""

from __future__ import annotations

import ctypes
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from aionvme.perf.tally import Pacer, Tally

__all__ = ["Pace"]

# More ticks would cost more than the commands: several are due at once then.
_TICK_LEAST_NS = 50_000
_BILLION = 1_000_000_000


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("it_interval", _Timespec), ("it_value", _Timespec))


def _timer(period_ns: int) -> int:
    """A timerfd that is readable once in each period."""
    libc = ctypes.CDLL(None, use_errno=True)
    # TFD_NONBLOCK and TFD_CLOEXEC are O_NONBLOCK and O_CLOEXEC (timerfd_create(2)).
    fd: int = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    period = _Timespec(*divmod(period_ns, _BILLION))
    if fd < 0 or libc.timerfd_settime(fd, 0, ctypes.byref(_Itimerspec(period, period)), None) < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"a timer by which commands are paced: {os.strerror(error)}")
    return fd


class Pace:
    """Has commands go at a rate, from `start` to `stop`.

    Args:
        loop: In which the commands are sent.
        rate: Commands a second.
        pacer: Lets them go.
        tally: Says when the run has ended.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, rate: float, pacer: Pacer, tally: Tally) -> None:
        self._loop = loop
        self._rate = rate
        self._pacer = pacer
        self._tally = tally
        self._fd = -1
        self._began_ns = 0
        self._due = 0

    def start(self) -> None:
        """From now on."""
        self._fd = _timer(max(int(_BILLION / self._rate), _TICK_LEAST_NS))
        self._began_ns = time.monotonic_ns()
        self._loop.add_reader(self._fd, self._tick)

    def stop(self) -> None:
        """No more; who waits is let go."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
        self._pacer.release()

    def _tick(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        if not self._tally.running:
            # Slots that wait for their turn have to see it.
            self.stop()
            return
        due = int((time.monotonic_ns() - self._began_ns) * self._rate / _BILLION)
        more, self._due = due - self._due, due
        self._pacer.allow(more)
