"""Owns the tier in two guests at once: each keeps one core busy, and has its part of the tests and its own drives."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence

from tools.runs import Count
from tools.vm import boot, suite
from tools.vm.layout import say
from tools.vm.processes import ends_with_parent

PARTS = (1, 2)


def run(argv: Sequence[str], name: str) -> int:
    """Run both parts, each as a command of its own with all that is its, and return an exit status.

    Args:
        argv: the command line that asks for the tier; it names no tests.
        name: what the parts' folders are called, with a number.
    """
    names = {part: f"{name}-{part}" for part in PARTS}
    parts = {
        part: subprocess.Popen(
            [sys.executable, "-m", "tools.vm", *argv, "--part", str(part), "--name", names[part]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=ends_with_parent(),
        )
        for part in PARTS
    }
    try:
        followers = [threading.Thread(target=_follow, args=each) for each in parts.items()]
        for follower in followers:
            follower.start()
        for follower in followers:
            follower.join()
    finally:
        for process in parts.values():
            if process.poll() is None:
                process.terminate()
            process.wait()
    return _verdict({part: process.returncode for part, process in parts.items()}, names)


def _follow(part: int, process: subprocess.Popen[bytes]) -> None:
    """Pass on what a part prints, by lines, each with the part's number."""
    assert process.stdout
    for line in process.stdout:
        sys.stdout.buffer.write(b"%d| %s\n" % (part, line.rstrip(b"\n")))
        sys.stdout.buffer.flush()


def _verdict(statuses: dict[int, int], names: dict[int, str]) -> int:
    total = Count()
    for part, status in statuses.items():
        folder = boot.folder(names[part])
        guest, host = Count.read(folder / "share/guest.xml"), Count.read(folder / "host.xml")
        total += guest + host
        say(f"part {part}: in the guest: {guest}; on the host, after power-off: {host}")
        if status:
            say(f"FAILED: part {part} returned {status}, see the lines that begin with {part}|")
    suite.tell(total)
    failed = any(statuses.values())
    say(f"{total.passed} tests passed" + (" (not enough, see above)" if failed else ""))
    return 1 if failed else 0
