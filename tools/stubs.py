"""Owns the check of the `.pyi` stubs: every `.pyx` has one, and it says what the compiled module is."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = Path("aionvme")
# What is at run time and in no stub, or the reverse, and is right so.
EXCEPTIONS = r"""
# Cython's own.
.*\.__(reduce|setstate)_cython__
.*\.__test__
.*\.__pyx_capi__
# A compiled __init__ is called with *args and **kwargs.
.*\.__init__
# With these a request would be a generator to asyncio's stubs before 3.12, and what it gives be lost in `gather`.
aionvme\.qpair\.request\.Request\.__(iter|next)__
# Type checkers know the buffer protocol by this method; before 3.12 it has no name at run time.
.*\.__buffer__
"""


def without_stub(package: Path) -> list[Path]:
    """Find the `.pyx` files with no `.pyi` beside them."""
    return sorted(path for path in package.rglob("*.pyx") if not path.with_suffix(".pyi").exists())


def modules(package: Path) -> list[str]:
    """Name the compiled modules that have a stub, as they are imported."""
    stubs = (path.with_suffix("") for path in sorted(package.rglob("*.pyi")) if path.name != "__init__.pyi")
    return [".".join((package.name, *stub.relative_to(package).parts)) for stub in stubs]


def main() -> int:
    """Run stubtest over all of them; return an exit status."""
    missing = without_stub(PACKAGE)
    for path in missing:
        print(f"stubs: {path} has no .pyi")
    with tempfile.NamedTemporaryFile("w", suffix=".allow") as exceptions:
        exceptions.write(EXCEPTIONS)
        exceptions.flush()
        options = [f"--allowlist={exceptions.name}", "--ignore-unused-allowlist"]
        command = [sys.executable, "-m", "mypy.stubtest", *options, *modules(PACKAGE)]
        done = subprocess.run(command, check=False)
    return 1 if missing or done.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
