"""Owns what a test may say about a mock controller's log pages."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from aionvme.errors import UsageError
from aionvme.spec.listing import Listing
from aionvme.spec.structure import Structure

if TYPE_CHECKING:
    from aionvme.mock.admin import Admin
    from aionvme.mock.machine import Machine

__all__ = ["LogScripts"]


class LogScripts:
    """A part of `MockController`."""

    _machine: Machine
    _admin: Admin

    def set_log_page(
        self,
        lid: int,
        content: bytes | Structure | Listing | Callable[[], bytes] | None,
        *,
        lsi: int | None = None,
    ) -> None:
        """Gives a log page a content of the test's: it is there, is listed, and is read in pieces like any other.

        Args:
            lid: Log page identifier.
            content: Bytes, a page that encodes itself, or what gives the bytes for each command that reads it; None
                takes such a content out again.
            lsi: The log specific identifier that it is of; None for any.
        """
        if not 0 <= lid <= 0xFF:
            raise UsageError(f"lid must be from 0 to 255, not {lid}")
        page: Callable[[], bytes] | None
        if content is None or callable(content):
            page = content
        else:
            raw = bytes(content) if isinstance(content, (bytes, bytearray, memoryview)) else content.encode()
            page = partial(bytes, raw)
        with self._machine:
            self._admin.logs.script(lid, page, lsi)

    def capture_telemetry(self) -> None:
        """The controller captures its state for the telemetry log of its own (08h), and tells of it by an event."""
        with self._machine:
            self._admin.capture_telemetry()

    @property
    def ana_state(self) -> int:
        """With `ana`: the state of the namespaces through this controller (`AnaState`)."""
        return self._admin.logs.media.ana_state

    @ana_state.setter
    def ana_state(self, state: int) -> None:
        with self._machine:
            self._admin.set_ana_state(state)
