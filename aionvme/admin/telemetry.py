"""Owns how a telemetry log goes into a file: block by block, and whole or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any

import attrs

from aionvme.admin.log_pages import Ask, pieces
from aionvme.admin.operation import Operation, Reporter
from aionvme.admin.persistent_events import PersistentEventCommands
from aionvme.admin.sending import Callback, check_range
from aionvme.errors import DecodeError, UsageError
from aionvme.qpair.poller import run_to_end
from aionvme.spec.identify import Lpa
from aionvme.spec.logs import TelemetryHeader
from aionvme.spec.logs.captures import CREATE_TELEMETRY, TELEMETRY_BLOCK
from aionvme.spec.opcodes import LogPageId

if TYPE_CHECKING:
    from typing_extensions import Buffer

_PIECE = 128 << 10


class TelemetryCommands(PersistentEventCommands):
    """The telemetry logs (Base 2.0, 5.16.1.8, 5.16.1.9 and 8.24)."""

    def save_telemetry(
        self,
        file: str | os.PathLike[str] | IO[bytes],
        *,
        controller: bool = False,
        area: int = 3,
        create: bool = True,
        created_area: int = 0,
        retain_event: bool = False,
        timeout: float | None = None,
    ) -> Operation[TelemetryHeader]:
        """Writes a telemetry log to a file (Base 2.0, 8.24): its `TelemetryHeader`.

            saving = ctrlr.save_telemetry("telemetry.bin")
            async for progress in saving:
                print(f"{progress.fraction:.0%}")
            header = await saving

        Args:
            file: A path, which has the whole log afterwards or is as it was before, but for a device or a pipe, which
                is written to at once; or a binary file that is open for writing, which stays open.
            controller: The log that the controller initiated (08h); else the host's (07h).
            area: Last data area that is written, 1 to 4. Area 4 is filled only once the host has said that it knows it
                (Host Behavior Support, ETDAS).
            create: Has the controller capture its state anew. Of the host's log only.
            created_area: The last data area that it is to create then, 1 to 4; 0 as it chooses (Base 2.1, 5.1.12.1.8).
            retain_event: The controller keeps the log that it initiated, and its event, although it was read.
            timeout: Seconds for each command; 0 for none, None for the controller's `admin_timeout`.

        Raises:
            UsageError: The controller has no telemetry (LPA bit 3), no area 4 (LPA bit 6), or no offsets (LPA bit 2).
            DecodeError: The log changed while it was read; what was written is of no use.
            StatusError: The controller refused one of the commands.
            OSError: The file could not be written.
        """
        return self.submit_save_telemetry(
            file, controller=controller, area=area, create=create, created_area=created_area,
            retain_event=retain_event, timeout=timeout,
        )  # fmt: skip

    def submit_save_telemetry(
        self,
        file: str | os.PathLike[str] | IO[bytes],
        cb_fn: Callback | None = None,
        cb_arg: Any = None,
        *,
        controller: bool = False,
        area: int = 3,
        create: bool = True,
        created_area: int = 0,
        retain_event: bool = False,
        timeout: float | None = None,
    ) -> Operation[TelemetryHeader]:
        """`save_telemetry` with a callback, called once at the end."""
        self._admin.check_open()
        check_range("area", area, 1, 4)
        check_range("created_area", created_area, 0, 4)
        self._check_telemetry(area)
        if not isinstance(file, (str, os.PathLike)) and not hasattr(file, "write"):
            raise TypeError(f"file is a path or a file to write to, not {type(file).__name__}")
        lid = LogPageId.TELEMETRY_CONTROLLER if controller else LogPageId.TELEMETRY_HOST
        # Reading the controller's log without retaining its event lets the controller drop it.
        ask = Ask(lid=lid, retain_event=retain_event or not controller, timeout=timeout)
        reporter = Reporter()
        lsp = CREATE_TELEMETRY | created_area << 1 if create and not controller else 0
        coro = self._save(file, ask, area, lsp, reporter)
        return self._operation("telemetry", coro, cb_fn, cb_arg, reporter)

    def _check_telemetry(self, area: int) -> None:
        data = self._core.data
        lpa = Lpa(data.lpa) if data is not None else Lpa()
        for has, what, bit in (
            (lpa.telemetry, "telemetry logs", 3),
            (lpa.extended_data, "offsets into log pages", 2),
            (area < 4 or lpa.telemetry_area_4, "data area 4 in its telemetry logs", 6),
        ):
            if not has:
                raise UsageError(f"the controller has no {what} (LPA bit {bit} in Identify Controller is 0)")

    async def _save(
        self, file: str | os.PathLike[str] | IO[bytes], ask: Ask, area: int, lsp: int, reporter: Reporter
    ) -> TelemetryHeader:
        if not isinstance(file, (str, os.PathLike)):
            return await self._copy(file.write, ask, area, lsp, reporter)
        part = _Part(os.fspath(file))
        try:
            await run_to_end(_in_thread(part.open))
            header = await self._copy(part.write, ask, area, lsp, reporter)
        except BaseException:
            await run_to_end(_in_thread(part.drop))
            raise
        await run_to_end(_in_thread(part.keep))
        return header

    async def _copy(
        self, write: Callable[[Buffer], object], ask: Ask, area: int, lsp: int, reporter: Reporter
    ) -> TelemetryHeader:
        head = await self._read_one(attrs.evolve(ask, lsp=lsp), 0, TELEMETRY_BLOCK, True)
        header = TelemetryHeader.decode(head)
        await _in_thread(write, head)
        blocks = header.last_block(area) * TELEMETRY_BLOCK
        total = TELEMETRY_BLOCK + blocks
        reporter(TELEMETRY_BLOCK, total)
        # Pieces are whole blocks: MDTS is at least one memory page.
        for at, size in pieces(blocks, min(self._largest(), _PIECE)):
            data = await self._read_one(ask, TELEMETRY_BLOCK + at, size, True)
            await _in_thread(write, data)
            reporter(TELEMETRY_BLOCK + at + size, total)
        # The last command is the one that lets go of the controller's log.
        after = TelemetryHeader.decode(await self._read_one(ask, 0, TELEMETRY_BLOCK, ask.retain_event))
        if _generation(after, ask.lid) != _generation(header, ask.lid):
            raise DecodeError("the telemetry log changed while it was read: its generation is another one")
        return header


def _generation(header: TelemetryHeader, lid: int) -> int:
    return header.ctrldgn if lid == LogPageId.TELEMETRY_CONTROLLER else header.hostdgn


class _Part:
    """A file beside the one that is wanted, which takes its place once it is whole.

    Only a file's place can be taken: a device or a pipe is written to, and of a link it is what it leads to.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._name = path
        self._beside = False
        self._file: IO[bytes] | None = None

    def open(self) -> None:
        self._beside = os.path.isfile(self._path) or not os.path.exists(self._path)
        if self._beside:
            self._path = os.path.realpath(self._path)
            self._name = f"{self._path}.part"
        self._file = open(self._name, "wb")  # noqa: SIM115 - `keep` or `drop` closes it

    def write(self, data: Buffer) -> None:
        assert self._file is not None
        with self._named():
            self._file.write(data)

    def keep(self) -> None:
        assert self._file is not None
        with self._named():
            self._file.close()
        if self._beside:
            os.replace(self._name, self._path)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # That there is no space left has no name in it.
            error.filename = self._name
            raise

    def drop(self) -> None:
        if self._file is None:
            return  # It could not be opened: what is there is not ours.
        if self._beside:
            self._file.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._name)
            return
        with contextlib.suppress(OSError):
            # What is left of it is not taken either.
            self._file.close()


async def _in_thread(call: Callable[..., object], *args: Any) -> None:
    """A file may be slow, and the loop is not to wait for it."""
    await asyncio.get_running_loop().run_in_executor(None, call, *args)
