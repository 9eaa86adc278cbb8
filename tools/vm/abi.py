"""Owns `.vm/abi-6.12.json`: VFIO's and iommufd's numbers, sizes and offsets, by the kernel's headers."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from tools.vm import kernel
from tools.vm.debian import SERIES, Kernel
from tools.vm.layout import CACHE, command

PROGRAM = Path(__file__).with_name("abi.c")
OUTPUT = CACHE / f"abi-{SERIES}.json"


def write_json(chosen: Kernel) -> Path:
    """Compile `abi.c` against the two headers of `chosen` and store what it prints.

    Raises:
        VmError: it does not compile, for instance because a name was added that the header does not have.
    """
    headers = kernel.home(chosen) / "uapi/linux"
    with tempfile.TemporaryDirectory() as name:
        include = Path(name) / "linux"
        include.mkdir()
        # Only these two: the tree's other headers are not fit for programs, and the system has its own.
        for header in ("vfio.h", "iommufd.h"):
            shutil.copy(headers / header, include)
        program = Path(name) / "abi"
        # `__user` is a note to a checker that `make headers_install` would have taken out.
        command(
            ["x86_64-linux-gnu-gcc-12", "-Wall", "-Werror", "-D__user=", "-I", name, PROGRAM, "-o", program]
        )
        printed = command([program])
    json.loads(printed)
    OUTPUT.write_text(printed)
    return OUTPUT
