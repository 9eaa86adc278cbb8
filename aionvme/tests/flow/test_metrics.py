"""A controller's figures: counted rightly, seen by another process, scraped, and gone at the end."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import pty
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import aionvme
from aionvme import metrics
from aionvme.errors import AddressError, DecodeError, UsageError
from aionvme.metrics.rates import between
from aionvme.mock import MockController
from aionvme.tests.flow.programs import environment, python

prometheus_client = pytest.importorskip("prometheus_client", reason="the endpoint is an extra")

from prometheus_client.parser import text_string_to_metric_families  # noqa: E402

# Until its input ends it reads, a block at a time.
_READER = """
import asyncio, sys, aionvme

async def main():
    async with aionvme.connect("mock:") as ctrlr, ctrlr.alloc_io_qpair() as qp:
        ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
        with ctrlr.dma_alloc(512) as buf:
            await qp.read(ctrlr.namespaces[1], buf, 0, 1)
            print("reading", flush=True)
            while not ended.done():
                await qp.read(ctrlr.namespaces[1], buf, 0, 1)
                await asyncio.sleep(0)

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of sockets for this test alone, empty at the end."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr("aionvme.metrics.finding.folders", lambda: [tmp_path / "aionvme"])
    yield tmp_path / "aionvme"
    assert list(tmp_path.glob("aionvme/*")) == []


def _queue(snapshot: metrics.Snapshot, qid: int) -> metrics.QueueCounts:
    return next(queue for queue in snapshot.queues if queue.qid == qid)


@pytest.mark.anyloop
async def test_what_is_counted(no_leaks: None) -> None:
    """Each way to post is counted once, by kind, with its bytes; failures apart; other listeners are told as well."""
    with MockController(size=1 << 20) as mock:
        async with aionvme.connect(mock) as ctrlr, ctrlr.alloc_io_qpair(depth=4) as qp:
            ns = ctrlr.namespaces[1]
            with ctrlr.dma_alloc(1 << 18) as buf, metrics.measure(ctrlr) as measured:
                await qp.read(ns, buf, 0, 1)
                await qp.write(ns, buf, 0, 512)  # two commands, by MDTS
                await qp.read_batch(ns, buf, np.arange(20), 2)
                await qp.flush(ns)
                mock.fail(0x281, qid=qp.qid)
                with pytest.raises(aionvme.StatusError):
                    await qp.read(ns, buf, 7, 1)
                queue = _queue(await measured.snapshot(), qp.qid)
                kinds = queue.kinds
                assert (kinds["read"].completed, kinds["read"].failed) == (21, 1)
                assert kinds["read"].nbytes == 41 * 512
                assert (kinds["write"].completed, kinds["write"].nbytes) == (2, 512 * 512)
                assert (kinds["other"].completed, kinds["other"].nbytes) == (1, 0)
                for counts in kinds.values():
                    assert sum(count for *_, count in counts.buckets) == counts.completed + counts.failed
                assert (queue.depth, queue.outstanding, queue.dropped, queue.untimed) == (4, 0, 0, 0)
                # The health was asked for: that, too, is a command.
                assert _queue(measured.now(), 0).kinds["other"].completed == 1
            await qp.read(ns, ctrlr.dma_alloc(512), 0, 1)
            assert _queue(measured.now(), qp.qid).kinds["read"].completed == 21


@pytest.mark.asyncio
async def test_what_was_posted_before() -> None:
    """It has no time; and a queue identifier that is used again, with other rings, goes on counting."""
    async with aionvme.connect("mock:?latency=0.02") as ctrlr:
        qp = await ctrlr.alloc_io_qpair(depth=2)
        ns, buf = ctrlr.namespaces[1], ctrlr.dma_alloc(512)
        before = qp.read(ns, buf, 0, 1)
        await asyncio.sleep(0.001)
        with metrics.measure(ctrlr) as measured:
            await before
            await qp.read(ns, buf, 0, 1)
            queue = _queue(measured.now(), qp.qid)
            assert (queue.untimed, queue.kinds["read"].completed) == (1, 1)
            await qp.close()
            assert _queue(measured.now(), qp.qid).completion == "closed"
            async with ctrlr.alloc_io_qpair(depth=64) as other:
                assert other.qid == qp.qid
                await asyncio.gather(*(other.read(ns, buf, 0, 1) for _ in range(64)))
                assert _queue(measured.now(), qp.qid).kinds["read"].completed == 65


@pytest.mark.asyncio
async def test_a_format_changes_what_a_block_is() -> None:
    """Of a namespace that was formatted meanwhile the bytes are those of its new blocks."""
    async with aionvme.connect("mock:?size=1MiB") as ctrlr, ctrlr.alloc_io_qpair() as qp:
        with metrics.measure(ctrlr) as measured, ctrlr.dma_alloc(4096) as buf:
            await qp.write(ctrlr.namespaces[1], buf, 0, 1)
            await ctrlr.format_nvm(1, lbaf=1)
            await qp.write(ctrlr.namespaces[1], buf, 0, 1)
            assert _queue(measured.now(), qp.qid).kinds["write"].nbytes == 512 + 4096


@pytest.mark.asyncio
async def test_a_reset_drops() -> None:
    """Commands that a reset ended are counted as dropped, and are no commands that ended."""
    async with aionvme.connect("mock:?latency=1") as ctrlr, ctrlr.alloc_io_qpair() as qp:
        with metrics.measure(ctrlr) as measured:
            req = qp.read(ctrlr.namespaces[1], ctrlr.dma_alloc(512), 0, 1)
            await asyncio.sleep(0)
            await ctrlr.reset()
            with pytest.raises(aionvme.ControllerResetError):
                await req
            queue = _queue(measured.now(), qp.qid)
    assert (queue.dropped, queue.kinds["read"].completed, queue.kinds["read"].failed) == (1, 0, 0)


@pytest.mark.anyloop
async def test_published_and_found() -> None:
    """Whoever asks sees two controllers of one process, and what happened between two looks."""
    async with aionvme.connect("mock:?serial=ONE") as one, aionvme.connect("mock:?serial=TWO") as two:
        async with metrics.publish(one) as publication, metrics.publish(two), one.alloc_io_qpair() as qp:
            assert (await asyncio.to_thread(publication.path.stat)).st_mode & 0o777 == 0o600
            before = await asyncio.to_thread(metrics.snapshots)
            assert {each.serial for each in before} == {"ONE", "TWO"}
            with one.dma_alloc(4096) as buf:
                for _ in range(5):
                    await qp.read(one.namespaces[1], buf, 0, 8)
            after = await asyncio.to_thread(metrics.snapshots)
            [interval] = [each for each in between(before, after) if each.after.serial == "ONE"]
            rates = interval.io("read")
            assert (rates.counts.completed, rates.counts.nbytes) == (5, 5 * 4096)
            assert rates.iops == pytest.approx(5 / interval.seconds)
            p50, p99 = rates.percentile_us(50), rates.percentile_us(99)
            assert p50 is not None and p99 is not None and 0 < p50 <= p99
            assert interval.io("write").percentile_us(50) is None
            health = interval.after.health
            assert health is not None and health.available_spare == 100
        assert await asyncio.to_thread(metrics.snapshots) == []


def test_another_process() -> None:
    """With AIONVME_METRICS=1 a program is found by `aionvme top`, as JSON and as lines, while it reads."""
    program = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", _READER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(AIONVME_METRICS="1"),
    )
    assert program.stdin is not None and program.stdout is not None
    try:
        assert program.stdout.readline() == b"reading\n"
        ended = python("-m", "aionvme.cli", "top", "--once", "-o", "json", "--pid", str(program.pid))
        assert (ended.returncode, ended.stderr) == (0, "")
        [found] = json.loads(ended.stdout)
        assert found["rates"]["read"]["iops"] > 0
        assert found["rates"]["read"]["latency_us"]["p99"] > 0
        assert found["snapshot"]["pid"] == program.pid
        assert found["snapshot"]["health"]["temperature_c"] > 0
        ended = python("-m", "aionvme.cli", "top", "--once", "--interval", "0.1")
        assert (ended.returncode, "IOPS" in ended.stdout, "SMART" in ended.stdout) == (0, True, True)
    finally:
        program.communicate(timeout=30)
    assert program.returncode == 0


def test_nobody_publishes() -> None:
    """`aionvme top --once` says what to do, and its exit status is 1; its JSON is an empty list."""
    ended = python("-m", "aionvme.cli", "top", "--once", "-o", "json", "--interval", "0.05")
    assert (ended.returncode, json.loads(ended.stdout)) == (1, [])
    assert "AIONVME_METRICS=1" in ended.stderr


def test_what_a_killed_process_left(folder: Path) -> None:
    """Its socket is taken away by who looks next."""
    folder.mkdir(mode=0o700)
    program = (
        f"import socket; s = socket.socket(socket.AF_UNIX); s.bind({str(folder / '1-2.sock')!r}); s.listen()"
    )
    assert python("-W", "ignore", "-c", program).returncode == 0
    assert len(list(folder.iterdir())) == 1
    assert metrics.snapshots() == []


def test_a_folder_that_is_not_ours_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that others can look into is not used."""
    folder.mkdir(mode=0o700)
    folder.chmod(0o755)
    monkeypatch.setattr("aionvme.metrics.publishing._of_runtime", lambda _uid: [folder])
    monkeypatch.setattr("aionvme.metrics.publishing._of_temporary", lambda _uid: folder / "none" / "none")
    with pytest.raises(AddressError, match="XDG_RUNTIME_DIR"):
        asyncio.run(_publish_one())


async def _publish_one() -> None:
    async with aionvme.connect("mock:") as ctrlr:
        await metrics.publish(ctrlr)


@pytest.mark.asyncio
async def test_prometheus(no_leaks: None) -> None:
    """The endpoint's text is Prometheus' own, with every command in a histogram; afterwards nothing listens."""
    async with aionvme.connect("mock:") as ctrlr, ctrlr.alloc_io_qpair() as qp:
        with ctrlr.dma_alloc(512) as buf:
            async with metrics.serve(ctrlr, port=0) as served:
                await qp.read(ctrlr.namespaces[1], buf, 0, 1)
                text = await asyncio.to_thread(_scraped, served.port)
            with pytest.raises(OSError):
                await asyncio.to_thread(_scraped, served.port)
    samples = {
        (sample.name, sample.labels.get("qid"), sample.labels.get("kind"), sample.labels.get("le")): sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["aionvme_commands_total", "1", "read", None].value == 1
    assert samples["aionvme_data_bytes_total", "1", "read", None].value == 512
    assert samples["aionvme_command_duration_seconds_bucket", "1", "read", "+Inf"].value == 1
    assert samples["aionvme_command_duration_seconds_count", "1", "read", None].value == 1
    assert samples["aionvme_available_spare_ratio", None, None, None].value == 1
    assert samples["aionvme_controller_info", None, None, None].labels["model"] == "aionvme mock"


def _scraped(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def test_top_for_prometheus() -> None:
    """`aionvme top --prometheus 0` says where it listens, serves what is published, and ends at Ctrl-C with 130."""
    program = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "aionvme.cli", "top", "--prometheus", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    assert program.stdout is not None
    try:
        port = int(program.stdout.readline().rsplit(":", 1)[1].partition("/")[0])
        assert "aionvme_controller_info" in _scraped(port)
        program.send_signal(2)
        _, errors = program.communicate(timeout=30)
        assert (program.returncode, errors) == (130, "interrupted\n")
    finally:
        program.kill()
        program.communicate()


def test_the_live_screen() -> None:
    """On a terminal it draws, and Ctrl-C gives the terminal back as it was, with status 130."""
    leader, follower = pty.openpty()
    program = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "aionvme.cli", "top", "--interval", "0.1"],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environment(TERM="xterm", COLUMNS="100", LINES="30"),
    )
    os.close(follower)
    seen = b""
    while b"Waiting for a program" not in seen:
        seen += os.read(leader, 4096)
    program.send_signal(2)
    with contextlib.suppress(OSError):
        while more := os.read(leader, 4096):
            seen += more
    os.close(leader)
    assert program.wait(30) == 130
    # Leaves the alternate screen, and shows the cursor again (xterm's control sequences).
    assert b"\x1b[?1049l" in seen and b"\x1b[?25h" in seen


@pytest.mark.asyncio
async def test_a_port_that_is_taken() -> None:
    """One sentence, and nothing is counted."""
    async with aionvme.connect("mock:") as ctrlr, metrics.serve(ctrlr, port=0) as served:
        with pytest.raises(AddressError, match="choose another port"):
            await metrics.serve(ctrlr, port=served.port)
    with pytest.raises(UsageError, match="closed"):
        await metrics.publish(ctrlr)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"when_ns": "x"}', "{" * 5000, '"\\ud800"'])
def test_what_is_no_snapshot(text: str) -> None:
    """Whatever another program sends is a `DecodeError` that says what to do, or a snapshot."""
    with pytest.raises(DecodeError, match="one version"):
        metrics.Snapshot.from_json(text)


@pytest.mark.asyncio
async def test_a_snapshot_as_json() -> None:
    """What is read is what was written, but for what would move a terminal's cursor."""
    async with aionvme.connect("mock:") as ctrlr:
        with metrics.measure(ctrlr) as measured:
            snapshot = await measured.snapshot()
    assert metrics.Snapshot.from_json(json.dumps(snapshot.as_json())) == snapshot
    assert snapshot.pid == os.getpid()
    wrong = snapshot.as_json() | {"program": "\x1b[2Jx"}
    assert metrics.Snapshot.from_json(json.dumps(wrong)).program == "?[2Jx"


@pytest.mark.parametrize("width", [50, 120])
@pytest.mark.asyncio
async def test_the_screen(width: int) -> None:
    """No line is wider than the terminal, and a critical warning is said by name."""
    from rich.console import Console

    from aionvme.cli.dashboard import Dashboard

    async with aionvme.connect("mock:") as ctrlr, ctrlr.alloc_io_qpair() as qp:
        with metrics.measure(ctrlr) as measured, ctrlr.dma_alloc(512) as buf:
            before = await measured.snapshot()
            for _ in range(3):
                await qp.read(ctrlr.namespaces[1], buf, 0, 1)
            after = json.loads(json.dumps((await measured.snapshot()).as_json()))
    after["health"]["critical_warning"] = 0b101
    [interval] = between([before], [metrics.Snapshot.from_json(json.dumps(after))])
    out = Console(width=width, record=True, file=io.StringIO())
    out.print(Dashboard(queues=True).draw([interval], width))
    shown = out.export_text()
    assert "reliability" in shown or width < 80
    assert ("queue 1, 0 of" in shown, "p99.9" in shown) == (True, width > 80)
    assert max(len(line) for line in shown.splitlines()) <= width
