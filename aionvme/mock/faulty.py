"""Owns how a test makes a mock controller misbehave."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from aionvme.errors import UsageError
from aionvme.mock.fault_plan import Fault, FaultKind, FaultPlan
from aionvme.mock.inspect import Held
from aionvme.mock.striking import FAIL, HOLD, plan_of
from aionvme.spec.status import Status, StatusCode

if TYPE_CHECKING:
    from aionvme.mock.machine import Machine
    from aionvme.mock.registers import Registers
    from aionvme.mock.striking import Faults

__all__ = ["Faulty"]


class Faulty:
    """A part of `MockController`."""

    _machine: Machine
    _registers: Registers
    _faults: Faults
    _silent = False

    def add_faults(self, faults: FaultPlan | Iterable[Fault]) -> None:
        """Has these go wrong as well, from now on; what was added before comes first."""
        with self._machine:
            self._faults.add(plan_of(faults))

    def clear_faults(self) -> None:
        """Ends all faults of plans. What they keep or have lost already stays so until a reset."""
        with self._machine:
            self._faults.clear()

    @property
    def strikes(self) -> list[int]:
        """How often each fault of the plans happened so far, in the order in which they were added."""
        with self._machine:
            return self._faults.strikes

    def hold(
        self,
        *,
        qid: int | None = None,
        opcode: int | None = None,
        nsid: int | None = None,
        count: int | None = None,
    ) -> Held:
        """Keeps commands that match (None: any) after fetching them, `count` at most. Abort aborts them.

        With none of these it keeps admin commands as well, Aborts and those of `close` among them: a device that hangs.
        Use `with mock.hold(...) as held`, or `held.stop()` and `held.release()`: `release` alone goes on keeping.

        Args:
            qid: Queue that matches, 0 for admin commands.
            opcode: Opcode that matches.
            nsid: Namespace that matches.
            count: How many are kept at most; None for all from now on.
        """
        fault = Fault(FaultKind.DELAY, qid=qid, opcode=opcode, nsid=nsid, count=count)
        with self._machine:
            return Held(self._machine, self._faults.add_rule(HOLD, fault))

    def fail(
        self,
        status: StatusCode | Status | int,
        *,
        qid: int | None = None,
        opcode: int | None = None,
        nsid: int | None = None,
        nth: int = 1,
        count: int | None = 1,
        dnr: bool | None = None,
    ) -> None:
        """Completes commands that match with this status, without executing them.

        Args:
            status: A code (sct << 8 | sc), or a whole status field.
            qid: Queue that matches; None: any.
            opcode: Opcode that matches; None: any.
            nsid: Namespace that matches; None: any.
            nth: The first that fails, counted from 1 among those that match from now on.
            count: How many fail, None for all from then on.
            dnr: Do not retry; None: as `status` says.
        """
        field = int(status)
        if dnr is not None:
            field = field & ~(1 << 14) | dnr << 14
        fault = Fault(FaultKind.STATUS, status=field, qid=qid, opcode=opcode, nsid=nsid, nth=nth, count=count)
        with self._machine:
            self._faults.add_rule(FAIL, fault)

    @property
    def silent(self) -> bool:
        """Everything is fetched and nothing completed, admin commands and Abort too. Registers still work."""
        return self._silent

    @silent.setter
    def silent(self, on: bool) -> None:
        with self._machine:
            self._silent = bool(on)
            self._machine.set_silent(self._silent)

    @property
    def stuck(self) -> bool:
        """CSTS.RDY never changes any more."""
        return self._registers.stuck

    @stuck.setter
    def stuck(self, on: bool) -> None:
        with self._machine:
            self._registers.stuck = bool(on)

    def fatal(self, *, lasting: bool = False) -> None:
        """CSTS.CFS is set and nothing is executed until the controller is reset; `lasting`: again each time it is."""
        self._registers.fatal = lasting
        self._registers.fail()

    def inject_cqe(
        self,
        qid: int,
        *,
        cid: int,
        sqid: int | None = None,
        sqhd: int = 0,
        status: int = 0,
        dw0: int = 0,
        dw1: int = 0,
    ) -> None:
        """Posts a completion that no command asked for into completion queue `qid`, with its right phase.

        Args:
            qid: Completion queue.
            cid: Command identifier.
            sqid: Submission queue that it names; None for `qid`.
            sqhd: Submission queue head.
            status: Status field, 15 bits.
            dw0: Dword 0.
            dw1: Dword 1.
        """
        with self._machine:
            if not self._machine.has_cq(qid):
                raise UsageError(f"there is no completion queue {qid}")
            self._machine.inject(qid, cid, qid if sqid is None else sqid, sqhd, int(status), dw0, dw1)
