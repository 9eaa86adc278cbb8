"""Owns the loops and modes that these tests run in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from aionvme.tests.flow.tasks.stage import LOOPS, MODES, Stage


@pytest.fixture(params=[f"{loop}-{mode}" for loop in LOOPS for mode in MODES], scope="module")
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A stage for each loop and each of its modes, kept for the tests of one module."""
    loop, mode = request.param.split("-")
    stage = Stage(loop, mode)
    yield stage
    stage.close()
