from collections.abc import Callable
from typing import Any, Literal, TypeVar

from aionvme.qpair.commands import CommandQueuePair
from aionvme.qpair.namespace import Namespace
from aionvme.qpair.request import Completion, Request
from aionvme.spec.reservation import Cptpl, ReservationStatus

_Arg = TypeVar("_Arg")
_WhenFull = Literal["error"] | None

class ReservingQueuePair(CommandQueuePair):
    def reservation_register(
        self,
        ns: Namespace,
        action: int,
        *,
        crkey: int = 0,
        nrkey: int = 0,
        ignore_key: bool = False,
        cptpl: int = Cptpl.NO_CHANGE,
        timeout: float | None = None,
    ) -> Request[Completion[None]]: ...
    def submit_reservation_register(
        self,
        ns: Namespace,
        action: int,
        cb_fn: Callable[[_Arg, Completion[None]], object] | None = None,
        cb_arg: _Arg = None,  # type: ignore[assignment]
        *,
        crkey: int = 0,
        nrkey: int = 0,
        ignore_key: bool = False,
        cptpl: int = Cptpl.NO_CHANGE,
        timeout: float | None = None,
        when_full: _WhenFull = None,
    ) -> Request[Completion[None]]: ...
    def reservation_acquire(
        self,
        ns: Namespace,
        action: int,
        rtype: int,
        *,
        crkey: int = 0,
        prkey: int = 0,
        ignore_key: bool = False,
        timeout: float | None = None,
    ) -> Request[Completion[None]]: ...
    def submit_reservation_acquire(
        self,
        ns: Namespace,
        action: int,
        rtype: int,
        cb_fn: Callable[[_Arg, Completion[None]], object] | None = None,
        cb_arg: _Arg = None,  # type: ignore[assignment]
        *,
        crkey: int = 0,
        prkey: int = 0,
        ignore_key: bool = False,
        timeout: float | None = None,
        when_full: _WhenFull = None,
    ) -> Request[Completion[None]]: ...
    def reservation_release(
        self,
        ns: Namespace,
        action: int,
        rtype: int,
        *,
        crkey: int = 0,
        ignore_key: bool = False,
        timeout: float | None = None,
    ) -> Request[Completion[None]]: ...
    def submit_reservation_release(
        self,
        ns: Namespace,
        action: int,
        rtype: int,
        cb_fn: Callable[[_Arg, Completion[None]], object] | None = None,
        cb_arg: _Arg = None,  # type: ignore[assignment]
        *,
        crkey: int = 0,
        ignore_key: bool = False,
        timeout: float | None = None,
        when_full: _WhenFull = None,
    ) -> Request[Completion[None]]: ...
    def reservation_report(
        self,
        ns: Namespace,
        *,
        extended: bool | None = None,
        timeout: float | None = None,
    ) -> Request[Completion[ReservationStatus]]: ...
    def submit_reservation_report(
        self,
        ns: Namespace,
        cb_fn: Callable[[_Arg, Completion[ReservationStatus]], object] | None = None,
        cb_arg: _Arg = None,  # type: ignore[assignment]
        *,
        extended: bool | None = None,
        timeout: float | None = None,
        when_full: _WhenFull = None,
    ) -> Request[Completion[ReservationStatus]]: ...
    def _reserve(
        self,
        ns: Namespace,
        sqe: bytes,
        payload: bytes,
        cb_fn: Callable[[Any, Completion[None]], object] | None,
        cb_arg: Any,
        timeout: float | None,
        when_full: _WhenFull,
    ) -> Request[Completion[None]]: ...
