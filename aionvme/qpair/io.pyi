import enum
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from numpy.typing import NDArray
from typing_extensions import Buffer

from aionvme.qpair.core import QueuePair
from aionvme.qpair.namespace import Namespace
from aionvme.qpair.request import Completion, Request

_Arg = TypeVar("_Arg")
_Memory = Buffer | NDArray[Any]
_WhenFull = Literal["error"] | None

class IoFlags(enum.IntFlag):
    FORCE_UNIT_ACCESS = 0x40000000
    LIMITED_RETRY = 0x80000000

class IoQueuePair(QueuePair):
    def read(
        self,
        ns: Namespace,
        buf: _Memory,
        lba: int,
        nblocks: int,
        *,
        io_flags: int = 0,
        timeout: float | None = None,
    ) -> Request[Completion[None]]: ...
    def submit_read(
        self,
        ns: Namespace,
        buf: _Memory,
        lba: int,
        nblocks: int,
        cb_fn: Callable[[_Arg, Completion[None]], object] | None = None,
        cb_arg: _Arg = None,  # type: ignore[assignment]
        *,
        io_flags: int = 0,
        timeout: float | None = None,
        when_full: _WhenFull = None,
    ) -> Request[Completion[None]]: ...
    def write(
        self,
        ns: Namespace,
        buf: _Memory,
        lba: int,
        nblocks: int,
        *,
        io_flags: int = 0,
        timeout: float | None = None,
    ) -> Request[Completion[None]]: ...
    def submit_write(
        self,
        ns: Namespace,
        buf: _Memory,
        lba: int,
        nblocks: int,
        cb_fn: Callable[[_Arg, Completion[None]], object] | None = None,
        cb_arg: _Arg = None,  # type: ignore[assignment]
        *,
        io_flags: int = 0,
        timeout: float | None = None,
        when_full: _WhenFull = None,
    ) -> Request[Completion[None]]: ...
    def flush(self, ns: Namespace, *, timeout: float | None = None) -> Request[Completion[None]]: ...
    def submit_flush(
        self,
        ns: Namespace,
        cb_fn: Callable[[_Arg, Completion[None]], object] | None = None,
        cb_arg: _Arg = None,  # type: ignore[assignment]
        *,
        timeout: float | None = None,
        when_full: _WhenFull = None,
    ) -> Request[Completion[None]]: ...
    def io_raw(
        self,
        sqe: Buffer,
        *,
        data: _Memory | None = None,
        write: bool = False,
        timeout: float | None = None,
    ) -> Request[Completion[None]]: ...
    def submit_io_raw(
        self,
        sqe: Buffer,
        cb_fn: Callable[[_Arg, Completion[None]], object] | None = None,
        cb_arg: _Arg = None,  # type: ignore[assignment]
        *,
        data: _Memory | None = None,
        write: bool = False,
        timeout: float | None = None,
        when_full: _WhenFull = None,
    ) -> Request[Completion[None]]: ...
    async def close(self) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

class AdminQueuePair(QueuePair):
    def submit_admin(
        self,
        sqe: Buffer,
        *,
        data: _Memory | None = None,
        write: bool = False,
        decode: Callable[[Completion], Any] | None = None,
        value_wanted: bool = True,
        cb_fn: Callable[[Any, Completion], object] | None = None,
        cb_arg: Any = None,
        timeout: float | None = None,
        urgent: bool = False,
    ) -> Request: ...
