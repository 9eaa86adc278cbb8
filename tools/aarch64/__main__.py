"""Owns the look at aionvme/pci/mmio.h on aarch64: it compiles its unit test, reads the disassembly, and runs it.

    python -m tools.aarch64    # as root it installs Debian's cross compiler and qemu-user, where they are missing

The test is also compiled for the machine that this runs on. Exit status 0: each accessor is one load or store of its
width, each barrier is the instruction that the header wants, all are in their order, and the test passes on both.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
TEST = Path(__file__).with_name("mmio.c")
# Program -> Debian's package. libc6-dev-arm64-cross has the headers, and the static library.
PROGRAMS = {
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
    "aarch64-linux-gnu-objdump": "binutils-aarch64-linux-gnu",
    "qemu-aarch64": "qemu-user",
}
LIBRARY = (Path("/usr/aarch64-linux-gnu/lib/libc.a"), "libc6-dev-arm64-cross")
FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror", "-static", "-pthread", f"-I{REPO}")
SECONDS = 120
# Of each function its loads, stores and barriers, in their order. The single-copy atomic ones are plain loads and
# stores of a register of their width, naturally aligned (Arm ARM DDI 0487, B2.2.1).
WANTED = {
    "read32": ["ldr w"],
    "write32": ["str w"],
    "read64": ["ldr x"],
    "write64": ["str x"],
    "sqe_before_doorbell": ["dmb oshst"],
    "phase_before_cqe": ["dmb oshld"],
    "cqe_before_doorbell": ["dmb osh"],
    "full": ["dmb osh"],
    "post": ["str x", "dmb oshst", "str w"],
    "reap": ["ldr w", "dmb oshld", "ldr x", "dmb osh", "str w"],
    "tell": ["str w", "dmb osh", "ldr w"],
}
# Nothing else may touch memory, or wait for it.
MEMORY = re.compile(r"(?:ld|st)\w*|dmb|dsb|isb|cas\w*|swp\w*|prfm")


def missing() -> list[str]:
    """Debian's packages that are not there."""
    packages = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    return packages if LIBRARY[0].exists() else [*packages, LIBRARY[1]]


def install() -> str:
    """Install what is missing; say why it can't be had."""
    packages = missing()
    if not packages:
        return ""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return f"install {' '.join(packages)}, on Debian as root: apt-get install {' '.join(packages)}"
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        if subprocess.run(["apt-get", "-q", *words], env=environment, check=False).returncode:
            return f"`apt-get {' '.join(words)}` failed"
    return ""


def instructions(listing: str) -> dict[str, list[str]]:
    """What each function of a disassembly does with memory: mnemonic and width, or kind of barrier."""
    found: dict[str, list[str]] = {}
    for block in re.split(r"\n\n+", listing):
        head = re.match(r"\s*[0-9a-f]+ <(\w+)>:\n", block)
        if head is None:
            continue
        body = re.findall(r"^\s*[0-9a-f]+:\s+(\S+)(?:\s+(\w+))?", block[head.end() :], re.MULTILINE)
        found[head[1]] = [_shown(name, operand) for name, operand in body if MEMORY.fullmatch(name)]
    return found


def _shown(name: str, operand: str) -> str:
    return f"{name} {operand if name == 'dmb' else operand[:1]}"


def check(listing: str) -> list[str]:
    """What is wrong with a disassembly."""
    found = instructions(listing)
    return [
        f"{name} is {', '.join(found.get(name, ['not there']))}, not {', '.join(wanted)}"
        for name, wanted in WANTED.items()
        if found.get(name) != wanted
    ]


def problems() -> list[str]:
    """Compile, look, and run; what is wrong."""
    if problem := install():
        return [problem]
    with tempfile.TemporaryDirectory(prefix="aionvme-aarch64-") as folder:
        here, there = Path(folder, "here"), Path(folder, "there")
        for compiler, program in (("cc", here), ("aarch64-linux-gnu-gcc", there)):
            if subprocess.run([compiler, *FLAGS, str(TEST), "-o", str(program)], check=False).returncode:
                return [f"{TEST.name} could not be compiled by {compiler}"]
        dump = ["aarch64-linux-gnu-objdump", "-d", "--no-show-raw-insn", str(there)]
        listing = subprocess.run(dump, check=True, capture_output=True, text=True).stdout
        wrong = check(listing)
        for command in ([str(here)], ["qemu-aarch64", str(there)]):
            if status := subprocess.run(command, check=False, timeout=SECONDS).returncode:
                wrong.append(f"the test of {command[0]} returned {status}")
    found = instructions(listing)
    for name in WANTED:
        print(f"{name:<20} {', '.join(found[name])}")
    return wrong


def main() -> int:
    """Do it; return an exit status."""
    wrong = problems()
    for problem in wrong:
        print(f"FAILED: {problem}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
