"""Owns one boot: starts QEMU, passes on what the guest's command prints, and brings out how it ended."""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from tools.vm import initramfs, qemu
from tools.vm.debian import Kernel
from tools.vm.layout import CACHE, VmError, remove, say, stage
from tools.vm.machine import GUEST_MONITOR
from tools.vm.processes import ends_with_parent

GUEST_SHARE = "/run/aionvme-vm"
BOOT_TIMEOUT = 90.0
SOCKET_PATH_LIMIT = 107  # sun_path of unix(7), less its final zero


class NeverBooted(VmError):
    """The kernel did not get as far as the guest's init: nothing of ours ran, so a second try is fair."""


@dataclass
class Boot:
    """One run of the machine, and the folder with what is left of it.

    Attributes:
        folder: holds `console.log`, `share`, which the guest may write, and what the machine puts there.
        times: when the guest passed each stage, in seconds of its own clock since it began to boot.
    """

    machine: qemu.Machine
    kernel: Kernel
    folder: Path
    timeout: float
    times: dict[str, float] = field(default_factory=dict)

    @property
    def share(self) -> Path:
        """The folder that guest and host both write."""
        return self.folder / "share"

    def run(self, script: str) -> int:
        """Boot, run `script` in the guest's root, power off, and return its exit status.

        Raises:
            VmError: no status came out: the guest failed, crashed, or took longer than the limit.
        """
        image, contents = initramfs.image(self.kernel), self.machine.contents
        for attempt in (1, 2):
            remove(self.folder)
            self.share.mkdir(parents=True)
            self.machine.prepare(self.folder)
            (self.share / "command.sh").write_text(script)
            archive, nonce = initramfs.build(self.kernel, contents), secrets.token_hex(8)
            line = self.machine.command_line(qemu.Boot(self.folder, image, archive, nonce))
            try:
                with stage("guest, from start to power-off"):
                    return self._watch(line, nonce)
            except NeverBooted as error:
                if attempt == 2:
                    raise
                say(f"{error}\nvm: NOTE: the boot never reached init; trying once more")
        raise AssertionError("unreachable")

    def _watch(self, line: list[str], nonce: str) -> int:
        reader = _Reader(nonce)
        with _running(line) as process:
            assert process.stdout
            began = time.monotonic()
            for chunk in _chunks(process, lambda: self._deadline(began, reader)):
                reader.feed(chunk)
        reader.close()
        self.times = reader.times
        say("guest clock: " + ", ".join(f"{name} {at:.1f} s" for name, at in reader.times.items()))
        return self._verdict(reader, time.monotonic() - began)

    def _deadline(self, began: float, reader: _Reader) -> float:
        return began + (self.timeout if "init" in reader.times else min(BOOT_TIMEOUT, self.timeout))

    def _verdict(self, reader: _Reader, took: float) -> int:
        if reader.status is not None:
            return reader.status
        if "init" not in reader.times:
            raise NeverBooted(f"{self._console()}\nno sign of init after {took:.0f} s; console above")
        reason = (
            f"it said: {reader.failure}" if reader.failure else f"it ended or was ended after {took:.0f} s"
        )
        limit = f"limit {self.timeout:.0f} s"
        raise VmError(f"{self._console()}\nthe guest gave no result; {reason} ({limit}); console above")

    def _console(self) -> str:
        console = self.folder / "console.log"
        lines = console.read_text(errors="replace").splitlines() if console.exists() else []
        return f"the last lines of {console}:\n" + "\n".join(lines[-40:])


def in_host_root(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    """The script that runs a command in the current folder of a root that is the host's own.

    Args:
        argv: the command; its paths are the host's.
        environment: set for the command beside the host's PATH.
    """
    settings = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/root"), "PYTHONUNBUFFERED": "1"}
    settings |= {"AIONVME_VM": "guest", "AIONVME_VM_SHARE": GUEST_SHARE, **environment}
    exports = [f"export {name}={shlex.quote(value)}\n" for name, value in settings.items()]
    return f"{''.join(exports)}cd {shlex.quote(os.getcwd())} && exec {shlex.join(argv)}\n"


class _Reader:
    """Passes the guest's output on and picks out the lines that init itself prints."""

    def __init__(self, nonce: str) -> None:
        self.times: dict[str, float] = {}
        self.status: int | None = None
        self.failure = ""
        self._mark = f"@@{nonce} ".encode()
        self._pending = b""

    def feed(self, chunk: bytes) -> None:
        """Take what came; print at once whatever can't be the start of a line of init's."""
        *lines, self._pending = (self._pending + chunk).split(b"\n")
        for line in lines:
            if line.startswith(self._mark):
                self._note(line[len(self._mark) :].decode())
            else:
                self._show(line + b"\n")
        if not self._mark.startswith(self._pending[: len(self._mark)]):
            self._show(self._pending)
            self._pending = b""

    def close(self) -> None:
        """Print what is left at the end."""
        self._show(self._pending)

    def _note(self, text: str) -> None:
        at, word, *rest = text.split(" ", 2)
        self.times[word] = float(at)
        if word == "exit":
            self.status = int(rest[0])
        if word == "fail":
            self.failure = " ".join(rest)

    def _show(self, data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


@contextlib.contextmanager
def _running(line: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run QEMU for the length of the block; it never outlives the block or this process."""

    def terminated(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, terminated)
    process = subprocess.Popen(
        line,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=ends_with_parent(signal.SIGKILL),
    )
    try:
        yield process
    finally:
        # Either it has powered off and this does nothing, or nothing in it is worth a clean end.
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()
        signal.signal(signal.SIGTERM, before)


def _chunks(process: subprocess.Popen[bytes], deadline: Callable[[], float]) -> Iterator[bytes]:
    """Yield output as it comes, until QEMU ends or the deadline passes."""
    assert process.stdout
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := deadline() - time.monotonic()) > 0:
            if not selector.select(left):
                return
            chunk = os.read(process.stdout.fileno(), 1 << 16)
            if not chunk:
                return
            yield chunk


def folder(name: str) -> Path:
    """Where the run `name` keeps its things.

    Raises:
        VmError: the path is so long that QEMU's socket can't be in it.
    """
    path = CACHE / "runs" / name
    if len(os.fsencode(path / GUEST_MONITOR)) > SOCKET_PATH_LIMIT:
        raise VmError(f"{path} is too long a path for a UNIX socket: move the clone to a shorter one")
    return path
