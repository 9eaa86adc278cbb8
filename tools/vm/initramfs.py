"""Owns the guest's initramfs: static busybox, the modules, and `init.sh`."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from tools.vm import kernel
from tools.vm.debian import Kernel
from tools.vm.layout import VmError, cached, command, remove

INIT = Path(__file__).with_name("init.sh")
BUSYBOX = Path("/bin/busybox")
# In the order in which they are loaded. With the nvme driver, functions start out bound as on any machine.
MODULES = (
    "9pnet_virtio", "9p", "overlay", "virtio-rng", "nvme", "minix",
    "irqbypass", "iommufd", "vfio", "vfio_iommu_type1", "vfio-pci-core", "vfio-pci",
)  # fmt: skip


def build(chosen: Kernel) -> Path:
    """Return the initramfs of `chosen`, made anew when init, the list of modules or busybox has changed."""
    inputs = INIT.read_bytes() + " ".join(MODULES).encode() + BUSYBOX.read_bytes()
    name = f"initramfs-{hashlib.sha256(inputs).hexdigest()[:16]}.cpio"
    return cached(kernel.home(chosen) / name, lambda into: _build(chosen, into))


def image(chosen: Kernel) -> Path:
    """The kernel image that goes with it."""
    return kernel.home(chosen) / f"image/boot/vmlinuz-{chosen.release}"


def _build(chosen: Kernel, into: Path) -> None:
    tree = into.with_suffix(".tree")
    remove(tree)
    for folder in ("bin", "sbin", "proc", "sys", "dev"):
        (tree / folder).mkdir(parents=True)
    shutil.copy(BUSYBOX, tree / "bin/busybox")
    for applet in command([BUSYBOX, "--list"]).split():
        if applet != "busybox":
            (tree / "bin" / applet).symlink_to("busybox")
    (tree / "sbin/modprobe").symlink_to("../bin/busybox")
    (tree / "modules").write_text(" ".join(MODULES) + "\n")
    shutil.copy(INIT, tree / "init")
    (tree / "init").chmod(0o755)
    _copy_modules(chosen, tree)
    _archive(tree, into)
    remove(tree)


def _copy_modules(chosen: Kernel, tree: Path) -> None:
    source = kernel.home(chosen) / "image/lib/modules" / chosen.release
    target = tree / "lib/modules" / chosen.release
    command(["/sbin/depmod", "-b", kernel.home(chosen) / "image", chosen.release])
    for name in _closure((source / "modules.dep").read_text()):
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, path)
        # busybox's insmod reads no xz.
        command(["xz", "-d", path])
    for module in (kernel.home(chosen) / "vfio").glob("*.ko"):
        for old in target.rglob(module.name):
            old.unlink()
        shutil.copy(module, target)
    for listing in ("modules.builtin", "modules.order"):
        shutil.copy(source / listing, target)
    command(["/sbin/depmod", "-b", tree, chosen.release])


def _closure(text: str) -> list[str]:
    """The files of `MODULES` that the kernel's package has, with those that they need, from modules.dep."""
    needs = {left: right.split() for left, _, right in (line.partition(":") for line in text.splitlines())}
    wanted = {name.replace("-", "_") for name in MODULES}
    files = [path for path in needs if Path(path).name.split(".")[0].replace("-", "_") in wanted]
    return sorted({need for path in files for need in (path, *needs[path])})


def _archive(tree: Path, into: Path) -> None:
    names = [".", *sorted(f"./{path.relative_to(tree)}" for path in tree.rglob("*"))]
    argv = ["cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet"]
    with into.open("wb") as file:
        done = subprocess.run(argv, cwd=tree, input="\n".join(names).encode(), stdout=file, check=False)
    if done.returncode:
        raise VmError("cpio could not write the initramfs")
