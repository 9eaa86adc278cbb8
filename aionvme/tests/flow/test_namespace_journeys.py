"""The journeys of namespaces that come and go, on two mocks of one subsystem."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from aionvme.mock import MockController
from aionvme.tests.flow.places import PLACES, addressed
from aionvme.tests.journeys.namespaces import NAMESPACES

pytestmark = [pytest.mark.anyloop, pytest.mark.spread("loop"), pytest.mark.usefixtures("no_leaks")]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("journey", NAMESPACES, ids=lambda journey: journey.__name__)
async def test_journey(journey: Callable[[Any, Any], Awaitable[None]], place: str, tmp_path: Path) -> None:
    """The journey comes to its end, in this process and by way of two sockets."""
    with (
        MockController(size=16 << 20) as mock,
        mock.second() as other,
        addressed(mock, place, tmp_path / "first") as first,
        addressed(other, place, tmp_path / "second") as second,
    ):
        await journey(first, second)
