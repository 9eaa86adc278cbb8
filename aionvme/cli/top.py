"""Owns `aionvme top`: the figures of controllers that programs are using, live, once, or for Prometheus."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from aionvme.cli import console
from aionvme.cli.dashboard import HINT, Dashboard, lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aionvme.metrics import Interval

__all__ = ["top"]


class Form(StrEnum):
    """What `--once` prints."""

    NORMAL = "normal"
    JSON = "json"


def top(
    interval: Annotated[
        float,
        typer.Option("--interval", "-i", min=0.05, help="Seconds between two looks.", metavar="SECONDS"),
    ] = 1.0,
    once: Annotated[
        bool, typer.Option("--once", metavar="", help="Look for one interval, print that, and end.")
    ] = False,
    form: Annotated[
        Form, typer.Option("--output-format", "-o", help="What --once prints.", metavar="normal|json")
    ] = Form.NORMAL,
    pid: Annotated[int | None, typer.Option("--pid", "-p", help="Of this process alone.")] = None,
    queues: Annotated[
        bool, typer.Option("--queues", "-q", metavar="", help="A row for each queue pair.")
    ] = False,
    prometheus: Annotated[
        int | None,
        typer.Option(
            "--prometheus",
            min=0,
            max=65535,
            metavar="PORT",
            help="Serve the figures to Prometheus at /metrics, and draw nothing; 0 for any port.",
        ),
    ] = None,
    bind: Annotated[
        str, typer.Option("--bind", metavar="HOST", help="Where --prometheus listens.")
    ] = "127.0.0.1",
) -> None:
    """Show the controllers that programs are using: IOPS, bandwidth, latency, queue depth, SMART.

    A program shows its controllers when AIONVME_METRICS=1 is in its environment, or it calls aionvme.metrics.publish.
    Root sees those of every user. Ctrl-C ends it.
    """
    if prometheus is not None:
        _serve(prometheus, bind)
    elif once or not sys.stdout.isatty():
        _once(interval, form, pid)
    else:
        _live(interval, pid, queues)


def _intervals(seconds: float, pid: int | None) -> Iterator[list[Interval]]:
    """What happened in each interval, for as long as it is asked for."""
    from aionvme.metrics.finding import snapshots
    from aionvme.metrics.rates import between

    before = snapshots()
    while True:
        time.sleep(seconds)
        after = snapshots()
        yield [each for each in between(before, after) if pid is None or each.after.pid == pid]
        before = after


def _once(seconds: float, form: Form, pid: int | None) -> None:
    found = next(_intervals(seconds, pid))
    if form is Form.JSON:
        console.print_json([each.as_json() for each in found])
    elif found:
        lines(found)
    if not found:
        who = "no program" if pid is None else f"process {pid} does not exist, is another user's, or"
        console.error(f"{who} publishes a controller's figures. {HINT}")
        raise typer.Exit(console.ERROR)


def _live(seconds: float, pid: int | None, queues: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    out = Console(highlight=False)
    dashboard = Dashboard(queues=queues)
    live = Live(dashboard.draw([], out.width), console=out, screen=True, auto_refresh=False)
    try:
        # What is begun is ended: Ctrl-C within the first would leave the terminal on the other screen.
        with _uninterrupted():
            live.start(refresh=True)
        for found in _intervals(seconds, pid):
            live.update(dashboard.draw(found, out.width), refresh=True)
    finally:
        with _uninterrupted():
            live.stop()


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C comes at the end of the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(port: int, host: str) -> None:
    from aionvme.metrics.finding import snapshots
    from aionvme.metrics.prometheus import endpoint

    chosen, stop = endpoint(snapshots, port, host)
    shown = f"[{host}]" if ":" in host else host
    try:
        console.result(f"http://{shown}:{chosen}/metrics")
        while True:
            time.sleep(3600)
    finally:
        stop()
