from collections.abc import Callable
from typing import Any

from aionvme.qpair.tap import Tap

class QueueMeter:
    def counts(self) -> dict[str, Any]: ...

class Meter(Tap):
    error: Exception | None
    def __init__(self, unit_of: Callable[[int], int]) -> None: ...
    def counts(self) -> dict[int, dict[str, Any]]: ...
