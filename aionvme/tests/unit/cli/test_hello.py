"""`aionvme hello`: what it writes, when it refuses to, and whether it notices that data is wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from aionvme.errors import AddressError, ControllerLostError
from aionvme.tests.unit.cli.fakes import BLOCK, FakeController, no_change

if TYPE_CHECKING:
    from pathlib import Path

    from aionvme.tests.unit.cli.conftest import Run, Type

DEVICE = "0000:01:00.0"


def test_the_mock_is_written_without_asking(run: Run, ctrlr: FakeController) -> None:
    """By default it writes to the mock, reads back and verifies; and closes the controller."""
    ended = run("hello")
    assert ended.status == 0
    assert "Fake drive" in ended.out
    assert "Verified" in ended.out
    assert ctrlr.calls == [("write", 0), ("read", 0)]
    assert ctrlr.storage.startswith(b"aionvme hello lba 0000000000000000 +00000 seed ")
    assert ctrlr.closed == 1


def test_the_blocks_are_those_that_were_asked_for(run: Run, ctrlr: FakeController) -> None:
    """Namespace, first block and number of blocks are what the options say, counted from 1."""
    ended = run("hello", "mock:?namespaces=3", "--nsid", "3", "--lba", "5", "--nblocks", "2")
    assert ended.status == 0
    assert "Namespace 3, LBA 5 to 6" in ended.out
    assert not any(ctrlr.storage[: 5 * BLOCK])
    assert not any(ctrlr.storage[7 * BLOCK :])
    assert b"lba 0000000000000006 +001c0" in ctrlr.storage


def test_each_step_has_its_time(run: Run, ctrlr: FakeController) -> None:
    """The time of each step is there for people, in microseconds, and for programs."""
    assert run("hello").out.count("µs") == 5
    report = json.loads(run("hello", "--json").out)
    assert list(report["microseconds"]) == ["connect", "queue_pair", "write", "read", "verify"]
    assert (report["version"], report["verified"], report["serial"]) == ("2.0.1", True, "S123")


def test_a_device_is_only_read(run: Run, ctrlr: FakeController) -> None:
    """Without --write nothing is written to a device, and it says so, and what is there."""
    ctrlr.storage[:4] = b"EFI!"
    with no_change(ctrlr):
        ended = run("hello", DEVICE)
    assert ended.status == 0
    assert 'data, beginning with "EFI!' in ended.out
    assert "Nothing was written" in ended.out
    assert "Verified" not in ended.out
    assert f"aionvme hello {DEVICE} --write" in ended.err


def test_a_mock_with_a_file_is_only_read(run: Run, ctrlr: FakeController, tmp_path: Path) -> None:
    """A mock's storage file may be somebody's work: it is treated as a device."""
    image = tmp_path / "image"
    image.touch()
    with no_change(ctrlr):
        assert run("hello", f"mock:?size=64MiB&storage={image}").status == 0
        assert run("hello", f"mock:?storage={image}", "--write").status == 2
    assert run("hello", f"mock:?storage={image}", "--write", "--yes").status == 0


def test_looking_makes_no_file(run: Run, tmp_path: Path) -> None:
    """Without --write a storage file that is not there stays so, and the message says what makes it."""
    image = tmp_path / "image"
    ended = run("hello", f"mock:?storage={image}")
    assert (ended.status, image.exists()) == (1, False)
    assert f"there is no file {image}, and without --write none is made" in ended.err
    assert run("hello", f"mock:?storage={image}&size=1MiB", "--write", "--yes").status == 0
    assert image.stat().st_size == 1 << 20


def test_a_file_that_cannot_be_had(run: Run, tmp_path: Path) -> None:
    """An error of the storage file is a sentence with the path and what to do."""
    ended = run("hello", f"mock:?storage={tmp_path}/nowhere/image", "--write", "--yes")
    assert ended.status == 1
    assert f"storage: {tmp_path}/nowhere/image: No such file or directory; make the folder" in ended.err


@pytest.mark.parametrize("words", [["--lba", "999999999"], ["--nsid", "9"]])
def test_the_mock_is_named_with_one_colon(run: Run, words: list[str]) -> None:
    """A sentence about "mock:" has one colon behind the name."""
    ended = run("hello", "mock:", *words)
    assert ended.status == 2
    assert "mock: " in ended.err
    assert "mock::" not in ended.err


def test_reading_verifies_nothing(run: Run, ctrlr: FakeController) -> None:
    """For a program, a device that was only read is not verified, neither well nor badly."""
    report = json.loads(run("hello", DEVICE, "--json").out)
    assert (report["written"], report["verified"]) == (False, None)


def test_yes_alone_writes_nothing(run: Run, ctrlr: FakeController) -> None:
    """--yes answers a question; without --write there is none."""
    with no_change(ctrlr):
        assert run("hello", DEVICE, "--yes").status == 0


def test_without_a_terminal_a_write_is_refused(run: Run, ctrlr: FakeController) -> None:
    """With nobody to ask and no --yes it does not even connect."""
    with no_change(ctrlr):
        ended = run("hello", DEVICE, "--write")
    assert ended.status == 2
    assert "Add --yes" in ended.err
    assert ctrlr.closed == 0


def test_yes_writes_and_says_what(run: Run, ctrlr: FakeController) -> None:
    """--write --yes writes, after saying on what, and what was there."""
    ended = run("hello", DEVICE, "--write", "--yes", "--lba", "8")
    assert ended.status == 0
    assert ctrlr.calls == [("read", 8), ("write", 8), ("read", 8)]
    assert "Verified" in ended.out
    for text in (DEVICE, "Fake drive", "S123", "namespace 1, LBA 8 to 15", "all zero"):
        assert text in ended.err


@pytest.mark.parametrize("answer", ["S123", DEVICE, "01:00.0", "  S123  "])
def test_the_serial_number_or_the_address_confirms(
    run: Run, ctrlr: FakeController, terminal: Type, answer: str
) -> None:
    """Whoever types the serial number, or the address in full or as given, is sure of what is lost."""
    terminal(f"{answer}\n")
    ended = run("hello", "01:00.0", "--write")
    assert (ended.status, "Verified" in ended.out) == (0, True)
    assert "About to overwrite" in ended.err


@pytest.mark.parametrize("answer", ["\n", "y\n", "yes\n", "S12\n", "s124\n", "\x04"])
def test_anything_else_does_not_confirm(run: Run, ctrlr: FakeController, terminal: Type, answer: str) -> None:
    """An empty line, a yes, another number, the end of input: nothing is written, and it is closed."""
    terminal(answer)
    with no_change(ctrlr):
        ended = run("hello", DEVICE, "--write")
    assert ended.status == 1
    assert "nothing was written" in ended.err
    assert ctrlr.closed == 1


def test_no_serial_number_is_not_confirmed_by_nothing(
    run: Run, ctrlr: FakeController, terminal: Type
) -> None:
    """On a controller with an empty serial number an empty line is still not a confirmation."""
    ctrlr.data.sn = " " * 20
    terminal("\n")
    with no_change(ctrlr):
        assert run("hello", DEVICE, "--write").status == 1


def _one_bit(data: bytes) -> bytes:
    return data[:600] + bytes([data[600] ^ 1]) + data[601:]


def _nothing(data: bytes) -> bytes:
    return b""


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _blocks_swapped(data: bytes) -> bytes:
    return data[BLOCK : 2 * BLOCK] + data[:BLOCK] + data[2 * BLOCK :]


def _lines_swapped(data: bytes) -> bytes:
    return data[64:128] + data[:64] + data[128:]


def _zeros(data: bytes) -> bytes:
    return bytes(len(data))


@pytest.mark.parametrize("fault", [_one_bit, _nothing, _half, _blocks_swapped, _lines_swapped, _zeros])
def test_wrong_data_is_noticed(run: Run, ctrlr: FakeController, fault: object) -> None:
    """A flipped bit, data that never came or came half, and data from another place all fail verification."""
    ctrlr.on_read = fault  # type: ignore[assignment]
    ended = run("hello", "mock:")
    assert ended.status == 1
    assert "verification failed" in ended.err
    assert "Verified" not in ended.out


def test_what_an_earlier_run_left_is_noticed(run: Run, ctrlr: FakeController) -> None:
    """A controller that loses writes can't pass with the pattern of the run before."""
    assert run("hello", "mock:").status == 0
    earlier = bytes(ctrlr.storage[: 8 * BLOCK])
    ctrlr.on_read = lambda data: earlier
    ended = run("hello", "mock:", "--json")
    assert (ended.status, json.loads(ended.out)["verified"]) == (1, False)


def test_the_difference_is_described(run: Run, ctrlr: FakeController) -> None:
    """The message says how much is wrong, where it begins, and what is there."""
    ctrlr.on_read = _one_bit
    message = run("hello", "mock:", "--lba", "10").err
    assert "1 of 8 blocks" in message
    assert "first LBA 11 from byte 88 on" in message


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["foo"], "is not an address"),
        (["mock:", "--nsid", "2"], "no active namespace 2; there is 1, 3, 4"),
        (["mock:", "--lba", "60"], "whose last is 63"),
        (["mock:", "--nblocks", "0"], "nblocks"),
        (["mock:", "--lba", "-1"], "lba"),
        (["mock:", "--completion", "manual"], "completion"),
    ],
)
def test_wrong_usage_is_2(run: Run, ctrlr: FakeController, words: list[str], why: str) -> None:
    """What can't be asked for ends with status 2, says why, and writes nothing."""
    with no_change(ctrlr):
        ended = run("hello", *words)
    assert ended.status == 2
    assert why in ended.err


def test_a_namespace_with_metadata_is_refused(run: Run, ctrlr: FakeController) -> None:
    """Blocks with metadata need more than this writes, so it says so and leaves them."""
    with no_change(ctrlr):
        ended = run("hello", "mock:", "--nsid", "4")
    assert (ended.status, "metadata" in ended.err) == (1, True)


def test_no_namespace_is_said(run: Run, ctrlr: FakeController) -> None:
    """A controller without namespaces is an error with a message."""
    ctrlr.namespaces = {}
    ended = run("hello")
    assert (ended.status, "no active namespace" in ended.err) == (1, True)


@pytest.mark.parametrize(
    "error",
    [
        AddressError(f"{DEVICE}: bound to the kernel's driver 'nvme'. Run `sudo aionvme bind {DEVICE}`"),
        ControllerLostError("the controller is gone"),
        OSError("permission denied"),
    ],
)
def test_an_error_is_one_message(run: Run, ctrlr: FakeController, error: Exception) -> None:
    """What the driver raises becomes one line on standard error, no traceback, and status 1."""
    ctrlr.refusal = error
    ended = run("hello", DEVICE)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err == f"error: {error}\n"


def test_an_interrupt_is_130(run: Run, ctrlr: FakeController) -> None:
    """Ctrl-C ends with the status that shells give it, and no traceback."""
    ctrlr.refusal = KeyboardInterrupt()
    ended = run("hello")
    assert (ended.status, ended.err) == (130, "interrupted\n")
