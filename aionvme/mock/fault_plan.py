"""Owns `Fault` and `FaultPlan`: what goes wrong in a mock controller, as data."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

import attrs

from aionvme.errors import UsageError

__all__ = ["Fault", "FaultKind", "FaultPlan", "FaultStep"]


class FaultKind(StrEnum):
    """What goes wrong. docs/faults.md says of each what a driver can know of it, and what ours does."""

    STATUS = "status"
    DELAY = "delay"
    LOST = "lost"
    DOUBLED = "doubled"
    REORDERED = "reordered"
    FOREIGN_CID = "foreign_cid"
    FREE_CID = "free_cid"
    WRONG_SQID = "wrong_sqid"
    BAD_HEAD = "bad_head"
    PHASE_GARBAGE = "phase_garbage"
    STALE_PHASE = "stale_phase"
    CQ_OVERRUN = "cq_overrun"
    TORN_CQE = "torn_cqe"
    STUCK_READY = "stuck_ready"
    FATAL_STATUS = "fatal_status"
    ALL_ONES = "all_ones"
    LOST_INTERRUPT = "lost_interrupt"
    EVENT_STORM = "event_storm"
    SHORT_DATA = "short_data"
    DATA_AFTER_ABORT = "data_after_abort"
    COMPLETION_AFTER_RESET = "completion_after_reset"


class FaultStep(StrEnum):
    """When: as a command is fetched, or as the controller is enabled, gets ready, is disabled or shut down."""

    COMMAND = "command"
    ENABLE = "enable"
    READY = "ready"
    DISABLE = "disable"
    SHUTDOWN = "shutdown"


def _within(low: float, high: float) -> Any:
    def check(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise UsageError(f"{attribute.name} of a fault must be from {low} to {high}, not {value!r}")

    return check


def _whole(low: int, high: int) -> Any:
    whole = attrs.validators.instance_of(int)

    def check(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        try:
            whole(instance, attribute, value)
        except TypeError:
            raise UsageError(f"{attribute.name} of a fault must be a whole number, not {value!r}") from None
        _within(low, high)(instance, attribute, value)

    return check


def _maybe(low: int, high: int) -> Any:
    return attrs.validators.optional(_whole(low, high))


def _kind(value: Any) -> FaultKind:
    try:
        return FaultKind(value)
    except ValueError:
        raise UsageError(f"there is no fault {value!r}. There are {', '.join(FaultKind)}") from None


def _step(value: Any) -> FaultStep:
    try:
        return FaultStep(value)
    except ValueError:
        raise UsageError(f"there is no step {value!r}. There are {', '.join(FaultStep)}") from None


def _number(value: Any) -> Any:
    return None if value is None else int(value)


@attrs.frozen
class Fault:
    """One thing that goes wrong, and with which commands (or other steps) it does.

    Attributes:
        kind: What; a `FaultKind` or its name.
        at: When; a `FaultStep` or its name. Steps other than "command" are for `STUCK_READY`, `FATAL_STATUS` and
            `ALL_ONES`, and match no queue, opcode or namespace.
        qid, opcode, nsid: What a command must have; None for any.
        nth: The first that it happens to, counted from 1 among those that match.
        every: From then on it happens to every so manieth.
        count: How many times in all; None for no end.
        chance: With which chance it happens to one of these, as the plan's seed has it.
        status: Of `STATUS`: a code (sct << 8 | sc), or a whole status field of 15 bits.
        delay: Seconds. Of `DELAY` until the command is executed, of `REORDERED` at most; of `TORN_CQE` until the rest
            of the completion comes, of `DATA_AFTER_ABORT` until the data do.
        value: Of `REORDERED` how many completions pass it (1); of `FOREIGN_CID`, `WRONG_SQID` and `BAD_HEAD` the wrong
            number; of `CQ_OVERRUN` how often the completion is stored (once more than there are entries); of
            `SHORT_DATA` how many bytes are moved (0); of `EVENT_STORM` how many events (1000).

    Raises:
        UsageError: A value that can't be; the message says what can.
    """

    OF_STEPS: ClassVar = (FaultKind.STUCK_READY, FaultKind.FATAL_STATUS, FaultKind.ALL_ONES)

    kind: FaultKind = attrs.field(converter=_kind)
    at: FaultStep = attrs.field(default=FaultStep.COMMAND, converter=_step, kw_only=True)
    qid: int | None = attrs.field(default=None, validator=_maybe(0, 0xFFFF), kw_only=True)
    opcode: int | None = attrs.field(default=None, converter=_number, validator=_maybe(0, 0xFF), kw_only=True)
    nsid: int | None = attrs.field(default=None, validator=_maybe(0, 0xFFFFFFFF), kw_only=True)
    nth: int = attrs.field(default=1, validator=_whole(1, 1 << 62), kw_only=True)
    every: int = attrs.field(default=1, validator=_whole(1, 1 << 62), kw_only=True)
    count: int | None = attrs.field(default=1, validator=_maybe(1, 1 << 62), kw_only=True)
    chance: float = attrs.field(default=1.0, validator=_within(0, 1), kw_only=True)
    status: int | None = attrs.field(
        default=None, converter=_number, validator=_maybe(0, 0x7FFF), kw_only=True
    )
    delay: float = attrs.field(default=0.001, validator=_within(0, 1e6), kw_only=True)
    value: int | None = attrs.field(default=None, validator=_maybe(0, 1 << 62), kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.at is not FaultStep.COMMAND:
            if self.kind not in self.OF_STEPS:
                raise UsageError(
                    f"a fault at {self.at!r} is one of {', '.join(self.OF_STEPS)}, not {self.kind}"
                )
            if (self.qid, self.opcode, self.nsid) != (None, None, None):
                raise UsageError(f"a fault at {self.at!r} has no qid, opcode or nsid: these are of commands")
        if (self.kind is FaultKind.STATUS) != (self.status is not None):
            raise UsageError('status goes with kind "status", and with no other')

    def to_dict(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON has it."""
        values = attrs.asdict(self)
        return {
            field.name: values[field.name]
            for field in attrs.fields(Fault)
            if field.name == "kind" or values[field.name] != field.default
        }


def _faults(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    made = tuple(faults)
    for fault in made:
        if not isinstance(fault, Fault):
            raise TypeError(f"a fault plan has faults (aionvme.mock.Fault), not {fault!r}")
    return made


@attrs.frozen
class FaultPlan:
    """All that goes wrong in one mock controller. The first fault that matches a command has it.

    The same plan, given to the same mock and driven the same way, does the same.

    Attributes:
        faults: The faults.
        seed: What `Fault.chance` and all that is random in them goes by.
    """

    faults: tuple[Fault, ...] = attrs.field(default=(), converter=_faults)
    seed: int = attrs.field(default=0, validator=_whole(0, (1 << 64) - 1))

    def to_json(self) -> str:
        """As JSON, to be kept in a file and given to `aionvme mock serve --faults`."""
        return json.dumps({"seed": self.seed, "faults": [fault.to_dict() for fault in self.faults]}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> FaultPlan:
        """From what `to_json` gave.

        Raises:
            UsageError: It is no such plan; the message says where.
        """
        try:
            plan = json.loads(text)
        except ValueError as error:
            raise UsageError(f"a fault plan is JSON, which this is not: {error}") from None
        if not isinstance(plan, dict) or plan.keys() - {"seed", "faults"}:
            raise UsageError('a fault plan is written {"seed": 0, "faults": [{"kind": "lost", "opcode": 2}]}')
        try:
            return cls(faults=[Fault(**fault) for fault in plan.get("faults", ())], seed=plan.get("seed", 0))
        except TypeError as error:
            names = ", ".join(field.name for field in attrs.fields(Fault))
            raise UsageError(f"a fault has the keys {names}: {error}") from None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FaultPlan:
        """From a file.

        Raises:
            UsageError: It can't be read, or is no plan.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = "it is no text" if isinstance(error, UnicodeDecodeError) else error.strerror
            raise UsageError(f"the fault plan {os.fspath(path)} can't be read: {why}") from error
        try:
            return cls.from_json(text)
        except UsageError as error:
            raise UsageError(f"{os.fspath(path)}: {error}") from None
