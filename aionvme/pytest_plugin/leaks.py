"""Owns the look for leaks: which descriptors, threads and tasks there are now that were not there before."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Threads that belong to the loop and outlive what made it start them.
POOLS = ("asyncio_", "uvloop_")
PATIENCE = 2.0  # seconds: the kernel lists a thread for a moment after it was joined


@dataclass(frozen=True)
class Census:
    """What this process had open at one moment.

    Attributes:
        fds: what each open descriptor leads to.
        threads: the name of each thread, compiled code's included, by the kernel's number.
        tasks: the tasks of the running loop; none without one.
    """

    fds: dict[int, str]
    threads: dict[int, str]
    tasks: frozenset[asyncio.Task[Any]]

    @classmethod
    async def of_loop(cls) -> Census:
        """Count within a coroutine, once the loop has opened what it opens at the first use of a thread."""
        await asyncio.to_thread(int)
        return cls.take()

    @classmethod
    def take(cls) -> Census:
        """Count now, after a collection, so that garbage is not taken for a leak."""
        gc.collect()
        return cls(_fds(), _threads(), _tasks())

    def more_than(self, before: Census) -> list[str]:
        """Say what is here that was not there before, a line each."""
        # By number alone: uvloop opens its signal sockets anew, under their old numbers, each time it is run.
        fds = sorted(self.fds.keys() - before.fds.keys())
        threads = {
            number: self.threads[number] for number in sorted(self.threads.keys() - before.threads.keys())
        }
        return [
            *(f"descriptor {fd}: {self.fds[fd]}" for fd in fds),
            *(f"thread {number}: {name}" for number, name in threads.items() if not name.startswith(POOLS)),
            *(f"task {task!r}" for task in self.tasks - before.tasks),
        ]

    async def leaked(self) -> list[str]:
        """Say what has been left since this census, once what is on its way out had time to go."""
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE
        # There is nothing to await: the kernel tells nobody that a thread has gone.
        while (left := Census.take().more_than(self)) and loop.time() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return left


def settle() -> None:
    """Have collections look at nothing that is there now: all of a session's modules, a tenth of a second each time.

    What is alive now and becomes garbage in a cycle stays, so this is for moments when only what lasts is there.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _fds() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
    return found


def _threads() -> dict[int, str]:
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    found = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            found[int(task.name)] = names.get(int(task.name)) or (task / "comm").read_text().strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _tasks() -> frozenset[asyncio.Task[Any]]:
    try:
        running = asyncio.current_task()
        return frozenset(asyncio.all_tasks() - {running})
    except RuntimeError:
        return frozenset()
