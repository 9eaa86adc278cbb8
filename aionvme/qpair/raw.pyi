from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray
from typing_extensions import Buffer

from aionvme.qpair.governed import GovernedQueuePair
from aionvme.qpair.request import Completion, Request

_Memory = Buffer | NDArray[Any]

class AdminQueuePair(GovernedQueuePair):
    @property
    def max_transfer_bytes(self) -> int: ...
    def submit_admin(
        self,
        sqe: Buffer,
        *,
        data: _Memory | None = None,
        metadata: _Memory | None = None,
        write: bool = False,
        decode: Callable[[Completion], Any] | None = None,
        value_wanted: bool = True,
        cb_fn: Callable[[Any, Completion], object] | None = None,
        cb_arg: Any = None,
        timeout: float | None = None,
        urgent: bool = False,
        standing: bool = False,
    ) -> Request: ...
