"""Owns how a mock is lent to drivers in other processes: `MockController.serve`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from aionvme.errors import UsageError
from aionvme.mock.serving.device import REGISTERS, Area, ServedDevice
from aionvme.mock.serving.listener import Serving

if TYPE_CHECKING:
    from aionvme.mock.function import MockFunction
    from aionvme.mock.machine import Machine
    from aionvme.mock.options import MockOptions

__all__ = ["Served"]

_DOORBELLS = ("mapped", "message")


class Served:
    """A part of `MockController`."""

    options: MockOptions
    _machine: Machine
    _table_offset: int
    _removal_requested: bool
    _serving: Serving | None = None

    def serve(
        self, path: str | os.PathLike[str], *, doorbells: str = "mapped", timeout: float = 10.0
    ) -> Serving:
        """Lends the mock to a driver in another process, by vfio-user: QEMU's vfio-user-pci, SPDK's, ours.

        The mock is open as long as it is served: nobody else opens it. One client at a time is served, by threads of
        the service's own.

        Args:
            path: The folder in which the socket `cntrl` is made. It is made where there is none, for this user alone.
            doorbells: "mapped": the client maps the doorbells. A store there wakes nobody, so the mock's thread looks
                for one by itself, more and more rarely when there is nothing: at the latest after 1 ms. "message":
                each is a message, which wakes the mock's thread; with shadow doorbells there are few.
            timeout: Seconds that a client may take for its first message, and for an answer.

        Returns:
            The service; `close` it, or use it as a context manager.

        Raises:
            AddressError: The mock is open, or the folder can't be had, or somebody serves there.
            UsageError: Something else as `doorbells`; a mock with drive="loop"; or it is closed.
        """
        if doorbells not in _DOORBELLS:
            raise UsageError(f"doorbells must be one of {', '.join(_DOORBELLS)}, not {doorbells!r}")
        if self.options.drive == "loop":
            raise UsageError(f'{self!r} has drive="loop": a mock that is served has drive="thread"')
        function = self.open()
        try:
            mapped = doorbells == "mapped"
            # The doorbells, and the controller's memory buffer behind them; or that alone.
            first = REGISTERS if mapped else self._table_offset - self.options.cmb
            shared = Area(first, self._table_offset - first) if first < self._table_offset else None
            device = ServedDevice(function, self._machine, shared, mapped, self._client_left)
            serving = Serving(device, path, timeout=timeout)
        except BaseException:
            function.close()
            raise
        self._serving = serving
        return serving

    def _client_left(self) -> None:
        if self._removal_requested:
            self._remove()

    def _stop_serving(self) -> None:
        serving, self._serving = self._serving, None
        if serving is not None:
            serving.close()

    def open(self, *, owned: bool = False) -> MockFunction:
        """The function that a driver takes."""
        raise NotImplementedError

    def _remove(self) -> None:
        raise NotImplementedError
