"""Owns how the controller's commands are sent: one command with its data, or an operation of several."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from enum import IntEnum
from operator import index
from typing import TYPE_CHECKING, Any, TypeVar

from aionvme.admin.operation import Operation, Reporter
from aionvme.errors import UsageError
from aionvme.spec.identify import Oacs

if TYPE_CHECKING:
    from aionvme.admin.core import Core
    from aionvme.pci.dma import DmaBuffer, DmaSpace
    from aionvme.qpair.raw import AdminQueuePair
    from aionvme.qpair.request import Completion, Request
    from aionvme.spec.identify import IdentifyController

T = TypeVar("T")
Callback = Callable[[Any, "Completion"], object]


def check_range(name: str, value: int, low: int, high: int) -> None:
    """Raises `UsageError` for an argument that does not fit its field."""
    if not low <= index(value) <= high:
        raise UsageError(f"{name} must be from {low} to {high}, not {value}")


def check_choice(name: str, value: int, choices: type[IntEnum]) -> None:
    """Raises `UsageError` for an argument that is none of an enumeration's."""
    if value not in list(choices):
        names = ", ".join(each.name for each in choices)
        raise UsageError(f"{name} is one of {choices.__name__}'s {names}, not {value!r}")


class Sender:
    """What every part of the admin command set stands on."""

    _core: Core
    _admin: AdminQueuePair
    _dma: DmaSpace
    _urgent = False

    def _identified(self) -> IdentifyController | None:
        """Identify Controller, where it was read: what is refused by it before it is sent."""
        return None

    def _require(self, capability: str, command: str, opcode: int | None = None) -> None:
        """Raises `UsageError` where the controller says that it has no such optional command.

        Args:
            capability: A field of `Oacs`.
            command: The command's name, for the message.
            opcode: Where the commands supported log, if there is one, is to be asked instead of Identify Controller:
                there are controllers that have the bit for two commands, and only one of them.
        """
        self._admin.check_open()
        data = self._identified()
        log = self._core.commands_log
        if opcode is not None and log is not None:
            if not log.supports_admin(opcode):
                raise UsageError(f"the controller has no {command} (its commands supported log says so)")
            return
        if data is not None and not getattr(Oacs(data.oacs), capability):
            raise UsageError(
                f"the controller has no {command} (OACS {data.oacs:#06x} in Identify Controller)"
            )

    def _send(
        self,
        sqe: bytes,
        cb_fn: Callback | None,
        cb_arg: Any,
        *,
        timeout: float | None,
        nbytes: int = 0,
        payload: Any = None,
        decode: Callable[[Completion, bytes], Any] | None = None,
    ) -> Request:
        """With `nbytes` of data from the controller, of which a copy is decoded, or `payload` to it."""
        # First: on a controller that has ended, the exception is why it did, not that it has no memory.
        self._admin.check_open()
        buffer: DmaBuffer | None = None
        if nbytes or payload is not None:
            buffer = self._dma.alloc(len(payload) if payload is not None else nbytes)
            if payload is not None:
                memoryview(buffer)[: len(payload)] = payload

        def finish(cpl: Completion) -> Any:
            if decode is None:
                return None
            return decode(cpl, bytes(memoryview(buffer)[:nbytes]) if buffer is not None and nbytes else b"")

        return self._admin.submit_admin(
            sqe,
            data=buffer,
            write=payload is not None,
            decode=finish,
            cb_fn=cb_fn,
            cb_arg=cb_arg,
            timeout=timeout,
            urgent=self._urgent,
        )

    def _operation(
        self,
        name: str,
        coro: Coroutine[Any, Any, T],
        cb_fn: Callback | None,
        cb_arg: Any,
        reporter: Reporter | None = None,
    ) -> Operation[T]:
        """What takes several commands; it begins in the loop's next turn. Arguments have been checked before.

        With a `reporter`, the coroutine calls that with its progress, which `async for` on the operation gives.
        """
        try:
            self._admin.check_open()
        except BaseException:
            coro.close()
            raise
        loop = self._admin.get_loop()
        return Operation(
            coro, loop=loop, name=f"aionvme {name}", cb_fn=cb_fn, cb_arg=cb_arg, reporter=reporter
        )
