"""Owns the standard streams of the process, which may be anything: closed, full, a broken pipe, ASCII, non-blocking.

Descriptors 0 to 2 are open from here on, so that no other file gets one of their numbers. What standard output does not
take is an `OutputError`, and remembered; what standard error does not take is lost, as there is nobody to be told.
"""

from __future__ import annotations

import codecs
import io
import os
import select
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["ERRORS", "Input", "Notes", "Output", "OutputError", "take_over"]

# How a file is opened in the place of a descriptor that is closed: so that reading standard input or writing standard
# output fails as it did before, with EBADF (as gnulib's stdopen.c has it); what is written to standard error is lost.
_INSTEAD = {0: os.O_WRONLY, 1: os.O_RDONLY, 2: os.O_WRONLY}

# What an encoding without these has in their place; of any other character a question mark.
_PLAIN = {"°": "", "µ": "u", "▁": "_", "…": "..."}
#: What codecs call the handler of errors that writes those.
ERRORS = "aionvme.plainly"
codecs.register_error(ERRORS, lambda error: _plainly(error))


class OutputError(Exception):
    """Standard output did not take a result. No `OSError`: that is what who talks to a device catches.

    Attributes:
        errno: Of the system.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output can't be written: {error.strerror or error}")
        self.errno = error.errno


class Output(io.FileIO):
    """Descriptor 1, which fails once: what is written after that goes nowhere.

    Attributes:
        failure: What was raised.
    """

    failure: OutputError | None = None
    _given_up = False

    def write(self, data: ReadableBuffer, /) -> int:
        """Writes, if need be after a wait.

        Raises:
            OutputError: It can't be written.
        """
        if self._given_up:
            return memoryview(data).nbytes
        try:
            return _in_time(self, select.POLLOUT, lambda: super(Output, self).write(data))
        except OSError as error:
            self._given_up, self.failure = True, OutputError(error)
            raise self.failure from error
        except KeyboardInterrupt:
            # Of a reader that does not read. At the end nothing is to wait for it again.
            self._given_up = True
            raise


class Notes(io.FileIO):
    """Descriptor 2: what can't be written is lost, and no reason to fail."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Writes, if need be after a wait."""
        try:
            return _in_time(self, select.POLLOUT, lambda: super(Notes, self).write(data))
        except OSError:
            return memoryview(data).nbytes


class Input(io.FileIO):
    """Descriptor 0: what has not come yet is waited for, even where it does not block."""

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Reads what there is, after a wait if there is nothing; 0 at the end."""
        return _in_time(self, select.POLLIN, lambda: super(Input, self).readinto(buffer))

    def readall(self) -> bytes:
        """Reads up to the end."""
        found, part = bytearray(), bytearray(io.DEFAULT_BUFFER_SIZE)
        while nbytes := self.readinto(part):
            found += memoryview(part)[:nbytes]
        return bytes(found)


def _in_time(file: io.FileIO, event: int, transfer: Callable[[], int | None]) -> int:
    # A descriptor that does not block, as another program that shares it may have made it, gives None.
    while (nbytes := transfer()) is None:
        poller = select.poll()
        poller.register(file, event)
        poller.poll()
    return nbytes


def take_over() -> Output:
    """Opens what is closed, and puts streams of ours in the place of `sys.stdin`, `sys.stdout` and `sys.stderr`."""
    for number, flags in _INSTEAD.items():
        _open(number, flags)
    output = Output(1, "w", closefd=False)
    sys.stdout = _writer(output, sys.stdout)
    sys.stderr = _writer(Notes(2, "w", closefd=False), sys.stderr, by_line=True)
    # Bytes that are no text are told apart by whoever looks at the line.
    reader = io.BufferedReader(Input(0, closefd=False))
    sys.stdin = io.TextIOWrapper(reader, _encoding(sys.stdin), "surrogateescape")
    return output


def _open(number: int, flags: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        # The lowest number that is free: those before it are open.
        opened = os.open(os.devnull, flags)
        assert opened == number
        os.set_inheritable(number, True)


def _encoding(stream: TextIO | None) -> str:
    return "utf-8" if stream is None else stream.encoding


def _writer(raw: io.FileIO, before: TextIO | None, *, by_line: bool = False) -> io.TextIOWrapper:
    # With PYTHONUNBUFFERED a write to sys.stdout.buffer is one system call, which may write a part only. Hence a buffer
    # even there, which is written line by line.
    by_line = by_line or raw.isatty() or bool(getattr(before, "write_through", False))
    return io.TextIOWrapper(io.BufferedWriter(raw), _encoding(before), ERRORS, line_buffering=by_line)


def _plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    """A codec's error handler: a character that the encoding lacks, in others."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if 0xDC80 <= ord(character) <= 0xDCFF:
        # A byte of a file's name, or of an argument, that was no text (PEP 383).
        return bytes([ord(character) - 0xDC00]), error.start + 1
    return _PLAIN.get(character, "?"), error.start + 1
