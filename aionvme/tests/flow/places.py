"""Owns where the controller of a journey is: in this process, or on a socket, served by vfio-user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aionvme.mock import MockController

HERE = "here"
#: The places of a controller; of those on a socket, how its doorbells are rung.
PLACES = (HERE, "mapped", "message")


@contextmanager
def addressed(mock: MockController, place: str, folder: Path) -> Iterator[Any]:
    """What to connect to, as long as the block runs: the mock itself, or the address that it is served at."""
    if place == HERE:
        yield mock
        return
    with mock.serve(folder, doorbells=place):
        yield f"vfio-user:{folder}"
