"""Owns the endurance test as a program: how long, what is reported, and what counts as a failure.

    python -m tools.soak                 # ten minutes
    python -m tools.soak --seconds 14400 # four hours
    python -m tools.soak --seed 7        # the same commands and troubles again, though not at the same moments
    python -m tools.soak --seed 7 --loop virtual  # driver, loop and mock by one virtual clock: the same run each time

128 workers write, read, compare and zero blocks of their own in all the ways that there are, and cancel some of their
commands, while a plan of faults (`trouble.plan`) has commands fail, hang or vanish and the controller is reset. Of each
block it is known which write was acknowledged; every block that is read must be that, or one that came later and whose
end was not told.

Exit status 0: no block was lost, nothing leaked or hung, and memory did not grow.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import uvloop

import aionvme
from aionvme.mock import MockController
from aionvme.pytest_plugin.leaks import Census
from aionvme.testing import VirtualLoop
from tools.soak.load import BLOCKS, Worker
from tools.soak.oracle import Oracle
from tools.soak.trouble import NUM_IO_QUEUES, Trouble, plan

DEPTH = 128
NBLOCKS = DEPTH * BLOCKS
HANG_SECONDS = 60.0
MEND_SECONDS = 0.05  # between two looks for queue pairs that broke
MOST_GROWTH = 8 << 20
ABORT = 0x08
# A run of the whole ten minutes has to have had so many of each.
MOST_OF_TEN_MINUTES, LEAST_RESETS, LEAST_ABORTS = 590, 1000, 1000
# Of two queue pairs one is renewed by the way.
COMPLETION = ("poll", "interrupt")
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
    "virtual": VirtualLoop,
}
# Seconds that a command takes where nothing else would have the virtual time go on.
LATENCY = 0.03


def main(argv: Sequence[str]) -> int:
    """Run it; return an exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--loop", choices=tuple(LOOPS), default="uvloop")
    options = parser.parse_args(argv)
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    # What is done to the controller is told by the report.
    logging.getLogger("aionvme").setLevel(logging.CRITICAL)
    print(f"soak: {options.seconds:g} s at depth {DEPTH} on {options.loop}, --seed {seed}", flush=True)
    with asyncio.Runner(loop_factory=LOOPS[options.loop]) as runner:
        runner.get_loop().set_exception_handler(_ignore_broken)
        status = runner.run(Soak(options.seconds, seed, virtual=options.loop == "virtual").run())
    if status:
        print(
            f"again: python -m tools.soak --seconds {options.seconds:g} --seed {seed} --loop {options.loop}"
        )
    return status


def _ignore_broken(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """A queue pair that got a completion for no command says so; here that is what it was given."""
    if not isinstance(context.get("exception"), aionvme.NvmeError):
        loop.default_exception_handler(context)


class Soak:
    """One run."""

    def __init__(self, seconds: float, seed: int, *, virtual: bool) -> None:
        self._seconds = seconds
        self._seed = seed
        self._virtual = virtual
        self._tally: Counter[str] = Counter()
        self._problems: list[str] = []
        self._rss: list[int] = []
        self._qps: list[aionvme.IoQueuePair] = []
        # One at a time: there are few identifiers, and one that is not given back must show.
        self._renewing = asyncio.Lock()
        self._ctrlr: aionvme.Controller

    async def run(self) -> int:
        """All of it, with the report; an exit status."""
        before = await Census.of_loop()
        drive = "step" if self._virtual else "thread"
        with MockController(size=NBLOCKS * 512, drive=drive) as mock:
            await self._on(mock)
        self._problems += [f"left behind: {one}" for one in await before.leaked()]
        for problem in self._problems[:20]:
            print(f"FAILED: {problem}")
        return 1 if self._problems else 0

    async def _on(self, mock: MockController) -> None:
        opts = aionvme.ControllerOptions(
            abort_timeout=0.5, admin_timeout=2.0, num_io_queues=NUM_IO_QUEUES, shutdown_timeout=10
        )
        async with aionvme.connect(mock, opts) as ctrlr:
            self._ctrlr = ctrlr
            self._qps = [await self._alloc(index) for index in range(len(COMPLETION))]
            mock.add_faults(plan(self._seed, LATENCY if self._virtual else 0))
            oracle = Oracle(NBLOCKS, ctrlr.namespaces[1].block_size)
            workers = [
                Worker(number, ctrlr, self._pick(number), oracle, self._tally, self._seed)
                for number in range(DEPTH)
            ]
            cancels = [worker.cancel for worker in workers]
            trouble = Trouble(
                mock, ctrlr, self._renew, lambda: [qp.qid for qp in self._qps], cancels, self._seed
            )
            try:
                await self._load(workers, trouble, mock)
                await self._last_look(workers, mock)
            finally:
                for worker in workers:
                    with contextlib.suppress(BufferError, aionvme.NvmeError):
                        worker.close()
            self._report(oracle, trouble, mock)

    def _pick(self, number: int) -> Callable[[], aionvme.IoQueuePair]:
        # A quarter of the load is on the queue pair that comes and goes.
        index = int(number % 4 == 3)
        return lambda: self._qps[index]

    async def _alloc(self, index: int) -> aionvme.IoQueuePair:
        return await self._ctrlr.alloc_io_qpair(depth=DEPTH, completion=COMPLETION[index])

    async def _renew(self, index: int) -> None:
        """Another queue pair in the place of one."""
        async with self._renewing:
            old = self._qps[index]
            self._qps[index] = await self._alloc(index)
            await old.close()

    # -- the run -------------------------------------------------------------------------------------------------------

    async def _load(self, workers: list[Worker], trouble: Trouble, mock: MockController) -> None:
        stop = asyncio.Event()
        tasks = [asyncio.create_task(worker.run(stop)) for worker in workers]
        maker = asyncio.create_task(trouble.run(stop))
        watch = asyncio.create_task(self._watch(workers))
        try:
            await self._until_the_end([*tasks, maker, watch])
        except aionvme.NvmeError as error:
            self._problems.append(f"a queue pair could not be replaced: {error}")
        stop.set()
        done, hung = await asyncio.wait([*tasks, maker], timeout=HANG_SECONDS)
        self._problems += [f"{task.get_name()} hangs: {task!r}" for task in hung]
        self._problems += [f"{task.exception()!r}" for task in done if task.exception() is not None]
        for task in [*hung, watch]:
            task.cancel()
        self._problems += [str(error) for error in await asyncio.gather(watch, return_exceptions=True) if error
                           and not isinstance(error, asyncio.CancelledError)]  # fmt: skip
        survived = trouble.struck()
        mock.clear_faults()
        trouble.survived += survived

    async def _until_the_end(self, tasks: list[asyncio.Task[None]]) -> None:
        """The time that was asked for; or until something is wrong."""
        now = asyncio.get_running_loop().time
        end = now() + self._seconds
        while now() < end and not any(task.done() for task in tasks):
            await asyncio.sleep(MEND_SECONDS)
            await self._mend()

    async def _mend(self) -> None:
        """Replaces queue pairs that broke."""
        for index, qp in enumerate(self._qps):
            if qp.broken_by_device or qp.closed:
                # The controller may be silent, or being reset: then again in a moment.
                with contextlib.suppress(aionvme.ControllerResetError, aionvme.CommandTimeoutError):
                    await self._renew(index)

    async def _watch(self, workers: list[Worker]) -> None:
        """Looks for what stands still, and at the memory."""
        turns = [-1] * len(workers)
        loop = asyncio.get_running_loop()
        since = [loop.time()] * len(workers)
        while True:
            now = loop.time()
            for index, worker in enumerate(workers):
                if worker.turns != turns[index]:
                    turns[index], since[index] = worker.turns, now
                elif now - since[index] > HANG_SECONDS:
                    raise TimeoutError(f"worker {index} has had no end of a command for {HANG_SECONDS:g} s")
            gc.collect()
            self._rss.append(_resident())
            await asyncio.sleep(max(self._seconds / 100, 0.5))

    async def _last_look(self, workers: list[Worker], mock: MockController) -> None:
        """In peace every block is read."""
        for worker in workers:
            for _ in range(50):
                try:
                    await self._mend()
                    await worker.verify_all()
                    break
                except aionvme.NvmeError as error:
                    if self._ctrlr.closed:
                        self._problems.append(f"blocks could not be read at the end: {error}")
                        return
                    await asyncio.sleep(0.1)
            else:
                self._problems.append("blocks could not be read at the end")

    # -- the report ----------------------------------------------------------------------------------------------------

    def _report(self, oracle: Oracle, trouble: Trouble, mock: MockController) -> None:
        resets = self._ctrlr._core.epoch  # its own, too
        aborts = mock.queue(0).opcodes.get(ABORT, 0)
        # The first fifth is for what is made once.
        steady = self._rss[len(self._rss) // 5 :] or [_resident()]
        growth = min(steady[-5:]) - min(steady[:5])
        rows = {
            "commands run": self._tally.pop("commands", 0),
            "faults survived": sum(trouble.survived.values()),
            **{f"  {name}": count for name, count in trouble.survived.most_common()},
            "commands that did not succeed": sum(self._tally.values()),
            **{f"  {name}": count for name, count in self._tally.most_common()},
            "resets": resets,
            "aborts": aborts,
            "blocks verified": oracle.verified,
            "blocks lost": len(oracle.lost),
            "resident memory": f"{steady[0] / 2**20:.1f} MiB, then {steady[-1] / 2**20:.1f} MiB",
        }
        for name, value in rows.items():
            print(f"{name:<46}{value:>12}" if isinstance(value, int) else f"{name:<46}{value}")
        self._problems += [f"lost: {one}" for one in oracle.lost]
        if growth > MOST_GROWTH:
            self._problems.append(f"memory grew by {growth / 2**20:.1f} MiB")
        if self._seconds >= MOST_OF_TEN_MINUTES and (resets < LEAST_RESETS or aborts < LEAST_ABORTS):
            self._problems.append(f"{resets} resets and {aborts} aborts are too few to say anything")


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
