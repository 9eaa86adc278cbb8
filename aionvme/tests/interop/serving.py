"""Owns the server's side: a process that serves a mock on a socket, started by the command line as a user does."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.vm.processes import ends_with_parent

MIB = 1 << 20
# What is served, in the words of `MockController`.
OPTIONS: dict[str, Any] = {
    "namespaces": 2,
    "size": 64 * MIB,
    "serial": "INTEROP",
    "model": "served over vfio-user",
    "firmware": "7.7",
}


@dataclass(frozen=True)
class Way:
    """How driver and controller reach each other.

    Attributes:
        doorbells: by which the server lets them be rung, "mapped" or "message".
        shadow: the controller has shadow doorbells, which Linux then uses.
        shared: the server can map the guest's memory; else it asks for each piece by a message.
    """

    doorbells: str
    shadow: bool
    shared: bool = True


WAYS = {
    "default": Way("mapped", shadow=True),
    "mapped": Way("mapped", shadow=False),
    "messages": Way("message", shadow=False),
    "shadow": Way("message", shadow=True),
    "asked": Way("message", shadow=False, shared=False),
}


@dataclass(frozen=True)
class Served:
    """A mock that is being served.

    Attributes:
        socket: where.
        storage: the file with its namespaces, one after the other.
        options: what it is, in the words of `MockController`.
    """

    socket: Path
    storage: Path
    options: dict[str, Any]


@contextlib.contextmanager
def served(folder: Path, way: Way) -> Iterator[Served]:
    """Serve a mock for the length of the block, by `aionvme mock serve`; it has to end well.

    Args:
        folder: takes the socket and the storage.
        way: how.
    """
    options = OPTIONS | {"shadow_doorbells": way.shadow}
    storage = folder / "storage"
    words = ["--socket", str(folder), "--storage", str(storage), "--doorbells", way.doorbells]
    words += [f"{name}={int(value) if isinstance(value, bool) else value}" for name, value in options.items()]
    with subprocess.Popen(
        [sys.executable, "-m", "aionvme.cli", "mock", "serve", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=ends_with_parent(),
    ) as process:
        assert process.stdout
        try:
            first = process.stdout.readline()
            assert first.startswith("Serving at"), first + process.stdout.read()
            yield Served(folder / "cntrl", storage, options)
        finally:
            process.terminate()
        rest = process.stdout.read()
        assert process.wait() == 0, rest
