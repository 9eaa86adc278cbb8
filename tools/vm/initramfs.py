"""Owns a guest's initramfs: static busybox, the modules, and `init.sh`."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from tools.vm import kernel
from tools.vm.debian import Kernel
from tools.vm.layout import VmError, cached, command, locked, remove

INIT = Path(__file__).with_name("init.sh")
BUSYBOX = Path("/bin/busybox")


@dataclass(frozen=True)
class Contents:
    """What an initramfs has beside busybox and init.

    Attributes:
        root: the script that init goes on with, which makes the root for the guest's command.
        modules: of the kernel, in the order in which they are loaded.
        programs: a tree that is laid over everything, or none.
    """

    root: Path
    modules: tuple[str, ...]
    programs: Path | None = None


def build(chosen: Kernel, contents: Contents) -> Path:
    """Return the initramfs of `chosen` with `contents`, made anew when any of it, or busybox, has changed."""
    inputs = INIT.read_bytes() + contents.root.read_bytes() + " ".join(contents.modules).encode()
    inputs += BUSYBOX.read_bytes() + (_listing(contents.programs) if contents.programs else b"")
    path = kernel.home(chosen) / f"initramfs-{hashlib.sha256(inputs).hexdigest()[:16]}.cpio"
    with locked("initramfs"):
        return cached(path, lambda into: _build(chosen, contents, into))


def _listing(tree: Path) -> bytes:
    """A file's name, size and time each: other than the same when anything was made anew."""
    files = sorted(path for path in tree.rglob("*") if path.is_file())
    told = [(str(path.relative_to(tree)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return repr(told).encode()


def image(chosen: Kernel) -> Path:
    """The kernel image that goes with it."""
    return kernel.home(chosen) / f"image/boot/vmlinuz-{chosen.release}"


def _build(chosen: Kernel, contents: Contents, into: Path) -> None:
    tree = into.with_suffix(".tree")
    remove(tree)
    for folder in ("bin", "sbin", "proc", "sys", "dev"):
        (tree / folder).mkdir(parents=True)
    shutil.copy(BUSYBOX, tree / "bin/busybox")
    for applet in command([BUSYBOX, "--list"]).split():
        if applet != "busybox":
            (tree / "bin" / applet).symlink_to("busybox")
    (tree / "sbin/modprobe").symlink_to("../bin/busybox")
    (tree / "modules").write_text(" ".join(contents.modules) + "\n")
    shutil.copy(contents.root, tree / "root.sh")
    shutil.copy(INIT, tree / "init")
    (tree / "init").chmod(0o755)
    _copy_modules(chosen, contents.modules, tree)
    if contents.programs:
        shutil.copytree(contents.programs, tree, symlinks=True, dirs_exist_ok=True)
    _archive(tree, into)
    remove(tree)


def _copy_modules(chosen: Kernel, modules: Sequence[str], tree: Path) -> None:
    source = kernel.home(chosen) / "image/lib/modules" / chosen.release
    target = tree / "lib/modules" / chosen.release
    if not (source / "modules.dep").exists():
        command(["/sbin/depmod", "-b", kernel.home(chosen) / "image", chosen.release])
    wanted = {_plain(name) for name in modules}
    target.mkdir(parents=True)
    for name in _closure((source / "modules.dep").read_text(), wanted):
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, path)
        # busybox's insmod reads no xz.
        command(["xz", "-d", path])
    for module in (kernel.home(chosen) / "vfio").glob("*.ko"):
        if _plain(module.stem) in wanted:
            for old in target.rglob(module.name):
                old.unlink()
            shutil.copy(module, target)
    for listing in ("modules.builtin", "modules.order"):
        shutil.copy(source / listing, target)
    command(["/sbin/depmod", "-b", tree, chosen.release])


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _closure(text: str, wanted: Set[str]) -> list[str]:
    """The files of `wanted` modules that the kernel's package has, with those that they need, from modules.dep."""
    needs = {left: right.split() for left, _, right in (line.partition(":") for line in text.splitlines())}
    files = [path for path in needs if _plain(Path(path).name.split(".")[0]) in wanted]
    return sorted({need for path in files for need in (path, *needs[path])})


def _archive(tree: Path, into: Path) -> None:
    names = [".", *sorted(f"./{path.relative_to(tree)}" for path in tree.rglob("*"))]
    argv = ["cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet"]
    with into.open("wb") as file:
        done = subprocess.run(argv, cwd=tree, input="\n".join(names).encode(), stdout=file, check=False)
    if done.returncode:
        raise VmError("cpio could not write the initramfs")
