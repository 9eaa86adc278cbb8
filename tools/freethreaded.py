"""Owns the free-threaded Python: built once, from Debian's source, into `.cache/freethreaded/`.

    python -m tools.freethreaded         # build it, unless it is there, and say where it is
    python -m tools.freethreaded --path  # only say where it is; exit status 1 if it is not there

Debian has no package of it. Its source is taken through apt, which checks what it downloads by the archive's signature,
with lists of apt's own in the same folder: nothing of the system is changed, and no root is needed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

from tools.runs import REPO

FOLDER = REPO / ".cache/freethreaded"
PREFIX = FOLDER / "python"
# Suite of Debian's, source package, program. sid keeps only the newest source of a package, and its mirrors now and
# then not even that; the source of a stable release stays.
SOURCES = (("sid", "python3.14", "python3.14t"), ("trixie", "python3.13", "python3.13t"))
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Header -> Debian's package of it, for the modules of Python's own that pip and the tests need.
HEADERS = {"openssl/ssl.h": "libssl-dev", "zlib.h": "zlib1g-dev", "ffi.h": "libffi-dev", "lzma.h": "liblzma-dev",
           "bzlib.h": "libbz2-dev", "sqlite3.h": "libsqlite3-dev"}  # fmt: skip
# Neither optimized by profiles nor by the linker, which would take half an hour.
CONFIGURE = ("--quiet", "--disable-gil", "--disable-test-modules", "--with-ensurepip=no")
NO_GIL = "import sys, ssl, zlib, ctypes, lzma; sys.exit(sys._is_gil_enabled())"


class BuildError(Exception):
    """It could not be built; the message says why, and what to do."""


def find() -> Path | None:
    """Find the program that was built, the one of Debian's newest first."""
    paths = [PREFIX / "bin" / program for _, _, program in SOURCES]
    return next((path for path in paths if path.exists()), None)


def build() -> Path:
    """Build it, unless it is there.

    Raises:
        BuildError: no source can be had, a program or a header is missing, or the build failed.
    """
    if found := find():
        return found
    _check_tools()
    began = time.monotonic()
    program, archive = _download()
    source = _unpack(archive)
    _make(source)
    built = PREFIX / "bin" / program
    _run(built, "-c", NO_GIL)
    for folder in (source.parent, archive.parent):
        shutil.rmtree(folder)
    _say(f"{built}: {time.monotonic() - began:.0f} s")
    return built


def _check_tools() -> None:
    missing = [name for name in ("apt-get", "gcc", "make") if not shutil.which(name)]
    if missing:
        raise BuildError(
            f"{', '.join(missing)}: not on this machine. It takes Debian's archive and a C compiler"
        )
    lines = "".join(f"#include <{header}>\n" for header in HEADERS)
    if _compiles(lines):
        return
    packages = [package for header, package in HEADERS.items() if not _compiles(f"#include <{header}>\n")]
    raise BuildError(f"headers are missing: apt-get install {' '.join(packages)}")


def _compiles(lines: str) -> bool:
    command = ("gcc", "-E", "-x", "c", "-o", os.devnull, "-")
    return subprocess.run(command, input=lines, text=True, check=False, capture_output=True).returncode == 0


# -- the source ----------------------------------------------------------------------------------------------------


def _download() -> tuple[str, Path]:
    """Download the newest source that can be had; the program that it makes, and the archive."""
    reasons = []
    for suite, package, program in SOURCES:
        folder = FOLDER / f"apt-{suite}"
        _say(f"{package}, the source, from Debian {suite}")
        try:
            _apt(folder, suite, "update")
            # The upstream archive alone: what Debian changes is for where Debian puts things.
            _apt(folder, suite, "source", "--download-only", "--tar-only", f"{package}/{suite}")
        except BuildError as error:
            _say(f"none: {error}")
            reasons.append(str(error))
            shutil.rmtree(folder, ignore_errors=True)
            continue
        (archive,) = folder.glob("*.orig.tar.xz")
        return program, archive
    raise BuildError("no source can be had: " + "; ".join(reasons))


def _apt(folder: Path, suite: str, *command: str) -> None:
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    sources = folder / "sources.list"
    sources.write_text(f"deb-src [signed-by={KEYRING}] {_mirror()} {suite} main\n")
    settings = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
        "Acquire::Retries": 3,
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    _run("apt-get", *options, "-q", *command, cwd=folder)


def _mirror() -> str:
    """Where this machine's own apt has Debian from."""
    words = ("apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian", "Label: Debian")
    lines = _run(*words).split()
    if not lines:
        raise BuildError("apt has no archive of Debian's here: it takes a Debian, and `apt-get update` once")
    return lines[0]


def _unpack(archive: Path) -> Path:
    folder = FOLDER / "source"
    shutil.rmtree(folder, ignore_errors=True)
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return source


# -- the build -----------------------------------------------------------------------------------------------------


def _make(source: Path) -> None:
    """Build and install it: into another folder first, so that one that is there is whole."""
    staged = FOLDER / "staged"
    shutil.rmtree(staged, ignore_errors=True)
    make = ("nice", "-n", "10", "make", "--silent", f"-j{os.cpu_count() or 1}")
    for step in (
        ("nice", "-n", "10", "./configure", f"--prefix={PREFIX}", *CONFIGURE),
        make,
        (*make, "altinstall", f"DESTDIR={staged}"),
    ):
        _say(" ".join(step))
        _run(*step, cwd=source)
    shutil.rmtree(PREFIX, ignore_errors=True)
    (staged / PREFIX.relative_to("/")).rename(PREFIX)
    shutil.rmtree(staged)


def _run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a program; what it printed.

    Raises:
        BuildError: it failed; the message ends with what it printed last.
    """
    done = subprocess.run(
        command, cwd=cwd, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        last = (done.stdout + done.stderr).strip().splitlines()[-10:]
        raise BuildError(f"`{command[0]}` returned {done.returncode}: " + "\n".join(last))
    return done.stdout


def _say(text: str) -> None:
    print(f"free-threaded Python: {text}", flush=True)


def main(argv: Sequence[str]) -> int:
    """Do what the command line says and return an exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.freethreaded", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--path", action="store_true", help="build nothing, say where it is")
    if parser.parse_args(argv).path:
        found = find()
        print(found or "it was not built: make python-freethreaded")
        return 0 if found else 1
    try:
        print(build())
    except BuildError as error:
        _say(f"FAILED: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
