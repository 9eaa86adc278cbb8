"""The standard streams: descriptors that are full, broken or do not block, and encodings that lack a character."""

from __future__ import annotations

import errno
import io
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from aionvme.cli.streams import ERRORS, Input, Notes, Output, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

# More than a pipe holds.
_MUCH = os.urandom(1 << 20)


@pytest.fixture
def pipe() -> Iterator[tuple[io.FileIO, io.FileIO]]:
    """Both ends of a pipe, neither of which blocks."""
    read, write = os.pipe2(os.O_NONBLOCK)
    with io.FileIO(read) as source, io.FileIO(write, "w") as sink:
        yield source, sink


def test_output_fails_once() -> None:
    """What a full device does not take is an error, and kept; what comes after that is taken, and goes nowhere."""
    with Output("/dev/full", "w") as raw, io.BufferedWriter(raw) as output:
        output.write(b"result")
        with pytest.raises(OutputError, match=r"^standard output can't be written: No space left on device$"):
            output.flush()
        assert raw.failure is not None and raw.failure.errno == errno.ENOSPC
        output.flush()


def test_a_pipe_that_breaks_says_so(pipe: tuple[io.FileIO, io.FileIO]) -> None:
    """The error of a pipe that nobody reads can be told from the others, and no one takes it for a device's."""
    source, sink = pipe
    source.close()
    with pytest.raises(OutputError) as caught:
        Output(sink.fileno(), "w", closefd=False).write(b"result")
    assert caught.value.errno == errno.EPIPE and not isinstance(caught.value, OSError)


@pytest.mark.parametrize("kind", [Output, Notes])
def test_what_does_not_block_is_waited_for(
    pipe: tuple[io.FileIO, io.FileIO], kind: type[Output | Notes]
) -> None:
    """All arrives by a pipe that does not block, and holds less."""
    source, sink = pipe
    os.set_blocking(source.fileno(), True)
    with ThreadPoolExecutor(1) as thread:
        taken = thread.submit(source.readall)
        with io.BufferedWriter(kind(sink.fileno(), "w", closefd=False)) as output:
            output.write(_MUCH)
        sink.close()
        assert taken.result() == _MUCH


@pytest.mark.parametrize("nbytes", [-1, len(_MUCH)])
def test_input_that_has_not_come_is_waited_for(pipe: tuple[io.FileIO, io.FileIO], nbytes: int) -> None:
    """All that comes is read from a pipe that does not block, however late it comes."""
    source, sink = pipe
    os.set_blocking(sink.fileno(), True)

    def give() -> None:
        with io.BufferedWriter(sink) as file:
            file.write(_MUCH)

    with ThreadPoolExecutor(1) as thread:
        thread.submit(give)
        with io.BufferedReader(Input(source.fileno(), closefd=False)) as reader:
            assert reader.read(nbytes) == _MUCH


def test_notes_are_lost_where_they_cannot_be_written() -> None:
    """A full standard error is no reason to fail."""
    with Notes("/dev/full", "w") as notes:
        assert notes.write(b"a note") == 6


@pytest.mark.parametrize(
    ("encoding", "text", "written"),
    [
        ("ascii", "37 °C, 5 µs, ─", b"37 C, 5 us, ?"),
        ("latin-1", "37 °C, 5 µs, ─", "37 °C, 5 µs, ?".encode("latin-1")),
        ("utf-8", "a name that is no text: \udcff", b"a name that is no text: \xff"),
    ],
)
def test_what_an_encoding_lacks(encoding: str, text: str, written: bytes) -> None:
    """A character that can't be written is written in others, and a byte of a file's name as it was."""
    assert text.encode(encoding, ERRORS) == written
