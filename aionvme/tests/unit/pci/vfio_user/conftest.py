"""Owns what these tests are given: a scripted server, and that nothing of it or of the client is left open."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aionvme.pci.vfio_user.function import VfioUserFunction
from aionvme.tests.leaks import PATIENCE as LEAKS
from aionvme.tests.leaks import Census
from aionvme.tests.unit.pci.vfio_user.scripted import Server, opened


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    before = Census.take()
    yield
    # The kernel lists a thread for a moment after it was joined.
    end = time.monotonic() + LEAKS
    while (left := Census.take().more_than(before)) and time.monotonic() < end:
        time.sleep(0.001)
    assert left == []


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server that shares its doorbells."""
    with Server(tmp_path) as server:
        yield server


@pytest.fixture
def function(server: Server) -> Iterator[VfioUserFunction]:
    """What it serves, opened."""
    with opened(server) as function:
        yield function


@pytest.fixture
def eventfds() -> Iterator[list[int]]:
    """Four eventfds."""
    fds = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(4)]
    yield fds
    for fd in fds:
        os.close(fd)
