"""What a quick run leaves out: what is marked, and no test altogether."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from aionvme.tests import quick
from aionvme.tests.quick import left_out


def item(name: str, *marks: pytest.MarkDecorator, **parameters: object) -> Any:
    """A test with these marks and the value of each of its parameters."""
    callspec = SimpleNamespace(params=parameters)
    return SimpleNamespace(
        nodeid=f"test.py::{name}[{'-'.join(map(str, parameters.values()))}]",
        **({"callspec": callspec} if parameters else {}),
        iter_markers=lambda kind: (mark.mark for mark in marks if mark.name == kind),
        get_closest_marker=lambda kind: next((mark.mark for mark in marks if mark.name == kind), None),
    )


def chosen(items: list[Any]) -> list[Any]:
    """What is not left out."""
    gone = [id(each) for each in left_out(items)]
    return [each for each in items if id(each) not in gone]


def test_what_is_not_marked_is_run() -> None:
    """A test without a mark is run with each of its parameters, one without parameters as well."""
    items = [item("one"), *(item("two", a=a, b=b) for a in "xy" for b in "zw")]
    assert left_out(items) == []


def test_exhaustive_is_left_out() -> None:
    """A test that is marked so is left out, and the same one with other parameters is not."""
    items = [item("one", pytest.mark.exhaustive, a=1), item("one", a=2)]
    assert left_out(items) == items[:1]


@pytest.mark.parametrize("ntests", [4, 5, 9])
def test_one_combination_of_each(ntests: int) -> None:
    """Each test is there once for each of its other parameters; every combination occurs among four of them."""
    spread = pytest.mark.spread("a", "b", "not one of its own")
    items = [
        item(f"test{n}", spread, a=a, b=b, other=other)
        for a, b in itertools.product((1, 2), "xy")
        for n in range(ntests)
        for other in ("left", "right")
    ]
    found = chosen(items)
    assert len(found) == 2 * ntests
    assert {(each.nodeid.partition("[")[0], each.callspec.params["other"]) for each in found} == {
        (f"test.py::test{n}", other) for n in range(ntests) for other in ("left", "right")
    }
    combinations = [(each.callspec.params["a"], each.callspec.params["b"]) for each in found]
    assert set(combinations) == set(itertools.product((1, 2), "xy"))


def test_the_turn_is_of_those_that_have_a_choice() -> None:
    """Tests between them that have no alternatives do not keep the others on the same value."""
    spread = pytest.mark.spread("a")
    items = [
        each
        for n in range(6)
        for each in (*(item(f"test{n}", spread, a=a) for a in (1, 2)), item(f"plain{n}", spread))
    ]
    assert [each.callspec.params["a"] for each in chosen(items) if hasattr(each, "callspec")] == [1, 2] * 3


def test_fewer_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quick run has a quarter of the examples of a property test, a whole one all of them."""
    monkeypatch.setattr(quick, "_quick", False)
    assert quick.examples(400) == 400
    quick.begin(quick=True)
    assert quick.examples(400) == 100
