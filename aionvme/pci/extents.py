"""A list of free extents, first fit with coalescing: pages of an arena, I/O addresses of an IOMMU."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Extents"]


class Extents:
    """What is free of a space of numbers, as sorted half-open extents of which no two touch."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self.free = 0

    def take(self, size: int, align: int = 1, least: int = 0) -> int | None:
        """Takes the lowest `size` numbers that begin at a multiple of `align`, not below `least`.

        Returns:
            The first of them, or None where nothing fits.
        """
        for index, end in enumerate(self._ends):
            start = max(self._starts[index], least)
            start = (start + align - 1) // align * align
            if start + size <= end:
                self._cut(index, start, start + size)
                return start
        return None

    def give(self, start: int, size: int) -> None:
        """Gives extents back, or adds new ones. `ValueError` if a part of it is free already."""
        end = start + size
        index = bisect_right(self._starts, start)
        before = index > 0 and self._ends[index - 1] >= start
        after = index < len(self._starts) and self._starts[index] <= end
        if (before and self._ends[index - 1] > start) or (after and self._starts[index] < end):
            raise ValueError(f"a part of {start:#x} to {end:#x} is free already")
        self.free += size
        if before and after:
            self._ends[index - 1] = self._ends.pop(index)
            del self._starts[index]
        elif before:
            self._ends[index - 1] = end
        elif after:
            self._starts[index] = start
        else:
            self._starts.insert(index, start)
            self._ends.insert(index, end)

    def _cut(self, index: int, start: int, end: int) -> None:
        first, last = self._starts[index], self._ends[index]
        pieces = [(low, high) for low, high in ((first, start), (end, last)) if low < high]
        self._starts[index : index + 1] = [low for low, _ in pieces]
        self._ends[index : index + 1] = [high for _, high in pieces]
        self.free -= end - start

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The free extents, lowest first, as (start, end)."""
        return zip(self._starts, self._ends, strict=True)
