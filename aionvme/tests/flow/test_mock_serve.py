"""`aionvme mock serve` as a process of its own, and our driver on it."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import aionvme
from aionvme.tests.flow.programs import environment, python

pytest.importorskip("typer", reason="the command line is an extra")

SECONDS = 30.0
Serve = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts the command, and waits until it serves in the folder `ctrl`."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "aionvme.cli",
            "mock",
            "serve",
            "--socket",
            str(tmp_path / "ctrl"),
            *words,
        ]
        process = subprocess.Popen(
            command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == f"Serving at {tmp_path}/ctrl/cntrl\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def end(process: subprocess.Popen[str], number: int) -> tuple[str, str]:
    """Ends it by a signal, orderly; the rest of what it said."""
    process.send_signal(number)
    assert process.wait(SECONDS) == 0
    assert process.stdout is not None and process.stderr is not None
    return process.stdout.read(), process.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_and_ends_orderly(serve: Serve, tmp_path: Path, number: int) -> None:
    """What is served is said, and how to try it; Ctrl-C and SIGTERM remove the socket."""
    process = serve("--namespaces", "2", "--size", "1MiB", "--lba", "4096", "serial=NUMBER1")
    assert stat.S_ISSOCK((tmp_path / "ctrl" / "cntrl").stat().st_mode)
    out, err = end(process, number)
    assert "serial       NUMBER1\n" in out
    assert "namespace 2  1 MiB, 256 blocks of 4096 bytes\n" in out
    assert out.endswith("Ended.\n")
    assert err == f"Try it: `aionvme hello vfio-user:{tmp_path}/ctrl`. Ctrl-C ends it.\n"
    assert os.listdir(tmp_path / "ctrl") == []


@pytest.mark.parametrize("doorbells", ["mapped", "message"])
@pytest.mark.asyncio
async def test_storage_survives(serve: Serve, tmp_path: Path, doorbells: str) -> None:
    """What one driver wrote the next reads, of another server as well."""
    storage = ["--storage", str(tmp_path / "disk"), "--size", "1MiB", "--doorbells", doorbells]
    process = serve(*storage)
    data = os.urandom(64 << 10)
    for _ in range(2):
        async with aionvme.connect(f"vfio-user:{tmp_path}/ctrl") as ctrlr, ctrlr.alloc_io_qpair() as qp:
            with ctrlr.dma_alloc(len(data)) as buf:
                memoryview(buf)[:] = data
                await qp.write(ctrlr.namespaces[1], buf, 128, 128)
    end(process, signal.SIGTERM)
    assert (tmp_path / "disk").read_bytes()[64 << 10 :][: len(data)] == data
    process = serve(*storage)
    async with aionvme.connect(f"vfio-user:{tmp_path}/ctrl") as ctrlr, ctrlr.alloc_io_qpair() as qp:
        with ctrlr.dma_alloc(len(data)) as buf:
            await qp.read(ctrlr.namespaces[1], buf, 128, 128)
            assert bytes(buf) == data
    end(process, signal.SIGTERM)


def test_end_with_a_driver(serve: Serve, tmp_path: Path) -> None:
    """It ends in bounded time while a driver is attached, too."""
    process = serve()
    program = (
        "import asyncio, aionvme, sys\n"
        "async def main():\n"
        "    async with aionvme.connect(sys.argv[1]):\n"
        "        print('attached', flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", program, f"vfio-user:{tmp_path}/ctrl"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(), text=True,
    )  # fmt: skip
    assert driver.stdout is not None
    assert driver.stdout.readline() == "attached\n"
    begun = time.monotonic()
    end(process, signal.SIGINT)
    assert time.monotonic() - begun < SECONDS / 2
    driver.kill()
    driver.communicate()


def test_taken(serve: Serve, tmp_path: Path) -> None:
    """A second server in the same folder ends at once, and says what to do."""
    serve()
    ended = python("-m", "aionvme.cli", "mock", "serve", "--socket", str(tmp_path / "ctrl"))
    assert ended.returncode == 1
    assert "end that, or take another folder" in ended.stderr
    tried = python("-m", "aionvme.cli", "hello", f"vfio-user:{tmp_path}/ctrl")
    assert tried.returncode == 0, tried.stderr
