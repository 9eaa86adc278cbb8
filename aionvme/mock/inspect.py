"""Owns what tests read of a mock controller, and the handle of commands that they keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from aionvme.mock.machine import Machine

__all__ = ["Counters", "Held", "QueueState"]


@attrs.frozen(kw_only=True)
class Counters:
    """What a mock counted since it was made, over all queues.

    Attributes:
        reads, writes: Commands that read and wrote storage; Compare reads.
        bytes_read, bytes_written: Of these commands.
        errors: Commands that failed by themselves (not by `MockController.fail`).
        bad_doorbell_registers: Stores to doorbells of queues that do not exist.
        bad_doorbell_values: Stores of values that a doorbell can't have.
        parked: How often the thread went to sleep.
    """

    reads: int
    writes: int
    bytes_read: int
    bytes_written: int
    errors: int
    bad_doorbell_registers: int
    bad_doorbell_values: int
    parked: int


@attrs.frozen(kw_only=True)
class QueueState:
    """A submission queue, and the completion queue that it completes into.

    Counters go on over a deletion and a new creation. A completion queue that several submission queues share
    shows the same numbers with each.

    Attributes:
        qid, cqid: Identifiers.
        live: Whether the submission queue exists.
        entries, cq_entries: Sizes.
        qprio: Priority class: 0 urgent to 3 low.
        head, tail, cq_head, cq_tail: Where the controller is.
        fetched: Commands taken.
        doorbells: Changes seen of the tail doorbell.
        opcodes: Commands taken, by opcode.
        posted: Completions stored.
        waiting: Completions that wait for room.
        interrupts: Interrupts signalled.
        vector, ien: Interrupt vector, and whether it is used.
    """

    qid: int
    cqid: int
    live: bool
    entries: int
    cq_entries: int
    qprio: int
    head: int
    tail: int
    cq_head: int
    cq_tail: int
    fetched: int
    doorbells: int
    opcodes: Mapping[int, int]
    posted: int
    waiting: int
    interrupts: int
    vector: int
    ien: bool

    @classmethod
    def of(cls, machine: Machine, qid: int) -> QueueState | None:
        """As it stands; None for a queue that never existed."""
        with machine:
            queue = machine.queue(qid)
            if queue is None:
                return None
            completion = machine.completion_queue(queue["cqid"])
        assert completion is not None
        del completion["live"]
        return cls(**queue, **completion)


class Held:
    """Commands that the mock fetched and keeps. Made by `MockController.hold`; a context manager.

    `release` lets go of what is kept by now, and commands that come later are kept all the same; `stop` keeps no more,
    and lets go of nothing. Leaving the context does both.
    """

    def __init__(self, machine: Machine, rule: int) -> None:
        self._machine = machine
        self._rule = rule

    @property
    def commands(self) -> list[tuple[int, int, int]]:
        """What is kept, as (qid, cid, opcode) in the order of fetching."""
        with self._machine:
            return self._machine.kept(self._rule)

    def release(self, n: int | None = None) -> int:
        """Executes and completes `n` kept commands (None: all), the oldest first; how many there were.

        Those that come later are kept, until `stop`.
        """
        with self._machine:
            return self._machine.release(self._rule, (1 << 63) if n is None else n)

    def stop(self) -> None:
        """Keeps no more of what comes; what is kept stays kept, until `release`."""
        with self._machine:
            self._machine.remove_rule(self._rule)

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()
        self.release()
