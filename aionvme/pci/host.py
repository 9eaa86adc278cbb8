"""Owns the operating system as this layer uses it: where its trees are, its calls. Tests give their own."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
from pathlib import Path

import attrs

__all__ = ["Argument", "Host"]

#: What an ioctl is given: a number, or memory that the kernel reads and writes.
Argument = int | bytearray | ctypes.Structure


def _path(value: str | os.PathLike[str]) -> Path:
    return Path(value)


@attrs.define
class Host:
    """The machine: its trees of files, and the calls that act on devices.

    Attributes:
        sys, proc, dev: Where sysfs, procfs and the device nodes are.
    """

    sys: Path = attrs.field(default=Path("/sys"), converter=_path)
    proc: Path = attrs.field(default=Path("/proc"), converter=_path)
    dev: Path = attrs.field(default=Path("/dev"), converter=_path)

    def open(self, path: Path, flags: int = os.O_RDWR) -> int:
        """Opens a device node; the descriptor does not outlive an exec."""
        return os.open(path, flags | os.O_CLOEXEC)

    def close(self, fd: int) -> None:
        """Closes a descriptor."""
        os.close(fd)

    def ioctl(self, fd: int, request: int, argument: Argument = 0) -> int:
        """Makes an ioctl. What the kernel writes is in `argument` afterwards, after an error too."""
        # Immutable bytes would have the kernel's answer returned in the place of its return value.
        return fcntl.ioctl(fd, request, argument, True)

    def pread(self, fd: int, nbytes: int, offset: int) -> bytes:
        """Reads at an offset."""
        return os.pread(fd, nbytes, offset)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        """Writes at an offset."""
        return os.pwrite(fd, data, offset)

    def usable(self, path: Path) -> bool:
        """Whether a node is there and this process may read and write it."""
        return os.access(path, os.R_OK | os.W_OK)

    def write(self, path: Path, text: str) -> None:
        """Writes one value to a file of sysfs, in one call as sysfs wants it."""
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def memlock_limit(self) -> int | None:
        """How many bytes this process may lock in memory; None for any number."""
        soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        return None if soft == resource.RLIM_INFINITY else soft
