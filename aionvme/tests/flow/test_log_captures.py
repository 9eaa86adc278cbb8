"""Telemetry into files, and the persistent event log in its reporting context."""

from __future__ import annotations

import asyncio
import io
import os
import struct
from pathlib import Path
from typing import Any

import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.spec.logs import PersistentEventLog
from aionvme.spec.logs.captures import TelemetryHeader
from aionvme.spec.logs.events import EventAction, PersistentEventType
from aionvme.spec.opcodes import AdminOpcode, LogPageId
from aionvme.spec.status import StatusCode
from aionvme.tests.flow.support import rig, until
from aionvme.tests.flow.test_log_pages import asked, device

pytestmark = [pytest.mark.anyloop, pytest.mark.spread("loop")]

LOG = AdminOpcode.GET_LOG_PAGE
BLOCK = 512


# -- telemetry -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("area", "blocks"), [(1, 16), (2, 32), (3, 64)])
async def test_telemetry_into_a_file(tmp_path: Path, area: int, blocks: int) -> None:
    """The header, and the blocks up to the end of the area, each in its place; progress comes to its end."""
    path = tmp_path / "telemetry.bin"
    path.write_bytes(b"of an earlier time")
    async with rig(device(mdts=8192, telemetry=64 * BLOCK)) as r:
        sqes = asked(r.mock)
        saving = r.ctrlr.save_telemetry(path, area=area)
        steps = [(step.done, step.total) async for step in saving]
        header = await saving
    assert isinstance(header, TelemetryHeader)
    assert (header.hostdgn, header.last_block(area)) == (1, blocks)
    data = path.read_bytes()
    assert len(data) == (blocks + 1) * BLOCK
    assert data[:BLOCK] == header.encode()
    for number in range(1, blocks + 1):
        assert struct.unpack_from("<II", data, number * BLOCK) == (1, number)
    assert steps[-1] == (len(data), len(data))
    assert [sqe.cdw10 >> 8 & 0x7F for sqe in sqes] == [1] + [0] * (len(sqes) - 1)
    assert os.listdir(tmp_path) == [path.name]


async def test_telemetry_without_capturing() -> None:
    """What was captured before is read once more, into a file that stays open, in the other spelling."""
    file = io.BytesIO()
    told: asyncio.Queue[tuple[Any, aionvme.Completion]] = asyncio.Queue()
    async with rig(device(telemetry=4 * BLOCK)) as r:
        first = await r.ctrlr.save_telemetry(io.BytesIO())
        r.ctrlr.submit_save_telemetry(file, lambda arg, cpl: told.put_nowait((arg, cpl)), "arg", create=False)
        arg, cpl = await told.get()
    assert (arg, bool(cpl.status), cpl.value) == ("arg", False, first)
    assert len(file.getvalue()) == 5 * BLOCK


async def test_telemetry_of_area_4(tmp_path: Path) -> None:
    """It has more once the host has said that it knows it, and is refused without LPA bit 6."""
    async with rig(device(telemetry=4 * BLOCK)) as r:
        file = io.BytesIO()
        await r.ctrlr.save_telemetry(file, area=4)
        assert len(file.getvalue()) == 5 * BLOCK
        await r.ctrlr.set_feature(0x16, data=bytes([0, 1]) + bytes(510))
        file = io.BytesIO()
        await r.ctrlr.save_telemetry(file, area=4)
        assert len(file.getvalue()) == 7 * BLOCK


@pytest.mark.parametrize(
    ("lpa", "area", "text"),
    [(0x3E, 4, "LPA bit 6"), (0x76, 3, "LPA bit 3"), (0x7A, 3, "LPA bit 2"), (0x7E, 5, "area")],
)
async def test_telemetry_that_there_is_not(tmp_path: Path, lpa: int, area: int, text: str) -> None:
    """It is refused by the call, and no file is made."""
    async with rig(device(lpa=lpa)) as r:
        with pytest.raises(aionvme.UsageError, match=text):
            r.ctrlr.save_telemetry(tmp_path / "never", area=area)
    assert os.listdir(tmp_path) == []


async def test_the_controllers_own_telemetry() -> None:
    """It is let go of by the last command, unless it is to be retained."""
    async with rig(device(telemetry=4 * BLOCK)) as r:
        empty = await r.ctrlr.save_telemetry(io.BytesIO(), controller=True)
        assert (empty.ctrlavail, empty.last_block(3)) == (0, 0)
        r.mock.capture_telemetry()
        for retain, there in ((True, 1), (False, 1), (False, 0)):
            sqes = asked(r.mock)
            header = await r.ctrlr.save_telemetry(io.BytesIO(), controller=True, retain_event=retain)
            assert header.ctrlavail == there
            assert [bool(sqe.cdw10 >> 15 & 1) for sqe in sqes] == [True] * (len(sqes) - 1) + [retain]
            assert {sqe.cdw10 & 0xFF for sqe in sqes} == {LogPageId.TELEMETRY_CONTROLLER}


async def test_telemetry_that_changes(tmp_path: Path) -> None:
    """Another generation at the end is an error, and the file is as it was before."""
    path = tmp_path / "telemetry.bin"
    path.write_bytes(b"before")
    generations = iter(range(1, 100))

    def page() -> bytes:
        header = TelemetryHeader(lpi=7, dalb3=2, hostdgn=next(generations))
        return header.encode() + bytes(2 * BLOCK)

    async with rig(device()) as r:
        r.mock.set_log_page(7, page)
        with pytest.raises(aionvme.DecodeError, match="generation"):
            await r.ctrlr.save_telemetry(path)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == [path.name]


async def test_telemetry_takes_no_place_but_of_a_file(tmp_path: Path) -> None:
    """A pipe is written to and stays one, as a device would; of a link it is the file behind it that is replaced."""
    pipe, link, file = tmp_path / "pipe", tmp_path / "link", tmp_path / "file"
    os.mkfifo(pipe)
    file.write_bytes(b"before")
    link.symlink_to(file)
    async with rig(device()) as r:
        reading = asyncio.create_task(asyncio.to_thread(pipe.read_bytes))
        await r.ctrlr.save_telemetry(pipe)
        log = await reading
        await r.ctrlr.save_telemetry(link, create=False)
    assert pipe.is_fifo() and link.is_symlink()
    assert len(log) > BLOCK and file.read_bytes() == log
    assert sorted(os.listdir(tmp_path)) == ["file", "link", "pipe"]


async def test_telemetry_into_a_pipe_that_nobody_reads(tmp_path: Path) -> None:
    """A pipe that breaks is an error, and stays where it is."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def read_some() -> None:
        with pipe.open("rb") as file:
            file.read(BLOCK)

    async with rig(device(telemetry=1024 * BLOCK)) as r:
        reading = asyncio.create_task(asyncio.to_thread(read_some))
        with pytest.raises(BrokenPipeError):
            await r.ctrlr.save_telemetry(pipe)
        await reading
    assert pipe.is_fifo()


async def test_telemetry_that_is_cancelled(tmp_path: Path) -> None:
    """No file is left, nor a part of one."""
    async with rig(device(telemetry=64 * BLOCK)) as r:
        saving = r.ctrlr.save_telemetry(tmp_path / "telemetry.bin")
        with r.mock.hold(qid=0, opcode=LOG) as held:
            await until(lambda: held.commands)
            saving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await saving
        await r.works()
    assert os.listdir(tmp_path) == []


async def test_telemetry_that_cannot_be_written(tmp_path: Path) -> None:
    """The kernel's error is raised, and nothing is left behind."""
    async with rig(device()) as r:
        with pytest.raises(TypeError, match="not int"):
            r.ctrlr.save_telemetry(7)  # type: ignore[arg-type]
        with pytest.raises(FileNotFoundError):
            await r.ctrlr.save_telemetry(tmp_path / "no" / "such" / "folder")

        class Full(io.BytesIO):
            def write(self, data: Any) -> int:
                raise OSError(28, "No space left on device")

        with pytest.raises(OSError, match="No space"):
            await r.ctrlr.save_telemetry(Full())
        await r.works()


# -- persistent events -----------------------------------------------------------------------------------------------


def actions(mock: MockController) -> list[int]:
    """What each reading of the log did with the context, from now on."""
    seen: list[int] = []
    page = mock._admin.logs._asked[LogPageId.PERSISTENT_EVENTS]

    def note(sqe: Any) -> bytes:
        seen.append(sqe.cdw10 >> 8 & 3)
        return page(sqe)

    mock._admin.logs._asked[LogPageId.PERSISTENT_EVENTS] = note
    return seen


async def test_persistent_events() -> None:
    """Events are typed, the latest first; the context is released, so that it can be done again."""
    async with rig(device(mdts=8192)) as r:
        for _ in range(40):
            r.mock._admin.logs.persistent.record(PersistentEventType.THERMAL_EXCURSION, bytes([3, 2]))
        seen = actions(r.mock)
        log = await r.ctrlr.get_persistent_events()
        assert isinstance(log, PersistentEventLog)
        assert log.head.sn == r.ctrlr.data.sn
        assert [event.head.etype for event in log.events[:2]] == [PersistentEventType.SMART, 0x0D]
        assert log.events[0].value.temperature_c == 37
        assert log.events[-1].head.etype == PersistentEventType.POWER_ON_OR_RESET
        assert (seen[0], seen[-1]) == (EventAction.ESTABLISH_AND_READ, EventAction.RELEASE)
        again = await r.ctrlr.get_log_page(LogPageId.PERSISTENT_EVENTS)
        assert again.head.generation == log.head.generation + 1
        with pytest.raises(aionvme.StatusError):
            await r.ctrlr.get_log_page(LogPageId.PERSISTENT_EVENTS, nbytes=512)
        with pytest.raises(aionvme.UsageError, match="nbytes"):
            r.ctrlr.get_log_page(LogPageId.PERSISTENT_EVENTS, lsp=1)


async def test_the_actions_one_by_one() -> None:
    """Whoever wants to do it by hand can: establish, read a part, release."""
    async with rig(device()) as r:
        lid = LogPageId.PERSISTENT_EVENTS
        head = await r.ctrlr.get_log_page(lid, nbytes=512, lsp=EventAction.ESTABLISH_AND_READ)
        assert await r.ctrlr.get_log_page(lid, nbytes=64) == head[:64]
        await r.ctrlr.get_log_page(lid, nbytes=512, lsp=EventAction.RELEASE)


async def test_a_context_that_was_left_behind() -> None:
    """It is released, and a new one established."""
    async with rig(device()) as r:
        await r.ctrlr.get_log_page(LogPageId.PERSISTENT_EVENTS, nbytes=512, lsp=1)
        seen = actions(r.mock)
        assert (await r.ctrlr.get_persistent_events()).events
        assert seen[:3] == [1, 2, 1]


@pytest.mark.parametrize("nth", [1, 2, 3])
async def test_a_reading_that_fails(nth: int) -> None:
    """Its status is raised, and the context released all the same."""
    async with rig(device()) as r:
        seen = actions(r.mock)
        r.mock.fail(StatusCode.INTERNAL_ERROR, qid=0, opcode=LOG, nth=nth)
        with pytest.raises(aionvme.StatusError) as caught:
            await r.ctrlr.get_persistent_events()
        assert caught.value.status == StatusCode.INTERNAL_ERROR
        assert seen[-1] == EventAction.RELEASE
        assert (await r.ctrlr.get_persistent_events()).events


async def test_a_reading_that_is_cancelled() -> None:
    """The context is released before the operation ends."""
    async with rig(device()) as r:
        seen = actions(r.mock)
        with r.mock.hold(qid=0, opcode=LOG, count=1) as held:
            reading = r.ctrlr.get_persistent_events()
            await until(lambda: held.commands)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        assert seen == [EventAction.RELEASE]


async def test_a_context_that_is_lost() -> None:
    """Another generation at the end is an error; the release that fails hides nothing."""
    async with rig(device()) as r:
        persistent = r.mock._admin.logs.persistent
        reads = iter(range(100))

        def page() -> bytes:
            raw = bytearray(persistent._build())
            struct.pack_into("<H", raw, 372, next(reads))
            return bytes(raw)

        r.mock.set_log_page(LogPageId.PERSISTENT_EVENTS, page)
        with pytest.raises(aionvme.DecodeError, match="lost"):
            await r.ctrlr.get_persistent_events()


async def test_no_such_log() -> None:
    """Without LPA bit 4 it is refused by the call, and without offsets where it needs them."""
    async with rig(device(lpa=0x6E)) as r:
        with pytest.raises(aionvme.UsageError, match="LPA bit 4"):
            r.ctrlr.get_persistent_events()
        with pytest.raises(aionvme.UsageError, match="LPA bit 4"):
            r.ctrlr.get_log_page(LogPageId.PERSISTENT_EVENTS)
    async with rig(device(lpa=0x7A)) as r:
        seen = actions(r.mock)
        with pytest.raises(aionvme.UsageError, match="LPA bit 2"):
            await r.ctrlr.get_persistent_events()
        assert seen[-1] == EventAction.RELEASE
