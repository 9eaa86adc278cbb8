from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from numpy.typing import NDArray
from typing_extensions import Buffer

from aionvme.qpair.namespace import Namespace
from aionvme.qpair.request import Completion, Request
from aionvme.qpair.reserving import ReservingQueuePair
from aionvme.qpair.sgl import SglCallbacks

_Arg = TypeVar("_Arg")
_Memory = Buffer | NDArray[Any]
# (address, nbytes) is memory of this process; an address of None is a bit bucket.
_Iov = Iterable[_Memory | tuple[int | None, int]] | SglCallbacks
_WhenFull = Literal["error"] | None

class IoQueuePair(ReservingQueuePair):
    def read(
        self,
        ns: Namespace,
        buf: _Memory,
        lba: int,
        nblocks: int,
        *,
        io_flags: int = 0,
        metadata: _Memory | None = None,
        app_tag: int = 0,
        app_mask: int = 0,
        ref_tag: int | None = None,
        storage_tag: int = 0,
        dtype: int = 0,
        dspec: int = 0,
        sgl: bool | None = None,
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
        metadata: _Memory | None = None,
        app_tag: int = 0,
        app_mask: int = 0,
        ref_tag: int | None = None,
        storage_tag: int = 0,
        dtype: int = 0,
        dspec: int = 0,
        sgl: bool | None = None,
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
        metadata: _Memory | None = None,
        app_tag: int = 0,
        app_mask: int = 0,
        ref_tag: int | None = None,
        storage_tag: int = 0,
        dtype: int = 0,
        dspec: int = 0,
        sgl: bool | None = None,
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
        metadata: _Memory | None = None,
        app_tag: int = 0,
        app_mask: int = 0,
        ref_tag: int | None = None,
        storage_tag: int = 0,
        dtype: int = 0,
        dspec: int = 0,
        sgl: bool | None = None,
        timeout: float | None = None,
        when_full: _WhenFull = None,
    ) -> Request[Completion[None]]: ...
    def compare(
        self,
        ns: Namespace,
        buf: _Memory,
        lba: int,
        nblocks: int,
        *,
        io_flags: int = 0,
        metadata: _Memory | None = None,
        app_tag: int = 0,
        app_mask: int = 0,
        ref_tag: int | None = None,
        storage_tag: int = 0,
        dtype: int = 0,
        dspec: int = 0,
        sgl: bool | None = None,
        timeout: float | None = None,
    ) -> Request[Completion[None]]: ...
    def submit_compare(
        self,
        ns: Namespace,
        buf: _Memory,
        lba: int,
        nblocks: int,
        cb_fn: Callable[[_Arg, Completion[None]], object] | None = None,
        cb_arg: _Arg = None,  # type: ignore[assignment]
        *,
        io_flags: int = 0,
        metadata: _Memory | None = None,
        app_tag: int = 0,
        app_mask: int = 0,
        ref_tag: int | None = None,
        storage_tag: int = 0,
        dtype: int = 0,
        dspec: int = 0,
        sgl: bool | None = None,
        timeout: float | None = None,
        when_full: _WhenFull = None,
    ) -> Request[Completion[None]]: ...
    def readv(
        self,
        ns: Namespace,
        iov: _Iov,
        lba: int,
        nblocks: int,
        *,
        io_flags: int = 0,
        metadata: _Memory | None = None,
        app_tag: int = 0,
        app_mask: int = 0,
        ref_tag: int | None = None,
        storage_tag: int = 0,
        dtype: int = 0,
        dspec: int = 0,
        sgl: bool | None = None,
        bounce: bool = False,
        timeout: float | None = None,
    ) -> Request[Completion[None]]: ...
    def submit_readv(
        self,
        ns: Namespace,
        iov: _Iov,
        lba: int,
        nblocks: int,
        cb_fn: Callable[[_Arg, Completion[None]], object] | None = None,
        cb_arg: _Arg = None,  # type: ignore[assignment]
        *,
        io_flags: int = 0,
        metadata: _Memory | None = None,
        app_tag: int = 0,
        app_mask: int = 0,
        ref_tag: int | None = None,
        storage_tag: int = 0,
        dtype: int = 0,
        dspec: int = 0,
        sgl: bool | None = None,
        bounce: bool = False,
        timeout: float | None = None,
        when_full: _WhenFull = None,
    ) -> Request[Completion[None]]: ...
    def writev(
        self,
        ns: Namespace,
        iov: _Iov,
        lba: int,
        nblocks: int,
        *,
        io_flags: int = 0,
        metadata: _Memory | None = None,
        app_tag: int = 0,
        app_mask: int = 0,
        ref_tag: int | None = None,
        storage_tag: int = 0,
        dtype: int = 0,
        dspec: int = 0,
        sgl: bool | None = None,
        bounce: bool = False,
        timeout: float | None = None,
    ) -> Request[Completion[None]]: ...
    def submit_writev(
        self,
        ns: Namespace,
        iov: _Iov,
        lba: int,
        nblocks: int,
        cb_fn: Callable[[_Arg, Completion[None]], object] | None = None,
        cb_arg: _Arg = None,  # type: ignore[assignment]
        *,
        io_flags: int = 0,
        metadata: _Memory | None = None,
        app_tag: int = 0,
        app_mask: int = 0,
        ref_tag: int | None = None,
        storage_tag: int = 0,
        dtype: int = 0,
        dspec: int = 0,
        sgl: bool | None = None,
        bounce: bool = False,
        timeout: float | None = None,
        when_full: _WhenFull = None,
    ) -> Request[Completion[None]]: ...
    def comparev(
        self,
        ns: Namespace,
        iov: _Iov,
        lba: int,
        nblocks: int,
        *,
        io_flags: int = 0,
        metadata: _Memory | None = None,
        app_tag: int = 0,
        app_mask: int = 0,
        ref_tag: int | None = None,
        storage_tag: int = 0,
        dtype: int = 0,
        dspec: int = 0,
        sgl: bool | None = None,
        bounce: bool = False,
        timeout: float | None = None,
    ) -> Request[Completion[None]]: ...
    def submit_comparev(
        self,
        ns: Namespace,
        iov: _Iov,
        lba: int,
        nblocks: int,
        cb_fn: Callable[[_Arg, Completion[None]], object] | None = None,
        cb_arg: _Arg = None,  # type: ignore[assignment]
        *,
        io_flags: int = 0,
        metadata: _Memory | None = None,
        app_tag: int = 0,
        app_mask: int = 0,
        ref_tag: int | None = None,
        storage_tag: int = 0,
        dtype: int = 0,
        dspec: int = 0,
        sgl: bool | None = None,
        bounce: bool = False,
        timeout: float | None = None,
        when_full: _WhenFull = None,
    ) -> Request[Completion[None]]: ...
    def flush(
        self,
        ns: Namespace,
        *,
        timeout: float | None = None,
    ) -> Request[Completion[None]]: ...
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
        metadata: _Memory | None = None,
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
        metadata: _Memory | None = None,
        write: bool = False,
        timeout: float | None = None,
        when_full: _WhenFull = None,
    ) -> Request[Completion[None]]: ...
    async def close(self) -> None: ...
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
