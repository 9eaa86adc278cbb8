"""Owns what a read costs in the driver alone: nanoseconds for submitting and for completing, and instructions.

The device is a no-data mock that is stepped in the same thread between the two, so that neither another thread nor the
device's own time is in a figure: it is what SPDK's overhead tool measures, which has submit and complete apart as well.
A command is a 4 KiB random read. Times are of the thread's CPU clock, the least of several runs; instructions are
counted by valgrind's callgrind where it is there, and repeat from run to run even where others have the processors.

    python -m bench.overhead                        all modes, nanoseconds
    python -m bench.overhead --instructions         and instructions, by function
    python -m bench.overhead --mode callback --depths 1,32,1024 --queue-pairs 1,64
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import attrs

import aionvme
from aionvme.mock import MockController
from bench.figures import describe_machine, table

BLOCK = 4096
LBAS = 4096  # a power of two
clock = time.thread_time_ns
# What the device is in, and what of it is called.
_MOCK = "7aionvme_4mock_"
_STEP = re.compile(r"__pyx_pw_7aionvme_4mock_6engine_6Engine_\d+step")


def _tick() -> int:
    """What a look at the clock takes, which is more than most of what is timed: the kernel is asked."""
    return min(-(clock() - clock()) for _ in range(1000))


TICK = _tick()


@attrs.define(eq=False)
class Stage:
    """A mock that is stepped, connected, with queue pairs, and a buffer for each slot."""

    mock: MockController
    ctrlr: aionvme.Controller
    ns: aionvme.Namespace
    qps: list[aionvme.IoQueuePair]
    bufs: list[aionvme.DmaBuffer]
    whole: aionvme.DmaBuffer
    lbas: list[int]
    depth: int

    def step(self) -> int:
        """Has the device execute what it was told of; in how many nanoseconds."""
        begun = clock()
        self.mock.step()
        return clock() - begun - TICK


@attrs.frozen
class Cost:
    """Nanoseconds of CPU time for a command; None where submitting and completing are not apart."""

    submit: float | None
    complete: float | None
    total: float


async def _stepped(mock: MockController, coro: Coroutine[Any, Any, Any]) -> Any:
    """Runs a coroutine that needs the device, which nobody else steps."""
    task = asyncio.ensure_future(coro)
    while not task.done():
        mock.step()
        await asyncio.sleep(0)
    return task.result()


async def _open(mode: str, depth: int, queue_pairs: int) -> Stage:
    mock = MockController(size=1 << 30, lba=BLOCK, no_data=True, drive="step")
    ctrlr = await _stepped(mock, aionvme.connect(mock).__aenter__())
    completion = "poll" if mode == "await" else "manual"
    qps = [
        await _stepped(
            mock, ctrlr.alloc_io_qpair(depth=depth, completion=completion, batching=True).__aenter__()
        )
        for _ in range(queue_pairs)
    ]
    ns = ctrlr.namespaces[1]
    choice = random.Random(1)
    return Stage(
        mock,
        ctrlr,
        ns,
        qps,
        [ctrlr.dma_alloc(BLOCK) for _ in range(depth)],
        ctrlr.dma_alloc(BLOCK * depth),
        [choice.randrange(ns.nblocks) for _ in range(LBAS)],
        depth,
    )


# -- modes -------------------------------------------------------------------------------------------------------------


def _nothing(_arg: object, _cpl: object) -> None:
    pass


async def _callback(stage: Stage, count: int) -> Cost:
    """A callback in Python for each command, which does nothing; completions are processed by hand."""
    ns, bufs, lbas = stage.ns, stage.bufs, stage.lbas
    indices = range(stage.depth)
    submitting = completing = done = at = 0
    while done < count:
        for qp in stage.qps:
            submit = qp.submit_read
            begun = clock()
            for index in indices:
                submit(ns, bufs[index], lbas[(at + index) & LBAS - 1], 1, _nothing, index)
            qp.process_completions()  # rings the doorbell
            submitting += clock() - begun - TICK
            at += stage.depth
        stage.step()
        for qp in stage.qps:
            begun = clock()
            done += qp.process_completions()
            completing += clock() - begun - TICK
    return Cost(submitting / done, completing / done, (submitting + completing) / done)


async def _batch(stage: Stage, count: int) -> Cost:
    """One batch on each queue pair."""
    import numpy as np

    each = -(-count // len(stage.qps))
    lbas = np.resize(np.array(stage.lbas), each)
    begun, stepping = clock(), 0
    batches = [qp.read_batch(stage.ns, stage.whole, lbas, 1) for qp in stage.qps]
    while not all(batch.done() for batch in batches):
        for qp in stage.qps:
            qp.process_completions()
        stepping += stage.step()
    total = (clock() - begun - stepping) / (each * len(batches))
    assert all(batch.result().nfailed == 0 for batch in batches)
    return Cost(None, None, total)


async def _await(stage: Stage, count: int) -> Cost:
    """A task for each slot, which awaits one read after another."""
    ns, lbas = stage.ns, stage.lbas
    loop = asyncio.get_running_loop()
    left, stepping, going = count, 0, True

    def step() -> None:
        nonlocal stepping
        stepping += stage.step()
        if going:
            loop.call_soon(step)

    async def work(read: Callable[..., Any], buf: aionvme.DmaBuffer, at: int) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            at += 1
            await read(ns, buf, lbas[at & LBAS - 1], 1)

    loop.call_soon(step)
    begun = clock()
    await asyncio.gather(
        *(work(qp.read, stage.bufs[index], 7 * index) for qp in stage.qps for index in range(stage.depth))
    )
    total = (clock() - begun - stepping) / count
    going = False
    return Cost(None, None, total)


MODES = {"batch": _batch, "callback": _callback, "await": _await}


def _new_loop(name: str) -> asyncio.AbstractEventLoop:
    if name == "uvloop":
        import uvloop

        return uvloop.new_event_loop()
    return asyncio.new_event_loop()


def measure(mode: str, depth: int, queue_pairs: int, count: int, runs: int, loop_name: str) -> Cost:
    """What a command costs, in the run in which that was least."""
    loop = _new_loop(loop_name)
    stage = loop.run_until_complete(_open(mode, depth, queue_pairs))
    run = MODES[mode]
    loop.run_until_complete(run(stage, 8 * depth * queue_pairs))
    gc.collect()
    gc.freeze()

    def once(_none: object, _again: object) -> Cost:
        return loop.run_until_complete(run(stage, count))

    # `reduce` is what callgrind is told to count in; here it only calls.
    costs = [cast("Cost", functools.reduce(once, (None,), None)) for _ in range(runs)]
    loop.run_until_complete(_stepped(stage.mock, stage.ctrlr.close()))
    loop.close()
    stage.mock.close()
    return min(costs, key=lambda cost: cost.total)


# -- instructions ------------------------------------------------------------------------------------------------------


def instructions(mode: str, depth: int, queue_pairs: int, loop_name: str) -> Counter[str]:
    """Instructions for a command by function, without those of the device: the difference of two runs, by commands.

    Raises:
        FileNotFoundError: There is no valgrind.
    """
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise FileNotFoundError("there is no valgrind here to count instructions with")
    # A multiple of what is in flight at once, and enough that a turn of the loop more or less is nothing.
    count = -(-2048 // (depth * queue_pairs)) * depth * queue_pairs
    with tempfile.TemporaryDirectory() as folder:
        costs = []
        for commands in (count, 2 * count):
            out = Path(folder, f"callgrind.{commands}")
            # Counting is on within `reduce`; what the device took is subtracted.
            command = [
                valgrind, "--tool=callgrind", f"--callgrind-out-file={out}", "--toggle-collect=functools_reduce",
                sys.executable, "-m", "bench.overhead",
                "--mode", mode, "--depths", str(depth), "--queue-pairs", str(queue_pairs), "--count", str(commands),
                "--runs", "1", "--loop", loop_name,
            ]  # fmt: skip
            subprocess.run(command, check=True, capture_output=True)
            costs.append(own_costs(out.read_text()))
    costs[1].subtract(costs[0])
    return Counter({name: cost / count for name, cost in costs[1].items()})


def own_costs(text: str) -> Counter[str]:
    """Instructions by function, without those of what it calls, from a file of callgrind's (its manual, 6.4).

    Those of the mock are left out. What it had others do, such as locks, is in one negative figure.
    """
    names: dict[str, str] = {}
    costs: Counter[str] = Counter()
    function = called = ""
    of_the_device = 0
    for line in text.splitlines():
        if match := re.match(r"(c?)fn=\((\d+)\)(?: (.*))?", line):
            if match[3]:
                names[match[2]] = match[3]
            if match[1]:
                called = names[match[2]]
            else:
                function, called = names[match[2]], ""
        elif match := re.match(r"[-+*\d]\S* (\d+)$", line):
            if not called:
                costs[function] += int(match[1])
            elif _STEP.match(called) and not _STEP.match(function):
                of_the_device += int(match[1])
            # A line after `calls=` is what the called function cost, in all.
            called = ""
    for name in [name for name in costs if _MOCK in name]:
        of_the_device -= costs.pop(name)
    costs["what the device has others do"] = -of_the_device
    return costs


# -- telling -----------------------------------------------------------------------------------------------------------


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.overhead", description=(__doc__ or "").partition("\n\n")[0]
    )
    parser.add_argument(
        "--mode", choices=MODES, action="append", help="one of the ways to read; may be repeated"
    )
    parser.add_argument(
        "--depths", type=_numbers, default=[32], metavar="N,N", help="commands at once on a queue pair"
    )
    parser.add_argument(
        "--queue-pairs", type=_numbers, default=[1], metavar="N,N", help="queue pairs at once"
    )
    parser.add_argument("--count", type=int, default=100_000, help="commands of a run")
    parser.add_argument("--runs", type=int, default=7, help="of which the least is told")
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop", help="event loop")
    parser.add_argument("--instructions", action="store_true", help="count them too, which takes minutes")
    parser.add_argument("--functions", type=int, default=0, metavar="N", help="how many functions to tell of")
    parser.add_argument("--json", type=Path, help="a file for the results")
    return parser.parse_args()


def _row(cost: Cost) -> list[str]:
    return ["-" if value is None else f"{value:.0f}" for value in (cost.submit, cost.complete, cost.total)]


def main() -> None:
    """Measures what was asked for, and prints a table."""
    options = _options()
    rows, results = [], []
    for mode in options.mode or MODES:
        for depth in options.depths:
            for queue_pairs in options.queue_pairs:
                if mode == "await" and depth == 1:
                    # It would spin for a device that does not run meanwhile: `python -m bench` has it.
                    continue
                cost = measure(mode, depth, queue_pairs, options.count, options.runs, options.loop)
                result: dict[str, Any] = {
                    "mode": mode,
                    "depth": depth,
                    "queue_pairs": queue_pairs,
                    **attrs.asdict(cost),
                }
                row = [mode, str(depth), str(queue_pairs), *_row(cost)]
                if options.instructions:
                    counted = instructions(mode, depth, queue_pairs, options.loop)
                    result["instructions"] = sum(counted.values())
                    row.append(f"{result['instructions']:.0f}")
                    for name, each in counted.most_common(options.functions):
                        print(f"{each:10.1f}  {name}")
                rows.append(row)
                results.append(result)
    headings = ["mode", "depth", "queue pairs", "submit ns", "complete ns", "total ns"]
    print(table(headings + ["instructions"] * options.instructions, rows))
    if options.json is not None:
        options.json.write_text(
            json.dumps({"machine": describe_machine(), "results": results}, indent=2) + "\n"
        )


if __name__ == "__main__":
    # A hash seed of its own would make two runs differ in their instructions.
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(
            sys.executable,
            [sys.executable, "-m", "bench.overhead", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    main()
