"""Owns `make bench`: the driver's ways to read beside the floor, the plain design and the kernel's, in one run.

4 KiB random reads from a mock whose thread has the second processor: one that moves no data, which leaves the
software's cost, and one that copies. Every round runs each contender once on each device, in another order; medians
over rounds are told.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import attrs

import aionvme
from bench.build import CACHE
from bench.contenders import CONTENDERS, VERIFIED
from bench.device import Device, open_device
from bench.figures import CHARTS, Cell, describe_machine, save, table
from bench.kernel import WAYS, Unavailable, sample

#: A column of the table: device and depth.
Column = tuple[str, int]
Cells = dict[tuple[str, Column], Cell]


@attrs.frozen
class Goal:
    """What issue 6 asks for.

    Attributes:
        text: As the table has it.
        least: Commands a second.
        part, other: Part of what another contender reaches there.
    """

    text: str
    least: float = 0.0
    part: float = 0.0
    other: str = "floor"

    def met(self, cells: Cells, name: str, column: Column) -> bool:
        """Whether the median reaches it."""
        return cells[name, column].rate >= max(self.least, self.part * cells[self.other, column].rate)


def _goals(depth: int) -> dict[tuple[str, Column], Goal]:
    no_data, copying, alone = ("no data", depth), ("copying", depth), ("no data", 1)
    # "As fast as the device": within a twentieth of what the floor gets out of it.
    as_device = Goal("the device's", part=0.95)
    return {
        ("read_batch", no_data): Goal("4 M/s", 4e6),
        ("read_batch", copying): as_device,
        (VERIFIED, copying): Goal("half of read_batch", part=0.5, other="read_batch"),
        ("callback", no_data): Goal("3 M/s", 3e6),
        ("callback", copying): as_device,
        ("callback", alone): Goal("1.3 µs", 1e6 / 1.3),
        ("callback in Python", no_data): Goal("3 M/s", 3e6),
        ("callback in Python", copying): as_device,
        ("callback in Python", alone): Goal("1.3 µs", 1e6 / 1.3),
        ("await", no_data): Goal("1 M/s", 1e6),
        ("await", copying): Goal("0.9 M/s", 0.9e6),
        ("await", alone): Goal("1.5 µs", 1e6 / 1.5),
    }


async def _measure(options: argparse.Namespace) -> Cells:
    columns: list[Column] = [("no data", options.depth), ("copying", options.depth), ("no data", 1)]
    cells: Cells = {(name, column): Cell() for name in (*CONTENDERS, *WAYS) for column in columns}
    async with AsyncExitStack() as stack:
        devices = {
            "no data": await stack.enter_async_context(open_device(no_data=True)),
            "copying": await stack.enter_async_context(open_device()),
        }
        shuffle = random.Random(options.seed).shuffle
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", flush=True)
            order = [(name, column) for name in CONTENDERS for column in columns if _can(name, column)]
            shuffle(order)
            for name, column in order:
                await _run(cells[name, column], name, devices[column[0]], column[1], options.seconds)
            _run_kernel(cells, columns, options)
    return cells


def _can(name: str, column: Column) -> bool:
    return name != VERIFIED or column[0] != "no data"


async def _run(cell: Cell, name: str, device: Device, depth: int, seconds: float) -> None:
    cell.samples.append(await CONTENDERS[name](device, depth, seconds))


def _run_kernel(cells: Cells, columns: list[Column], options: argparse.Namespace) -> None:
    for name in WAYS:
        for column in columns:
            cell = cells[name, column]
            if column[0] == "no data" and column[1] != 1:
                cell.why_not = "a file's drive moves data"
            if cell.why_not is not None:
                continue
            try:
                cell.samples.append(sample(name, options.file, column[1], options.seconds))
            except Unavailable as error:
                cell.why_not = str(error)


def _shown(cells: Cells, name: str, column: Column, goal: Goal | None) -> str:
    cell, floor = cells[name, column], cells["floor", column]
    if not cell.samples:
        return "-"
    value = f"{1e6 / cell.rate:.2f} µs" if column[1] == 1 else f"{cell.rate / 1e6:.3f} M/s"
    text = f"{value} ±{cell.spread:.0%}, {cell.rate / floor.rate:.2f} of floor, {cell.cpu_ns:.0f} ns CPU"
    if goal is not None:
        text += f" ({'meets' if goal.met(cells, name, column) else 'MISSES'} {goal.text})"
    return text


def _print(cells: Cells, options: argparse.Namespace) -> None:
    columns = list(dict.fromkeys(column for _, column in cells))
    goals = _goals(options.depth)
    rows = []
    for name in (*CONTENDERS, *WAYS):
        rows.append([name, *(_shown(cells, name, column, goals.get((name, column))) for column in columns)])
    print(table(["4 KiB random read", *(f"{device}, depth {depth}" for device, depth in columns)], rows))
    for (name, (device, depth)), cell in cells.items():
        if cell.why_not is not None:
            print(f"no {name} ({device}, depth {depth}): {cell.why_not}")
    print("The last two read a file on this machine's drive: compare their CPU time, not their rates.")


def _draw(cells: Cells, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = [column for column in dict.fromkeys(column for _, column in cells) if column[1] != 1]
    figure, axes = pyplot.subplots(figsize=(8, 4), layout="constrained")
    names = list(reversed(CONTENDERS))
    for number, column in enumerate(reversed(columns)):
        found = [cells[name, column] for name in names]
        at = [place + 0.4 * number for place in range(len(names))]
        rates = [cell.rate / 1e6 if cell.samples else 0 for cell in found]
        errors = [cell.spread * cell.rate / 1e6 if cell.samples else 0 for cell in found]
        axes.barh(at, rates, 0.38, xerr=errors, label=f"{column[0]}, depth {column[1]}")
    axes.set_yticks([place + 0.2 for place in range(len(names))], names)
    axes.set_xlabel("million 4 KiB random reads a second, median and range")
    axes.legend(reverse=True)
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path)
    pyplot.close(figure)


def main() -> None:
    """Runs it and says where the results are."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=5, help="of each contender on each device (%(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=0.5, help="of each run (%(default)s)")
    parser.add_argument("--depth", type=int, default=32, help="commands under way at once (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the order (%(default)s)")
    parser.add_argument(
        "--file", type=Path, default=CACHE / "file", help="that the kernel's ways read (%(default)s)"
    )
    parser.add_argument("--no-save", action="store_true", help="only print")
    options = parser.parse_args()
    there, began = describe_machine(), time.perf_counter()
    print(", ".join(f"{name} {value}" for name, value in there.items()))
    if there["load_before"] > 0.5 * len(os.sched_getaffinity(0)):
        print(f"The machine is busy (load {there['load_before']}): these figures say little.")
    cells = aionvme.run(_measure(options))
    _print(cells, options)
    print(f"{time.perf_counter() - began:.0f} s")
    if not options.no_save:
        _save(there, cells, options)


def _save(there: dict[str, Any], cells: Cells, options: argparse.Namespace) -> None:
    goals = _goals(options.depth)
    results = []
    for (name, column), cell in cells.items():
        floor, goal = cells["floor", column], goals.get((name, column))
        results.append(
            {
                "contender": name,
                "device": column[0],
                "depth": column[1],
                **cell.as_json(),
                "of_floor": cell.rate / floor.rate if cell.samples else None,
                "goal": goal.text if goal is not None else None,
                "goal_met": goal.met(cells, name, column) if goal is not None and cell.samples else None,
            }
        )
    asked = {"rounds": options.rounds, "seconds": options.seconds, "depth": options.depth}
    print("results in", save("reads", {"machine": there, "asked": asked, "results": results}))
    _draw(cells, CHARTS / "reads.svg")
    print("chart in", CHARTS / "reads.svg")


if __name__ == "__main__":
    main()
