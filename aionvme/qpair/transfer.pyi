from typing import Any

from typing_extensions import disjoint_base

from aionvme.qpair.core import QueuePair
from aionvme.qpair.limits import Limits
from aionvme.qpair.request import Request

@disjoint_base
class TransferQueuePair(QueuePair):
    @property
    def limits(self) -> Limits: ...
    # The others are those of a QueuePair.
    def __init__(self, *, limits: Limits, **others: Any) -> None: ...
    def _choose_pointers(self, request: Request, sgl: bool | None) -> None: ...
    def _direct(self, request: Request, opcode: int, dtype: int, dspec: int) -> None: ...
