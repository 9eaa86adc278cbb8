"""Owns `aionvme mock serve`: a mock that drivers in other processes use, until it is told to end."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from aionvme.cli import console
from aionvme.errors import UsageError
from aionvme.mock import MockController
from aionvme.mock.options import option_examples

__all__ = ["options", "serve"]


class Doorbells(StrEnum):
    """How a driver rings them."""

    MAPPED = "mapped"
    MESSAGE = "message"


def serve(
    socket: Annotated[Path, typer.Option(help="The folder of the socket `cntrl`; made if there is none.")],
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE", help="Further options of the mock: `aionvme mock options` lists them."
        ),
    ] = None,
    storage: Annotated[
        Path | None, typer.Option(help="A file that holds all namespaces, and survives. By default: memory.")
    ] = None,
    namespaces: Annotated[int | None, typer.Option(min=1, help="How many.")] = None,
    size: Annotated[str | None, typer.Option(help="Bytes of each, such as 1GiB. By default 64MiB.")] = None,
    lba: Annotated[str | None, typer.Option(help="Bytes of a block. By default 512.")] = None,
    faults: Annotated[
        Path | None, typer.Option(help="A file that says what goes wrong, as in docs/faults.md.")
    ] = None,
    doorbells: Annotated[
        Doorbells,
        typer.Option(help="mapped: stores that are looked for. message: messages that wake the mock."),
    ] = Doorbells.MAPPED,
) -> None:
    """Serve a mock controller by vfio-user, to QEMU's vfio-user-pci, to SPDK, or to aionvme itself.

    One driver at a time; when one has gone, the next may come. Ctrl-C or SIGTERM ends it.
    """
    chosen = _options(more or []) | {
        key: str(value)
        for key, value in (
            ("storage", storage),
            ("namespaces", namespaces),
            ("size", size),
            ("lba", lba),
            ("faults", faults),
        )
        if value is not None
    }
    with told_to_end() as wait, MockController.from_options(chosen) as mock:
        with mock.serve(socket, doorbells=doorbells.value) as serving:
            console.result(f"Serving at {serving.path}", "bold")
            console.facts(_facts(mock))
            console.note(f"Try it: `aionvme hello {shlex.quote(f'vfio-user:{socket}')}`. Ctrl-C ends it.")
            wait()
        console.result("Ended.")


def options() -> None:
    """List what an address "mock:?KEY=VALUE&KEY=VALUE" may have, each with a value as it is written."""
    console.facts(option_examples().items())


def _options(texts: list[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or key in options:
            raise UsageError(f"{text!r} is no option of the mock: each is written KEY=VALUE, and once")
        options[key] = value
    return options


def _facts(mock: MockController) -> list[tuple[str, str]]:
    options = mock.options
    rows = [("serial", options.serial), ("storage", str(options.storage or "memory"))]
    for number, namespace in enumerate(options.namespaces, 1):
        extent = f"{namespace.nblocks} blocks of {namespace.lba} bytes"
        rows.append((f"namespace {number}", f"{console.size(namespace.size)}, {extent}"))
    return rows


@contextlib.contextmanager
def told_to_end() -> Iterator[Callable[[], object]]:
    """What waits, inside, for a SIGINT or SIGTERM that comes from here on. For the main thread.

    An event that a handler sets is none to wait for: Python runs handlers between two of its steps, one of which may be
    the event's own, with the event's lock; and a signal that comes between the last step and the wait ends no wait. So
    the interpreter's own handler writes to a pipe, at once, in whatever thread the signal came.
    """
    told, tell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(told, True)
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: None) for number in numbers]
    fd_before = signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    try:
        yield lambda: _until(told, numbers)
    finally:
        signal.set_wakeup_fd(fd_before)
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        os.close(told)
        os.close(tell)


def _until(told: int, numbers: tuple[signal.Signals, ...]) -> None:
    while os.read(told, 1)[0] not in numbers:
        pass
