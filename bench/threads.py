"""Owns what a second loop in a second thread costs: processor time per command, beside another loop and alone.

    python -m bench.threads                       # on a free-threaded Python: `make python-freethreaded` builds one
    python -m bench.threads --turns 100 --loop asyncio --json threads.json

Each of two loops, in two threads, drives a controller of its own and steps its device inline, in its own thread. So
nothing is waited for, and what is measured is the driver, the loop and the device model, all in one thread's time.
They work in turns of three windows: the first loop alone, the second alone, both. If they shared anything, both
would be dearer together. Two processes do the same as a control: they share nothing, so what both cost more there is
the machine's doing, its caches and its clock.

A window in which a loop did not have its processor most of the time is not counted, as then the two were not at work
together. Where no window is left, either other programs had it, or the loops waited for each other's locks.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs

import aionvme
from aionvme.mock import MockController

MODES = ("callback", "await")
LOOPS = ("asyncio", "uvloop")
DEPTH = 32
BLOCK = 4096
BLOCKS = 65536
WINDOW = 0.03  # seconds
REST = 0.006  # between two windows
WARM_UP = 2.0  # until both loops have their controllers
SHARE = 0.9
GOAL = 1.10
# Which loops work in the windows of a turn.
TURN = ((0,), (1,), (0, 1))


@attrs.frozen
class Window:
    """What one loop did in one window.

    Attributes:
        number: Of the window, from 0.
        ns: Of this thread's processor time per command.
        share: Part of the window in which the thread had a processor.
    """

    number: int
    ns: float
    share: float


class Lane:
    """One loop's work: reads on one queue pair, DEPTH at a time.

    What runs with each command is a closure of this loop's own, and calls methods that were looked up before: a
    program's threads meet at the functions and constants of its modules, too, and here it is the driver that is looked
    at.
    """

    def __init__(self, qp: aionvme.IoQueuePair, ns: aionvme.Namespace, bufs: list[aionvme.DmaBuffer]) -> None:
        self._qp, self._ns, self._bufs = qp, ns, bufs
        self._loop = asyncio.get_running_loop()

    async def window(self, number: int, mode: str, end: float) -> Window:
        """Works until `end` (time.monotonic)."""
        stop: list[bool] = []  # true once there is something in it
        self._loop.call_later(end - time.monotonic(), stop.append, True)
        began, spent = time.monotonic_ns(), time.thread_time_ns()
        count = await (self._callbacks(stop) if mode == "callback" else self._tasks(stop))
        spent, passed = time.thread_time_ns() - spent, time.monotonic_ns() - began
        return Window(number, spent / count, spent / passed)

    async def _callbacks(self, stop: list[bool]) -> int:
        """Each command's callback submits the next. How many there were."""
        submit, ns, blocks, count, left = self._qp.submit_read, self._ns, self._ns.nblocks, 0, len(self._bufs)
        ended = self._loop.create_future()

        def done(buf: aionvme.DmaBuffer, _cpl: aionvme.Completion) -> None:
            nonlocal count, left
            count += 1
            if stop:
                left -= 1
                if not left:
                    ended.set_result(None)
                return
            submit(ns, buf, count % blocks, 1, done, buf)

        for buf in self._bufs:
            submit(ns, buf, 0, 1, done, buf)
        await ended
        return count

    async def _tasks(self, stop: list[bool]) -> int:
        """A task for each slot awaits one command after the other. How many there were."""
        read, ns, blocks, count = self._qp.read, self._ns, self._ns.nblocks, 0

        async def slot(buf: aionvme.DmaBuffer) -> None:
            nonlocal count
            while not stop:
                await read(ns, buf, count % blocks, 1)
                count += 1

        async with asyncio.TaskGroup() as group:
            for buf in self._bufs:
                group.create_task(slot(buf))
        return count


async def in_turn(lane: Lane, which: int, mode: str, start: float, turns: int) -> list[Window]:
    """What lane `which` does in its windows, of which the first begins at `start` (time.monotonic)."""
    windows = []
    for number in range(turns * len(TURN)):
        begin = start + number * WINDOW
        if which in TURN[number % len(TURN)] and (rest := begin - time.monotonic()) > 0:
            await asyncio.sleep(rest)
            windows.append(await lane.window(number, mode, begin + WINDOW - REST))
    return windows


async def work(which: int, mode: str, start: float, turns: int) -> list[Window]:
    """What loop `which` does in its windows."""
    with MockController(drive="loop", no_data=True, size=BLOCK * BLOCKS, lba=BLOCK) as mock:
        async with aionvme.connect(mock) as ctrlr, ctrlr.alloc_io_qpair(depth=DEPTH) as qp:
            lane = Lane(qp, ctrlr.namespaces[1], [ctrlr.dma_alloc(BLOCK) for _ in range(DEPTH)])
            windows = await in_turn(lane, which, mode, start, turns)
        if mock.counters.errors:
            raise RuntimeError(f"the device counted {mock.counters.errors} errors")
    return windows


def in_loop(which: int, mode: str, loop: str, start: float, turns: int) -> list[Window]:
    """As `work`, in a loop of this kind in the current thread."""
    with asyncio.Runner(loop_factory=factory(loop)) as runner:
        return runner.run(work(which, mode, start, turns))


def factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Makes loops of a kind."""
    if loop == "asyncio":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


# -- two threads, two processes ----------------------------------------------------------------------------------------


def in_threads(mode: str, loop: str, turns: int) -> list[list[Window]]:
    """What the two loops did, each in a thread."""
    start = time.monotonic() + WARM_UP
    with ThreadPoolExecutor(2) as pool:
        each = [pool.submit(in_loop, which, mode, loop, start, turns) for which in range(2)]
        return [future.result() for future in each]


def in_processes(mode: str, loop: str, turns: int) -> list[list[Window]]:
    """What the two loops did, each in a process."""
    # The clock is the system's, so that both begin together.
    start = time.monotonic() + WARM_UP
    command = [sys.executable, "-m", "bench.threads", "--mode", mode, "--loop", loop, "--turns", str(turns)]
    each = [
        subprocess.Popen([*command, "--only", str(which), repr(start)], stdout=subprocess.PIPE, text=True)
        for which in range(2)
    ]
    answers = [json.loads(process.communicate()[0]) for process in each]
    return [[Window(*window) for window in answer] for answer in answers]


@attrs.frozen
class Cost:
    """Nanoseconds of processor time per command: the lowest deciles of the windows, as what disturbs only makes dearer.

    Attributes:
        alone: Of a loop while the other rests.
        both: Of each while both work.
        windows: In which both worked, of those that count.
    """

    alone: float
    both: float
    windows: int

    @property
    def ratio(self) -> float:
        """What the other loop makes of it."""
        return self.both / self.alone


def cost(lanes: list[list[Window]], least: float = SHARE) -> Cost:
    """What the windows say in which each had its processor for so large a share."""
    counted = [{window.number: window.ns for window in lane if window.share >= least} for lane in lanes]
    alone = [ns for lane in counted for number, ns in lane.items() if len(TURN[number % len(TURN)]) == 1]
    both = [
        (ns + counted[1][number]) / 2
        for number, ns in counted[0].items()
        if len(TURN[number % len(TURN)]) == 2 and number in counted[1]
    ]
    if min(len(alone), len(both)) < 2:
        shares = [
            window.share for lane in lanes for window in lane if len(TURN[window.number % len(TURN)]) == 2
        ]
        raise RuntimeError(
            f"the two loops hardly ever had their processors together, but {statistics.median(shares):.0%} of the "
            "time each: too much else is running, or they wait for each other"
        )
    return Cost(statistics.quantiles(alone, n=10)[0], statistics.quantiles(both, n=10)[0], len(both))


# -- the command -------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str]) -> int:
    """Measure, print a table, and return an exit status: 0 whether or not the goal was met."""
    parser = argparse.ArgumentParser(prog="python -m bench.threads", description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=100, help="default: %(default)s")
    parser.add_argument("--loop", choices=LOOPS, default="uvloop", help="default: %(default)s")
    parser.add_argument("--mode", choices=MODES, action="append", help="default: both")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)  # one process: which, and when it begins
    options = parser.parse_args(argv)
    modes = options.mode or MODES
    if options.only:
        which, start = int(options.only[0]), float(options.only[1])
        windows = in_loop(which, modes[0], options.loop, start, options.turns)
        print(json.dumps([attrs.astuple(window) for window in windows]))
        return 0
    is_free = not getattr(sys, "_is_gil_enabled", lambda: True)()
    python = f"Python {platform.python_version()}, {'free-threaded' if is_free else 'with its GIL'}"
    print(f"{python}; {options.loop}, reads of {BLOCK} bytes, depth {DEPTH}")
    print("processor time per command, ns      one alone      both     ratio  windows")
    results: dict[str, Any] = {"python": python, "loop": options.loop, "goal": GOAL}
    for mode in modes:
        for name, run in (("threads", in_threads), ("processes", in_processes)):
            found = cost(run(mode, options.loop, options.turns))
            print(f"{f'{mode}, two {name}':<34}{found.alone:>11.0f}{found.both:>10.0f}{found.ratio:>10.3f}"
                  f"{found.windows:>9}", flush=True)  # fmt: skip
            results[f"{mode} {name}"] = attrs.asdict(found) | {"ratio": found.ratio}
        met = results[f"{mode} threads"]["ratio"] <= GOAL
        print(f"{mode}: the goal is {GOAL:.2f}, and is {'met' if met else 'not met'}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
