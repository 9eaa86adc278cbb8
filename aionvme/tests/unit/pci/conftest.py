"""Owns what tests of this layer are given: a machine in a temporary folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aionvme.tests.unit.pci.machine import FakeMachine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[FakeMachine]:
    """A machine without functions; afterwards no descriptor that it gave may be open."""
    machine = FakeMachine(tmp_path)
    yield machine
    assert machine.open_fds == {}
