"""Recordings: every way of posting is in them, they survive what happens to them, and they are executed again."""

from __future__ import annotations

import asyncio
import errno
import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import aionvme
from aionvme.errors import UsageError
from aionvme.mock import MockController, NamespaceConfig
from aionvme.replay import Replayed, replay
from aionvme.spec.opcodes import AdminOpcode, NvmOpcode
from aionvme.tests.flow.programs import environment, python
from aionvme.trace import Trace, chrome, lines, read_trace
from aionvme.trace.showing import as_json

MiB = 1 << 20


async def _record(path: Path, mock: MockController, data: str = "full") -> bytes:
    """Writes and reads in each of the ways that there are; gives what was written first."""
    async with aionvme.connect(mock) as ctrlr, ctrlr.alloc_io_qpair(depth=8) as qp:
        ns = ctrlr.namespaces[1]
        with ctrlr.dma_alloc(MiB) as buf, ctrlr.record(path, data=data):
            written = random.Random(1).randbytes(MiB)
            memoryview(buf)[:] = written
            await qp.write(ns, buf, 0, MiB // 512)  # split, with PRP lists
            await qp.writev(ns, [memoryview(buf)[512:1024], memoryview(buf)[:512]], 4000, 2)
            await qp.read(ns, buf, 3, 8)  # the short way
            # Into places of their own: what is recorded is what is there when the completion is reaped.
            places = [memoryview(buf)[lba * 512 :][:512] for lba in range(20)]
            await asyncio.gather(*(qp.read(ns, place, lba, 1) for lba, place in enumerate(places)))
            await qp.read_batch(ns, buf, np.arange(20), 1)
            places.clear()
            async with ctrlr.alloc_io_qpair(completion="manual") as other:
                done: list[aionvme.Completion] = []
                other.submit_read(ns, buf, 0, 1, lambda _arg, cpl: done.append(cpl), None)
                while not done:
                    other.process_completions()
            await qp.dataset_management(ns, [(5000, 8)], deallocate=True)
            mock.fail(0x281, qid=1)
            with pytest.raises(aionvme.StatusError):
                await qp.read(ns, buf, 7, 1)
            await ctrlr.identify(1)
    return written


async def _replayed(found: Trace, mock: MockController, *, skip_writes: bool = False) -> Replayed:
    async with aionvme.connect(mock) as ctrlr:
        return await replay(found, ctrlr, skip_writes=skip_writes)


@pytest.mark.anyloop
async def test_every_way_is_recorded(tmp_path: Path, no_leaks: None) -> None:
    """The short way, split transfers, vectors, batches, other queue pairs and admin commands, with their data."""
    with MockController(size=4 * MiB) as mock:
        written = await _record(tmp_path / "trace", mock)
    found = read_trace(tmp_path / "trace")
    assert found.is_whole and found.strays == 0
    assert all(command.cqe is not None for command in found.commands)
    of_blocks = [command for command in found.commands if command.qid and command.opcode in (1, 2)]
    pieces = [c for c in of_blocks if c.opcode == NvmOpcode.WRITE and int(c.arguments["lba"]) < 4000]
    assert len(pieces) == MiB // (128 << 10)
    assert b"".join(piece.data or b"" for piece in pieces) == written
    [vector] = [c for c in of_blocks if c.arguments["lba"] == 4000]
    assert vector.data == written[512:1024] + written[:512]
    reads = [c for c in of_blocks if c.opcode == NvmOpcode.READ and not c.status]
    assert len(reads) == 1 + 20 + 20 + 1
    for read in reads:
        begin, count = int(read.arguments["lba"]) * 512, int(read.arguments["nblocks"]) * 512
        assert read.data == written[begin : begin + count]
    [failed] = [c for c in found.commands if c.status]
    assert (failed.name, failed.outcome, failed.data) == ("read", "Unrecovered read error", None)
    [identify] = [c for c in found.commands if not c.qid and c.opcode == AdminOpcode.IDENTIFY]
    assert identify.data is not None and len(identify.data) == 4096
    assert {c.qid for c in found.commands} == {0, 1, 2}
    times = [c.began_ns for c in found.commands]
    assert times == sorted(times)
    assert all((c.microseconds or 0) > 0 for c in found.commands)


@pytest.mark.asyncio
async def test_a_replay_tells_what_is_different(tmp_path: Path, no_leaks: None) -> None:
    """Executed again on a mock that does the same there is no difference; on another each is told, with the command."""
    path = tmp_path / "digest"
    with MockController(size=4 * MiB) as mock:
        await _record(tmp_path / "full", mock)
        mock.fail(0x281, qid=1, opcode=NvmOpcode.READ, nth=42)
        same = await _replayed(read_trace(tmp_path / "full"), mock)
        assert same.differences == []
        assert same.compared == 42
        await _record(path, mock, "digest")
        assert "data" not in {key for text in path.read_text().splitlines()[1:] for key in json.loads(text)}
        found = read_trace(path)
        with pytest.raises(UsageError, match='record with data="full"'):
            await _replayed(found, mock)
    with MockController(size=4 * MiB) as empty:
        result = await _replayed(found, empty, skip_writes=True)
    kinds = [one.what for one in result.differences]
    assert (kinds.count("data"), kinds.count("status")) == (42, 1)
    assert "read nsid=1 lba=7 nblocks=1: status was Unrecovered read error, is Successful" in str(
        result.differences[-1]
    )
    with (
        MockController(namespaces=[NamespaceConfig(size=4 * MiB, lba=4096)]) as other,
        pytest.raises(UsageError, match="blocks of 512 bytes"),
    ):
        await _replayed(found, other)


@pytest.mark.asyncio
async def test_a_reset_is_recorded(tmp_path: Path, no_leaks: None) -> None:
    """Commands that ended without a completion are told as such, and a recording ends while some are outstanding."""
    path = tmp_path / "trace"
    with MockController() as mock:
        async with aionvme.connect(mock) as ctrlr, ctrlr.alloc_io_qpair(depth=4) as qp:
            buf = ctrlr.dma_alloc(512)
            with mock.hold(qid=1), ctrlr.record(path):
                reads = [qp.read(ctrlr.namespaces[1], buf, 0, 1) for _ in range(4)]
                await asyncio.sleep(0)
                await ctrlr.reset()
                await asyncio.gather(*reads, return_exceptions=True)
                last = qp.read(ctrlr.namespaces[1], buf, 0, 1)
                await asyncio.sleep(0)
            await last
            buf.close()
    outcomes = [c.outcome for c in read_trace(path).commands if c.qid]
    assert outcomes == ["no completion: reset or lost"] * 4 + ["outstanding"]


PROGRAM = """
import asyncio, os, sys, aionvme
async def main():
    async with aionvme.connect("mock:") as ctrlr, ctrlr.alloc_io_qpair() as qp:
        with ctrlr.dma_alloc(512) as buf, ctrlr.record(sys.argv[1]):
            for lba in range(1000):
                await qp.write(ctrlr.namespaces[1], buf, lba, 1)
                if lba == 500:
                    os.kill(os.getpid(), 9)
aionvme.run(main())
"""


def test_a_killed_process_leaves_a_recording(tmp_path: Path) -> None:
    """SIGKILL in the midst of writing: every command up to then is there, and it says that it was cut short."""
    path = tmp_path / "trace"
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)], check=False, timeout=60, env=environment()
    )
    assert ended.returncode == -signal.SIGKILL
    found = read_trace(path)
    assert not found.is_whole
    assert [c.arguments["lba"] for c in found.commands if c.qid] == list(range(501))
    assert "cut short" in list(lines(found))[-1]
    whole = path.read_bytes()
    for length in range(len(whole) - 300, len(whole), 37):
        path.write_bytes(whole[:length])
        assert 499 <= len([c for c in read_trace(path).commands if c.qid]) <= 501


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no header"),
        ("hello\n", "no header"),
        ('{"format": "aionvme-trace", "version": 99}\n', "version 99"),
        (
            '{"format": "aionvme-trace", "version": 1}\n{"e": "posted", "t": 1, "q": 1, "sqe": "00"}\n',
            "line 2",
        ),
        ('{"format": "aionvme-trace", "version": 1}\nnonsense\n{"e": "end"}\n', "line 2"),
    ],
)
def test_what_is_no_recording(tmp_path: Path, text: str, says: str) -> None:
    """What is none, is of a later version or is damaged is told, with the line."""
    path = tmp_path / "trace"
    path.write_text(text)
    with pytest.raises(UsageError, match=says):
        read_trace(path)


@pytest.mark.asyncio
async def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_leaks: None) -> None:
    """Costs no command: the recording ends, what there is can be read, and the error is raised at its end."""
    path = tmp_path / "trace"
    with MockController() as mock:
        async with aionvme.connect(mock) as ctrlr, ctrlr.alloc_io_qpair() as qp:
            buf = ctrlr.dma_alloc(512)
            with pytest.raises(OSError) as full, ctrlr.record(path) as writer:  # noqa: PT012
                for lba in range(10):
                    await qp.read(ctrlr.namespaces[1], buf, lba, 1)
                monkeypatch.setattr(writer, "_write", _no_space)
                for lba in range(10):
                    await qp.read(ctrlr.namespaces[1], buf, lba, 1)
            assert full.value.errno == errno.ENOSPC
            await qp.flush(ctrlr.namespaces[1])
            with pytest.raises(UsageError, match="none, digest, full"), ctrlr.record(path, data="all"):
                pass
    found = read_trace(path)
    assert not found.is_whole
    assert len(found.commands) == 10


def _no_space(_fields: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_the_command_line(tmp_path: Path) -> None:
    """A recording is shown as text, JSON and Chrome trace, without data; a replay asks before it writes."""
    path = tmp_path / "trace"

    async def main() -> None:
        with MockController(size=4 * MiB) as mock:
            async with aionvme.connect(mock) as ctrlr, ctrlr.alloc_io_qpair() as qp:
                with ctrlr.dma_alloc(512) as buf, ctrlr.record(path, data="full"):
                    memoryview(buf)[:6] = b"SECRET"
                    await qp.write(ctrlr.namespaces[1], buf, 9, 1)
                    await qp.read(ctrlr.namespaces[1], buf, 9, 1)

    asyncio.run(main())
    run = ("-m", "aionvme.cli")
    text = python(*run, "trace", str(path))
    assert (text.returncode, text.stderr) == (0, "")
    assert "read nsid=1 lba=9 nblocks=1" in text.stdout and text.stdout.endswith("2 commands: 2 succeeded\n")
    shown = as_json(read_trace(path))
    assert [(one["name"], one["lba"], one["status"]) for one in shown["commands"]] == [
        ("write", 9, 0),
        ("read", 9, 0),
    ]
    everything = text.stdout + json.dumps(shown) + repr(read_trace(path).commands)
    assert "SECRET" not in everything and "U0VDUkVU" not in everything
    events = json.loads(chrome(read_trace(path)))["traceEvents"]
    begins, ends = ([one for one in events if one["ph"] == phase] for phase in "be")
    assert [one["id"] for one in begins] == [0, 1] and len(ends) == 2
    assert all(end["ts"] > begin["ts"] for begin, end in zip(begins, ends, strict=True))
    other = python(*run, "replay", str(path), "mock:", "--skip-writes")
    assert other.returncode == 1 and ": data was" in other.stdout
    careful = python(*run, "replay", str(path), f"mock:?storage={tmp_path / 'disk'}")
    assert careful.returncode == 2 and "--yes" in careful.stderr
    assert not (tmp_path / "disk").exists()
