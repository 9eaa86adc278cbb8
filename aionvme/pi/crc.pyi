import numpy as np
from numpy.typing import NDArray

__all__ = ["CRC16", "CRC32C", "CRC32C_BY_TABLE", "CRC64", "guards"]

CRC16: int
CRC32C: int
CRC32C_BY_TABLE: int
CRC64: int

def guards(
    kind: int,
    data: NDArray[np.uint8],
    stride: int,
    length: int,
    tail: NDArray[np.uint8],
    tail_stride: int,
    tail_length: int,
    out: NDArray[np.uint64],
) -> None: ...
