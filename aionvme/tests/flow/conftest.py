"""What all flow tests have in common."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    """Have quick runs take each test on one of the loops, in turn."""
    if Path(__file__).parent in item.path.parents:
        item.add_marker(pytest.mark.spread("loop"))
