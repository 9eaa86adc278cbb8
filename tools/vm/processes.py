"""Owns that a process ends with the one that began it, however that ends."""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Callable

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def ends_with_parent(number: signal.Signals = signal.SIGTERM) -> Callable[[], None]:
    """What `subprocess.Popen` is given as `preexec_fn`, so that the signal comes when the thread that calls it ends."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, number)

    return ask
