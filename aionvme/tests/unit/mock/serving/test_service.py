"""The service itself: its socket's file, who is let in, and what ends it."""

from __future__ import annotations

import gc
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from aionvme.errors import AddressError, UsageError
from aionvme.mock import MockController
from aionvme.tests.unit.mock.serving.client import HEADER, REGION, Client, Refused
from aionvme.tests.unit.mock.serving.conftest import Stage

Make = Callable[..., Stage]
EBUSY = 16
FLUSH = 0


def test_the_file(tmp_path: Path) -> None:
    """The folder is made for this user alone; the socket is there as long as the service."""
    folder = tmp_path / "new" / "folder"
    with MockController() as mock, mock.serve(folder) as serving:
        assert serving.path == folder / "cntrl"
        assert stat.S_ISSOCK(serving.path.stat().st_mode)
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (serving.closed, serving.attached) == (False, False)
        assert repr(serving) == f"<Serving {folder}/cntrl>"
    assert serving.closed
    assert list(folder.iterdir()) == []
    serving.close()
    assert repr(serving) == f"<Serving {folder}/cntrl closed>"


def test_a_socket_that_nobody_listens_at(tmp_path: Path) -> None:
    """What a server that was killed has left is removed."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "cntrl"))
    with MockController() as mock, mock.serve(tmp_path) as serving, Client(serving.path) as client:
        client.negotiate()


def test_somebody_listens_there(tmp_path: Path) -> None:
    """A server that lives keeps its place, and its client."""
    with MockController() as one, MockController() as other, one.serve(tmp_path) as serving:
        client = Client(serving.path)
        client.negotiate()
        with pytest.raises(AddressError, match="already: end that, or take another folder"):
            other.serve(tmp_path)
        assert client.read(7, 0, 2) == b"\x36\x1b"
        client.close()
        other.open().close()


@pytest.mark.parametrize("what", ["file", "folder", "parent", "long"])
def test_paths_that_can_not_be(tmp_path: Path, what: str) -> None:
    """What is there and is no socket is left alone; each message says what to do."""
    folder = tmp_path / "folder"
    if what == "file":
        folder.mkdir()
        (folder / "cntrl").write_text("mine")
    elif what == "folder":
        (folder / "cntrl").mkdir(parents=True)
    elif what == "parent":
        folder.write_text("mine")
    else:
        folder = tmp_path / ("x" * 120)
    with MockController() as mock:
        with pytest.raises(AddressError, match="another folder"):
            mock.serve(folder)
        mock.open().close()
    if what == "file":
        assert (folder / "cntrl").read_text() == "mine"


def test_another_took_the_place(tmp_path: Path) -> None:
    """A socket that somebody else has put there is not removed."""
    with MockController() as mock, mock.serve(tmp_path) as serving:
        serving.path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(serving.path))
        serving.close()
        assert serving.path.exists()
        serving.path.unlink()


def test_one_party_at_a_time(tmp_path: Path) -> None:
    """A mock that is served is open, and one that is open is not served."""
    with MockController() as mock:
        with mock.serve(tmp_path), pytest.raises(AddressError, match="is in use"):
            mock.open()
        with mock.serve(tmp_path), pytest.raises(AddressError, match="is in use"):
            mock.serve(tmp_path / "other")
        function = mock.open()
        with pytest.raises(AddressError, match="is in use"):
            mock.serve(tmp_path)
        function.close()
        mock.serve(tmp_path).close()


def test_usage(tmp_path: Path) -> None:
    """There are two ways of doorbells; a loop drives a mock of its own process; what is closed is not served."""
    mock = MockController()
    with pytest.raises(UsageError, match="doorbells must be one of mapped, message, not 'shadow'"):
        mock.serve(tmp_path, doorbells="shadow")
    mock.close()
    with pytest.raises(UsageError, match="is closed"):
        mock.serve(tmp_path)
    with MockController(drive="loop") as looped, pytest.raises(UsageError, match='drive="loop"'):
        looped.serve(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_second_client(stage: Make) -> None:
    """It is told that the mock is busy, and the first does not notice."""
    served = stage()
    raw = served.raw()
    raw.enable()
    queue = raw.create(1)
    for _ in range(3):
        second = served.client()
        with pytest.raises(Refused) as refused:
            second.negotiate()
        assert refused.value.errno == EBUSY
        with pytest.raises(EOFError):
            second.receive()
        assert queue.run(FLUSH, nsid=1).status == 0
    raw.close()
    served.negotiated()


def test_second_client_that_says_nothing(stage: Make) -> None:
    """It is closed after a while; so is one that says nonsense."""
    served = stage()
    first = served.negotiated()
    second = served.client()
    with pytest.raises(EOFError):
        second.receive()
    third = served.client()
    third.send(1, size=3)
    with pytest.raises(EOFError):
        third.receive()
    assert first.read(7, 0, 2) == b"\x36\x1b"


def test_first_client_that_says_nothing(stage: Make) -> None:
    """Nobody keeps the place without a word."""
    served = stage(timeout=0.2)
    with pytest.raises(EOFError):
        served.client().receive()
    served.negotiated()


def test_client_that_takes_nothing(stage: Make) -> None:
    """A client that asks and asks, and takes no answer off its socket, is given up."""
    served = stage(timeout=0.3)
    client = served.negotiated()
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        client.send_raw(b"".join([HEADER.pack(0, 9, 32, 0, 0) + REGION.pack(0, 7, 4096)] * 100000))
    served.settle()
    served.negotiated()


@pytest.mark.parametrize("how", ["service", "mock"])
def test_end_with_a_client(stage: Make, how: str) -> None:
    """Its connection ends; nothing of it is left (the stage looks)."""
    served = stage()
    raw = served.raw()
    raw.enable()
    raw.create(1)
    if how == "service":
        served.serving.close()
    else:
        served.mock.close()
    assert served.serving.closed and not served.serving.attached
    with pytest.raises((EOFError, BrokenPipeError)):
        raw.function.read32(0)
    assert not served.serving.path.exists()


def test_collected(tmp_path: Path) -> None:
    """A mock that is served is there as long as the service, whoever else has it."""
    serving = MockController().serve(tmp_path)
    gc.collect()
    with Client(serving.path) as client:
        client.negotiate()
    serving.close()
    with pytest.warns(ResourceWarning, match="was collected while open"):
        del serving
        gc.collect()


def test_two_at_once(tmp_path: Path) -> None:
    """Several mocks are served side by side, the controllers of one subsystem as well."""
    with (
        MockController(size=1 << 20) as mock,
        mock.second() as second,
        mock.serve(tmp_path / "a") as one,
        second.serve(tmp_path / "b") as other,
    ):
        clients = [Client(one.path), Client(other.path)]
        for client in clients:
            client.negotiate()
            assert client.read(7, 0, 2) == b"\x36\x1b"
            client.close()


def test_connecting_and_closing(stage: Make) -> None:
    """Many clients, one after the other and several at once, most of whom go at once."""
    served = stage()

    def come_and_go() -> None:
        for _ in range(20):
            Client(served.serving.path).close()

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    served.settle()
    assert served.negotiated().read(7, 0, 2) == b"\x36\x1b"


_FORK = """
import os, sys
from aionvme.mock import MockController
from aionvme.tests.unit.mock.serving.client import Client
mock = MockController()
serving = mock.serve(sys.argv[1])
if os.fork() == 0:
    serving.close()
    sys.exit(0)
assert os.wait()[1] == 0
with Client(serving.path) as client:
    client.negotiate()
print("served")
"""


def test_fork_and_exit(tmp_path: Path) -> None:
    """A child has no part in it; a program that ends without closing leaves no socket."""
    command = [sys.executable, "-W", "ignore", "-c", _FORK, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (0, "served\n"), ended.stderr
    assert os.listdir(tmp_path) == []
