"""Owns the kernel's way to a block: io_uring by the `liburing` package, and pread, on a file with O_DIRECT.

The file is on whatever drive this machine has, which is not the mock: compare what a command costs the processor, not
how many there are a second. Each run is a process of its own, as the package may not be made for this processor:

    python -m bench.kernel WAY PATH DEPTH SECONDS      prints a sample as JSON, or why there is none
"""

from __future__ import annotations

import errno
import importlib
import json
import mmap
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from bench.device import BLOCK, Sample

__all__ = ["WAYS", "Unavailable", "sample"]

_BYTES = 256 << 20
_PIECE = 1 << 20


class Unavailable(Exception):
    """This machine can't do it; the text says why."""


class FileWithoutCache:
    """A file of 256 MiB, made where it is not there, opened past the page cache.

    Args:
        path: Where. Not on a tmpfs, which has nothing but the page cache.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.stat().st_size != _BYTES:
            with path.open("wb") as file:
                for _ in range(_BYTES // _PIECE):
                    file.write(random.randbytes(_PIECE))
                file.flush()
                os.fsync(file.fileno())
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise Unavailable(f"the file system of {path.parent} has no O_DIRECT") from None
        self.nblocks = _BYTES // BLOCK

    def offsets(self) -> list[int]:
        """Places in bytes, random, made beforehand."""
        places = random.Random(1)
        return [places.randrange(self.nblocks) * BLOCK for _ in range(1 << 16)]

    def close(self) -> None:
        """Closes it; it stays for the next time."""
        os.close(self.fd)


def _uring(file: FileWithoutCache, depth: int, seconds: float) -> Sample:
    try:
        uring = importlib.import_module("liburing")
    except ModuleNotFoundError:
        raise Unavailable("liburing is not installed: `pip install liburing`") from None
    ring = uring.Ring()
    try:
        uring.io_uring_queue_init(depth, ring)
    except OSError as error:
        raise Unavailable(f"io_uring is not to be had here: {error}") from None
    try:
        return _uring_reads(uring, ring, file, depth, seconds)
    finally:
        uring.io_uring_queue_exit(ring)


def _uring_reads(uring: Any, ring: Any, file: FileWithoutCache, depth: int, seconds: float) -> Sample:
    # Each in pages of its own, since O_DIRECT wants memory that is aligned.
    bufs = [mmap.mmap(-1, BLOCK) for _ in range(depth)]
    offsets, cqe, at, completed = file.offsets(), uring.Cqe(), 0, 0

    def send(slot: int) -> None:
        nonlocal at
        sqe = uring.io_uring_get_sqe(ring)
        uring.io_uring_prep_read(sqe, file.fd, bufs[slot], offsets[at & 0xFFFF])
        sqe.user_data = slot + 1
        at += 1

    def reap() -> list[int]:
        uring.io_uring_wait_cqe(ring, cqe)
        slots = []
        for _ in uring.CqeIter(ring, cqe):
            entry = cqe[0]
            if entry.res != BLOCK:
                raise RuntimeError(f"a read of {BLOCK} bytes gave {entry.res}")
            slots.append(entry.user_data - 1)
        uring.io_uring_cq_advance(ring, len(slots))
        return slots

    for slot in range(depth):
        send(slot)
    uring.io_uring_submit(ring)
    began, cpu = time.perf_counter(), time.thread_time_ns()
    ends = began + seconds
    while (now := time.perf_counter()) < ends:
        slots = reap()
        completed += len(slots)
        for slot in slots:
            send(slot)
        uring.io_uring_submit(ring)
    took = time.thread_time_ns() - cpu
    left = depth
    while left:
        left -= len(reap())
    return Sample(completed, now - began, took)


def _pread(file: FileWithoutCache, depth: int, seconds: float) -> Sample:
    if depth != 1:
        raise Unavailable("one thread has one pread at a time")
    buf, offsets, completed = mmap.mmap(-1, BLOCK), file.offsets(), 0
    began, cpu = time.perf_counter(), time.thread_time_ns()
    while (now := time.perf_counter()) < began + seconds:
        if os.preadv(file.fd, [buf], offsets[completed & 0xFFFF]) != BLOCK:
            raise RuntimeError("a read was cut short")
        completed += 1
    return Sample(completed, now - began, time.thread_time_ns() - cpu)


WAYS: dict[str, Callable[[FileWithoutCache, int, float], Sample]] = {
    "io_uring, O_DIRECT": _uring,
    "preadv, O_DIRECT": _pread,
}


def sample(way: str, path: Path, depth: int, seconds: float) -> Sample:
    """One run, in a process of its own.

    Raises:
        Unavailable: It can't be had here.
    """
    command = [sys.executable, "-m", "bench.kernel", way, str(path), str(depth), str(seconds)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    if ended.returncode == -signal.SIGILL:
        raise Unavailable(
            "liburing as it was installed has instructions that this processor has not: "
            "`pip install --force-reinstall --no-binary liburing liburing` builds it here"
        )
    if ended.returncode:
        raise RuntimeError(f"{way}: status {ended.returncode}: {ended.stderr}")
    answer = json.loads(ended.stdout)
    if "unavailable" in answer:
        raise Unavailable(answer["unavailable"])
    return Sample(**answer)


def _main(way: str, path: str, depth: str, seconds: str) -> None:
    try:
        file = FileWithoutCache(Path(path))
        try:
            print(json.dumps(attrs.asdict(WAYS[way](file, int(depth), float(seconds)))))
        finally:
            file.close()
    except Unavailable as error:
        print(json.dumps({"unavailable": str(error)}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
