"""A controller that another process serves by vfio-user, and what becomes of it when that process does not any more."""

from __future__ import annotations

import asyncio
import mmap
import os
import signal
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
from aionvme import spdk
from aionvme.admin import controller
from aionvme.mock import MockController
from aionvme.pci.address import VfioUserAddress
from aionvme.tests.flow.places import PLACES, addressed
from aionvme.tests.flow.programs import environment
from aionvme.tests.flow.spdk_stage import value
from aionvme.tests.flow.support import PATIENCE, kinds, quiet, until
from aionvme.tests.flow.threads.elsewhere import elsewhere
from aionvme.tests.leaks import Census

pytestmark = [pytest.mark.anyloop, pytest.mark.usefixtures("no_leaks")]

LOST = aionvme.ControllerLostError
BLOCK = 512
MODES = ("poll", "interrupt", "adaptive")
# Until a server that says nothing is given up.
SILENCE = 0.4


@attrs.define
class Other:
    """A process that serves a mock; its address, and how to say that it is to be given up soon."""

    process: subprocess.Popen[str]
    path: Path

    @property
    def address(self) -> str:
        return f"vfio-user:{self.path}"

    @property
    def hasty(self) -> str:
        return f"{self.address}?timeout={SILENCE}"


@asynccontextmanager
async def serving(folder: Path, *words: str) -> AsyncIterator[Other]:
    """`aionvme mock serve` in a process of its own, until the block ends."""
    command = [sys.executable, "-m", "aionvme.cli", "mock", "serve", "--socket", str(folder), *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())  # noqa: ASYNC220
    assert process.stdout is not None
    try:
        assert "Serving at" in await asyncio.to_thread(process.stdout.readline)
        yield Other(process, folder)
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
        process.stdout.close()


async def reads(ctrlr: aionvme.Controller, qp: aionvme.IoQueuePair, done: list[int]) -> None:
    """Reads one block after another, until that fails; counts those that did not."""
    with ctrlr.dma_alloc(BLOCK) as buf:
        while True:
            await qp.read(ctrlr.namespaces[1], buf, done[0] % 64, 1, timeout=0)
            done[0] += 1


@pytest.mark.parametrize(
    ("end", "doorbells"), [("killed", "mapped"), ("killed", "message"), ("stopped", "mapped")]
)
async def test_server_that_ends_in_the_middle(
    end: str, doorbells: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed or stopped under load: each command of each queue pair ends as lost, on other threads too; so do calls.

    A server that is started anew is connected to anew.
    """
    quiet()
    if end == "killed":
        unwatched(monkeypatch)
    async with serving(tmp_path, "--doorbells", doorbells) as other, elsewhere() as there:
        told: list[Any] = []
        found: list[aionvme.Controller] = []
        await aionvme.probe(
            None, lambda *_: True, lambda *call: found.append(call[2]),
            remove_cb=lambda _, ctrlr: told.append(ctrlr), addresses=[other.hasty],
        )  # fmt: skip
        [ctrlr] = found
        pairs = [await ctrlr.alloc_io_qpair(depth=4, completion=mode) for mode in MODES]
        pairs.append(await there.run(_allocated(ctrlr)))
        done = [[0] for _ in pairs]
        # Twice as many as find a slot.
        tasks: list[Any] = [
            asyncio.ensure_future(reads(ctrlr, qp, count))
            for qp, count in zip(pairs[:-1], done, strict=False)
            for _ in range(8)
        ]
        tasks += [asyncio.wrap_future(there.start(reads(ctrlr, pairs[-1], done[-1]))) for _ in range(8)]
        admin = asyncio.ensure_future(_identifies(ctrlr))
        await until(lambda: all(count[0] > 20 for count in done), "I/O on all queue pairs")
        os.kill(other.process.pid, signal.SIGKILL if end == "killed" else signal.SIGSTOP)
        async with asyncio.timeout(PATIENCE):
            assert await kinds([*tasks, admin]) == [LOST] * 33
        await until(lambda: told, "remove_cb")
        await _ended(ctrlr)
        with pytest.raises(LOST, match=r"the server (closed the connection|did not answer in time)"):
            pairs[0].submit_flush(ctrlr.namespaces[1])
    async with serving(tmp_path) as other, aionvme.connect(other.address) as again:
        assert again.namespaces


def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at the controller's health meanwhile: its loss is noticed by a notice, or not at all."""
    monkeypatch.setattr(controller, "HEALTH_SECONDS", 1000.0)


async def _allocated(ctrlr: aionvme.Controller) -> aionvme.IoQueuePair:
    return await ctrlr.alloc_io_qpair(depth=4)


async def _identifies(ctrlr: aionvme.Controller) -> None:
    while True:
        await ctrlr.identify(1)


async def test_server_that_closes_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is told to end leaves its client without a controller, at once."""
    quiet()
    unwatched(monkeypatch)
    with MockController() as mock:
        serving = mock.serve(tmp_path)
        async with aionvme.connect(f"vfio-user:{tmp_path}") as ctrlr, ctrlr.alloc_io_qpair() as qp:
            mock.silent = True
            with ctrlr.dma_alloc(BLOCK) as buf:
                request = qp.read(ctrlr.namespaces[1], buf, 0, 1, timeout=0)
                await asyncio.to_thread(serving.close)
                async with asyncio.timeout(PATIENCE):
                    assert await kinds([request]) == [LOST]
        mock.silent = False


async def test_loss_in_the_middle_of_bring_up(tmp_path: Path) -> None:
    """A server that goes while the controller is brought up ends that, in bounded time."""
    quiet()
    with MockController(timeout=5.0) as mock:
        serving = mock.serve(tmp_path)
        mock.stuck = True
        connecting = asyncio.ensure_future(_connected(f"vfio-user:{tmp_path}"))
        await until(lambda: serving.attached, "the connection")
        await asyncio.to_thread(serving.close)
        async with asyncio.timeout(PATIENCE):
            assert await kinds([connecting]) in ([LOST], [aionvme.AddressError])
        mock.stuck = False


async def _connected(address: str) -> aionvme.Controller:
    return await aionvme.connect(address)


async def test_memory_goes_when_it_is_let_go(tmp_path: Path) -> None:
    """After a loss what is held can be read and written still; its memory goes with it, and is not kept for ever."""

    def arenas() -> int:
        return Path("/proc/self/maps").read_text().count("memfd:aionvme-dma")

    quiet()
    before = arenas()
    async with serving(tmp_path) as other:
        ctrlr = await aionvme.connect(other.address)
        buf = ctrlr.dma_alloc(BLOCK)
        memory = np.frombuffer(mmap.mmap(-1, mmap.PAGESIZE), np.uint8)
        registration = ctrlr.dma_register(memory)
        memoryview(buf)[:4] = b"mine"
        other.process.kill()
        await _ended(ctrlr)
        assert bytes(memoryview(buf)[:4]) == b"mine"
        with pytest.raises(LOST):
            ctrlr.dma_alloc(BLOCK)
        assert arenas() > before
        buf.close()
        registration.close()
        await ctrlr.close()
        del ctrlr, buf, registration
        await Census.of_loop()  # which collects
        assert arenas() == before


async def _ended(ctrlr: aionvme.Controller) -> None:
    """Waits for the end that a controller comes to by itself, up to the last that it gives back."""
    await until(lambda: ctrlr.closed, "the end")
    await ctrlr.close()


async def test_removal_is_asked_for(tmp_path: Path) -> None:
    """A server that wants its controller back gets it, once the commands that are outstanding have ended."""
    quiet()
    with MockController() as mock, mock.serve(tmp_path):
        ctrlr = await aionvme.connect(f"vfio-user:{tmp_path}")
        mock.request_removal()
        await _ended(ctrlr)
        with pytest.raises(LOST, match="asked for its removal"):
            ctrlr.dma_alloc(BLOCK)


async def test_device_that_is_gone(tmp_path: Path) -> None:
    """A device that is unplugged behind its server is lost as one of this machine is."""
    quiet()
    with MockController() as mock, mock.serve(tmp_path):
        ctrlr = await aionvme.connect(f"vfio-user:{tmp_path}")
        mock.remove()
        await _ended(ctrlr)
        with pytest.raises(LOST):
            ctrlr.dma_alloc(BLOCK)


async def test_one_client_at_a_time(tmp_path: Path) -> None:
    """A controller that this process has is refused, however its address is written; a server lets in one client."""
    with MockController() as mock, mock.serve(tmp_path):
        async with aionvme.connect(f"vfio-user:{tmp_path}"):
            for address in (f"trtype:VFIOUSER traddr:{tmp_path / 'cntrl'}", VfioUserAddress(str(tmp_path))):
                with pytest.raises(aionvme.AddressError, match="is in use: this process has it"):
                    await aionvme.connect(address)
            link = tmp_path / "link"
            link.symlink_to(tmp_path / "cntrl")
            # Under a name of its own, so that nobody here knows that it is the same.
            os.link(tmp_path / "cntrl", tmp_path / "same")
            with pytest.raises(aionvme.AddressError, match=r"vfio-user:.*same"):
                await aionvme.connect(f"vfio-user:{tmp_path / 'same'}?timeout={SILENCE}")
        async with aionvme.connect(f"trtype:VFIOUSER traddr:{tmp_path}") as ctrlr:
            assert ctrlr.pci_dev.bdf == f"vfio-user:{tmp_path}"
            assert (ctrlr.pci_dev.vendor_id, ctrlr.pci_dev.is_nvme) == (mock.pci_dev.vendor_id, True)


async def test_cancelled_while_connecting(tmp_path: Path) -> None:
    """A connect that is cancelled ends when the server's time is over, and leaves nothing."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "cntrl"))
        listener.listen()
        connecting = asyncio.ensure_future(_connected(f"vfio-user:{tmp_path}?timeout={SILENCE}"))
        await asyncio.sleep(0.05)
        connecting.cancel()
        assert await kinds([connecting]) == [asyncio.CancelledError]


@pytest.mark.parametrize("place", PLACES)
async def test_other_loops(place: str, tmp_path: Path) -> None:
    """Queue pairs of other threads' loops ring their doorbells beside each other, and lose none."""
    with MockController() as mock, addressed(mock, place, tmp_path) as address:
        async with aionvme.connect(address) as ctrlr, elsewhere() as one, elsewhere() as other:
            ended = await asyncio.gather(_many(ctrlr), one.run(_many(ctrlr)), other.run(_many(ctrlr)))
            assert sum(ended) == 3 * 200


async def _many(ctrlr: aionvme.Controller) -> int:
    ns = ctrlr.namespaces[1]
    async with ctrlr.alloc_io_qpair(depth=16) as qp:
        with ctrlr.dma_alloc(BLOCK) as buf:
            await asyncio.gather(*(qp.read(ns, buf, lba, 1) for lba in range(200)))
            return qp.counters["completions"]


async def test_function_reset(tmp_path: Path) -> None:
    """The reset of the function goes by its message, and I/O goes on afterwards, by interrupts too."""
    with MockController() as mock, mock.serve(tmp_path):
        async with (
            aionvme.connect(f"vfio-user:{tmp_path}") as ctrlr,
            ctrlr.alloc_io_qpair(completion="interrupt") as qp,
        ):
            await ctrlr.reset("function")
            with ctrlr.dma_alloc(BLOCK) as buf:
                assert not (await qp.read(ctrlr.namespaces[1], buf, 0, 1)).status


async def test_memory_that_has_no_file(tmp_path: Path) -> None:
    """Registered memory is read and written by message, in a transfer of many pages too; the loop turns meanwhile."""
    with MockController() as mock, mock.serve(tmp_path):
        async with aionvme.connect(f"vfio-user:{tmp_path}") as ctrlr, ctrlr.alloc_io_qpair() as qp:
            ns = ctrlr.namespaces[1]
            out, back = (np.frombuffer(mmap.mmap(-1, 1 << 20), np.uint8) for _ in range(2))
            out[:] = np.random.default_rng(5).integers(0, 256, out.size, np.uint8)
            with ctrlr.dma_register(out), ctrlr.dma_register(back):
                await qp.write(ns, out, 0, out.size // BLOCK)
                await qp.read(ns, back, 0, back.size // BLOCK)
            assert bytes(out) == bytes(back)


async def test_by_spdks_names(tmp_path: Path) -> None:
    """SPDK's transport identifier finds the controller, and is what the callbacks are given."""
    trid = spdk.spdk_nvme_transport_id()
    assert spdk.spdk_nvme_transport_id_parse(trid, f"trtype:VFIOUSER traddr:{tmp_path}") == 0
    seen: list[Any] = []
    found: list[aionvme.Controller] = []

    def wanted(_ctx: object, where: Any, _opts: object) -> bool:
        seen.append(where)
        return True

    def attached(_ctx: object, where: Any, ctrlr: aionvme.Controller, _opts: object) -> None:
        seen.append(where)
        found.append(ctrlr)

    with MockController() as mock, mock.serve(tmp_path):
        assert await value(spdk.spdk_nvme_probe(trid, None, wanted, attached)) == 0
        assert seen == [trid, trid]
        for ctrlr in found:
            await ctrlr.close()
