"""Owns the compiled modules of the benchmarks: built when they are first wanted, beside nothing that is installed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["compiled"]

HERE = Path(__file__).resolve().parent
REPO = HERE.parent
CACHE = REPO / ".cache" / "bench"


def compiled(name: str) -> ModuleType:
    """The module `name` of this folder, built if it is not up to date with what it is made of."""
    folder = CACHE / sys.implementation.cache_tag
    _build(name, folder)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    return importlib.import_module(name)


def _build(name: str, folder: Path) -> None:
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension  # type: ignore[import-untyped]

    module = Extension(
        name,
        [str(HERE / f"{name}.pyx")],
        include_dirs=[str(REPO)],
        depends=[str(path) for path in sorted((REPO / "aionvme").rglob("*.h"))],
        extra_compile_args=["-O2", "-g0", "-Wall", "-fno-strict-aliasing"],
    )
    translate: Any = cythonize
    extensions = translate([module], build_dir=str(folder / "c"), include_path=[str(REPO)], quiet=True)
    command = Distribution({"ext_modules": extensions}).get_command_obj("build_ext")
    command.build_lib, command.build_temp = str(folder), str(folder / "o")
    command.ensure_finalized()
    command.run()
