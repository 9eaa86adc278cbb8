"""Owns what a quick run (`--quick`: `make test`, CI) leaves out, and that it says so.

Two marks declare it. `exhaustive`: only a whole run has this one. `spread("a", "b")`: with each combination of its
other parameters a quick run has the test once, with one value of `a` and one of `b`. The values are taken in turn from
test to test, so that all of them occur, and the test and what it looks at are never left out. The parameter "loop" is
also the one that `anyloop` makes; flow tests have it spread wherever they have it.

Of a property test with `max_examples=examples(400)` a quick run has a quarter of them, others in each run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

MARKERS = (
    "exhaustive: left out of quick runs (--quick), which are CI's and those of `make test`",
    "spread(*parameters): a quick run has one combination of these parameters, in turn, for each of the others",
)

# By how much a quick run divides the examples of a property test.
FEWER = 4
_quick = False
# What pytest-asyncio calls its parameter.
LOOP = "_asyncio_loop_factory"


def begin(*, quick: bool) -> None:
    """Say which kind of run this is, before a test module is imported."""
    global _quick
    _quick = quick


def examples(count: int) -> int:
    """How many examples of a property test this run has, if a whole run has so many."""
    return count // FEWER if _quick else count


def left_out(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Those of the tests that a quick run does not have, in their order."""
    short = [item for item in items if item.get_closest_marker("exhaustive") is None]
    alternatives: dict[tuple[str, ...], list[pytest.Item]] = {}
    for item in short:
        alternatives.setdefault(_what_it_is(item), []).append(item)
    chosen, turn = set(), 0
    for group in alternatives.values():
        chosen.add(id(group[turn % len(group)]))
        # A test without alternatives takes no turn from the others.
        turn += len(group) > 1
    return [item for item in items if id(item) not in chosen]


def _what_it_is(item: pytest.Item) -> tuple[str, ...]:
    """The same for all those of which a quick run has one."""
    spread = set(_names(item.iter_markers("spread")))
    callspec = getattr(item, "callspec", None)
    parameters: dict[str, Any] = callspec.params if callspec else {}
    if not spread & parameters.keys():
        return (item.nodeid,)
    rest = (f"{name}={value!r}" for name, value in sorted(parameters.items()) if name not in spread)
    return (item.nodeid.partition("[")[0], *rest)


def _names(marks: Iterable[pytest.Mark]) -> Iterable[str]:
    for mark in marks:
        yield from mark.args
        if "loop" in mark.args:
            yield LOOP
