"""On a free-threaded Python the GIL stays off, whatever of the package is imported."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import aionvme

# An extension module that does not say that it needs no GIL switches it on, and Python warns.
EVERYTHING = """
import importlib, pkgutil, sys
import aionvme
for module in pkgutil.walk_packages(aionvme.__path__, "aionvme."):
    if ".tests" not in module.name and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(getattr(sys, "_is_gil_enabled", lambda: True)())
"""


def test_no_module_switches_the_gil_on() -> None:
    """Every module is imported, and the GIL is as Python has it."""
    cwd = Path(aionvme.__file__).parents[1]
    command = [sys.executable, "-W", "error", "-c", EVERYTHING]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(not sysconfig.get_config_var("Py_GIL_DISABLED"))
