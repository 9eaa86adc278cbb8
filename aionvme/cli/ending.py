"""Owns how the process ends: its exit statuses, Ctrl-C, and a result that did not arrive."""

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

__all__ = ["BROKEN_PIPE", "ERROR", "INTERRUPTED", "USAGE", "run"]

ERROR = 1
USAGE = 2
# 128 and the number of the signal that other programs die of, as shells have it.
INTERRUPTED = 128 + signal.SIGINT
BROKEN_PIPE = 128 + signal.SIGPIPE


def run(load: Callable[[], object], perform: Callable[[], object]) -> NoReturn:
    """Runs the command as what this process is for, and ends it.

    Args:
        load: The imports. Ctrl-C ends them at once, as nothing is held yet.
        perform: What is done; may end with `SystemExit`, `KeyboardInterrupt` or `OutputError`.

    Raises:
        SystemExit: With the status, which is not 0 if standard output did not take all that was printed.
    """
    _answer_ctrl_c(_end_at_once)
    output = take_over()
    load()
    status = _status(perform)
    # Nothing is held any more, so that from here on Ctrl-C ends at once again.
    with contextlib.suppress(OutputError):
        sys.stdout.flush()
    if output.failure is not None and status != INTERRUPTED:
        status = _undelivered(output.failure)
    raise SystemExit(status)


def _status(perform: Callable[[], object]) -> Any:
    try:
        try:
            _answer_ctrl_c(signal.default_int_handler)
            perform()
        finally:
            _answer_ctrl_c(_end_at_once)
    except SystemExit as end:
        return end.code
    except KeyboardInterrupt:
        return INTERRUPTED
    except OutputError:
        return ERROR
    return 0


def _undelivered(failure: OutputError) -> int:
    if failure.errno == errno.EPIPE:
        # Whoever read it has seen enough. Others die of the signal, without a word.
        return BROKEN_PIPE
    from aionvme.cli import console

    console.error(str(failure))
    return ERROR


def _answer_ctrl_c(handler: Callable[[int, Any], object]) -> None:
    # Who starts a program in the background may have it ignored, which it stays.
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, _end_at_once):
        signal.signal(signal.SIGINT, handler)


def _end_at_once(_number: int, _frame: object) -> None:
    # Not by an exception, which an import, or Python at its end, would answer with a traceback.
    with contextlib.suppress(OSError):
        os.write(2, b"\ninterrupted\n" if os.isatty(2) else b"interrupted\n")
    os._exit(INTERRUPTED)
