"""A client that takes its memory away although it is mapped here: it loses its connection, and the mock lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aionvme.tests.unit.mock.raw import CSTS, IOVA, Pages, Queue, Raw
from aionvme.tests.unit.mock.serving.client import RemoteFunction, shared_memory
from aionvme.tests.unit.mock.serving.conftest import Stage

Make = Callable[..., Stage]
PAGE = 4096
FLUSH, WRITE, READ = 0, 1, 2
HERE = 0x7000_0000


def with_more(served: Stage) -> tuple[Raw, Queue, int]:
    """A driver with a queue, and further memory of 32 pages, whose file it still has."""
    raw = served.raw()
    raw.enable()
    queue = raw.create(1)
    fd, _ = shared_memory(32 * PAGE)
    raw.function.client.map(HERE, 32 * PAGE, fd)
    return raw, queue, fd


def assert_lost(served: Stage, raw: Raw) -> None:
    """The connection ends; the mock serves the next client, whose commands work."""
    raw.function.client.wait_for_end()
    again = served.raw()
    assert again.function.read32(CSTS) == 0
    again.enable()
    assert again.create(1).run(FLUSH, nsid=1).status == 0


@pytest.mark.parametrize("where", ["memory", "file"])
@pytest.mark.parametrize("opcode", [READ, WRITE])
@pytest.mark.parametrize("left", [0, 3 * PAGE])
def test_data(stage: Make, tmp_path: Path, where: str, opcode: int, left: int) -> None:
    """In the middle of a transfer, of which some is there; the storage is memory, or a file that the kernel reads."""
    served = stage(storage=tmp_path / "storage") if where == "file" else stage()
    raw, queue, fd = with_more(served)
    os.ftruncate(fd, left)
    # Data of 32 pages at one piece.
    queue.post(opcode, flags=0x40, nsid=1, prp1=HERE, prp2=32 * PAGE, cdw12=255)
    queue.ring()
    assert_lost(served, raw)
    os.close(fd)


@pytest.mark.parametrize("what", ["submission", "completion", "list", "admin data"])
def test_structures(stage: Make, what: str) -> None:
    """Where queues, lists and the data of admin commands are."""
    served = stage()
    raw, queue, fd = with_more(served)
    if what in ("submission", "completion"):
        ours = raw.memory.iova + raw.memory.take(1)
        entries, completions = (HERE, ours) if what == "submission" else (ours, HERE)
        assert raw.admin.run(0x05, cid=1, prp1=completions, cdw10=7 << 16 | 2, cdw11=1).status == 0
        assert raw.admin.run(0x01, cid=2, prp1=entries, cdw10=7 << 16 | 2, cdw11=2 << 16 | 1).status == 0
        os.ftruncate(fd, 0)
        raw.function.write32(0x1000 + 16, 1)
    elif what == "list":
        os.ftruncate(fd, 0)
        queue.post(WRITE, nsid=1, prp1=raw.page_iova, prp2=HERE, cdw12=255)
        queue.ring()
    else:
        os.ftruncate(fd, 0)
        raw.admin.post(0x06, prp1=HERE, cdw10=1)
        raw.admin.ring()
    assert_lost(served, raw)
    os.close(fd)


def test_all_of_it(stage: Make) -> None:
    """Everything at once, the queues among it, while commands are under way."""
    served = stage()
    client = served.negotiated()
    fd, memory = shared_memory(8 << 20)
    client.map(IOVA, 8 << 20, fd)
    raw = Raw(served.mock, reached=(RemoteFunction(client), Pages(memory)))
    raw.enable()
    queue = raw.create(1, 64)
    for cid in range(60):
        queue.post(WRITE, cid=cid, nsid=1, prp1=raw.page_iova, cdw12=7)
    del memory
    os.ftruncate(fd, 0)
    raw.function.write32(queue.sq_doorbell, queue.tail)
    raw.function.write32(0x1000, 1)
    assert_lost(served, raw)
    os.close(fd)


_FAULT = """
import faulthandler, mmap, os, signal, sys
from aionvme.mock import MockController
order, folder = sys.argv[1:]
if order == "before":
    faulthandler.enable()
with MockController() as mock, mock.serve(folder) as serving:
    if order == "ignored":
        signal.signal(signal.SIGBUS, signal.SIG_IGN)
    from aionvme.tests.unit.mock.serving.client import Client
    with Client(serving.path) as client:
        client.negotiate()
        client.read(7, 0, 1)
        fd = os.memfd_create("mine")
        os.ftruncate(fd, 4096)
        mine = mmap.mmap(fd, 4096)
        os.ftruncate(fd, 0)
        if order == "sent":
            os.kill(os.getpid(), signal.SIGBUS)
        print("now", flush=True)
        mine[0]
        print("not reached", flush=True)
"""


@pytest.mark.parametrize("order", ["before", "none", "ignored", "sent"])
def test_faults_of_others(tmp_path: Path, order: str) -> None:
    """A fault in memory that is no client's ends the process as ever, by the handler that was there before."""
    # A sanitizer has a handler of its own, which is no matter of this test.
    sanitizer = f"{os.environ.get('ASAN_OPTIONS', '')}:handle_sigbus=0".lstrip(":")
    ended = subprocess.run(
        [sys.executable, "-c", _FAULT, order, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "ASAN_OPTIONS": sanitizer},
    )
    assert ended.returncode == -signal.SIGBUS, ended.stderr
    assert ended.stdout == ("" if order == "sent" else "now\n")
    assert ("Bus error" in ended.stderr) == (order == "before")
