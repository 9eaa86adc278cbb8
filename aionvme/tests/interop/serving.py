"""Owns the server's side: a process that serves a mock on a socket, started by the command line as a user does."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIB = 1 << 20
# What is served, in the words of `MockController`.
OPTIONS: dict[str, Any] = {
    "namespaces": 2,
    "size": 64 * MIB,
    "serial": "INTEROP",
    "model": "served over vfio-user",
    "firmware": "7.7",
}
# How doorbells are rung: by a store into mapped memory, by a message, or by one when shadow doorbells ask for it.
DOORBELLS: dict[str, dict[str, Any]] = {
    "mapped": {"shadow_doorbells": False},
    "messages": {"shadow_doorbells": False},
    "shadow": {"shadow_doorbells": True},
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
def served(folder: Path, doorbells: str) -> Iterator[Served]:
    """Serve a mock for the length of the block.

    Args:
        folder: takes the socket and the storage.
        doorbells: one of `DOORBELLS`.
    """
    options = OPTIONS | DOORBELLS[doorbells]
    storage = folder / "storage"
    words = ["-m", "aionvme.cli", "mock", "serve", "--socket", str(folder), "--storage", str(storage)]
    process = subprocess.Popen([sys.executable, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        yield Served(folder / "cntrl", storage, options)
    finally:
        process.terminate()
        process.communicate(timeout=10)
