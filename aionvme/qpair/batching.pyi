from typing import Any

from numpy.typing import NDArray
from typing_extensions import Buffer

from aionvme.qpair.batches import BatchResult
from aionvme.qpair.namespace import Namespace
from aionvme.qpair.request import Request
from aionvme.qpair.transfer import TransferQueuePair

_Memory = Buffer | NDArray[Any]

class BatchingQueuePair(TransferQueuePair):
    def read_batch(
        self,
        ns: Namespace,
        buf: _Memory,
        lbas: NDArray[Any],
        nblocks: int,
        *,
        queue_depth: int | None = None,
        check: bool = True,
        io_flags: int = 0,
        timeout: float | None = None,
    ) -> Request[BatchResult]: ...
    def write_batch(
        self,
        ns: Namespace,
        buf: _Memory,
        lbas: NDArray[Any],
        nblocks: int,
        *,
        queue_depth: int | None = None,
        check: bool = True,
        io_flags: int = 0,
        timeout: float | None = None,
    ) -> Request[BatchResult]: ...
