from collections.abc import Sequence
from typing import Literal

from aionvme.pci.dma import DmaSpace

def describe(
    kind: Literal["prp", "sgl"],
    space: DmaSpace,
    segments: Sequence[tuple[int, int]],
    offset: int,
    nbytes: int,
    *,
    page_size: int = 4096,
    list_bytes: int = 4096,
    list_iova: int = 0,
    flags: int = 0,
) -> tuple[int, int, tuple[int, int], bytes]: ...
