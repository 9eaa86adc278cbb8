"""Owns what a batch is given and gives as arrays: LBAs, checked all at once, and the statuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from aionvme.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

# numpy is imported when the first batch is made: it takes longer than all the rest of the driver.

#: The number of a command is kept in 32 bits for each slot.
MOST_COMMANDS = (1 << 32) - 1


@attrs.frozen(eq=False)
class BatchResult:
    """What became of the commands of a batch.

    Attributes:
        statuses: The status field of each command, 15 bits, 0 for success (`Status.from_field` has its name and text).
            A command of several pieces has that of the first piece that failed; one that was not executed to its end
            has Command Aborted By Host.
        nfailed: How many are not 0.
    """

    statuses: NDArray[np.uint16] = attrs.field(repr=False)
    nfailed: int

    def __len__(self) -> int:
        """How many commands it had."""
        return len(self.statuses)


def new_statuses(count: int) -> NDArray[np.uint16]:
    """As many statuses, all success."""
    import numpy as np

    return np.zeros(count, np.uint16)


def checked(lbas: ArrayLike, nblocks: int, capacity: int) -> NDArray[np.uint64]:
    """A copy of the first block of each command, of which `nblocks` are within a namespace of `capacity` blocks.

    Raises:
        TypeError: They are no whole numbers.
        UsageError: One is outside, or they are no one-dimensional array.
    """
    import numpy as np

    array: NDArray[Any] = np.asarray(lbas)
    if array.dtype.kind not in "iu":
        raise TypeError(
            f"lbas must be a numpy array of integers, not of {array.dtype}: convert it, as by lbas.astype('uint64')"
        )
    if array.ndim != 1:
        raise UsageError(f"lbas must have one dimension, not {array.ndim}: flatten it, as by lbas.ravel()")
    if array.size > MOST_COMMANDS:
        raise UsageError(f"lbas has {array.size} commands; a batch has at most {MOST_COMMANDS}: make several")
    if array.size and not (array.min() >= 0 and int(array.max()) <= capacity - nblocks):
        numbers = array.tolist()
        index = next(at for at, lba in enumerate(numbers) if not 0 <= lba <= capacity - nblocks)
        raise UsageError(
            f"lbas[{index}]: lba {numbers[index]}, nblocks {nblocks} is outside of the namespace, which has {capacity} "
            "blocks (nblocks counts from 1)"
        )
    return array.astype(np.uint64)
