"""Owns the guest's kernel: Debian's image, and iommufd and VFIO built beside it with the cdev switched on.

No kernel of Debian's has CONFIG_IOMMUFD or CONFIG_VFIO_DEVICE_CDEV. Both live in modules only, so
five modules are built again from the same source package, against the same headers, with those options
defined by compiler flags.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from tools.vm import debian
from tools.vm.debian import Kernel
from tools.vm.layout import CACHE, VmError, cached, command, locked, remove, say, stage

OPTIONS = ("IOMMUFD_MODULE", "IOMMUFD_DRIVER", "VFIO_DEVICE_CDEV", "VFIO_NOIOMMU", "INTERVAL_TREE_SPAN_ITER")
SOURCES = (
    "drivers/iommu/iommufd/*",
    "drivers/iommu/*.h",
    "drivers/vfio/*",
    "lib/interval_tree.c",
    "include/uapi/*",
)
MODULES = (
    "iommufd/iommufd",
    "vfio/vfio",
    "vfio/vfio_iommu_type1",
    "vfio/pci/vfio-pci-core",
    "vfio/pci/vfio-pci",
)
KBUILD = {
    "iommufd": """obj-m := iommufd.o
iommufd-y := device.o fault.o hw_pagetable.o io_pagetable.o ioas.o main.o pages.o vfio_compat.o \\
    iova_bitmap.o span.o
""",
    "vfio": """obj-m := vfio.o vfio_iommu_type1.o pci/
vfio-y := vfio_main.o device_cdev.o group.o iommufd.o container.o virqfd.o
""",
    "vfio/pci": """obj-m := vfio-pci-core.o vfio-pci.o
vfio-pci-core-y := vfio_pci_core.o vfio_pci_intrs.o vfio_pci_rdwr.o vfio_pci_config.o
vfio-pci-y := vfio_pci.o vfio_pci_igd.o
""",
}
CURRENT = CACHE / "current.json"


def home(kernel: Kernel) -> Path:
    """The folder of the cache that holds everything of one kernel."""
    return CACHE / ("linux-" + kernel.version.replace("~", "_"))


def current() -> Kernel | None:
    """The kernel that the last complete set-up chose."""
    if not CURRENT.exists():
        return None
    return Kernel(**json.loads(CURRENT.read_text()))


def set_up(*, refresh: bool = False, with_vfio: bool = True) -> Kernel:
    """Make everything that a boot needs, or find it made.

    Args:
        refresh: ask apt for a newer kernel even if one is ready.
        with_vfio: build iommufd and VFIO as well, for a guest that uses them.

    Raises:
        VmError: a program is missing, or a download or the build failed.
    """
    with locked("setup"):
        debian.install_programs(debian.PROGRAMS if with_vfio else debian.FOR_INITRAMFS)
        kernel = current()
        if kernel is None or refresh:
            with stage("apt-get update"):
                debian.update_lists()
            kernel = debian.newest_kernel()
        say(f"kernel {kernel.release} ({kernel.version})")
        cached(home(kernel) / "image", lambda into: debian.unpack(kernel.packages["image"], into))
        if with_vfio and not all((home(kernel) / made).exists() for made in ("vfio", "uapi")):
            _build_from_source(kernel)
        CURRENT.write_text(json.dumps({"release": kernel.release, "version": kernel.version}))
        return kernel


def _build_from_source(kernel: Kernel) -> None:
    """Fill `vfio` (the five modules) and `uapi` (the headers that programs see) and drop the source again."""
    work, done_with = home(kernel) / "build", home(kernel) / "build.unfinished"
    remove(done_with)
    source = cached(work / "source", lambda into: _unpack_source(kernel, into))
    headers = cached(work / "headers", lambda into: _unpack_headers(kernel, into))
    cached(home(kernel) / "uapi", lambda into: _copy_tree(source / "include/uapi", into))
    cached(home(kernel) / "vfio", lambda into: _build_modules(kernel, source, headers, into))
    # Under another name first: half a tree is never to be taken for a whole one.
    work.rename(done_with)
    remove(done_with)


def _copy_tree(source: Path, into: Path) -> None:
    shutil.copytree(source, into)


def _unpack_source(kernel: Kernel, into: Path) -> None:
    package = into / "package"
    debian.unpack(kernel.packages["source"], package)
    (tarball,) = package.glob("usr/src/*.tar.xz")
    patterns = [f"linux-source-{debian.SERIES}/{pattern}" for pattern in SOURCES]
    command(["tar", "-xJf", tarball, "-C", into, "--strip-components=1", "--wildcards", *patterns])
    remove(package)


def _unpack_headers(kernel: Kernel, into: Path) -> None:
    for part in ("headers", "common", "kbuild"):
        debian.unpack(kernel.packages[part], into)


def _build_modules(kernel: Kernel, source: Path, headers: Path, into: Path) -> None:
    tree = into / "tree"
    shutil.copytree(source / "drivers/iommu/iommufd", tree / "iommufd")
    shutil.copytree(source / "drivers/vfio", tree / "vfio")
    for header in (source / "drivers/iommu").glob("*.h"):
        shutil.copy(header, tree)
    span = _span_iterator((source / "lib/interval_tree.c").read_text())
    (tree / "iommufd/span.c").write_text(span)
    flags = " ".join(f"-DCONFIG_{option}=1" for option in OPTIONS)
    (tree / "Kbuild").write_text(f"subdir-ccflags-y := {flags}\nobj-m := iommufd/ vfio/\n")
    for folder, text in KBUILD.items():
        # A Kbuild file is preferred to the Makefile of the kernel's own tree, which stays as it is.
        (tree / folder / "Kbuild").write_text(text)
    build = _relocate(kernel, headers)
    # Without vmlinux's type information at hand, BTF of modules can't be made; nothing here needs it.
    make: list[str | Path] = [
        "make",
        f"-j{os.cpu_count()}",
        "-C",
        build,
        f"M={tree}",
        "CONFIG_DEBUG_INFO_BTF_MODULES=",
        "modules",
    ]
    command(make, log=into / "make.log")
    for module in MODULES:
        shutil.move(tree / f"{module}.ko", into)
    remove(tree)


def _relocate(kernel: Kernel, headers: Path) -> Path:
    """Point the unpacked headers at each other: their Makefile names /usr/src."""
    build = headers / "usr/src" / f"linux-headers-{kernel.release}"
    common = headers / "usr/src" / f"linux-headers-{kernel.release.removesuffix('-amd64')}-common"
    (build / "Makefile").write_text(f"include {common}/Makefile\n")
    return build


def _span_iterator(text: str) -> str:
    """Cut the span iterator out of lib/interval_tree.c: the rest of that file is in the kernel already."""
    guard = "#ifdef CONFIG_INTERVAL_TREE_SPAN_ITER"
    if guard not in text:
        raise VmError("lib/interval_tree.c has no span iterator: this kernel source is not one that we know")
    head = "#include <linux/interval_tree.h>\n#include <linux/compiler.h>\n#include <linux/export.h>\n"
    return head + text[text.index(guard) :]
