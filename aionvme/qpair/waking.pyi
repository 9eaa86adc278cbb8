from collections.abc import Callable

from typing_extensions import disjoint_base

from aionvme.qpair.engine import Engine

@disjoint_base
class Waking(Engine):
    def use_interrupt(self, irq_fd: int) -> None: ...
    def look(self) -> bool: ...

def call_weakly(method: Callable[[], Callable[[], None] | None]) -> None: ...
