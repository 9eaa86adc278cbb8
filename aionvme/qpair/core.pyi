import asyncio
from typing import Any, Literal, Protocol

from typing_extensions import disjoint_base

from aionvme.qpair.home import Home
from aionvme.qpair.spinning import Spinning

_CompletionMode = Literal["poll", "interrupt", "adaptive", "manual"]

# What a queue pair asks of the controller.
class _Host(Protocol):
    def abort(self, qid: int, cid: int, opcode: int) -> None: ...
    def escalate(self, why: str) -> None: ...

@disjoint_base
class QueuePair(Spinning):
    @property
    def completion(self) -> _CompletionMode: ...
    @property
    def home(self) -> Home: ...
    @property
    def closed(self) -> bool: ...
    @property
    def finishing_for_loop(self) -> bool: ...
    @property
    def counters(self) -> dict[str, int]: ...
    # The last ones are the engine's.
    def __init__(
        self,
        *,
        completion: str = "poll",
        loop: asyncio.AbstractEventLoop | None = None,
        host: _Host | None = None,
        irq_fd: int = -1,
        default_timeout: float | None = 0.0,
        abort_timeout: float = 5.0,
        loop_timeout: float = 5.0,
        batching: bool | None = None,
        name: str | None = None,
        **rings: Any,
    ) -> None: ...
    # None for one that was made without a loop, which only tests do.
    def get_loop(self) -> asyncio.AbstractEventLoop: ...
    def process_completions(self, max_completions: int = 0) -> int: ...
    def begin_finish(self) -> None: ...
    def finish_by(self, seconds: float) -> None: ...
    def _instead(self) -> str: ...
