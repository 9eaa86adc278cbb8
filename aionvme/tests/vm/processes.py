"""Owns processes beside the tests' own: each begins at once, forked from a server that has imported all it needs.

A Python that starts anew takes ten seconds and more in the guest.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerProcess

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "aionvme.cli.app",
        "aionvme.tests.vm.attempt",
        "aionvme.tests.vm.pressure",
        "aionvme.tests.vm.writer",
        "uvloop",
        # What Typer imports at its first use, where it is there.
        "typer._adapters",
        "pydantic.type_adapter",
    ]
)


@contextlib.contextmanager
def running(
    target: Callable[..., None], *arguments: Any
) -> Iterator[tuple[ForkServerProcess, Connection[Any, Any]]]:
    """A process that runs `target(connection, *arguments)`, and this end of its connection; it ends with the block."""
    here, there = _context.Pipe(duplex=False)
    process = _context.Process(target=target, args=(there, *arguments))
    process.start()
    there.close()
    try:
        yield process, here
        process.join(100)
    finally:
        process.kill()
        process.join()
        process.close()
        here.close()


def killed_after(count: int, target: Callable[..., None], *arguments: Any) -> list[Any]:
    """What a process sent that never ends by itself, and is killed once it has sent so much; each thing once."""
    received: list[Any] = []
    with running(target, *arguments) as (child, connection):
        with contextlib.suppress(EOFError):
            while True:
                received.append(connection.recv())
                if len(received) == count:
                    child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL, "it was not killed, but ended by itself"
    return list(dict.fromkeys(received))


def result_of(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a process of its own."""
    with running(_send_result, function, *arguments) as (_, connection):
        return connection.recv()


def _send_result(connection: Connection[Any, Any], function: Callable[..., Any], *arguments: Any) -> None:
    connection.send(function(*arguments))


@dataclass(frozen=True)
class Ended:
    """How a run of the command line ended."""

    status: int
    out: str
    err: str


def aionvme(*words: str) -> Ended:
    """Run the command line in a process of its own, without a terminal."""
    ended: Ended = result_of(_command_line, words)
    print(ended.out, ended.err)
    return ended


def _command_line(words: tuple[str, ...]) -> Ended:
    from aionvme.cli import main

    sys.argv = ["aionvme", *words]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        try:
            main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        sys.stdout.flush()
        sys.stderr.flush()
        out.seek(0)
        err.seek(0)
        return Ended(status, out.read(), err.read())
