from collections.abc import Iterator
from typing import final

from aionvme.pci.dma import DmaBuffer
from aionvme.perf.pattern import Pattern
from aionvme.perf.tally import Pacer, Tally
from aionvme.perf.walk import Walk
from aionvme.qpair.io import IoQueuePair
from aionvme.qpair.namespace import Namespace

@final
class Slot:
    @property
    def writing(self) -> bool: ...
    def __init__(
        self,
        tally: Tally,
        walk: Walk,
        qp: IoQueuePair,
        ns: Namespace,
        buf: DmaBuffer,
        nblocks: int,
        *,
        mixed: bool,
        pattern: Pattern | None = None,
        pacer: Pacer | None = None,
    ) -> None: ...
    def release(self) -> None: ...
    def failed(self, why: object) -> None: ...
    def start(self) -> None: ...
    def finish(self) -> None: ...
    def __iter__(self) -> Iterator[int]: ...
    def __next__(self) -> int: ...
