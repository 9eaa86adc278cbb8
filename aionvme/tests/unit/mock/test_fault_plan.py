"""Fault plans as data: what can be said, how it is kept, and which commands it is of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import find, given, settings

from aionvme.errors import AddressError, UsageError
from aionvme.mock import Fault, FaultPlan, MockController
from aionvme.mock.strategies import fault_plans, faults
from aionvme.tests.unit.mock.raw import Raw

Make = Callable[..., Raw]
READ = 2


@given(fault_plans())
@settings(max_examples=50, deadline=None)
def test_plan_as_json(plan: FaultPlan) -> None:
    """A plan is the same when it comes back."""
    assert FaultPlan.from_json(plan.to_json()) == plan


def test_plans_shrink() -> None:
    """Hypothesis finds a plan in which the fault that matters is as plain as can be, and no other is less so."""
    found = find(fault_plans(), lambda plan: any(fault.kind == "torn_cqe" for fault in plan.faults))
    assert found.faults[-1] == Fault("torn_cqe", delay=0.0, count=None)
    assert all(
        attrs.evolve(fault, kind="torn_cqe", status=None) == found.faults[-1] for fault in found.faults
    )


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"kind": "lots"}, "there is no fault 'lots'"),
        ({"kind": "lost", "at": "noon"}, "there is no step 'noon'"),
        ({"kind": "lost", "at": "enable"}, "is one of stuck_ready"),
        ({"kind": "all_ones", "at": "enable", "qid": 1}, "has no qid"),
        ({"kind": "lost", "nth": 0}, "nth of a fault must be from 1"),
        ({"kind": "lost", "chance": 2}, "chance of a fault must be from 0 to 1"),
        ({"kind": "lost", "opcode": 256}, "opcode of a fault"),
        ({"kind": "lost", "qid": "1"}, "whole number"),
        ({"kind": "lost", "status": 1}, "status goes with"),
        ({"kind": "status"}, "status goes with"),
    ],
)
def test_faults_that_cannot_be(keywords: dict[str, Any], text: str) -> None:
    """The message says what can be."""
    with pytest.raises(UsageError, match=text):
        Fault(**keywords)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "is JSON"),
        ("[]", "is written"),
        ('{"fault": []}', "is written"),
        ('{"faults": [{"kind": "lost", "when": 1}]}', "has the keys kind"),
        ('{"faults": [{"kind": "lots"}]}', "no fault 'lots'"),
        ('{"seed": -1}', "seed"),
    ],
)
def test_files_that_are_no_plan(tmp_path: Path, content: str, text: str) -> None:
    """The message names the file, and the address's option says the same."""
    path = tmp_path / "plan.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=rf"plan\.json.*{text}"):
        FaultPlan.load(path)
    with pytest.raises(AddressError, match=text):
        MockController.from_options({"faults": str(path)})
    with pytest.raises(UsageError, match="can't be read"):
        FaultPlan.load(tmp_path / "other.json")


def test_option_of_an_address(tmp_path: Path) -> None:
    """The faults of a file are the mock's."""
    path = tmp_path / "plan.json"
    path.write_text(FaultPlan(faults=[Fault("status", status=0x281, opcode=READ)]).to_json())
    with MockController.from_options({"faults": str(path), "drive": "loop"}) as mock:
        assert mock.strikes == [0]


def _statuses(raw: Raw, count: int) -> str:
    queue = raw.create(1)
    codes = (queue.run(READ, nsid=1, prp1=raw.page_iova).status for _ in range(count))
    return "".join(".x"[bool(code)] for code in codes)


def test_nth_every_and_count(make: Make) -> None:
    """The nth that matches, from then on every so manieth, so many in all; the first fault has a command."""
    raw = make(
        faults=[
            Fault("status", status=0x281, qid=1, nth=3, every=4, count=2),
            Fault("status", status=0x280, qid=1, nth=9),
        ]
    )
    assert _statuses(raw, 12) == "..x...x...x."
    assert raw.mock.strikes == [2, 1]
    raw.mock.clear_faults()
    assert raw.mock.strikes == []


def test_chance_is_replayed(make: Make) -> None:
    """The same seed takes the same commands, another takes others, about as many as the chance says."""

    def once(seed: int) -> str:
        fault = Fault("status", status=0x281, qid=1, chance=0.25, count=None)
        return _statuses(make(faults=FaultPlan(faults=[fault], seed=seed)), 200)

    assert once(1) == once(1)
    assert once(1) != once(2)
    assert 25 <= once(1).count("x") <= 80


@given(faults())
@settings(max_examples=20, deadline=None)
def test_every_kind_is_placed(fault: Fault) -> None:
    """A mock takes every fault that there can be."""
    with MockController(drive="step", faults=[fault]) as mock:
        assert mock.strikes == [0]
