"""Owns where things are kept: the cache folder `.vm/` and the way entries get into it."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
CACHE = REPO / ".vm"


class VmError(Exception):
    """The machine could not be set up or run; the message says what to do."""


class Unavailable(VmError):
    """What a machine is made of can't be had here: no such package, no right to install it, or no network."""


def say(text: str) -> None:
    """Print one line of progress, at once."""
    print(f"vm: {text}", flush=True)


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """Time one stage and print how long it took (seconds)."""
    began = time.monotonic()
    yield
    say(f"{name}: {time.monotonic() - began:.1f} s")


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock `name` of the cache, so that two runs never build or boot the same thing at once."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that holds {name}.lock")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cached(path: Path, build: Callable[[Path], None]) -> Path:
    """Return `path`; if it is not there, let `build` make it under another name first.

    The rename at the end is what makes an interrupted build harmless: a name in the cache is always whole.
    """
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.unfinished")
    remove(unfinished)
    with stage(path.name):
        build(unfinished)
    unfinished.rename(path)
    return path


def remove(path: Path) -> None:
    """Delete a file or a tree, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def command(argv: Sequence[str | Path], *, cwd: Path | None = None, log: Path | None = None) -> str:
    """Run a program and return its standard output.

    Args:
        argv: the program and its arguments.
        cwd: the folder to run it in.
        log: a file that takes standard output and standard error instead.

    Raises:
        VmError: the program is missing or failed; the message ends with what it printed last.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words, cwd=cwd, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise VmError(f"{words[0]} is not installed: run `python -m tools.vm setup` as root") from None
    if log:
        log.write_text(done.stdout + done.stderr)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise VmError(f"`{' '.join(words)[:300]}` returned {done.returncode}:\n{tail}")
    return done.stdout
