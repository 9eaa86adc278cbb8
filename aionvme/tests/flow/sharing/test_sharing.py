"""One controller and several processes: data, and the end of any of them in the middle of its work."""

from __future__ import annotations

import asyncio
import json
import operator
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

import aionvme
from aionvme.mock import MockController
from aionvme.tests.flow.places import addressed
from aionvme.tests.flow.programs import environment
from aionvme.tests.flow.support import ABORT, closed_rig, kinds, quiet, until
from aionvme.tests.leaks import Census

# Of what needs a process or two each, one loop has to do where the other is the same to it.
pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.spread("loop", "place", "completion"),
    pytest.mark.usefixtures("no_leaks"),
]

LOST, RESET = aionvme.ControllerLostError, aionvme.ControllerResetError
BLOCK = 512
PLACES = ("here", "mapped")
PATIENCE = 60  # seconds: a process begins slowly beside others


@attrs.define
class Process:
    """A program of this folder, in a process of its own."""

    process: subprocess.Popen[str]

    async def line(self) -> str:
        """The next line that it says; its end where there is none."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            return (await asyncio.to_thread(self.process.stdout.readline)).strip()

    def say(self, word: str = "") -> None:
        """Sends it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    async def ended(self) -> int:
        """Its exit status."""
        return await asyncio.to_thread(self.process.wait, PATIENCE)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()


@asynccontextmanager
async def program(name: str, *words: str) -> AsyncIterator[Process]:
    """A program of this folder, until the block ends."""
    command = [sys.executable, "-W", "error", "-m", f"aionvme.tests.flow.sharing.{name}", *words]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment())  # noqa: ASYNC220
    try:
        yield Process(process)
    finally:
        process.kill()
        await asyncio.to_thread(process.communicate)


@attrs.frozen
class Stage:
    """A mock, the controller that this process has of it, and where that is lent."""

    mock: MockController
    ctrlr: aionvme.Controller
    lender: aionvme.Lender

    @property
    def path(self) -> str:
        return str(self.lender.path)

    def nothing_lent(self) -> bool:
        """Whether no borrower has anything any more."""
        return not self.lender.borrowers and not self.mock.num_queues


@asynccontextmanager
async def lent(
    folder: Path, place: str = "here", *, reset: bool = False, **opts: Any
) -> AsyncIterator[Stage]:
    """A controller that is lent; afterwards nothing of it is left.

    After a reset a borrower may have rung a doorbell before it heard of that, of a queue that was gone.
    """
    with MockController(timeout=0.5) as mock:
        with addressed(mock, place, folder / "served") as address:
            async with aionvme.connect(address, aionvme.ControllerOptions(**opts)) as ctrlr:
                async with aionvme.lend(ctrlr, folder / "lent") as lender:
                    yield Stage(mock, ctrlr, lender)
                assert not lender.path.exists()
                assert ctrlr._queues._taken == {}
        if not reset:
            closed_rig(mock)


@pytest.mark.parametrize("place", PLACES)
async def test_each_sees_the_others_data(place: str, tmp_path: Path) -> None:
    """Two borrowers and the owner write, and each reads what another wrote; then all is given back."""
    async with (
        lent(tmp_path, place) as stage,
        program("borrower", stage.path, "verify", "0", "64", "1", "64", "2") as one,
        program("borrower", stage.path, "verify", "64", "64", "2", "0", "1") as two,
    ):
        assert (await one.line(), await two.line()) == ("written", "written")
        assert stage.lender.borrowers == 2
        async with stage.ctrlr.alloc_io_qpair() as qp:
            buf = stage.ctrlr.dma_alloc(64 * BLOCK)
            await qp.read(stage.ctrlr.namespaces[1], buf, 64, 64)
            assert (
                buf.array() == np.random.default_rng(2).integers(0, 256, 64 * BLOCK, dtype=np.uint8)
            ).all()
            assert qp.qid not in (1, 2)
        one.say()
        two.say()
        assert (await one.line(), await two.line()) == ("verified", "verified")
        assert (await one.ended(), await two.ended()) == (0, 0)
        await until(lambda: not stage.lender.borrowers)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("completion", ["poll", "interrupt"])
async def test_borrower_is_killed(place: str, completion: str, tmp_path: Path) -> None:
    """In the middle of its reads: its queues are deleted, its memory unmapped, and the owner and others go on."""
    quiet()
    async with lent(tmp_path, place) as stage, stage.ctrlr.alloc_io_qpair() as qp:
        before = stage.ctrlr._dma.mappings()
        async with program("borrower", stage.path, "load", completion) as borrower:
            assert await borrower.line() == "reading"
            assert len(stage.ctrlr._dma.mappings()) > len(before)
            borrower.kill()
            await until(lambda: not stage.lender.borrowers)
        assert stage.ctrlr._dma.mappings() == before
        assert list(stage.ctrlr._queues._taken) == [qp.qid]
        await qp.read(stage.ctrlr.namespaces[1], stage.ctrlr.dma_alloc(BLOCK), 0, 1)
        async with program("borrower", stage.path, "load", completion) as another:
            assert await another.line() == "reading"


@pytest.mark.parametrize(
    ("end", "how"),
    [
        ("reset", "ControllerResetError"),
        ("lend no more", "ControllerLostError"),
        ("close", "ControllerLostError"),
    ],
)
async def test_owner_ends_it(end: str, how: str, tmp_path: Path) -> None:
    """A reset, the end of the loan or of the controller: a borrower's commands end so, and its calls."""
    quiet()
    async with (
        lent(tmp_path, reset=end == "reset") as stage,
        program("borrower", stage.path, "load", "poll") as borrower,
    ):
        assert await borrower.line() == "reading"
        if end == "reset":
            await stage.ctrlr.reset()
            assert not stage.ctrlr.closed
        else:
            await (stage.lender if end == "lend no more" else stage.ctrlr).close()
        assert [await borrower.line() for _ in range(3)] == [how, how, "closed"]
        assert await borrower.ended() == 0
        await until(lambda: not stage.lender.borrowers)


async def test_time_limits(tmp_path: Path) -> None:
    """A borrower's command that takes too long is aborted by the owner; where that does not help, a reset ends it."""
    quiet()
    async with (
        lent(tmp_path, reset=True, abort_timeout=0.3) as stage,
        program("borrower", stage.path, "late") as borrower,
    ):
        assert await borrower.line() == "there"
        stage.mock.hold(qid=1, count=1)
        borrower.say()
        assert await borrower.line() == "CommandTimeoutError"
        stage.mock.hold(qid=1, count=1)
        with stage.mock.hold(qid=0, opcode=ABORT, count=1):
            borrower.say()
            assert await borrower.line() == "CommandTimeoutError"
        # By a reset, which ends the loan as well.
        assert await borrower.ended() == 0
        await until(lambda: not stage.lender.borrowers)
        assert not stage.ctrlr.closed


async def test_namespaces_follow_the_owners(tmp_path: Path) -> None:
    """One that the owner detaches takes no more commands of a borrower's; one that it attaches is there."""
    async with lent(tmp_path) as stage, program("borrower", stage.path, "namespaces") as borrower:
        assert await borrower.line() == "there"
        cntlid = stage.ctrlr.data.cntlid
        await stage.ctrlr.detach_ns(1, [cntlid])
        assert await borrower.line() == "gone"
        await stage.ctrlr.attach_ns(1, [cntlid])
        assert await borrower.line() == "back"
        assert await borrower.ended() == 0


async def test_loss_reaches_the_borrower(tmp_path: Path) -> None:
    """The device is pulled out of the owner's hands: a borrower's commands end as lost."""
    quiet()
    async with lent(tmp_path) as stage, program("borrower", stage.path, "load", "poll") as borrower:
        assert await borrower.line() == "reading"
        stage.mock.remove()
        assert [await borrower.line() for _ in range(3)] == ["ControllerLostError"] * 2 + ["closed"]
        await until(lambda: stage.ctrlr.closed and not stage.lender.borrowers)


@pytest.mark.anyloop
@pytest.mark.parametrize("place", PLACES)
async def test_owner_is_killed(place: str, tmp_path: Path) -> None:
    """In the middle of this process's reads: each ends as lost, memory is used by nobody again, calls say why."""
    quiet()
    with MockController() as mock, addressed(mock, "mapped", tmp_path / "served") as served:
        address = "mock:" if place == "here" else served
        async with program("owner", address, str(tmp_path / "lent")) as owner:
            assert await owner.line() == "lent"
            async with aionvme.borrow(tmp_path / "lent") as ctrlr:
                qp = await ctrlr.alloc_io_qpair(depth=8)
                ns, bufs = ctrlr.namespaces[1], [ctrlr.dma_alloc(BLOCK) for _ in range(8)]
                done = [0]

                async def reads(buf: aionvme.DmaBuffer) -> None:
                    while True:
                        await qp.read(ns, buf, 0, 1, timeout=0)
                        done[0] += 1

                tasks = [asyncio.create_task(reads(buf)) for buf in bufs]
                await until(lambda: done[0])
                owner.kill()
                assert await kinds(tasks) == [LOST] * 8
                assert ctrlr._dma.quarantined
                assert ctrlr.closed
                with pytest.raises(LOST, match="owner is gone"):
                    ctrlr.dma_alloc(BLOCK)
                with pytest.raises(LOST, match="owner is gone"):
                    qp.read(ns, bufs[0], 0, 1)
                with pytest.raises(LOST):
                    await ctrlr.alloc_io_qpair()
                memoryview(bufs[0])[:4] = b"here"  # It is there still, for whoever holds it.
                await qp.close()


async def test_what_a_borrower_is_refused(tmp_path: Path) -> None:
    """Nobody lends there; the owner's own process; admin commands; memory of one's own; another's path."""
    with pytest.raises(aionvme.AddressError, match="no controller is lent there"):
        await aionvme.borrow(tmp_path / "lent")
    async with lent(tmp_path) as stage:
        with pytest.raises(aionvme.UsageError, match="this process's own"):
            await aionvme.borrow(stage.path)
        with pytest.raises(aionvme.AddressError, match="choose another path"):
            await aionvme.lend(stage.ctrlr, stage.path)
        assert os.stat(stage.path).st_mode & 0o777 == 0o600
    async with program("owner", "mock:?num_io_queues=1", stage.path) as owner:
        assert await owner.line() == "lent"
        async with aionvme.borrow(stage.path) as ctrlr:
            with pytest.raises(AttributeError, match="have its owner send them"):
                operator.attrgetter("identify")(ctrlr)
            async with ctrlr.alloc_io_qpair() as qp:
                array = np.zeros(4096, np.uint8)
                with pytest.raises(aionvme.UsageError, match="not mapped"):
                    qp.read(ctrlr.namespaces[1], array, 0, 1)
                with pytest.raises(aionvme.UsageError, match="all are in use"):
                    await ctrlr.alloc_io_qpair()
            with pytest.raises(aionvme.UsageError, match="depth must be"):
                await ctrlr.alloc_io_qpair(depth=1 << 16)
        owner.say("close")
        assert await owner.ended() == 0


MALFORMED = (
    b"[]",
    b"{",
    b'{"id":1}',
    b'{"id":1,"do":"create","qid":1}',
    b'{"id":1,"do":"map","iova":"0","nbytes":4096}',
    b'{"id":-1,"do":"hello","version":1}',
    b'{"id":1,"do":"hello","version":"one"}',
    b"[" * 20000,
)


@pytest.mark.anyloop
@pytest.mark.parametrize("greeted", [False, True])
async def test_malformed_messages(greeted: bool, tmp_path: Path) -> None:
    """Who sends what is no message, or not due, is hung up on; nothing of it is left, and the owner goes on."""
    quiet()
    async with lent(tmp_path) as stage:
        before = await Census.of_loop()
        for message in MALFORMED:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
                sock.connect(stage.path)
                if greeted:
                    sock.send(b'{"id":0,"do":"hello","version":1}')
                    data, fds, _, _ = await asyncio.to_thread(socket.recv_fds, sock, 65536, 16)
                    assert json.loads(data)["facts"]["name"] == str(stage.ctrlr.pci_dev)
                    for fd in fds:
                        os.close(fd)
                socket.send_fds(sock, [message], [sock.fileno()])
                assert await asyncio.to_thread(sock.recv, 65536) == b"", message
            await until(lambda: not stage.lender.borrowers)
        assert await before.leaked() == []
        async with stage.ctrlr.alloc_io_qpair() as qp:
            await qp.read(stage.ctrlr.namespaces[1], stage.ctrlr.dma_alloc(BLOCK), 0, 1)
            assert qp.qid == 1
