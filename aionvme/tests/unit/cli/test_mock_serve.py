"""`aionvme mock serve`: what is said of words that can't be; flow/test_mock_serve.py has it at work."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from aionvme.cli.mocking import told_to_end

if TYPE_CHECKING:
    from pathlib import Path

    from aionvme.tests.unit.cli.conftest import Run


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["frobnicate=1"], 2, "the mock has no option 'frobnicate'"),
        (["size"], 2, "each is written KEY=VALUE"),
        (["cmb=64KiB", "cmb=128KiB"], 2, "and once"),
        (["--size", "1000"], 2, "size must be a multiple of the block size"),
        (["drive=loop"], 2, 'drive="loop"'),
        (["--doorbells", "none"], 2, "mapped"),
    ],
)
def test_wrong_usage(run: Run, tmp_path: Path, words: list[str], status: int, message: str) -> None:
    """What can't be is said, and nothing is left."""
    ended = run("mock", "serve", "--socket", str(tmp_path / "ctrl"), *words)
    assert ended.status == status
    assert message in " ".join(ended.err.split())
    assert not (tmp_path / "ctrl").exists()


def _taken_by_this_thread(main: int) -> None:
    """As soon as `main` waits."""
    while sys._current_frames()[main].f_code.co_name != "_until":
        pass
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)


def test_a_signal_that_interrupts_nothing_ends_the_wait() -> None:
    """Another thread takes it, or it comes just before the wait: the main thread sees no call of its own end."""
    with told_to_end() as wait:
        thread = threading.Thread(target=_taken_by_this_thread, args=(threading.get_ident(),))
        thread.start()
        wait()
        thread.join()
        signal.raise_signal(signal.SIGINT)
        wait()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
