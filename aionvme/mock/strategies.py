"""Owns plans of faults for hypothesis: drawn, and shrunk to the few that matter. It needs `hypothesis`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from aionvme.mock.fault_plan import Fault, FaultKind, FaultPlan, FaultStep

__all__ = ["fault_plans", "faults"]

_STEPS = tuple(step for step in FaultStep if step is not FaultStep.COMMAND)


@st.composite
def faults(
    draw: st.DrawFn,
    kinds: Sequence[FaultKind] = tuple(FaultKind),
    *,
    qids: Sequence[int | None] = (None, 0, 1),
    opcodes: Sequence[int | None] = (None, 0, 1, 2),
    most_delay: float = 1.0,
    most_nth: int = 100,
) -> Fault:
    """One fault.

    Args:
        draw: Hypothesis gives it.
        kinds: Those that there may be; the first is the simplest.
        qids, opcodes: What a command may have to have.
        most_delay: Most seconds of `Fault.delay`.
        most_nth: Most of `Fault.nth` and `Fault.every`.
    """
    kind = draw(st.sampled_from(kinds))
    more: dict[str, Any] = {}
    steps = (FaultStep.COMMAND, *_STEPS) if kind in Fault.OF_STEPS else (FaultStep.COMMAND,)
    step = draw(st.sampled_from(steps))
    if step is FaultStep.COMMAND:
        more = {"qid": draw(st.sampled_from(qids)), "opcode": draw(st.sampled_from(opcodes))}
    if kind is FaultKind.STATUS:
        more["status"] = draw(st.sampled_from((0x281, 0x06, 0x80, 0x4002)))
    return Fault(
        kind,
        at=step,
        nth=draw(st.integers(1, most_nth)),
        every=draw(st.integers(1, most_nth)),
        count=draw(st.none() | st.integers(1, 3)),
        delay=draw(st.sampled_from((0.0, most_delay / 100, most_delay))),
        **more,
    )


def fault_plans(
    one: st.SearchStrategy[Fault] | None = None, *, most: int = 4
) -> st.SearchStrategy[FaultPlan]:
    """Plans of at most so many faults, each as `one` draws it (by default `faults()`)."""
    return st.builds(
        FaultPlan,
        faults=st.lists(faults() if one is None else one, max_size=most),
        seed=st.integers(0, (1 << 64) - 1),
    )
