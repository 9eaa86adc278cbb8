"""Owns what QEMU is told of every guest: the boot, where its output goes, and the folder that it shares."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tools.vm.initramfs import Contents

ACCEL = "tcg,thread=multi"


@dataclass(frozen=True)
class Boot:
    """What one boot is made of.

    Attributes:
        folder: takes `console.log`; its `share` is what guest and host both write.
        kernel: the kernel's image.
        initramfs: the archive with the guest's init.
        nonce: what marks the lines that init itself prints.
    """

    folder: Path
    kernel: Path
    initramfs: Path
    nonce: str


class Machine(Protocol):
    """A machine that can be booted."""

    @property
    def contents(self) -> Contents:
        """What its initramfs has."""

    def prepare(self, folder: Path) -> None:
        """Put into the folder of a run what the machine needs there; `share` is there already."""

    def command_line(self, boot: Boot) -> list[str]:
        """QEMU and its arguments."""


def basis(boot: Boot, *, kernel_args: str, accel: str = ACCEL) -> list[str]:
    """The arguments that every guest has.

    Args:
        boot: the boot.
        kernel_args: the rest of the kernel's command line.
        accel: QEMU's accelerator.
    """
    append = f"console=ttyS0 panic=-1 no_timer_check aionvme.nonce={boot.nonce} {kernel_args}"
    return [
        "-accel", accel, "-cpu", "max", "-smp", str(min(4, max(2, os.cpu_count() or 2))),
        "-bios", "qboot.rom", "-nodefaults", "-display", "none", "-no-reboot",
        "-kernel", str(boot.kernel), "-initrd", str(boot.initramfs), "-append", append.strip(),
        "-chardev", f"file,id=console,path={boot.folder}/console.log", "-serial", "chardev:console",
        # The command prints to a channel of its own: no kernel messages, no tty. It is not `stdio`,
        # which closes the channel when standard input ends.
        "-chardev", "file,id=out,path=/dev/stdout", "-device", "virtio-serial-pci",
        "-device", "virtserialport,chardev=out,name=aionvme.out",
        "-virtfs", f"local,path={boot.folder}/share,mount_tag=share,security_model=none,multidevs=remap",
    ]  # fmt: skip
