"""The host's part: two guests that share the tier leave nothing out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from aionvme.tests.vm.conftest import INTERFACES, in_other_part

pytestmark = pytest.mark.vm_host


def test_each_test_is_in_one_part() -> None:
    """Those of one interface are in one part, those without are shared out, and all are in one."""
    items: list[Any] = [SimpleNamespace() for _ in range(5)]
    for params in [{"iommu": "group"}, {"name": "block512"}, {"iommu": "iommufd"}, {}] * 3:
        items.append(SimpleNamespace(callspec=SimpleNamespace(params=params)))
    parts = [{id(item) for item in in_other_part(items, part)} for part in (2, 1)]
    assert parts[0] | parts[1] == {id(item) for item in items}
    assert not parts[0] & parts[1]
    assert abs(len(parts[0]) - len(parts[1])) <= 1
    for interface, part in zip(INTERFACES, parts, strict=True):
        assert {id(item) for item in items[5:] if item.callspec.params.get("iommu") == interface} <= part
