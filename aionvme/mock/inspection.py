"""Owns what tests look at in a mock controller: counters, queues, and what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aionvme.errors import UsageError
from aionvme.mock.inspect import Counters, QueueState

if TYPE_CHECKING:
    from aionvme.mock.admin import Admin
    from aionvme.mock.host_buffer import HostMemoryState
    from aionvme.mock.machine import Machine
    from aionvme.mock.options import MockOptions
    from aionvme.mock.subsystem import Subsystem


class Inspection:
    """The part of `MockController` that changes nothing but what is stored."""

    options: MockOptions
    _machine: Machine
    _admin: Admin
    _subsystem: Subsystem

    @property
    def counters(self) -> Counters:
        """What was counted since the mock was made."""
        with self._machine:
            return Counters(**self._machine.counters())

    def queue(self, qid: int) -> QueueState:
        """The queue with this identifier as it stands.

        Raises:
            UsageError: There never was one.
        """
        state = QueueState.of(self._machine, qid)
        if state is None:
            raise UsageError(f"there never was a submission queue {qid}")
        return state

    @property
    def outstanding(self) -> list[tuple[int, int, int]]:
        """Commands that were fetched and are not complete, those of faults too, as (qid, cid, opcode)."""
        with self._machine:
            return self._machine.outstanding()

    @property
    def host_memory(self) -> HostMemoryState:
        """What the host lent it, and whether it was left alone (host memory buffer)."""
        with self._machine:
            return self._admin.features.buffer.state

    @property
    def num_queues(self) -> int:
        """I/O submission queues that exist."""
        with self._machine:
            return sum(self._machine.has_sq(qid) for qid in range(1, self.options.num_io_queues + 1))

    def peek(self, nsid: int, lba: int, nblocks: int = 1) -> bytes:
        """What is stored in these blocks."""
        with self._machine:
            return self._subsystem.shelf.peek(nsid, lba, nblocks)

    def poke(self, nsid: int, lba: int, data: bytes) -> None:
        """Stores these bytes at a block and on."""
        with self._machine:
            self._subsystem.shelf.poke(nsid, lba, bytes(data))

    def peek_metadata(self, nsid: int, lba: int, nblocks: int = 1) -> bytes:
        """The metadata that is stored with these blocks."""
        with self._machine:
            return self._subsystem.shelf.peek_metadata(nsid, lba, nblocks)

    def poke_metadata(self, nsid: int, lba: int, metadata: bytes) -> None:
        """Stores this metadata with a block and on."""
        with self._machine:
            self._subsystem.shelf.poke_metadata(nsid, lba, bytes(metadata))
