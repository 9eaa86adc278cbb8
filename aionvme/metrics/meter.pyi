from collections.abc import Callable
from typing import Any

from typing_extensions import disjoint_base

from aionvme.qpair.namespace import Namespace
from aionvme.qpair.tap import Tap

@disjoint_base
class QueueMeter:
    def counts(self) -> dict[str, Any]: ...

@disjoint_base
class Meter(Tap):
    error: Exception | None
    def __init__(self, namespace: Callable[[int], Namespace | None]) -> None: ...
    def counts(self) -> dict[int, dict[str, Any]]: ...
