"""Owns the server's side: a process that serves a mock on a socket, as a user would start it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIB = 1 << 20
# What is served, in the words of `MockController`. There is room to create a namespace in.
OPTIONS: dict[str, Any] = {
    "namespaces": 2,
    "size": 64 * MIB,
    "serial": "INTEROP",
    "model": "served over vfio-user",
    "firmware": "7.7",
}
# How doorbells are rung: by a store into mapped memory, by a message, or by one when shadow doorbells ask for it.
DOORBELLS: dict[str, dict[str, Any]] = {}


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
