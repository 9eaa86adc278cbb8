"""Owns what the VM tier's machine is made of: drives, memory, PCI functions, and QEMU's command line for them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tools.vm import qemu
from tools.vm.initramfs import Contents
from tools.vm.layout import VmError

MIB = 1 << 20
UNITS = {"K": 1 << 10, "M": MIB, "G": 1 << 30}
FIRST_PORT = 0x10  # slots of the root ports on bus 0; below are QEMU's own
SHARED_SLOT = 0x18
PLAIN_SLOT = 0x19


@dataclass(frozen=True)
class Drive:
    """One NVMe controller; the raw images of its namespaces stay after power-off.

    Attributes:
        name: what tests call it.
        serial: the serial number, and the name of its image.
        block_size: bytes in a logical block.
        size: bytes of each image; with metadata a namespace has as many blocks as fit with it.
        options: further options of QEMU's `nvme` device, as `name=value,...`.
        namespaces: further options of QEMU's `nvme-ns` device, for each namespace from number 1 on.
    """

    name: str
    serial: str
    block_size: int
    size: int
    options: str = ""
    namespaces: tuple[str, ...] = ("",)

    @classmethod
    def parse(cls, text: str) -> Drive:
        """Read NAME:BLOCK_SIZE:SIZE[:OPTIONS], for instance `big:4096:2G:mdts=5`."""
        name, _, rest = text.partition(":")
        block_size, _, rest = rest.partition(":")
        size, _, options = rest.partition(":")
        try:
            return cls(name, f"AIO-{name}", int(block_size), parse_size(size), options)
        except ValueError:
            raise VmError(
                f"--drive {text}: expected NAME:BLOCK_SIZE:SIZE[:OPTIONS], as in big:4096:2G"
            ) from None


def parse_size(text: str) -> int:
    """Read a number of bytes with an optional unit K, M or G (powers of 1024)."""
    unit = UNITS.get(text[-1:].upper(), 1)
    return int(text[:-1] if unit > 1 else text) * unit


# Every way in which a block can have metadata, in one controller: each more takes time to boot. `ms` is bytes of
# metadata, `mset=1` puts it behind each block, `pi` is the type of protection information, `pil=1` puts that first
# in the metadata, `pif=2` is the 64-bit guard. QEMU keeps the metadata behind the last block. In its Write Zeroes the
# 64-bit guard is the one of 4096 zeros, whatever the block; and of one command's metadata, where there is no protection
# information, it keeps only what is beyond a multiple of 512 bytes, if anything is: `mdts=3` keeps it below that.
IN_4096 = "logical_block_size=4096,physical_block_size=4096"
FORMATS = (
    "ms=8",
    "ms=8,mset=1",
    "ms=8,pi=1",
    "ms=8,pi=2",
    "ms=8,pi=3",
    "ms=8,mset=1,pi=1",
    "ms=64,pi=1,pil=1",
    "ms=64,mset=1,pi=2",
    f"{IN_4096},ms=16,pi=1,pif=2",
    f"{IN_4096},ms=16,mset=1,pi=2,pif=2",
    f"{IN_4096},ms=16,pi=3,pif=2",
)

SUBSYSTEM = "twins"

# `shared` sits in one IOMMU group with a function that the kernel's virtio driver holds: VFIO must refuse it.
DEFAULT_DRIVES = (
    Drive("block512", "AIO-block512", 512, 64 * MIB),
    Drive("block4096", "AIO-block4096", 4096, 64 * MIB),
    Drive("formats", "AIO-formats", 512, 4 * MIB, "mdts=3", FORMATS),
    Drive("buffered", "AIO-buffered", 512, 64 * MIB, "cmb_size_mb=16"),
    # Two controllers of one NVM subsystem, which must have one serial number, and the namespace that they share.
    Drive("twin", "AIO-twin", 512, 16 * MIB, f"subsys={SUBSYSTEM}"),
    Drive("twin2", "AIO-twin", 512, 16 * MIB, f"subsys={SUBSYSTEM}", ()),
)
SHARED_DRIVE = Drive("shared", "AIO-shared", 512, 4 * MIB)
# Not there until a test plugs it in: an image, and an empty root port.
HOT_DRIVE = Drive("hot", "AIO-hot", 512, 16 * MIB)
HOT_SLOT = 0x1A
HOT_PORT = "hotport"
# The monitor that the tests in the guest reach: QEMU is at both ends of the socket.
GUEST_MONITOR = "qmp-guest.sock"


@dataclass(frozen=True)
class Machine:
    """A guest machine: what its command line is made from.

    Attributes:
        drives: NVMe controllers, each behind a root port (and so in an IOMMU group) of its own.
        memory: MiB of RAM.
        hugepages: 2 MiB pages that the guest kernel sets aside.
        kernel_args: appended to the kernel's command line.
        qemu_args: appended to QEMU's command line.
        accel: QEMU's accelerator.
    """

    drives: tuple[Drive, ...] = DEFAULT_DRIVES
    memory: int = 2048
    hugepages: int = 64
    kernel_args: str = ""
    qemu_args: tuple[str, ...] = ()
    accel: str = qemu.ACCEL

    # With the nvme driver, functions start out bound as on any machine.
    contents: ClassVar = Contents(
        Path(__file__).with_name("host_root.sh"),
        ("9pnet_virtio", "9p", "overlay", "virtio-rng", "nvme", "minix",
         "irqbypass", "iommufd", "vfio", "vfio_iommu_type1", "vfio-pci-core", "vfio-pci"),
    )  # fmt: skip

    def prepare(self, folder: Path) -> None:
        """Write an image of zeros, sparse, for each drive, and what the tests are told in `share/machine.json`."""
        (folder / "share/machine.json").write_text(self._describe(folder))
        for drive in (*self.drives, SHARED_DRIVE, HOT_DRIVE):
            for nsid in range(1, len(drive.namespaces) + 1):
                with image(folder, drive, nsid).open("wb") as file:
                    file.truncate(drive.size)

    def _describe(self, folder: Path) -> str:
        """The machine as JSON, for the tests in the guest and the checks after power-off."""
        ports = [f"0000:00:{FIRST_PORT + number:02x}.0" for number in range(len(self.drives))]
        functions = [_function(drive, port, folder) for drive, port in zip(self.drives, ports, strict=True)]
        shared = _function(SHARED_DRIVE, f"0000:00:{SHARED_SLOT:02x}.0", folder)
        plain = f"0000:00:{PLAIN_SLOT:02x}.0"
        hot = _function(HOT_DRIVE, f"0000:00:{HOT_SLOT:02x}.0", folder)
        tree = {"drives": functions, "shared": shared, "not_nvme": plain, "hugepages": self.hugepages}
        return json.dumps({**tree, "hot": hot, "hot_plug": _plug(HOT_DRIVE)}, indent=1)

    def command_line(self, boot: qemu.Boot) -> list[str]:
        """QEMU's arguments; `boot.folder` holds the images, and takes `qmp.sock` and `qmp-guest.sock`."""
        # Registers of a function that has a driver can be mapped by sysfs, which nvme-cli does to show them.
        # The tick by the local APIC's periodic timer: QEMU's one-shot timer was seen to stop for good on one processor.
        tick = "nohz=off highres=off"
        kernel_args = (
            f"intel_iommu=on iommu=pt iomem=relaxed {tick} hugepages={self.hugepages} {self.kernel_args}"
        )
        folder = boot.folder
        drives = [word for n, drive in enumerate(self.drives) for word in _behind_port(n, drive, folder)]
        return [
            "qemu-system-x86_64", "-machine", "q35,kernel-irqchip=split", "-m", str(self.memory),
            "-device", "intel-iommu,intremap=on,caching-mode=on",
            *qemu.basis(boot, kernel_args=kernel_args, accel=self.accel),
            "-qmp", f"unix:{folder}/qmp.sock,server=on,wait=off",
            # A second monitor, for the tests: connected to a channel of the guest's.
            "-chardev", f"socket,id=monitor,path={folder}/{GUEST_MONITOR},server=on,wait=off",
            "-mon", "chardev=monitor,mode=control",
            "-chardev", f"socket,id=qmp,path={folder}/{GUEST_MONITOR}",
            "-device", "virtserialport,chardev=qmp,name=aionvme.qmp",
            "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
            "-device", f"nvme-subsys,id={SUBSYSTEM},nqn={SUBSYSTEM}",
            *drives,
            *_nvme(SHARED_DRIVE, f"bus=pcie.0,addr={SHARED_SLOT:#x}.0,multifunction=on", folder),
            "-device", f"virtio-rng-pci,bus=pcie.0,addr={SHARED_SLOT:#x}.1",
            "-blockdev", f"driver=file,node-name=hot-file,filename={image(folder, HOT_DRIVE, 1)}",
            "-blockdev", "driver=raw,node-name=hot-raw,file=hot-file",
            # Without limits until a test sets them, so that commands are outstanding for as long as it likes.
            "-object", "throttle-group,id=hot-limits",
            "-blockdev", f"driver=throttle,node-name={_node(HOT_DRIVE)},throttle-group=hot-limits,file=hot-raw",
            "-device", f"pcie-root-port,id={HOT_PORT},bus=pcie.0,chassis=100,slot=100,addr={HOT_SLOT:#x}.0",
            "-device", f"edu,bus=pcie.0,addr={PLAIN_SLOT:#x}.0",
            *self.qemu_args,
        ]  # fmt: skip


def image(folder: Path, drive: Drive, nsid: int) -> Path:
    """Where the raw image of a namespace of `drive` is."""
    return folder / (f"{drive.serial}.img" if nsid == 1 else f"{drive.serial}-{nsid}.img")


def _function(drive: Drive, slot: str, folder: Path) -> dict[str, Any]:
    """One controller; `slot` is its address, or that of the root port that it is behind."""
    namespaces = [
        {"image": str(image(folder, drive, nsid)), "options": options}
        for nsid, options in enumerate(drive.namespaces, 1)
    ]
    sizes = {"block_size": drive.block_size, "size": drive.size}
    return {"name": drive.name, "serial": drive.serial, "slot": slot, "namespaces": namespaces, **sizes}


def _node(drive: Drive) -> str:
    return f"{drive.name}-disk1"


def _plug(drive: Drive) -> dict[str, Any]:
    """The arguments of QMP's `device_add` that plug it in."""
    blocks = {"logical_block_size": drive.block_size, "physical_block_size": drive.block_size}
    place = {"bus": HOT_PORT, "drive": _node(drive)}
    return {"driver": "nvme", "id": drive.name, "serial": drive.serial, **place, **blocks}


def _behind_port(number: int, drive: Drive, folder: Path) -> list[str]:
    port = f"port{number}"
    place = f"chassis={number + 1},slot={number + 1},addr={FIRST_PORT + number:#x}.0"
    return ["-device", f"pcie-root-port,id={port},bus=pcie.0,{place}", *_nvme(drive, f"bus={port}", folder)]


def _nvme(drive: Drive, place: str, folder: Path) -> list[str]:
    blocks = f"logical_block_size={drive.block_size},physical_block_size={drive.block_size}"
    words = ["-device", f"nvme,id={drive.name},serial={drive.serial},{place}{_more(drive.options)}"]
    for nsid, options in enumerate(drive.namespaces, 1):
        disk = f"{drive.name}-disk{nsid}"
        words += [
            "-drive", f"file={image(folder, drive, nsid)},if=none,id={disk},format=raw",
            "-device", f"nvme-ns,drive={disk},bus={drive.name},nsid={nsid},{blocks}{_more(options)}",
        ]  # fmt: skip
    return words


def _more(options: str) -> str:
    return f",{options}" if options else ""
