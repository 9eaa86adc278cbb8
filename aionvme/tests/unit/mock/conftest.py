"""Owns what tests of the mock are given: a stepped mock, and a raw driver that has enabled it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aionvme.mock import MockController
from aionvme.tests.unit.mock.raw import Raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def make() -> Iterator[Callable[..., Raw]]:
    """Makes a mock, stepped if nothing else is said, and enables it; closes it afterwards."""
    made: list[tuple[Raw, MockController]] = []

    def make_one(*, enable: bool = True, **options: object) -> Raw:
        mock = MockController(**{"drive": "step", **options})  # type: ignore[arg-type]
        raw = Raw(mock)
        made.append((raw, mock))
        if enable:
            raw.enable()
        return raw

    yield make_one
    for raw, mock in made:
        raw.close()
        mock.close()


@pytest.fixture
def raw(make: Callable[..., Raw]) -> Raw:
    """A stepped mock of one namespace, enabled."""
    return make()
