"""The examples run as they are, on the mock."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aionvme.tests.flow.programs import environment, python

EXAMPLES = Path(__file__).parents[3] / "examples"

pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the examples are not beside the package")


def _run(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    return python(str(EXAMPLES / name), *words)


def test_every_example_is_tested() -> None:
    """An example that is added is run here too."""
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == [
        "arbitration.py",
        "callbacks.py",
        "hello_world.py",
        "hotplug.py",
        "identify.py",
        "log_pages.py",
        "many_reads.py",
        "nvme_manage.py",
        "reservation.py",
        "shared.py",
        "spdk_port.py",
        "test_drive.py",
        "test_legacy_callbacks.py",
        "test_my_app.py",
    ]


@pytest.mark.parametrize("address", [[], ["mock:?lba=4096&namespaces=2"]])
def test_hello_world(address: list[str]) -> None:
    """It reads back what it wrote."""
    ended = _run("hello_world.py", *address)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "LBA 0 begins with b'Hello, world!" in ended.stdout


def test_hello_world_is_short() -> None:
    """It stays under 40 lines."""
    assert len((EXAMPLES / "hello_world.py").read_text().splitlines()) < 40


def test_callbacks() -> None:
    """It writes and reads by callbacks, then keeps its depth until all reads have ended well."""
    ended = _run("callbacks.py")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "LBA 0 begins with b'Hello, world!'" in ended.stdout
    assert "20000 reads of" in ended.stdout
    assert ", 0 failed" in ended.stdout


def test_many_reads() -> None:
    """Each of its ways ends, and says what a read took."""
    ended = _run("many_reads.py")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert [line.split()[0] for line in ended.stdout.splitlines()] == ["gathered", "workers", "one_by_one"]


def test_shared() -> None:
    """Both of its processes read from one drive."""
    ended = _run("shared.py")
    assert (ended.returncode, ended.stderr) == (0, "")
    *each, last = ended.stdout.splitlines()
    assert sorted(line.split(":")[0] for line in each) == ["process 0", "process 1"]
    assert last == "2 of 2 processes have read"


def test_hotplug() -> None:
    """It attaches the mock that is plugged in, reads until it is asked back, and lets it go."""
    ended = _run("hotplug.py")
    assert (ended.returncode, ended.stderr.count("Error")) == (0, 0), ended.stderr
    added, attached, *rest = ended.stdout.splitlines()
    name = added.removesuffix(": added")
    assert attached == f"{name}: attached aionvme mock"
    [reads] = [line for line in rest if "reads, then:" in line]
    assert "asked for its removal" in reads
    assert not reads.startswith(f"{name}: 0 reads")
    assert {*rest} - {reads} == {f"{name}: let go of", f"{name}: removed"}


@pytest.mark.parametrize(("address", "count"), [([], 1), (["mock:?lba=4096&namespaces=2"], 2)])
def test_spdk_port(address: list[str], count: int) -> None:
    """It says hello on each namespace, by SPDK's functions alone."""
    ended = _run("spdk_port.py", *address)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count("Hello world!") == count
    text = (EXAMPLES / "spdk_port.py").read_text()
    assert "await" not in text.replace("no await", "") and "asyncio" not in text


def test_spdk_port_is_careful() -> None:
    """A device that is no mock is not written to unless that was said."""
    ended = _run("spdk_port.py", "0000:ff:1f.7")
    assert ended.returncode == 2
    assert "--overwrite" in ended.stdout


def test_identify() -> None:
    """It shows what the mock was made as, and the names of each namespace."""
    ended = _run("identify.py", "mock:?serial=XYZ&namespaces=2&lba=4096", "mock:?serial=SECOND")
    assert (ended.returncode, ended.stderr) == (0, "")
    shown = [line.split(None, 1) for line in ended.stdout.splitlines() if line.startswith("  ")]
    assert [value for name, value in shown if name == "serial"] == ["XYZ", "SECOND"]
    assert [line for line in ended.stdout.splitlines() if not line.startswith("  ")] == [
        "Controller mock:?serial=XYZ&namespaces=2&lba=4096",
        "Namespace 1",
        "Namespace 2",
        "Controller mock:?serial=SECOND",
        "Namespace 1",
    ]
    assert "NGUID" in ended.stdout


@pytest.mark.parametrize(("address", "says"), [([], "weighted round robin"), (["mock:"], "round robin")])
def test_arbitration(address: list[str], says: str) -> None:
    """It says which arbitration there is, and a share for each class."""
    ended = _run("arbitration.py", *address)
    assert (ended.returncode, ended.stderr) == (0, "")
    first, *rest = ended.stdout.splitlines()
    assert first == f"arbitration: {says}"
    assert [line.split()[0] for line in rest] == ["low", "medium", "high"]
    assert all(line.endswith("%") for line in rest)


def test_reservation() -> None:
    """Each of the two hosts writes while it holds the reservation, and is refused while the other does."""
    ended = _run("reservation.py")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [
        "2 registered, reserved as write_exclusive",
        "one: wrote",
        "two: Reservation conflict",
        "two: preempted one",
        "two: wrote",
        "one: Reservation conflict",
        "0 registered",
    ]


@pytest.mark.parametrize("words", [["mock:"], ["0000:ff:1f.7", "0000:ff:1e.7"]])
def test_reservation_is_careful(words: list[str]) -> None:
    """On devices that were named it writes nothing unless that was said."""
    ended = _run("reservation.py", *words)
    assert ended.returncode == 2
    assert "--overwrite" in ended.stdout


@pytest.mark.parametrize(
    ("address", "last"),
    [
        ([], "Sold as: aionvme mock of an Intel SSD"),
        (["mock:?telemetry=0"], "Telemetry: 512 bytes of data area 1"),
        (["mock:?lpa=0"], "Firmware: slot 1 of"),
    ],
)
def test_log_pages(address: list[str], last: str) -> None:
    """It lists the pages that there are, and prints some of those."""
    ended = _run("log_pages.py", *address)
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert "02h smart" in lines
    assert "SMART: 37 C, 100 % spare" in ended.stdout
    assert lines[-1].rpartition("\r")[2].startswith(last)


def test_nvme_manage() -> None:
    """Without answers it ends at once, on a mock of its own; by words it shows what it has."""
    ended = _run("nvme_manage.py")
    assert ended.returncode == 0
    ended = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / "nvme_manage.py")],
        check=False, input="list\nquit\n", capture_output=True, text=True, timeout=60, env=environment(),
    )  # fmt: skip
    assert ended.returncode == 0
    assert "mock:?size=1GiB" in ended.stdout


def test_tests_with_the_plugin() -> None:
    """The tests of an asynchronous application, of callback code and of a drive pass, and clean up after them."""
    ended = python(
        *(
            "-m",
            "pytest",
            "-p",
            "aionvme.pytest_plugin",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "-c",
            os.devnull,
        ),
        *("-o", "asyncio_default_fixture_loop_scope=function", "--rootdir", str(EXAMPLES)),
        *map(str, sorted(EXAMPLES.glob("test_*.py"))),
    )
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
    assert "11 passed" in ended.stdout
