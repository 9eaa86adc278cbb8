"""Owns `BorrowedFunction`: the function of another process; this one has its doorbells and a range of IOVAs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aionvme.errors import UsageError
from aionvme.pci.function import Function

if TYPE_CHECKING:
    from aionvme.sharing.connection import Connection
    from aionvme.sharing.facts import Facts

__all__ = ["BorrowedFunction"]

# The owner clears and pins memory that it maps: so many bytes a second at least.
_BYTES_PER_SECOND = 1 << 30


class BorrowedFunction(Function):
    """What queue pairs and DMA memory need of a function, behind the seam. The rest of it is the owner's.

    Args:
        facts: What the owner says of it.
        connection: To the owner.
    """

    def __init__(self, facts: Facts, connection: Connection) -> None:
        super().__init__(facts.pci_dev)
        self._facts = facts
        self._connection = connection

    def map_doorbells(self, files: list[tuple[int, int, int, int]]) -> None:
        """Maps what the owner gave: (descriptor, offset in it, offset in BAR 0, bytes) each.

        Raises:
            OSError: The kernel refused.
        """
        for fd, offset, start, nbytes in files:
            self._map_more(fd, offset, nbytes, start, start)

    @property
    def bar_bytes(self) -> int:
        """Bytes of BAR 0."""
        return self._facts.bar_bytes

    @property
    def arena_size(self) -> int:
        """Bytes of memory that are best mapped at a time."""
        return self._facts.arena_size

    def iova_ranges(self) -> list[tuple[int, int]]:
        """The range that the owner lends to this process alone."""
        return [(self._facts.iova, self._facts.iova + self._facts.iova_nbytes - 1)]

    def map_dma(self, address: int, nbytes: int, iova: int, *, fd: int = -1, offset: int = 0) -> None:
        """Has the owner let the device reach this memory, by its file.

        Raises:
            UsageError: It has no file, as memory of the caller's own has none.
            ControllerLostError: The owner is gone.
            OSError, AddressError, MemoryError: The owner could not map it.
        """
        if fd < 0 or offset:
            raise UsageError(
                f"{self._facts.name}: it is another process's, which reaches memory of dma_alloc() alone: "
                "copy into such"
            )
        self._connection.ask(
            "map", fds=[fd], more_patience=nbytes / _BYTES_PER_SECOND, iova=iova, nbytes=nbytes
        )

    def unmap_dma(self, iova: int, nbytes: int) -> None:
        """Takes back what one `map_dma` gave. When it returns the device can no longer reach the memory.

        Raises:
            ControllerLostError: The owner is gone: whether the device reaches it is not known.
            OSError: The owner's kernel refused.
        """
        self._connection.ask("unmap", iova=iova, nbytes=nbytes)
