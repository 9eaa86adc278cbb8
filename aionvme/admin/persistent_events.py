"""Owns how the persistent event log is read: in a reporting context, which is given back however the reading ends."""

from __future__ import annotations

import logging
from typing import Any

import attrs

from aionvme.admin.log_pages import MOST_BYTES, Ask, LogPageCommands
from aionvme.admin.operation import Operation, Reporter
from aionvme.admin.sending import Callback
from aionvme.errors import DecodeError, NvmeError, StatusError, UsageError
from aionvme.qpair.poller import run_to_end
from aionvme.spec.identify import Lpa
from aionvme.spec.logs import LOG_PAGES, PersistentEventLog
from aionvme.spec.logs.events import EventAction, PersistentEventsHeader
from aionvme.spec.opcodes import LogPageId
from aionvme.spec.status import StatusCode

logger = logging.getLogger("aionvme")

_HEAD = PersistentEventsHeader.SIZE
_PAGE = LOG_PAGES[LogPageId.PERSISTENT_EVENTS]


class PersistentEventCommands(LogPageCommands):
    """The persistent event log (Base 2.0, 5.16.1.14 and 8.15)."""

    def get_persistent_events(self, *, timeout: float | None = None) -> Operation[PersistentEventLog]:
        """The persistent event log (Base 2.0, 5.16.1.14): a `PersistentEventLog`, whose events are as of now.

        It establishes a reporting context, reads, and releases the context in any case: also when it fails or is
        cancelled. A context that somebody left behind is released first.

        Args:
            timeout: Seconds for each of its commands; 0 for none, None for the controller's `admin_timeout`.

        Raises:
            UsageError: The controller has no such log (LPA bit 4), or it needs offsets and there are none.
            DecodeError: What it gave is no such log, or the context was lost meanwhile.
            StatusError: It refused one of the commands.
        """
        return self.submit_get_persistent_events(timeout=timeout)

    def submit_get_persistent_events(
        self, cb_fn: Callback | None = None, cb_arg: Any = None, *, timeout: float | None = None
    ) -> Operation[PersistentEventLog]:
        """`get_persistent_events` with a callback, called once at the end."""
        data = self._core.data
        self._admin.check_open()
        if data is not None and not Lpa(data.lpa).persistent_events:
            raise UsageError(
                "the controller has no persistent event log (LPA bit 4 in Identify Controller is 0)"
            )
        ask = Ask(lid=LogPageId.PERSISTENT_EVENTS, timeout=timeout)
        reporter = Reporter()
        coro = self._read_events(ask, reporter)
        return self._operation("persistent event log", coro, cb_fn, cb_arg, reporter)

    def _submit_events(self, ask: Ask, cb_fn: Callback | None, cb_arg: Any) -> Operation[Any]:
        if ask.lsp:
            raise UsageError("nbytes: say how many bytes of the persistent event log this action (lsp) reads")
        return self.submit_get_persistent_events(cb_fn, cb_arg, timeout=ask.timeout)

    async def _read_events(self, ask: Ask, reporter: Reporter) -> PersistentEventLog:
        release = attrs.evolve(ask, lsp=EventAction.RELEASE)
        try:
            head = await self._establish(ask, release)
            told = PersistentEventsHeader.decode(head).tll
            if not _HEAD <= told <= MOST_BYTES:
                raise DecodeError(f"the persistent event log says that it has {told} bytes")
            nbytes = -(-told // 4) * 4
            data = head + await self._rest(ask, nbytes - _HEAD, reporter)
            # It counts the contexts: another number is that of somebody else's (5.16.1.14).
            if _PAGE.changed(data, await self._read_one(ask, 0, _HEAD, True)):
                raise DecodeError(
                    "the reporting context of the persistent event log was lost while it was read"
                )
            return PersistentEventLog.decode(data)
        finally:
            await run_to_end(self._release_context(release))

    async def _establish(self, ask: Ask, release: Ask) -> bytes:
        establish = attrs.evolve(ask, lsp=EventAction.ESTABLISH_AND_READ)
        try:
            return await self._read_one(establish, 0, _HEAD, True)
        except StatusError as error:
            if error.status != StatusCode.COMMAND_SEQUENCE_ERROR:
                raise
        # There is a context, left behind by whoever ended without releasing it.
        await self._read_one(release, 0, _HEAD, True)
        return await self._read_one(establish, 0, _HEAD, True)

    async def _rest(self, ask: Ask, nbytes: int, reporter: Reporter) -> bytes:
        if not nbytes:
            return b""
        if not self._has_offsets():
            raise UsageError(
                f"the persistent event log has {_HEAD + nbytes} bytes, and the controller has no offsets into log "
                "pages (LPA bit 2 is 0)"
            )
        return await self._read_range(attrs.evolve(ask, retain_event=True), _HEAD, nbytes, reporter)

    async def _release_context(self, release: Ask) -> None:
        """Gives the context back. What fails now is not what the reading failed with."""
        try:
            await self._read_one(release, 0, _HEAD, True)
        except NvmeError as error:
            logger.info("%s: reporting context was not released: %s", self._core, error)
