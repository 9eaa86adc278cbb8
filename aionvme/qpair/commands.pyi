from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeVar

from numpy.typing import NDArray
from typing_extensions import Buffer

from aionvme.qpair.batching import BatchingQueuePair
from aionvme.qpair.namespace import Namespace
from aionvme.qpair.request import Completion, Request

_Arg = TypeVar("_Arg")
_Memory = Buffer | NDArray[Any]
# (lba, nblocks) pairs.
_Ranges = Iterable[Sequence[int]] | NDArray[Any]
_WhenFull = Literal["error"] | None

class CommandQueuePair(BatchingQueuePair):
    def write_zeroes(
        self,
        ns: Namespace,
        lba: int,
        nblocks: int,
        *,
        deallocate: bool = False,
        io_flags: int = 0,
        ref_tag: int | None = None,
        app_tag: int = 0,
        app_mask: int = 0,
        storage_tag: int = 0,
        timeout: float | None = None,
    ) -> Request[Completion[None]]: ...
    def submit_write_zeroes(
        self,
        ns: Namespace,
        lba: int,
        nblocks: int,
        cb_fn: Callable[[_Arg, Completion[None]], object] | None = None,
        cb_arg: _Arg = None,  # type: ignore[assignment]
        *,
        deallocate: bool = False,
        io_flags: int = 0,
        ref_tag: int | None = None,
        app_tag: int = 0,
        app_mask: int = 0,
        storage_tag: int = 0,
        timeout: float | None = None,
        when_full: _WhenFull = None,
    ) -> Request[Completion[None]]: ...
    def write_uncorrectable(
        self,
        ns: Namespace,
        lba: int,
        nblocks: int,
        *,
        timeout: float | None = None,
    ) -> Request[Completion[None]]: ...
    def submit_write_uncorrectable(
        self,
        ns: Namespace,
        lba: int,
        nblocks: int,
        cb_fn: Callable[[_Arg, Completion[None]], object] | None = None,
        cb_arg: _Arg = None,  # type: ignore[assignment]
        *,
        timeout: float | None = None,
        when_full: _WhenFull = None,
    ) -> Request[Completion[None]]: ...
    def verify(
        self,
        ns: Namespace,
        lba: int,
        nblocks: int,
        *,
        io_flags: int = 0,
        ref_tag: int | None = None,
        app_tag: int = 0,
        app_mask: int = 0,
        storage_tag: int = 0,
        timeout: float | None = None,
    ) -> Request[Completion[None]]: ...
    def submit_verify(
        self,
        ns: Namespace,
        lba: int,
        nblocks: int,
        cb_fn: Callable[[_Arg, Completion[None]], object] | None = None,
        cb_arg: _Arg = None,  # type: ignore[assignment]
        *,
        io_flags: int = 0,
        ref_tag: int | None = None,
        app_tag: int = 0,
        app_mask: int = 0,
        storage_tag: int = 0,
        timeout: float | None = None,
        when_full: _WhenFull = None,
    ) -> Request[Completion[None]]: ...
    def dataset_management(
        self,
        ns: Namespace,
        ranges: _Ranges,
        *,
        deallocate: bool = False,
        integral_read: bool = False,
        integral_write: bool = False,
        timeout: float | None = None,
    ) -> Request[Completion[None]]: ...
    def submit_dataset_management(
        self,
        ns: Namespace,
        ranges: _Ranges,
        cb_fn: Callable[[_Arg, Completion[None]], object] | None = None,
        cb_arg: _Arg = None,  # type: ignore[assignment]
        *,
        deallocate: bool = False,
        integral_read: bool = False,
        integral_write: bool = False,
        timeout: float | None = None,
        when_full: _WhenFull = None,
    ) -> Request[Completion[None]]: ...
    def copy(
        self,
        ns: Namespace,
        ranges: _Ranges,
        dest_lba: int,
        *,
        format: int = 0,
        source_ns: Namespace | None = None,
        io_flags: int = 0,
        ref_tag: int | None = None,
        app_tag: int = 0,
        app_mask: int = 0,
        storage_tag: int = 0,
        source_flags: int = 0,
        source_ref_tags: Iterable[int] | None = None,
        source_app_tag: int = 0,
        source_app_mask: int = 0,
        source_storage_tag: int = 0,
        timeout: float | None = None,
    ) -> Request[Completion[None]]: ...
    def submit_copy(
        self,
        ns: Namespace,
        ranges: _Ranges,
        dest_lba: int,
        cb_fn: Callable[[_Arg, Completion[None]], object] | None = None,
        cb_arg: _Arg = None,  # type: ignore[assignment]
        *,
        format: int = 0,
        source_ns: Namespace | None = None,
        io_flags: int = 0,
        ref_tag: int | None = None,
        app_tag: int = 0,
        app_mask: int = 0,
        storage_tag: int = 0,
        source_flags: int = 0,
        source_ref_tags: Iterable[int] | None = None,
        source_app_tag: int = 0,
        source_app_mask: int = 0,
        source_storage_tag: int = 0,
        timeout: float | None = None,
        when_full: _WhenFull = None,
    ) -> Request[Completion[None]]: ...
    def compare_and_write(
        self,
        ns: Namespace,
        compare_buf: _Memory,
        write_buf: _Memory,
        lba: int,
        nblocks: int,
        *,
        io_flags: int = 0,
        timeout: float | None = None,
    ) -> Request[Completion[None]]: ...
    def submit_compare_and_write(
        self,
        ns: Namespace,
        compare_buf: _Memory,
        write_buf: _Memory,
        lba: int,
        nblocks: int,
        cb_fn: Callable[[_Arg, Completion[None]], object] | None = None,
        cb_arg: _Arg = None,  # type: ignore[assignment]
        *,
        io_flags: int = 0,
        timeout: float | None = None,
        when_full: _WhenFull = None,
    ) -> Request[Completion[None]]: ...
    def _take_fused(
        self, request: Request, compare_buf: _Memory, write_buf: _Memory, needed: int
    ) -> None: ...
