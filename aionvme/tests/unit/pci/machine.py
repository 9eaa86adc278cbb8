"""A machine in a temporary folder: sysfs, procfs, device nodes, a kernel that binds drivers and answers VFIO.

The descriptors that it gives are real, so that what is mapped and what is leaked shows as it would.
"""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aionvme.pci import abi
from aionvme.pci.host import Argument, Host

if TYPE_CHECKING:
    from collections.abc import Callable

BDF = "0000:01:00.0"
BAR_SIZE = 0x4000
CONFIG_OFFSET = 0x10000
CONFIG_SIZE = 4096


class FakeMachine(Host):
    """A machine with an IOMMU, the drivers nvme and vfio-pci, and the functions that a test adds.

    Attributes:
        calls: Each call on a device: its name and what says which.
        fail: Called before each call with its number and name; what it raises, the call raises.
        open_fds: Descriptors given and not closed.
        refused: Errors that opening a node gives, by the node's name.
        answers: By ioctl number, what answers it in the place of this class's own.
        vectors: Interrupts by index.
        ranges: I/O addresses that can be mapped.
        mapped: What is mapped: length by I/O address.
        locked_limit: As `memlock_limit` says.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root / "sys", root / "proc", root / "dev")
        self.calls: list[tuple[Any, ...]] = []
        self.fail: Callable[[int, str], None] = lambda number, name: None
        self.open_fds: dict[int, str] = {}
        self.refused: dict[str, int] = {}
        self.answers: dict[int, Callable[[int, Any], int]] = {}
        self.vectors = {abi.VFIO_PCI_MSIX_IRQ_INDEX: 5, abi.VFIO_PCI_REQ_IRQ_INDEX: 1}
        self.ranges = [(0, 0xFEDFFFFF), (0xFEF00000, (1 << 39) - 1)]
        self.mapped: dict[int, int] = {}
        self.locked_limit: int | None = None
        self.bar_flags = 0b111
        self.bar_size = BAR_SIZE
        self.areas: list[tuple[int, int]] | None = None
        self.viable = True
        self.written: list[tuple[str, str]] = []
        self.vfio_takes = True
        self.unwritable: set[str] = set()
        for folder in ("bus/pci/devices", "kernel/iommu_groups", "class/block"):
            (self.sys / folder).mkdir(parents=True)
        for driver in ("nvme", "vfio-pci"):
            (self.sys / "bus/pci/drivers" / driver).mkdir(parents=True)
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "self/mountinfo").write_text("22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n")
        (self.proc / "self/status").write_text("Name:\tpython\nVmLck:\t     100 kB\nVmPin:\t       4 kB\n")
        (self.proc / "swaps").write_text("Filename\tType\tSize\tUsed\tPriority\n")
        self.node("vfio/vfio")
        self.device = bytearray(CONFIG_SIZE)
        self.device[0:8] = bytes.fromhex("36 1b 10 00 04 00 10 00")

    # -- the trees -------------------------------------------------------------------------------------------

    def node(self, name: str) -> Path:
        """A device node."""
        path = self.dev / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return path

    def function(
        self,
        bdf: str = BDF,
        *,
        driver: str | None = "vfio-pci",
        group: int | None = 7,
        class_code: int = 0x010802,
    ) -> Path:
        """A PCI function, with the nodes that it has when vfio-pci holds it."""
        path = self.sys / "bus/pci/devices" / bdf
        path.mkdir()
        values = {"vendor": 0x1B36, "device": 0x0010, "subsystem_vendor": 0x1AF4, "subsystem_device": 0x1100}
        for name, value in values.items():
            (path / name).write_text(f"{value:#06x}\n")
        (path / "class").write_text(f"{class_code:#08x}\n")
        (path / "revision").write_text("0x02\n")
        (path / "numa_node").write_text("-1\n")
        (path / "driver_override").write_text("(null)\n")
        if group is not None:
            members = self.sys / "kernel/iommu_groups" / str(group) / "devices"
            members.mkdir(parents=True, exist_ok=True)
            (members / bdf).symlink_to(path)
            (path / "iommu_group").symlink_to(members.parent)
        if driver is not None:
            self._attach(path, driver)
        return path

    def with_cdev(self, bdf: str = BDF) -> None:
        """Gives a function its own node, and the machine iommufd."""
        (self.sys / "bus/pci/devices" / bdf / "vfio-dev/vfio3").mkdir(parents=True)
        self.node("vfio/devices/vfio3")
        self.node("iommu")

    def namespace(self, name: str = "nvme0n1", number: str = "259:0", bdf: str = BDF) -> Path:
        """A block device of a function that the nvme driver holds."""
        path = self.sys / "bus/pci/devices" / bdf / "nvme/nvme0" / name
        (path / "holders").mkdir(parents=True)
        (path / "dev").write_text(number + "\n")
        self.node(name)
        return path

    def _attach(self, path: Path, driver: str) -> None:
        (path / "driver").symlink_to(self.sys / "bus/pci/drivers" / driver)
        if driver == "vfio-pci" and (path / "iommu_group").exists():
            self.node("vfio/" + (path / "iommu_group").readlink().name)

    def driver_of(self, bdf: str = BDF) -> str | None:
        """Who holds a function."""
        link = self.sys / "bus/pci/devices" / bdf / "driver"
        return link.readlink().name if link.is_symlink() else None

    def override_of(self, bdf: str = BDF) -> str:
        """What a function's override says."""
        return (self.sys / "bus/pci/devices" / bdf / "driver_override").read_text().strip()

    # -- sysfs as the kernel would act on it -----------------------------------------------------------------

    def write(self, path: Path, text: str) -> None:
        """Acts on what is written to sysfs."""
        self._called("write", path.name, text)
        if path.name in self.unwritable:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        self.written.append((str(path.relative_to(self.sys)), text))
        devices = self.sys / "bus/pci/devices"
        if path.name == "driver_override":
            path.write_text((text.strip() or "(null)") + "\n")
        elif path.name == "unbind":
            (devices / text / "driver").unlink()
        elif path.name == "bind":
            self._attach(devices / text, path.parent.name)
        elif path.name == "drivers_probe" and not (devices / text / "driver").is_symlink():
            override = (devices / text / "driver_override").read_text().strip()
            driver = "nvme" if override == "(null)" else override
            if driver == "vfio-pci" and not self.vfio_takes:
                raise OSError(errno.EINVAL, "Invalid argument")
            self._attach(devices / text, driver)

    # -- calls -----------------------------------------------------------------------------------------------

    def _called(self, name: str, *what: Any) -> None:
        self.calls.append((name, *what))
        self.fail(len(self.calls) - 1, name)

    def open(self, path: Path, flags: int = os.O_RDWR) -> int:
        """Gives a file of its own for a node."""
        self._called("open", str(path.relative_to(self.dev)))
        if path.name in self.refused:
            raise OSError(self.refused[path.name], os.strerror(self.refused[path.name]), str(path))
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, "No such file", str(path))
        return self._give(str(path.relative_to(self.dev)))

    def _give(self, name: str) -> int:
        fd = os.memfd_create(name)
        if name == "device" or name.startswith("vfio/devices"):
            os.ftruncate(fd, CONFIG_OFFSET + CONFIG_SIZE)
            os.pwrite(fd, bytes(self.device), CONFIG_OFFSET)
            os.pwrite(fd, (0x10400).to_bytes(4, "little"), 8)
        self.open_fds[fd] = name
        return fd

    def close(self, fd: int) -> None:
        """Closes what was given, once."""
        self.calls.append(("close", self.open_fds.pop(fd)))
        os.close(fd)

    def pread(self, fd: int, nbytes: int, offset: int) -> bytes:
        """Reads the device."""
        self._called("pread", offset - CONFIG_OFFSET, nbytes)
        return super().pread(fd, nbytes, offset)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        """Writes the device."""
        self._called("pwrite", offset - CONFIG_OFFSET, data)
        return super().pwrite(fd, data, offset)

    def memlock_limit(self) -> int | None:
        """What the test says."""
        return self.locked_limit

    def ioctl(self, fd: int, request: int, argument: Argument = 0) -> int:
        """Answers as VFIO and iommufd do."""
        name = NAMES[request]
        assert fd in self.open_fds, f"{name} on a descriptor that is not open"
        self._called(name, argument if isinstance(argument, int) else bytes(argument))
        answer = self.answers.get(request) or getattr(self, "_" + name.lower(), None)
        return answer(fd, argument) if answer else 0

    def _vfio_check_extension(self, fd: int, argument: Any) -> int:
        return int(argument in (abi.VFIO_TYPE1_IOMMU, abi.VFIO_TYPE1v2_IOMMU))

    def _vfio_group_get_status(self, fd: int, status: Any) -> int:
        status.flags = abi.VFIO_GROUP_FLAGS_VIABLE if self.viable else 0
        return 0

    def _vfio_group_get_device_fd(self, fd: int, argument: Any) -> int:
        return self._give("device")

    def _vfio_device_get_info(self, fd: int, info: Any) -> int:
        info.flags = abi.VFIO_DEVICE_FLAGS_PCI | abi.VFIO_DEVICE_FLAGS_RESET
        return 0

    def _vfio_device_get_region_info(self, fd: int, buffer: Any) -> int:
        info = abi.VfioRegionInfo.from_buffer(buffer)
        if info.index == abi.VFIO_PCI_CONFIG_REGION_INDEX:
            info.flags, info.size, info.offset = 0b11, CONFIG_SIZE, CONFIG_OFFSET
            return 0
        info.flags, info.size, info.offset = self.bar_flags, self.bar_size, 0
        if self.areas is not None:
            info.flags |= abi.VFIO_REGION_INFO_FLAG_CAPS
            self._append_capability(buffer, info, abi.VFIO_REGION_INFO_CAP_SPARSE_MMAP, self.areas)
        return 0

    def _append_capability(
        self, buffer: Any, info: Any, identifier: int, pairs: list[tuple[int, int]]
    ) -> None:
        # As the kernel: too small a buffer is told how large it has to be, and given no capability.
        start = ctypes.sizeof(info)
        needed = start + 16 + 16 * len(pairs)
        fits = len(buffer) >= needed
        info.argsz = needed
        info.cap_offset = start if fits else 0
        if fits:
            head = abi.VfioIommuType1InfoCapIovaRange.from_buffer(buffer, start)
            head.header.id, head.header.version, head.nr_iovas = identifier, 1, len(pairs)
            for index, pair in enumerate(pairs):
                area = abi.VfioIovaRange.from_buffer(buffer, start + 16 + 16 * index)
                area.start, area.end = pair

    def _vfio_device_get_irq_info(self, fd: int, info: Any) -> int:
        info.flags, info.count = abi.VFIO_IRQ_INFO_EVENTFD, self.vectors.get(info.index, 0)
        return 0

    def _vfio_iommu_get_info(self, fd: int, buffer: Any) -> int:
        info = abi.VfioIommuType1Info.from_buffer(buffer)
        info.flags = abi.VFIO_IOMMU_INFO_PGSIZES | (abi.VFIO_IOMMU_INFO_CAPS if self.ranges else 0)
        info.iova_pgsizes = 4096 | 2 << 20
        if self.ranges:
            self._append_capability(buffer, info, abi.VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, self.ranges)
        return 0

    def _vfio_iommu_map_dma(self, fd: int, question: Any) -> int:
        return self._map(question.iova, question.size)

    def _vfio_iommu_unmap_dma(self, fd: int, question: Any) -> int:
        question.size = self.mapped.pop(question.iova, 0)
        return 0

    def _iommu_ioas_alloc(self, fd: int, question: Any) -> int:
        question.out_ioas_id = 12
        return 0

    def _iommu_ioas_iova_ranges(self, fd: int, question: Any) -> int:
        space, question.num_iovas = question.num_iovas, len(self.ranges)
        if space < len(self.ranges):
            raise OSError(errno.EMSGSIZE, "Message too long")
        array = (abi.IommuIovaRange * space).from_address(question.allowed_iovas)
        for item, (first, last) in zip(array, self.ranges, strict=False):
            item.start, item.last = first, last
        question.out_iova_alignment = 4096
        return 0

    def _iommu_ioas_map(self, fd: int, question: Any) -> int:
        return self._map(question.iova, question.length)

    def _iommu_ioas_unmap(self, fd: int, question: Any) -> int:
        if question.iova not in self.mapped:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        question.length = self.mapped.pop(question.iova)
        return 0

    def _map(self, iova: int, nbytes: int) -> int:
        if any(iova < other + length and other < iova + nbytes for other, length in self.mapped.items()):
            raise FileExistsError(errno.EEXIST, "File exists")
        self.mapped[iova] = nbytes
        return 0


NAMES = {
    value: name
    for name, value in vars(abi).items()
    if name.startswith(("VFIO_", "IOMMU_")) and isinstance(value, int) and value >> 8 == ord(";")
}
