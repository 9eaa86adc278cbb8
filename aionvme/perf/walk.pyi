from typing import final

import numpy as np
from numpy.typing import NDArray

@final
class Walk:
    def __init__(
        self,
        first: int,
        nblocks: int,
        step: int,
        *,
        random: bool,
        read_percent: int,
        seed: int,
        part: int = 0,
        parts: int = 1,
    ) -> None: ...
    def take(self, count: int) -> NDArray[np.uint64]: ...
    def take_mixed(self, count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]: ...
