"""The journeys of namespaces that come and go, on two mocks of one subsystem."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aionvme.mock import MockController
from aionvme.tests.journeys.namespaces import NAMESPACES

pytestmark = [pytest.mark.anyloop, pytest.mark.usefixtures("no_leaks")]


@pytest.mark.parametrize("journey", NAMESPACES, ids=lambda journey: journey.__name__)
async def test_journey(journey: Callable[[Any, Any], Awaitable[None]]) -> None:
    """The journey comes to its end."""
    with MockController(size=16 << 20) as mock, mock.second() as other:
        await journey(mock, other)
