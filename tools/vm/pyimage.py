"""Owns the disk image of the host's Python: the trees that are slow to read over 9p."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tools.vm.layout import CACHE, cached, command, remove

DESCRIBE = """
import json, sys, sysconfig
libraries = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
print(json.dumps([sys.prefix, sys.base_prefix, *libraries]))
"""
SYSTEM = {Path("/usr"), Path("/usr/local")}
# Large, and not for us: CPython's own tests, and the base's packages where there is an environment.
SKIP_IN_STDLIB = {"test", "idlelib", "lib2to3", "ensurepip", "turtledemo", "site-packages", "dist-packages"}
KEEP = 3


def build(python: Path) -> tuple[Path, list[Path]]:
    """Return an ext4 image of what the interpreter `python` reads, and the trees in it, in order.

    Tree n of the list is the folder `n` of the image, to be mounted at its own path. A change of any file of
    the trees makes another image.

    Raises:
        VmError: `python` does not run, or mke2fs failed.
    """
    trees = _trees(python)
    digest = hashlib.sha256()
    for tree in trees:
        digest.update(f"{tree.path}\0".encode())
        for file in tree.files():
            status = file.lstat()
            digest.update(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    path = CACHE / f"python-{digest.hexdigest()[:16]}.ext4"
    cached(path, lambda into: _build(trees, into))
    os.utime(path)
    _forget_old()
    return path, [tree.path for tree in trees]


class _Tree:
    """A folder to copy, without the entries of its top level that are in `skip`."""

    def __init__(self, path: Path, skip: frozenset[str] = frozenset()) -> None:
        self.path = path
        self.skip = skip

    def files(self) -> Iterator[Path]:
        """Every file, in a fixed order."""
        for folder, folders, names in os.walk(self.path):
            if Path(folder) == self.path:
                folders[:] = [name for name in folders if name not in self.skip]
            folders.sort()
            # os.walk counts a link to a folder (an environment's lib64) as a folder, and does not enter it.
            links = [name for name in folders if (Path(folder) / name).is_symlink()]
            yield from (Path(folder) / name for name in sorted(names + links))


def _trees(python: Path) -> list[_Tree]:
    prefix, base, stdlib, platstdlib = (Path(text) for text in json.loads(command([python, "-c", DESCRIBE])))
    trees = []
    in_environment = prefix != base
    # Outside a virtual environment the packages live in the library folder, and are wanted.
    skip = SKIP_IN_STDLIB if in_environment else SKIP_IN_STDLIB - {"site-packages", "dist-packages"}
    if in_environment:
        trees.append(_Tree(prefix))
    # An environment has the base's library as stdlib, and as platstdlib a folder of its own.
    own = prefix if in_environment else None
    libraries = [folder for folder in (stdlib, platstdlib) if not (own and folder.is_relative_to(own))]
    trees += [_Tree(folder, frozenset(skip)) for folder in dict.fromkeys(libraries)]
    if base not in SYSTEM:
        trees.append(_Tree(base / "bin"))
    return trees


def _build(trees: list[_Tree], into: Path) -> None:
    staging = into.with_suffix(".tree")
    remove(staging)
    for number, tree in enumerate(trees):
        _link(tree, staging / str(number))
    size = sum(_room(file) for file in staging.rglob("*"))
    # A quarter over for ext4's tables; the file is sparse.
    megabytes = size * 5 // 4 // 2**20 + 32
    command(["/sbin/mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-N", str(_inodes(staging)),
             "-d", staging, into, f"{megabytes}M"])  # fmt: skip
    remove(staging)


def _room(path: Path) -> int:
    """Bytes that a file or folder takes at most: whole blocks, one for a folder."""
    return path.lstat().st_size // 4096 * 4096 + 4096


def _inodes(staging: Path) -> int:
    return sum(1 for _ in staging.rglob("*")) + 1000


def _link(tree: _Tree, into: Path) -> None:
    """Stage a tree by hard links, by copies where the cache is on another file system."""
    into.mkdir(parents=True)
    for file in tree.files():
        target = into / file.relative_to(tree.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, target, follow_symlinks=False)
        except OSError:
            shutil.copy2(file, target, follow_symlinks=False)


def _forget_old() -> None:
    images = sorted(CACHE.glob("python-*.ext4"), key=lambda path: path.stat().st_mtime)
    for image in images[:-KEEP]:
        remove(image)
