"""The `aionvme` command as a process of its own, on the mock."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from aionvme.tests.flow.programs import environment, python

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("typer", reason="the command line is an extra")

# The command as it is, but what is at every address is the mock: how it treats a device can be tried.
_ON_A_DEVICE = """
import sys, aionvme
from aionvme.cli import command
connect = aionvme.connect
aionvme.connect = lambda address: connect("mock:")
sys.argv = ["aionvme", *sys.argv[1:]]
command()
"""


def test_hello() -> None:
    """`aionvme hello` needs nothing, and verifies what it wrote."""
    ended = python("-m", "aionvme.cli", "hello")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "Verified" in ended.stdout
    assert len(re.findall(r"\d µs", ended.stdout)) == 5


@pytest.mark.parametrize("completion", ["poll", "interrupt", "adaptive"])
@pytest.mark.parametrize("lba", ["512", "4096"])
def test_hello_by_each_completion(completion: str, lba: str) -> None:
    """Both block sizes and every way to learn of completions work, and the report says which was used."""
    ended = python("-m", "aionvme.cli", "hello", f"mock:?lba={lba}", "--completion", completion, "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    report = json.loads(ended.stdout)
    assert (report["verified"], report["completion"]) == (True, completion)
    assert report["namespaces"][0]["block_size"] == int(lba)


def test_hello_elsewhere_in_another_namespace() -> None:
    """Namespace, first block and a number of blocks that one command can't move are taken as given."""
    words = ["mock:?namespaces=2&size=64MiB", "--nsid", "2", "--lba", "100", "--nblocks", "4096", "--json"]
    ended = python("-m", "aionvme.cli", "hello", *words)
    assert (ended.returncode, ended.stderr) == (0, "")
    report = json.loads(ended.stdout)
    assert (report["verified"], report["nsid"], report["lba"], report["nblocks"]) == (True, 2, 100, 4096)


def test_a_narrow_terminal_is_kept_to() -> None:
    """At 60 columns no line of the mock's report is wider."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "aionvme.cli", "hello"],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environment(COLUMNS="60", TERM="xterm"),
    )
    os.close(follower)
    text = "".join(_until_the_end(leader))
    assert process.wait(30) == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    assert "Verified" in lines[-1]
    assert max(len(line.rstrip()) for line in lines) <= 60


def _until_the_end(fd: int) -> Iterator[str]:
    try:
        while data := os.read(fd, 4096):
            yield data.decode(errors="replace")
    except OSError:
        # How a terminal says that nobody has its other end.
        pass
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("address", "status"), [("mock:?size=banana", 2), ("mock:?colour=red", 2), ("ffff:ff:1f.7", 1)]
)
def test_an_address_that_is_none(address: str, status: int) -> None:
    """An option that the mock does not have, or a device that is not there, is one line and no traceback."""
    ended = python("-m", "aionvme.cli", "hello", address)
    assert (ended.returncode, ended.stdout) == (status, "")
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1


def test_a_device_is_not_written() -> None:
    """Without --write a device is read; with it, but without a terminal, it is not even opened."""
    ended = python("-c", _ON_A_DEVICE, "hello", "01:00.0")
    assert (ended.returncode, "Nothing was written" in ended.stdout) == (0, True)
    ended = python("-c", _ON_A_DEVICE, "hello", "01:00.0", "--write")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "--yes" in ended.stderr


class _Asked:
    """The command on a terminal, at its question."""

    def __init__(self) -> None:
        self.leader, follower = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _ON_A_DEVICE, "hello", "01:00.0", "--write"],
            stdin=follower,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        os.close(follower)
        assert self.process.stderr is not None
        self.asked = b""
        while b"to go on: " not in self.asked:
            more = os.read(self.process.stderr.fileno(), 4096)
            assert more, f"ended before it asked: {self.asked!r}"
            self.asked += more

    def end(self) -> tuple[int, str, str]:
        """Waits for the end."""
        out, err = self.process.communicate(timeout=30)
        os.close(self.leader)
        return self.process.returncode, out.decode(), err.decode()


def test_typing_the_address_confirms() -> None:
    """On a terminal the address, typed, has the blocks written and verified."""
    command = _Asked()
    assert b"LBA 0 to 7" in command.asked
    os.write(command.leader, b"01:00.0\n")
    status, out, _ = command.end()
    assert (status, "Verified" in out) == (0, True)


def test_typing_yes_does_not() -> None:
    """A yes is typed by habit: nothing is written."""
    command = _Asked()
    os.write(command.leader, b"yes\n")
    status, out, err = command.end()
    assert (status, "Verified" in out, "nothing was written" in err) == (1, False, True)


def test_ctrl_c_at_the_question() -> None:
    """Ctrl-C ends it at once with status 130, and no traceback."""
    command = _Asked()
    command.process.send_signal(signal.SIGINT)
    status, _, err = command.end()
    assert (status, err) == (130, "interrupted\n")


def test_list_without_a_terminal() -> None:
    """`aionvme list` works on whatever machine this is, and its JSON is JSON."""
    assert python("-m", "aionvme.cli", "list").returncode == 0
    ended = python("-m", "aionvme.cli", "list", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert isinstance(json.loads(ended.stdout), list)


def test_a_reader_that_has_seen_enough() -> None:
    """`aionvme --help | true` is quiet."""
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-m", "aionvme.cli", "list", "--json"],
        check=False,
        stdout=writer,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    os.close(writer)
    assert b"Traceback" not in ended.stderr
