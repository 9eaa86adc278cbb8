"""Owns faults as they strike: the rules that a plan becomes, and what is not done by compiled code."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs

from aionvme.mock.fault_plan import Fault, FaultKind, FaultPlan, FaultStep

if TYPE_CHECKING:
    from aionvme.mock.admin import Admin
    from aionvme.mock.config_space import ConfigSpace
    from aionvme.mock.machine import Machine
    from aionvme.mock.registers import Registers

__all__ = ["HOLD", "Faults"]

#: As compiled code has the kinds of rules (`RuleKind` in rings.pxd).
HOLD, FAIL, DELAY, REORDER, AFTER_ABORT, AFTER_RESET, TELL, _MARKED = range(8)
_KINDS = {
    FaultKind.STATUS: FAIL,
    FaultKind.DELAY: DELAY,
    FaultKind.REORDERED: REORDER,
    FaultKind.DATA_AFTER_ABORT: AFTER_ABORT,
    FaultKind.COMPLETION_AFTER_RESET: AFTER_RESET,
    FaultKind.STUCK_READY: TELL,
    FaultKind.FATAL_STATUS: TELL,
    FaultKind.ALL_ONES: TELL,
    FaultKind.EVENT_STORM: TELL,
}
# In the order that compiled code has them.
_MARKS = (
    FaultKind.LOST,
    FaultKind.DOUBLED,
    FaultKind.FOREIGN_CID,
    FaultKind.FREE_CID,
    FaultKind.WRONG_SQID,
    FaultKind.BAD_HEAD,
    FaultKind.PHASE_GARBAGE,
    FaultKind.STALE_PHASE,
    FaultKind.CQ_OVERRUN,
    FaultKind.TORN_CQE,
    FaultKind.LOST_INTERRUPT,
    FaultKind.SHORT_DATA,
)
_KINDS |= {kind: _MARKED + 1 + number for number, kind in enumerate(_MARKS)}

_NO_END = (1 << 64) - 1
_ANY = -1
_EVENTS = 1000


@attrs.define
class _Placed:
    """A fault in this controller: the rule that it became, or what is counted of it here."""

    fault: Fault
    rule: int = 0
    seen: int = 0
    taken: int = 0

    def takes(self, step: FaultStep, chance: random.Random) -> bool:
        """Whether this step is one of those that it happens at."""
        fault = self.fault
        if fault.at is not step or (fault.count is not None and self.taken >= fault.count):
            return False
        self.seen += 1
        behind = self.seen - fault.nth
        if behind < 0 or behind % fault.every or chance.random() >= fault.chance:
            return False
        self.taken += 1
        return True


class Faults:
    """The faults of one controller. Everything here is called with the machine standing still."""

    def __init__(self, machine: Machine, registers: Registers, admin: Admin, config: ConfigSpace) -> None:
        self._machine = machine
        self._registers = registers
        self._admin = admin
        self._config = config
        self._numbers = itertools.count(1)
        self._placed: list[_Placed] = []
        self._random = random.Random(0)
        admin.strike = self.strike
        registers.on_step = self.step

    def add(self, plan: FaultPlan) -> None:
        """Places the faults of a plan behind those that there are; its seed counts from now on."""
        self._machine.set_seed(plan.seed)
        self._random.seed(plan.seed)
        for fault in plan.faults:
            placed = _Placed(fault)
            if fault.at is FaultStep.COMMAND:
                placed.rule = self.add_rule(_KINDS[fault.kind], fault)
            self._placed.append(placed)

    def add_rule(self, kind: int, match: Fault) -> int:
        """A rule of this kind for commands that a fault matches; its number."""
        number = next(self._numbers)
        self._machine.add_rule(
            number,
            kind,
            _any(match.qid),
            _any(match.opcode),
            _any(match.nsid),
            match.nth - 1,
            _NO_END if match.count is None else match.count,
            match.status or 0,
            match.every,
            round(match.chance * (1 << 32)),
            _any(match.value),
            round(match.delay * 1e9),
        )
        return number

    def clear(self) -> None:
        """No fault of a plan happens any more."""
        for placed in self._placed:
            if placed.rule:
                self._machine.remove_rule(placed.rule)
        self._placed.clear()
        self._registers.stuck_here = False

    @property
    def strikes(self) -> list[int]:
        """How often each happened, in the order in which they were placed."""
        return [self._machine.rule_taken(one.rule) if one.rule else one.taken for one in self._placed]

    # -- striking ------------------------------------------------------------------------------------------------------

    def step(self, step: FaultStep) -> None:
        """The controller comes to a step of its life."""
        self._registers.stuck_here = False
        for placed in self._placed:
            if placed.takes(step, self._random):
                self._happen(placed.fault)
                return

    def strike(self, rule: int) -> None:
        """A command came that this rule takes."""
        for placed in self._placed:
            if placed.rule == rule:
                self._happen(placed.fault)

    def _happen(self, fault: Fault) -> None:
        if fault.kind is FaultKind.STUCK_READY:
            self._registers.stuck_here = True
        elif fault.kind is FaultKind.FATAL_STATUS:
            self._registers.fail()
        elif fault.kind is FaultKind.ALL_ONES:
            self._registers.remove()
            self._config.removed = True
        else:
            self._admin.events.storm(_EVENTS if fault.value is None else fault.value)


def _any(value: int | None) -> int:
    return _ANY if value is None else value


def plan_of(faults: FaultPlan | Iterable[Fault] | None) -> FaultPlan:
    """A plan, of faults alone as well, or of nothing."""
    if faults is None:
        return FaultPlan()
    return faults if isinstance(faults, FaultPlan) else FaultPlan(faults=tuple(faults))
