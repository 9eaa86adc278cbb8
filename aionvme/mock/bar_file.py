"""Owns the file that BAR 0 is where other processes map a part of it."""

from __future__ import annotations

import fcntl
import os

__all__ = ["sealed_file"]


def sealed_file(nbytes: int) -> int:
    """Memory that a client may map and write, and never shrink under us."""
    fd = os.memfd_create("aionvme-bar", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, nbytes)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    except BaseException:
        os.close(fd)
        raise
    return fd
