from typing_extensions import disjoint_base

from aionvme.pci.dma import DmaBuffer, DmaSpace
from aionvme.pci.function import Function
from aionvme.qpair.pieces import Pieces

@disjoint_base
class RingPair(Pieces):
    @property
    def qid(self) -> int: ...
    @property
    def depth(self) -> int: ...
    @property
    def sq_iova(self) -> int: ...
    @property
    def cq_iova(self) -> int: ...
    @property
    def entries(self) -> int: ...
    def __init__(
        self,
        *,
        function: Function,
        dma: DmaSpace,
        qid: int,
        depth: int,
        entries: int,
        page_size: int,
        max_transfer: int,
        sq_doorbell: int,
        cq_doorbell: int,
    ) -> None: ...
    def leave_shadows(self) -> None: ...
    def _lay_out(self, sq_memory: object) -> None: ...
    def _shadow(self, shadows: DmaBuffer, events: DmaBuffer, first_doorbell: int) -> None: ...
