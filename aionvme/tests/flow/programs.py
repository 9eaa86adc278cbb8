"""Owns running a Python program of its own, as a user does, with this package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import aionvme

__all__ = ["environment", "python"]


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, in which the package is found; of a terminal and of how to test it says nothing."""
    left_out = ("COLUMNS", "FORCE_COLOR", "PYTEST_ADDOPTS")
    env = {key: value for key, value in os.environ.items() if key not in left_out}
    folders = [str(Path(aionvme.__file__).parents[1]), env.get("PYTHONPATH", "")]
    return {**env, "PYTHONPATH": os.pathsep.join(filter(None, folders)), **changes}


def python(*words: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Runs Python to its end without a terminal; a warning in the program is an error.

    Args:
        words: After `python`.
        changes: In its environment.
    """
    return subprocess.run(
        [sys.executable, "-W", "error", *words],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(**changes),
    )
