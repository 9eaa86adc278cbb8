"""Owns the list of extension modules: one for each .pyx under aionvme/, found and not written down.

Everything else is in pyproject.toml. The modules could be listed there (`tool.setuptools.ext-modules`), but
that table is marked experimental, wants each module twice, translates them one after another, and leaves no
place for the sanitizers.

All modules say that they need no GIL: on a free-threaded Python it stays off. docs/threads.md says why they may.

Cython's class for typed memoryviews is in one module, `aionvme._shared`, for all that have them: it would be 25,000
lines of C in each. The others don't use it: what Cython has for every function would then be there, too, and called
by way of a pointer.

AIONVME_WRONG, such as "FREE_CID_AT_CANCEL", builds what has that mistake anew (aionvme/qpair/wrong.pxd), for
`tools.wrong` to see whether the tests find it. It is refused for anything that could be installed.

AIONVME_SANITIZE, such as "address,undefined", builds with these sanitizers of the C compiler.

AIONVME_OPTIMIZE=0 builds in a third of the time what is then slower: for CI, where a build is tested once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import Cython
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SANITIZE = os.environ.get("AIONVME_SANITIZE", "")
OPTIMIZE = os.environ.get("AIONVME_OPTIMIZE", "2")
# Rings and buffers are read through pointers of other types than they were written through.
COMPILE = [f"-O{OPTIMIZE}", "-g0", "-Wall", "-fno-strict-aliasing", "-Werror=implicit-function-declaration"]
LINK: list[str] = []
SHARED = "aionvme._shared"
# In the folder of what is built, since nobody wrote it.
SHARED_SOURCE = Path("build", f"shared-{Cython.__version__}.c")
WRONG = os.environ.get("AIONVME_WRONG", "")
if WRONG:
    if "--inplace" not in sys.argv:
        sys.exit(
            "AIONVME_WRONG is a mistake on purpose, and for build_ext --inplace in a copy alone: unset it"
        )
    COMPILE.append(f"-DAIONVME_WRONG_{WRONG}")
if SANITIZE:
    # -O1 takes two thirds of the time to compile, and the checks are the same.
    COMPILE += [
        "-O1",
        "-g1",
        "-fno-omit-frame-pointer",
        f"-fsanitize={SANITIZE}",
        "-fno-sanitize-recover=all",
    ]
    LINK += [f"-fsanitize={SANITIZE}"]


class BuildExtensions(build_ext):
    """Translates all modules at once, on every core, and builds anew what was built with other flags."""

    def finalize_options(self) -> None:
        """Let an editable install, which has temporary folders, share those of `build_ext --inplace`."""
        super().finalize_options()
        if self.editable_mode:
            build = f"{self.plat_name}-{sys.implementation.cache_tag}"
            self.build_lib, self.build_temp = f"build/lib.{build}", f"build/temp.{build}"

    def build_extensions(self) -> None:
        """Build them; what is up to date, its .pxd and .h included, is left alone."""
        flags = Path("build", f"flags-{sysconfig.get_config_var('SOABI')}")
        wanted = repr((COMPILE, LINK))
        if not flags.exists() or flags.read_text() != wanted:
            self.force = True
        self.parallel = self.parallel or os.cpu_count() or 1
        if not SHARED_SOURCE.exists():
            self._write_shared()
        others = [module for module in self.extensions if module.name != SHARED]
        self._translate([module for module in others if has_memoryviews(module)], shared=SHARED)
        self._translate([module for module in others if not has_memoryviews(module)])
        super().build_extensions()
        flags.parent.mkdir(exist_ok=True)
        flags.write_text(wanted)

    def _translate(self, modules: list[Extension], shared: str | None = None) -> None:
        """Make C of them."""
        translated = cythonize(
            [Extension(module.name, module.sources) for module in modules],
            compiler_directives={"freethreading_compatible": True},
            shared_utility_qualified_name=shared,
            nthreads=min(self.parallel, len(modules)),
            quiet=True,
        )
        sources = {module.name: module.sources for module in translated}
        for module in modules:
            module.sources = sources[module.name]

    def _write_shared(self) -> None:
        """Have Cython write the module that all others share."""
        SHARED_SOURCE.parent.mkdir(exist_ok=True)
        half = SHARED_SOURCE.with_suffix(".half.c")
        command = (sys.executable, "-m", "cython", "--module-name", SHARED, f"--generate-shared={half}")
        subprocess.run(command, check=True)
        half.rename(SHARED_SOURCE)


def has_memoryviews(module: Extension) -> bool:
    """Whether there is a typed memoryview in its source."""
    [source] = map(Path, module.sources)
    declared = (path.read_text() for path in (source, source.with_suffix(".pxd")) if path.exists())
    return any("[::1]" in text for text in declared)


def extension(name: str, source: Path) -> Extension:
    """A module; compiled again when any header of the package changes."""
    return Extension(
        name,
        [str(source)],
        include_dirs=["."],  # a header has one name, from folders of any depth
        depends=sorted(str(path) for path in Path("aionvme").rglob("*.h")),
        extra_compile_args=COMPILE,
        extra_link_args=LINK,
    )


def extensions() -> list[Extension]:
    """What the modules share, and one for each .pyx."""
    modules = sorted(Path("aionvme").rglob("*.pyx"))
    if WRONG:
        modules = [path for path in modules if "aionvme.qpair.wrong" in path.read_text()]
    return [
        extension(SHARED, SHARED_SOURCE),
        *(extension(".".join(path.with_suffix("").parts), path) for path in modules),
    ]


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExtensions})
