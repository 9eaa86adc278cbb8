"""Owns what comes from Debian: programs that are installed, and kernel packages that are only unpacked."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tools.vm.layout import Unavailable, command, remove, stage

LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
# Package -> files that show it is there. The unpacked linux-kbuild's tools link to libelf1 and libssl3.
PROGRAMS: dict[str, tuple[Path, ...]] = {
    "qemu-system-x86": (Path("/usr/bin/qemu-system-x86_64"), Path("/usr/share/qemu/qboot.rom")),
    "busybox-static": (Path("/bin/busybox"),),
    "cpio": (Path("/bin/cpio"),),
    "kmod": (Path("/sbin/depmod"),),
    "xz-utils": (Path("/usr/bin/xz"),),
    "gcc-12": (Path("/usr/bin/x86_64-linux-gnu-gcc-12"),),
    "make": (Path("/usr/bin/make"),),
    "libc6-dev": (Path("/usr/include/stdio.h"),),
    "libelf1": (LIBRARIES / "libelf.so.1",),
    "libssl3": (LIBRARIES / "libcrypto.so.3",),
}
# Of these, what an initramfs is made with.
FOR_INITRAMFS = ("busybox-static", "cpio", "kmod", "xz-utils")
SERIES = "6.12"
META = f"linux-image-{SERIES}-amd64"


@dataclass(frozen=True)
class Kernel:
    """One kernel of Debian's: `release` as uname prints it, `version` of the packages."""

    release: str
    version: str

    @property
    def packages(self) -> dict[str, str]:
        """What to download, by what it is for."""
        base = self.release.removesuffix("-amd64")
        return {
            "image": f"linux-image-{self.release}",
            "headers": f"linux-headers-{self.release}",
            "common": f"linux-headers-{base}-common",
            "kbuild": f"linux-kbuild-{base}",
            "source": f"linux-source-{SERIES}={self.version}",
        }


def install_programs(packages: Iterable[str] = PROGRAMS) -> None:
    """Install the programs that are missing with apt-get.

    Args:
        packages: which of `PROGRAMS` are needed.

    Raises:
        Unavailable: something is missing and this process may not or cannot install it.
    """
    missing = [name for name in packages if not all(file.exists() for file in PROGRAMS[name])]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Unavailable(f"more programs are needed. Run as root: apt-get install {' '.join(missing)}")
    with stage(f"apt-get install {' '.join(missing)}"):
        update_lists()
        os.environ["DEBIAN_FRONTEND"] = "noninteractive"
        patience = ["-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::Retries=3"]
        command(["apt-get", *patience, "install", "-y", "-q", "--no-install-recommends", *missing])


def update_lists() -> None:
    """Refresh apt's package lists where that is allowed; without root, those at hand have to do."""
    if os.geteuid() == 0:
        command(["apt-get", "update", "-q"])


def newest_kernel() -> Kernel:
    """Ask apt which kernel the meta package stands for today.

    Raises:
        Unavailable: apt knows no such kernel.
    """
    if not shutil.which("apt-cache"):
        raise Unavailable("apt-cache is missing: the guest's kernel comes from Debian bookworm's archive")
    depends = command(["apt-cache", "depends", META])
    show = command(["apt-cache", "show", "--no-all-versions", META]) if depends else ""
    release = re.search(rf"Depends: linux-image-({re.escape(SERIES)}\.\S+-amd64)$", depends, re.MULTILINE)
    version = re.search(r"^Version: (\S+)$", show, re.MULTILINE)
    if not release or not version:
        raise Unavailable(f"apt knows no {META}: add bookworm-security to its sources and run apt-get update")
    return Kernel(release.group(1), version.group(1))


def unpack(package: str, into: Path) -> None:
    """Download one package and unpack it under `into`. It is never installed."""
    folder = into / ".deb"
    folder.mkdir(parents=True)
    options = ["-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3"]
    command(["apt-get", *options, "-q", "download", package], cwd=folder)
    (deb,) = folder.glob("*.deb")
    command(["dpkg", "-x", deb, into])
    remove(folder)
