"""Owns the mock that is driven by an event loop: a callback that comes again while there is work."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aionvme.mock.machine import Machine

_COMMANDS = 64  # in one turn of the loop
_IDLE_TURNS = 16  # before it waits to be woken


class LoopDrive:
    """Drives a machine by callbacks of the running loop, from now until `close`.

    Not by a task: a loop that is torn down cancels its tasks, and a driver that waits for its last commands
    would then wait for ever.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._loop = asyncio.get_running_loop()
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._idle = 0
        self._handle: asyncio.Handle | None = None
        self._loop.add_reader(self._fd, self._woken)
        machine.set_wake_fd(self._fd)
        self._again()

    def _again(self) -> None:
        if self._handle is None:
            self._handle = self._loop.call_soon(self._turn)

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._fd)
        self._idle = 0
        self._again()

    def _turn(self) -> None:
        self._handle = None
        if self._machine.step(_COMMANDS):
            self._idle = 0
        else:
            self._idle += 1
        if self._idle < _IDLE_TURNS or self._machine.prepare_to_sleep(_COMMANDS):
            self._again()

    def close(self) -> None:
        """Lets go of the loop: where that runs in another thread than this, soon, as it is that thread's alone."""
        self._machine.set_wake_fd(-1)
        if self._loop.is_running() and asyncio._get_running_loop() is not self._loop:
            with contextlib.suppress(RuntimeError):  # It is closed by now.
                self._loop.call_soon_threadsafe(self._let_go)
                return
        self._let_go()

    def _let_go(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        if not self._loop.is_closed():
            self._loop.remove_reader(self._fd)
        os.close(self._fd)
