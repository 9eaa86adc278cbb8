"""The I/O addresses of one function: which are ours to use, and which are in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aionvme.pci.extents import Extents

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LOW_LIMIT", "IovaSpace"]

#: Below this an I/O address is used only when nothing above is left: a small number read by mistake as an
#: address then faults in the IOMMU instead of landing in a buffer.
LOW_LIMIT = 64 << 10


class IovaSpace:
    """Chooses I/O addresses within the ranges that the IOMMU reports, low ones first, and never 0.

    Args:
        ranges: (first, last) pairs, both inclusive, in any order.
        page_size: All addresses and lengths are multiples of this many bytes.
    """

    def __init__(self, ranges: Iterable[tuple[int, int]], page_size: int) -> None:
        self._page_size = page_size
        self._extents = Extents()
        for first, last in sorted(ranges):
            # Whole pages only; and 0 means "none" to drivers and devices alike.
            start = max(-(-first // page_size), 1) * page_size
            end = (last + 1) // page_size * page_size
            if start < end:
                self._extents.give(start, end - start)

    def take(self, nbytes: int, align: int = 0) -> int | None:
        """Takes `nbytes` of consecutive addresses, the first a multiple of `align` (0: of the page size).

        Returns:
            The first address, or None where no range has that much left.
        """
        align = max(align, self._page_size)
        iova = self._extents.take(nbytes, align, LOW_LIMIT)
        return self._extents.take(nbytes, align) if iova is None else iova

    def give(self, iova: int, nbytes: int) -> None:
        """Gives back what `take` gave, once nothing is mapped there any more."""
        self._extents.give(iova, nbytes)

    @property
    def free(self) -> int:
        """How many addresses are not in use."""
        return self._extents.free
