"""Owns the machine of the interop tier: PCI functions that processes of ours serve, and memory that they may map."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tools.interop import beside, programs
from tools.vm import qemu
from tools.vm.initramfs import Contents

# Of crc32c, which ext4 asks for by name, the kernel chooses the one that the processor has.
MODULES = ("9pnet_virtio", "9p", "crc32c_generic", "crc32c-intel", "ext4", "nvme")
MESSAGE_TIMEOUT_MS = 30_000


@dataclass(frozen=True)
class Machine:
    """A guest machine.

    Attributes:
        sockets: UNIX sockets on which a server of vfio-user waits, one for each PCI function.
        memory: MiB of RAM.
        shared: the servers are given descriptors of it, and map it; else they ask for what they need by messages.
        traced: trace events of QEMU's, or patterns of them, that go to `trace.log` in the run's folder.
        files: what the guest finds in the folder that it shares with the host, by name.
    """

    sockets: tuple[Path, ...]
    memory: int = 512
    shared: bool = True
    traced: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def contents(self) -> Contents:
        """What its initramfs has: all of its root."""
        return Contents(Path(__file__).with_name("own_root.sh"), MODULES, programs.tree())

    def prepare(self, folder: Path) -> None:
        """Put the files where the guest finds them."""
        for name, data in self.files.items():
            (folder / "share" / name).write_bytes(data)

    def command_line(self, boot: qemu.Boot) -> list[str]:
        """QEMU's arguments."""
        kind, how = ("memfd", ",share=on") if self.shared else ("ram", "")
        return beside.run(
            beside.QEMU, "-L", beside.TREE / "usr/share/qemu", "-machine", "q35,memory-backend=mem",
            "-object", f"memory-backend-{kind},id=mem,size={self.memory}M{how}", "-m", f"{self.memory}M",
            *qemu.basis(boot, kernel_args="quiet"),
            *(word for socket in self.sockets for word in ("-device", _attached(socket))),
            *(word for event in self.traced for word in ("-trace", event)),
            "-D", boot.folder / "trace.log",
        )  # fmt: skip


def _attached(socket: Path) -> str:
    place = {"path": str(socket), "type": "unix"}
    return json.dumps({"driver": "vfio-user-pci", "x-msg-timeout": MESSAGE_TIMEOUT_MS, "socket": place})
