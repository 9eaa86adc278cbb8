"""Owns what tests of the interop tier are given: a server, a guest whose Linux drives what is served, what it left.

The guest has done everything before the first test looks. Without it (`make test-interop` sets it up) those that take
it are skipped.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aionvme.tests.interop.serving import WAYS, Served, Way, served
from aionvme.tests.interop.steps import Steps
from tools.interop import guest
from tools.interop.machine import Machine

STATE = os.environ.get("AIONVME_INTEROP", "it is not set up; make test-interop does it")
SCRIPT = Path(__file__).with_name("guest.sh")
# Of all that the guest does. On two idle cores it takes a small part of that.
SECONDS = 600.0
# Each store to a register or doorbell that QEMU had to pass on, and what the server asked of QEMU.
TRACED = ("vfio_region_write", "vfio_user_recv_request")
PAYLOAD = random.Random("aionvme").randbytes(1 << 20)


@dataclass(frozen=True)
class Guest:
    """A guest that has powered off, and the server that it had, which goes on.

    Attributes:
        way: how it reached the controller.
        served: what was served.
        steps: what the guest left.
        console: the kernel's messages.
        trace: QEMU's record of what is in `TRACED`.
    """

    way: Way
    served: Served
    steps: Steps
    console: str
    trace: str


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give a test the time of the guest, which the first one waits for."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(2 * SECONDS))


def each_way(names: Iterable[str]) -> list[Any]:
    """These of `WAYS` as values of a parameter: a quick run has the one that a user gets."""
    return [name if name == "default" else pytest.param(name, marks=pytest.mark.exhaustive) for name in names]


@pytest.fixture(scope="session")
def set_up() -> None:
    """There is all that a guest takes."""
    if STATE != "ready":
        pytest.skip(f"no guest with QEMU's vfio-user-pci: {STATE}")


@pytest.fixture(scope="session", params=each_way(WAYS))
def linux(
    request: pytest.FixtureRequest, set_up: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guest]:
    """A Linux guest that has been through `guest.sh`, for each way in which it reaches the controller."""
    way = WAYS[request.param]
    with served(tmp_path_factory.mktemp(request.param), way) as server:
        machine = Machine((server.socket,), shared=way.shared, traced=TRACED, files={"payload": PAYLOAD})
        boot = guest.run(f"interop-{request.param}", machine, SCRIPT.read_text(), SECONDS)
        console, trace = (
            (boot.folder / name).read_text(errors="replace") for name in ("console.log", "trace.log")
        )
        yield Guest(way, server, Steps(boot.share / "steps"), console, trace)
