"""Owns the check of the `.pyi` stubs: every `.pyx` has one, and it says what the compiled module is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PACKAGE = Path("aionvme")


def without_stub(package: Path) -> list[Path]:
    """Find the `.pyx` files with no `.pyi` beside them."""
    return sorted(path for path in package.rglob("*.pyx") if not path.with_suffix(".pyi").exists())


def modules(package: Path) -> list[str]:
    """Name the compiled modules that have a stub, as they are imported."""
    stubs = (path.with_suffix("") for path in sorted(package.rglob("*.pyi")))
    return [".".join((package.name, *stub.relative_to(package).parts)) for stub in stubs]


def main() -> int:
    """Run stubtest over all of them; return an exit status."""
    missing = without_stub(PACKAGE)
    for path in missing:
        print(f"stubs: {path} has no .pyi")
    done = subprocess.run([sys.executable, "-m", "mypy.stubtest", *modules(PACKAGE)], check=False)
    return 1 if missing or done.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
