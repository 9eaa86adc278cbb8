"""The `aionvme` command on standard streams that are closed, full or broken, and when it is told to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from aionvme.tests.flow.programs import environment, python

pytest.importorskip("typer", reason="the command line is an extra")

_COMMAND = [sys.executable, "-W", "error", "-m", "aionvme.cli"]
# More than a pipe holds.
_MUCH = 1 << 20

# Ctrl-C comes when the module that has the sub-commands is looked for.
_CTRL_C_AT_IMPORT = """
import importlib.abc, os, signal, sys
class Interrupting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "aionvme.cli.listing":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from aionvme.cli import command
command()
"""

# SIGTERM comes a little after the measurement has begun.
_SIGTERM_AT_WORK = """
import asyncio, os, signal, sys
from aionvme.cli import command
from aionvme.perf.measure import Measurement
run = Measurement.run
def begin(self):
    asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)
    return run(self)
Measurement.run = begin
command()
"""


def _redirected(words: str, redirection: str) -> subprocess.CompletedProcess[str]:
    """Runs the command with its streams as a shell makes them."""
    script = f'exec "$@" {redirection}'
    return subprocess.run(
        ["sh", "-c", script, "sh", *_COMMAND, *words.split()],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
    )


@pytest.mark.parametrize(
    ("words", "redirection", "said"),
    [
        ("id-ctrl mock:", ">&-", "Bad file descriptor"),
        ("read mock: -z 4096", ">/dev/full", "No space left on device"),
        ("--help", ">/dev/full", "No space left on device"),
    ],
)
def test_a_result_that_cannot_be_written(words: str, redirection: str, said: str) -> None:
    """It is one line on standard error, exit status 1, and no success is told."""
    ended = _redirected(words, redirection)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"error: standard output can't be written: {said}\n"


@pytest.mark.parametrize(
    ("words", "redirection", "found"),
    [("hello mock:", "<&-", "Verified"), ("smart-log mock:", "2>&-", "critical_warning")],
)
def test_a_stream_that_is_not_needed_may_be_closed(words: str, redirection: str, found: str) -> None:
    """No file gets its number, and the result is the same."""
    ended = _redirected(words, redirection)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert found in ended.stdout


def test_input_that_is_closed() -> None:
    """What takes data from standard input says that it can't be read."""
    ended = _redirected("write mock: -z 512", "<&-")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "error: standard input can't be read: name a file, or send data to it\n"


@pytest.mark.parametrize("words", [f"read mock: -c {_MUCH // 512 - 1} -z {_MUCH}", "--help"])
def test_a_reader_that_goes_away(words: str) -> None:
    """It is the exit status of those who die of SIGPIPE, without a word."""
    with subprocess.Popen(
        [*_COMMAND, *words.split()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE


def test_all_of_the_data_arrives_unbuffered() -> None:
    """With PYTHONUNBUFFERED, too, a pipe gets more than one write can bring it, of which a signal can make two."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    words = ["read", "mock:", "-c", str(_MUCH // 512 - 1), "-z", str(_MUCH)]
    with (
        open(read, "rb") as source,
        subprocess.Popen(
            [*_COMMAND, *words], stdout=write, stderr=subprocess.PIPE, env=environment(PYTHONUNBUFFERED="1")
        ) as process,
    ):
        os.close(write)
        found = source.read()
        assert process.stderr is not None
        assert process.stderr.read() == b"read: Success\n"
    assert (process.returncode, len(found)) == (0, _MUCH)


def test_an_encoding_of_few_characters() -> None:
    """On ASCII a temperature has its unit."""
    ended = python("-m", "aionvme.cli", "smart-log", "mock:", PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert " : 37 C (310 K)\n" in ended.stdout


def test_ctrl_c_during_the_imports() -> None:
    """It ends at once, with the exit status of an interruption, and no traceback."""
    ended = python("-c", _CTRL_C_AT_IMPORT, "list")
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + signal.SIGINT, "", "interrupted\n")


def test_sigterm_is_an_end_in_order() -> None:
    """It ends what goes on as Ctrl-C does, what there is is told, and the exit status is its own."""
    ended = python("-c", _SIGTERM_AT_WORK, "perf", "mock:", "-t", "40", "--warmup", "0", "--json")
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGTERM, "interrupted\n")
    assert json.loads(ended.stdout)["interrupted"] is True
