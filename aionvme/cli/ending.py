"""Owns how the process ends: its exit statuses, Ctrl-C and SIGTERM, and a result that did not arrive."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from aionvme.cli.streams import OutputError, take_over

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BROKEN_PIPE", "ERROR", "INTERRUPTED", "TERMINATED", "USAGE", "end_in_order", "run"]

ERROR = 1
USAGE = 2
# 128 and the number of the signal that other programs die of, as shells have it.
INTERRUPTED = 128 + signal.SIGINT
BROKEN_PIPE = 128 + signal.SIGPIPE
TERMINATED = 128 + signal.SIGTERM


def run(load: Callable[[], object], perform: Callable[[], object]) -> NoReturn:
    """Runs the command as what this process is for, and ends it; Ctrl-C does so at once, until `end_in_order`.

    Args:
        load: The imports.
        perform: What is done; may end with `SystemExit`, `KeyboardInterrupt` or `OutputError`.

    Raises:
        SystemExit: With the status, which is not 0 if standard output did not take all that was printed.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Else who started it has it ignored, which it stays.
        signal.signal(signal.SIGINT, _end_at_once)
    output = take_over()
    load()
    status = _status(perform)
    with contextlib.suppress(OutputError):
        sys.stdout.flush()
    if output.failure is not None and status not in (INTERRUPTED, TERMINATED):
        status = _undelivered(output.failure)
    raise SystemExit(status)


def end_in_order() -> None:
    """Has Ctrl-C and SIGTERM be a `KeyboardInterrupt` from here on: a controller has to be shut down before the end.

    Changes nothing in a process that `run` does not run.
    """
    if signal.getsignal(signal.SIGINT) is not _end_at_once:
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(_number: int, _frame: object) -> None:
    # The next one ends at once.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.raise_signal(signal.SIGINT)


def _status(perform: Callable[[], object]) -> Any:
    before = signal.getsignal(signal.SIGINT)
    try:
        try:
            perform()
        finally:
            # All is in order, and what Python still does has no use for an exception.
            signal.signal(signal.SIGINT, before)
    except SystemExit as end:
        status = end.code
    except KeyboardInterrupt:
        status = INTERRUPTED
    except OutputError:
        status = ERROR
    else:
        status = 0
    if signal.getsignal(signal.SIGTERM) is _interrupt:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    elif status == INTERRUPTED and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        status = TERMINATED
    return status


def _undelivered(failure: OutputError) -> int:
    if failure.errno == errno.EPIPE:
        # Whoever read it has seen enough. Others die of the signal, without a word.
        return BROKEN_PIPE
    from aionvme.cli import console

    console.error(str(failure))
    return ERROR


def _end_at_once(_number: int, _frame: object) -> None:
    # Not by an exception, which an import, or Python at its end, would answer with a traceback.
    with contextlib.suppress(OSError):
        os.write(2, b"\ninterrupted\n" if os.isatty(2) else b"interrupted\n")
    os._exit(INTERRUPTED)
