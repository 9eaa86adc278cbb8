"""Owns `aionvme perf`: its options, its question before data is destroyed, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import re
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
import typer

import aionvme
from aionvme.cli import console
from aionvme.cli.confirm import can_ask, confirmed, is_disposable
from aionvme.cli.figures import Live, show
from aionvme.errors import AddressError, NvmeError, UsageError
from aionvme.pci.address import parse_size
from aionvme.perf.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aionvme.perf.measure import Measurement
    from aionvme.perf.report import Report

__all__ = ["cpus_of", "perf"]


class Pattern(StrEnum):
    """What the commands do."""

    READ = "read"
    WRITE = "write"
    RW = "rw"
    RANDREAD = "randread"
    RANDWRITE = "randwrite"
    RANDRW = "randrw"


class Mode(StrEnum):
    """How the driver is used."""

    AWAIT = "await"
    CALLBACK = "callback"
    BATCH = "batch"


class Completion(StrEnum):
    """How completions are learnt of."""

    POLL = "poll"
    INTERRUPT = "interrupt"
    ADAPTIVE = "adaptive"


class Loop(StrEnum):
    """Which event loop."""

    UVLOOP = "uvloop"
    ASYNCIO = "asyncio"


class NotConfirmedError(NvmeError):
    """Nobody confirmed that data is to be overwritten."""


@attrs.frozen
class _Plan:
    address: str
    nsid: int | None
    load: Workload
    cpus: frozenset[int] | None
    asks: bool
    live: bool


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except AddressError as error:
        raise typer.BadParameter(str(error)) from None


def cpus_of(text: str) -> frozenset[int]:
    """The processors of a text: a mask in hexadecimal or a list in brackets as SPDK has them, or taskset's list."""
    try:
        found = _masked(int(text, 16)) if text.lower().startswith("0x") else _listed(text)
    except ValueError:
        found = set()
    if not found:
        raise typer.BadParameter(f'{text!r} is no list of processors: write it like "0,2-3" or "0x5"')
    return frozenset(found)


def _masked(mask: int) -> set[int]:
    return {cpu for cpu in range(mask.bit_length()) if mask >> cpu & 1}


def _listed(text: str) -> set[int]:
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    found: set[int] = set()
    for part in text.split(","):
        if not (match := re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", part)):
            raise ValueError(part)
        cpus = range(int(match[1]), int(match[2] or match[1]) + 1)
        if not cpus:
            raise ValueError(part)
        found.update(cpus)
    return found


def perf(
    address: Annotated[
        str,
        typer.Argument(help='Which controller: "mock:", "0000:01:00.0", "vfio-user:/run/ctrl".'),
    ],
    pattern: Annotated[
        Pattern, typer.Option("-w", "--workload", help="What the commands do; rand: at random places.")
    ] = Pattern.RANDREAD,
    depth: Annotated[
        int,
        typer.Option(
            "-q", "--depth", min=1, metavar="N", help="Commands under way at once, on each queue pair."
        ),
    ] = 32,
    io_size: Annotated[
        int,
        typer.Option(
            "-o", "--io-size", parser=_size, metavar="SIZE", help="Bytes of a command: 4096, 128KiB."
        ),
    ] = "4KiB",  # type: ignore[assignment] # the parser makes a number of it
    read_percent: Annotated[
        int | None,
        typer.Option(
            "-M", "--read-percent", min=0, max=100, metavar="N", help="Of rw and randrw: reads, 50."
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option("-t", "--time", metavar="SECONDS", help="Seconds that are measured.")
    ] = 10.0,
    queue_pairs: Annotated[
        int, typer.Option("-P", "--queue-pairs", min=1, metavar="N", help="How many.")
    ] = 1,
    cpus: Annotated[
        frozenset[int] | None,
        typer.Option(
            "-c",
            "--cpus",
            parser=cpus_of,
            metavar="LIST",
            help="Processors of the driving thread: 0,2-3 or 0x5.",
        ),
    ] = None,
    mode: Annotated[
        Mode, typer.Option(help="How the driver is used: a task per slot, callbacks, or arrays.")
    ] = Mode.AWAIT,
    completion: Annotated[Completion, typer.Option(help="How completions are learnt of.")] = Completion.POLL,
    loop: Annotated[Loop, typer.Option(help="The event loop.")] = Loop.UVLOOP,
    warmup: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Seconds before the measurement.")
    ] = 1.0,
    rate: Annotated[
        float | None,
        typer.Option(metavar="N", help="Commands a second in all; by default as many as there can be."),
    ] = None,
    no_latency: Annotated[
        bool,
        typer.Option("--no-latency", metavar="", help="Time no command: that is a look at the clock less."),
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", metavar="", help="Write blocks with checksums first; check each read.")
    ] = False,
    offset: Annotated[
        int, typer.Option(parser=_size, metavar="SIZE", help="Where the region begins, in bytes.")
    ] = "0",  # type: ignore[assignment]
    size: Annotated[
        int | None,
        typer.Option(
            parser=_size, metavar="SIZE", help="Its size; by default all, with --verify 1GiB at most."
        ),
    ] = None,
    nsid: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Namespace; by default the first.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, metavar="N", help="Of places and data.")] = 1,
    yes: Annotated[bool, typer.Option("--yes", metavar="", help="Overwrite data without asking.")] = False,
    as_json: Annotated[bool, typer.Option("--json", metavar="", help="Print JSON.")] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the latencies: a .png, .svg or .pdf.")
    ] = None,
) -> None:
    """Measure a controller, or the driver on the mock: commands a second, latency, CPU time for each command.

    Writing workloads and --verify OVERWRITE what is stored. On the mock, whose memory is its own, that is done at once;
    on any other address, and on a mock with a storage file, it takes a confirmation, or --yes.
    """
    load = Workload(
        pattern=pattern.value, io_size=io_size, depth=depth, queue_pairs=queue_pairs, read_percent=read_percent,
        seconds=seconds, warmup=warmup, mode=mode.value, completion=completion.value, rate=rate,
        latency=not no_latency, verify=verify, offset=offset, size=size, seed=seed,
    )  # fmt: skip
    asks = load.destroys and not is_disposable(address) and not yes
    if asks and not can_ask():
        raise UsageError(
            f"{console.named(address)}: this overwrites data, and there is no terminal to ask on. Add --yes if that is "
            "meant"
        )
    if plot is not None:
        _check_plot(plot, load)
    plan = _Plan(address, nsid, load, cpus, asks, live=sys.stderr.isatty())
    report = aionvme.run(_run(plan)) if loop is Loop.UVLOOP else asyncio.run(_run(plan))
    if as_json:
        console.print_json({"address": address, "loop": loop.value, **report.as_json()})
    else:
        show(address, report)
    if plot is not None:
        from aionvme.perf.plot import draw

        draw(report, plot)
    _end(address, report)


def _check_plot(path: Path, load: Workload) -> None:
    """Before anything is run for it."""
    if not load.times_commands:
        raise UsageError(
            f"--plot shows latencies, and {'a batch has none' if load.latency else '--no-latency measures none'}"
        )
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("--plot needs matplotlib. Run `pip install 'aionvme[plot]'`")
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UsageError(f"--plot: {path} is to be a .png, .svg or .pdf")


async def _run(plan: _Plan) -> Report:
    # Not above: it loads numpy, which the other subcommands do without.
    from aionvme.perf.measure import Measurement

    async with aionvme.connect(plan.address) as ctrlr:
        ns = _namespace(ctrlr, plan)
        live = Live(plan.load, plan.live)
        measurement = Measurement(
            ctrlr, ns, plan.load, cpus=plan.cpus, on_phase=live.phase, on_second=live.second
        )
        if plan.asks:
            await _ask(plan, ctrlr, ns)
        with _stopped_by_ctrl_c(measurement):
            return await measurement.run()


def _namespace(ctrlr: aionvme.Controller, plan: _Plan) -> aionvme.Namespace:
    there = ", ".join(str(number) for number in sorted(ctrlr.namespaces)) or "none"
    nsid = min(ctrlr.namespaces, default=None) if plan.nsid is None else plan.nsid
    if nsid is None or nsid not in ctrlr.namespaces:
        raise UsageError(f"{console.named(plan.address)}: no such active namespace; there is {there}")
    return ctrlr.namespaces[nsid]


async def _ask(plan: _Plan, ctrlr: aionvme.Controller, ns: aionvme.Namespace) -> None:
    region, serial, bdf = plan.load.region_in(ns), ctrlr.data.sn.strip(), ctrlr.pci_dev.bdf
    last = region.first + region.nblocks - 1
    console.note("About to overwrite:")
    console.facts(
        [
            ("controller", plan.address),
            ("model", ctrlr.data.mn.strip()),
            ("serial", serial),
            ("blocks", f"namespace {ns.nsid}, LBA {region.first} to {last} "
                       f"({console.size(region.nblocks * ns.block_size)})"),
        ],
        aside=True,
    )  # fmt: skip
    question = "What is there now is lost. Type the serial number or the address to go on: "
    if not await confirmed(question, (serial, bdf, plan.address)):
        raise NotConfirmedError("not confirmed: nothing was written")


@contextlib.contextmanager
def _stopped_by_ctrl_c(measurement: Measurement) -> Iterator[None]:
    """The first Ctrl-C ends the measurement, which is then reported; a second one ends the program."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        measurement.stop()

    loop.add_signal_handler(signal.SIGINT, stop)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def _end(address: str, report: Report) -> None:
    if not report.good:
        console.error(f"{console.named(address)}: {report.failures[0]}")
        raise typer.Exit(console.ERROR)
    if report.interrupted:
        console.interrupted()
        raise typer.Exit(console.INTERRUPTED)
