"""Owns the proof that the random programs would see a mistake: a build that has one on purpose has to fail them.

`python -m tools.wrong` copies the tree with what is built to a temporary folder, builds there what has the mistake
(AIONVME_WRONG in setup.py), runs `make stateful`'s tests, and expects their failure.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
# A mistake, and what the tests say of it: that the device has what was let go, or that it wrote there.
MISTAKES = {
    "FREE_CID_AT_CANCEL": r"AssertionError: (the device has .* let go|the device wrote|a completion came)"
}
EXAMPLES = "200"
NOT_COPIED = (".git", ".venv*", ".vm", ".cache", "build", "dist", "__pycache__", ".hypothesis", "*_cache")
SECONDS = 600


def found(mistake: str, text: str) -> str:
    """What is wrong with the proof for a mistake; nothing if the tests saw it."""
    with tempfile.TemporaryDirectory(prefix="aionvme-wrong-") as folder:
        copy = Path(folder, "aionvme")
        shutil.copytree(REPO, copy, ignore=shutil.ignore_patterns(*NOT_COPIED), symlinks=True)
        environment = os.environ | {"AIONVME_WRONG": mistake}
        command = (sys.executable, "setup.py", "--quiet", "build_ext", "--inplace")
        if subprocess.run(command, cwd=copy, env=environment, check=False).returncode:
            return f"{mistake}: could not be built"
        tests = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "aionvme/tests/stateful")
        ran = subprocess.run(
            tests, cwd=copy, check=False, capture_output=True, text=True, timeout=SECONDS,
            env=os.environ | {"PYTHONPATH": str(copy), "AIONVME_STATEFUL_EXAMPLES": EXAMPLES,
                              "AIONVME_STATEFUL_AS_FOUND": "1"},
        )  # fmt: skip
    print(_shown(ran.stdout), flush=True)
    if ran.returncode != 1 or not re.search(text, ran.stdout):
        return f"{mistake}: the tests did not see it (pytest returned {ran.returncode})"
    return ""


def _shown(output: str) -> str:
    """The program that failed, and how."""
    lines = output.splitlines()
    wanted = [line for line in lines if line.startswith("E  ") or "state." in line or " failed" in line]
    return "\n".join(wanted)


def main() -> int:
    """Try each mistake."""
    problems = [problem for mistake, text in MISTAKES.items() if (problem := found(mistake, text))]
    for problem in problems:
        print(f"FAILED: {problem}")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
