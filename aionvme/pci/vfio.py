"""Owns `VfioFunction`: a real function, taken from the kernel through VFIO, behind the seam."""

from __future__ import annotations

import contextlib
import errno
import os
import warnings
from typing import TYPE_CHECKING, Any

from aionvme.errors import AddressError, UsageError
from aionvme.pci import abi
from aionvme.pci.backing import PAGE, DoorbellFile
from aionvme.pci.discovery import find
from aionvme.pci.function import Function
from aionvme.pci.host import Host
from aionvme.pci.vfio_errors import bar_refused, check_openable
from aionvme.pci.vfio_group import GroupInterface, group_node
from aionvme.pci.vfio_info import Region, ask, irq_count, region
from aionvme.pci.vfio_iommufd import IommufdInterface, cdev_node, iommu_node

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aionvme.pci.address import PciAddress
    from aionvme.pci.device import PciDevice

__all__ = ["VfioFunction", "open_vfio"]

# Command register (PCI 3.0, 6.2.2; linux/pci_regs.h).
_PCI_COMMAND = 0x04
_PCI_COMMAND_MEMORY = 0x2
_PCI_COMMAND_MASTER = 0x4
# In BAR 0 (NVMe over PCIe 1.0, 3.1.2).
_DOORBELLS = 0x1000


def open_vfio(address: PciAddress, host: Host | None = None) -> VfioFunction:
    """Takes a function from vfio-pci, by the interface that its address asks for or else the machine has.

    Args:
        address: Which function. With `iommu` "auto" iommufd is used where its nodes are there and may be
            opened, and no `vf_token` is given; else the group.
        host: The machine; another one in tests.

    Returns:
        The function, with its BAR 0 mapped, memory space on, bus mastering off.

    Raises:
        AddressError: It can't be had; the message says what to run. Nothing is left open.
    """
    host = host or Host()
    if address.iommu == "noiommu":
        raise AddressError(
            f"{address.bdf}: iommu=noiommu is not supported in this version: without an IOMMU a device can "
            "overwrite any memory of the machine. Use iommu=auto"
        )
    device = find(address.bdf, host.sys)
    check_openable(device, host)
    interface = _interface(address, device, host)(address, device, host)
    return VfioFunction(device, interface, host)


def _interface(
    address: PciAddress, device: PciDevice, host: Host
) -> type[GroupInterface] | type[IommufdInterface]:
    if address.iommu == "iommufd":
        return IommufdInterface
    if address.iommu == "group" or address.vf_token is not None:
        return GroupInterface
    node = cdev_node(device, host)
    if node is None:
        return GroupInterface
    if host.usable(node) and host.usable(iommu_node(host)):
        return IommufdInterface
    # A kernel without groups: the error is then about the node that there is.
    return GroupInterface if group_node(device, host).exists() else IommufdInterface


class VfioFunction(Function):
    """A function opened through VFIO. Made by `open_vfio`.

    The calls of the kernel that it makes block: `reset` for a tenth of a second and more.

    Args:
        pci_dev: Which function it is.
        interface: The way in. It is closed when this raises.
        host: The machine.
    """

    def __init__(self, pci_dev: PciDevice, interface: GroupInterface | IommufdInterface, host: Host) -> None:
        super().__init__(pci_dev)
        self._host = host
        self._interface = interface
        # A child that was forked has the same descriptors. What it closes must leave the parent's device
        # alone.
        self._pid = os.getpid()
        self._mapped: dict[int, int] = {}
        self._num_irqs = 0
        self._irqs_on = 0
        self._notices: set[int] = set()
        self._config: Region | None = None
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        fd = self._interface.device_fd
        info = ask(self._host, fd, abi.VFIO_DEVICE_GET_INFO, abi.VfioDeviceInfo())
        if not info.flags & abi.VFIO_DEVICE_FLAGS_PCI:
            raise AddressError(
                f"{self.pci_dev}: VFIO says that this is no PCI function (flags {info.flags:#x})"
            )
        self._can_reset = bool(info.flags & abi.VFIO_DEVICE_FLAGS_RESET)
        self._config = region(self._host, fd, abi.VFIO_PCI_CONFIG_REGION_INDEX)
        # MSI only where there is no MSI-X: with it every queue has its own vector.
        self._irq_index = abi.VFIO_PCI_MSIX_IRQ_INDEX
        self._num_irqs = irq_count(self._host, fd, self._irq_index)
        if self._num_irqs == 0:
            self._irq_index = abi.VFIO_PCI_MSI_IRQ_INDEX
            self._num_irqs = irq_count(self._host, fd, self._irq_index)
        # Registers answer only with memory space on; and whoever had the function before may have left it
        # able to write to memory.
        command = int.from_bytes(self.config_read(_PCI_COMMAND, 2), "little")
        self._write_command(command & ~_PCI_COMMAND_MASTER | _PCI_COMMAND_MEMORY)
        self._map_registers(region(self._host, fd, abi.VFIO_PCI_BAR0_REGION_INDEX))

    def _map_registers(self, bar: Region) -> None:
        if bar.size == 0:
            raise bar_refused(self.pci_dev, "the function has none")
        if not bar.flags & abi.VFIO_REGION_INFO_FLAG_MMAP:
            raise bar_refused(self.pci_dev, f"the kernel lets no process map its {bar.size} bytes")
        # Doorbells and registers are reached at their offsets in one mapping, so a hole is refused.
        if bar.areas is not None and (0, bar.size) not in bar.areas:
            parts = ", ".join(f"{start:#x} to {start + size - 1:#x}" for start, size in bar.areas)
            raise bar_refused(
                self.pci_dev, f"of its {bar.size} bytes the kernel lets only {parts or 'none'} be mapped"
            )
        try:
            self._map_bar(self._interface.device_fd, bar.offset, bar.size)
        except OSError as error:
            raise bar_refused(self.pci_dev, f"{error.strerror} ({bar.size} bytes)") from error

    def doorbell_files(self) -> list[DoorbellFile]:
        """The device itself, of which another process maps the doorbells: who has it can do with the device as we can.

        Raises:
            UsageError: Closed.
            OSError: The kernel refused.
        """
        self._check_open()
        fd = self._interface.device_fd
        bar = region(self._host, fd, abi.VFIO_PCI_BAR0_REGION_INDEX)
        start = _DOORBELLS // PAGE * PAGE
        return [DoorbellFile(os.dup(fd), bar.offset + start, start, bar.size - start)]

    def map_bar(self, index: int, offset: int, nbytes: int) -> int:
        """A part of a BAR as memory: its address. It stays mapped until the function is closed.

        Raises:
            UsageError: Closed, or there is no such part, or the kernel lets no process map the BAR.
            OSError: The kernel refused.
        """
        self._check_open()
        if index == 0:
            return super().map_bar(index, offset, nbytes)
        if not 0 < index <= 5:
            raise UsageError(f"a function has BARs 0 to 5, not {index}")
        fd = self._interface.device_fd
        bar = region(self._host, fd, abi.VFIO_PCI_BAR0_REGION_INDEX + index)
        whole = bar.areas is None or (0, bar.size) in bar.areas
        if bar.size == 0 or not bar.flags & abi.VFIO_REGION_INFO_FLAG_MMAP or not whole:
            raise UsageError(f"BAR {index} of {self.pci_dev} is not there, or cannot be mapped")
        if offset + nbytes > bar.size:
            raise UsageError(f"{nbytes:#x} bytes at {offset:#x} go beyond BAR {index} of {self.pci_dev}")
        return self._map_more(fd, bar.offset, bar.size) + offset

    # -- configuration space
    # -----------------------------------------------------------------------------------------

    def config_read(self, offset: int, nbytes: int) -> bytes:
        """Reads PCI configuration space.

        Raises:
            UsageError: Closed, or not within the space.
            OSError: The kernel refused.
        """
        config = self._config_space(offset, nbytes)
        data = self._host.pread(self._interface.device_fd, nbytes, config.offset + offset)
        if len(data) != nbytes:
            raise OSError(errno.EIO, f"only {len(data)} of {nbytes} bytes of configuration space were read")
        return data

    def config_write(self, offset: int, data: bytes) -> None:
        """Writes PCI configuration space; VFIO keeps some registers to itself, and ignores writes to them.

        Raises:
            UsageError: Closed, or not within the space.
            OSError: The kernel refused.
        """
        config = self._config_space(offset, len(data))
        done = self._host.pwrite(self._interface.device_fd, bytes(data), config.offset + offset)
        if done != len(data):
            raise OSError(errno.EIO, f"only {done} of {len(data)} bytes of configuration space were written")

    def _config_space(self, offset: int, nbytes: int) -> Region:
        self._check_open()
        assert self._config is not None
        if offset < 0 or nbytes < 0 or offset + nbytes > self._config.size:
            raise UsageError(
                f"{nbytes} bytes at {offset:#x} are not within {self._config.size} of configuration space"
            )
        return self._config

    def _write_command(self, command: int) -> None:
        self.config_write(_PCI_COMMAND, command.to_bytes(2, "little"))

    def _check_open(self) -> None:
        if self.closed:
            raise UsageError(f"the function of {self.pci_dev} is closed")

    # -- memory
    # ------------------------------------------------------------------------------------------------------

    @property
    def interface(self) -> str:
        """The kernel interface in use: "group" or "iommufd"."""
        return self._interface.name

    @property
    def page_sizes(self) -> int:
        """Bitmap of the sizes in which the IOMMU maps; the lowest is the least alignment of a mapping."""
        return self._interface.page_sizes

    def iova_ranges(self) -> list[tuple[int, int]]:
        """The I/O addresses that the IOMMU can map, as (first, last) pairs, both inclusive."""
        self._check_open()
        return self._interface.iova_ranges()

    def map_dma(self, address: int, nbytes: int, iova: int, *, fd: int = -1, offset: int = 0) -> None:
        """Pins memory of this process and lets the device read and write it at `iova`.

        Args:
            address: Page-aligned address in this process.
            nbytes: Whole pages.
            iova: Page-aligned, within `iova_ranges()`.
            fd, offset: Not needed here.

        Raises:
            AddressError: The limit on locked memory, or on mappings, is too small; it says which and how to
                raise it.
            UsageError: Closed, or these I/O addresses are in use.
            OSError: The kernel refused for another reason.
        """
        self._check_open()
        self._interface.map(address, nbytes, iova)
        self._mapped[iova] = nbytes

    def unmap_dma(self, iova: int, nbytes: int) -> None:
        """Takes back what one `map_dma` gave. When it returns the device can no longer reach the memory.

        Raises:
            UsageError: Closed, or not what one `map_dma` gave.
            OSError: The kernel refused.
        """
        self._check_open()
        if self._mapped.get(iova) != nbytes:
            raise UsageError(f"{nbytes} bytes at I/O address {iova:#x} are not what was mapped there")
        self._interface.unmap(iova, nbytes)
        del self._mapped[iova]

    # -- interrupts
    # --------------------------------------------------------------------------------------------------

    @property
    def num_irqs(self) -> int:
        """How many MSI-X vectors there are (MSI, if it has no MSI-X); 0 for none."""
        return self._num_irqs

    def set_irqs(self, fds: Sequence[int]) -> None:
        """Has vector i signal the eventfd `fds[i]`; -1 leaves one out, an empty list switches all off.

        Raises:
            UsageError: Closed, or there are fewer vectors.
            OSError: The kernel refused; then all are off.
        """
        self._check_open()
        if len(fds) > self._num_irqs:
            raise UsageError(f"{len(fds)} interrupts were asked for, {self.pci_dev} has {self._num_irqs}")
        # Without dynamic MSI-X the number of vectors is fixed while they are on (VFIO_IRQ_INFO_NORESIZE).
        if self._irqs_on:
            self._set_eventfds(self._irq_index, ())
            self._irqs_on = 0
        if fds:
            had = self._set_eventfds(self._irq_index, fds)
            if had > 0:
                # vfio_msi_enable: none was switched on, and so many could be had.
                raise OSError(
                    errno.ENOSPC, f"only {had} of {len(fds)} interrupt vectors can be had on this machine"
                )
            self._irqs_on = len(fds)

    def set_removal_eventfd(self, fd: int | None) -> None:
        """Has this eventfd signalled when the kernel wants the function back, by unbinding or unplugging.

        The kernel then waits until the function is closed, and signals again every ten seconds.

        Args:
            fd: The eventfd, or None for none.

        Raises:
            UsageError: Closed.
            OSError: The kernel refused, or has no such notice (EINVAL).
        """
        self._set_notice(abi.VFIO_PCI_REQ_IRQ_INDEX, fd)

    def set_error_eventfd(self, fd: int | None) -> None:
        """Has this eventfd signalled when Advanced Error Reporting tells of an uncorrectable error.

        Args:
            fd: The eventfd, or None for none.

        Raises:
            UsageError: Closed.
            OSError: The kernel refused, or the function has no such notice (EINVAL).
        """
        self._set_notice(abi.VFIO_PCI_ERR_IRQ_INDEX, fd)

    def _set_notice(self, index: int, fd: int | None) -> None:
        self._check_open()
        if fd is not None:
            self._set_eventfds(index, (fd,))
            self._notices.add(index)
        elif index in self._notices:
            self._notices.discard(index)
            self._set_eventfds(index, ())

    def _set_eventfds(self, index: int, fds: Sequence[int]) -> int:
        data = abi.VFIO_IRQ_SET_DATA_EVENTFD if fds else abi.VFIO_IRQ_SET_DATA_NONE
        head = abi.VfioIrqSet(
            flags=data | abi.VFIO_IRQ_SET_ACTION_TRIGGER, index=index, start=0, count=len(fds)
        )
        values = b"".join(fd.to_bytes(4, "little", signed=True) for fd in fds)
        head.argsz = len(bytes(head)) + len(values)
        return self._host.ioctl(
            self._interface.device_fd, abi.VFIO_DEVICE_SET_IRQS, bytearray(bytes(head) + values)
        )

    # -- reset and close
    # ---------------------------------------------------------------------------------------------

    @property
    def can_reset(self) -> bool:
        """Whether the function has a reset of its own (VFIO_DEVICE_FLAGS_RESET)."""
        return self._can_reset

    def reset(self) -> None:
        """Resets the function. Mappings and interrupts stay; bus mastering and memory space are as before.

        Blocks for a tenth of a second and more, without the GIL.

        Raises:
            UsageError: Closed.
            OSError: EOPNOTSUPP if the function has no reset of its own; EAGAIN if the kernel is busy with it.
        """
        self._check_open()
        if not self._can_reset:
            raise OSError(errno.EOPNOTSUPP, f"{self.pci_dev} has no reset of its own")
        command = self.config_read(_PCI_COMMAND, 2)
        self._host.ioctl(self._interface.device_fd, abi.VFIO_DEVICE_RESET)
        # The kernel restores configuration space, but what VFIO showed us of it before counts.
        self.config_write(_PCI_COMMAND, command)

    def close(self) -> None:
        """Gives the function back to vfio-pci, without interrupts, bus mastering and mappings.

        May be called twice, and in a forked child, where it only closes.
        """
        if self.closed:
            return
        if os.getpid() == self._pid:
            self._quiesce()
        super().close()
        self._interface.close()
        self._mapped.clear()

    def _quiesce(self) -> None:
        # Descriptors may live on in children that were forked, so closing them is not enough. Each step is
        # tried: a function that was unplugged refuses some.
        for index in list(self._notices):
            with contextlib.suppress(OSError):
                self._set_notice(index, None)
        with contextlib.suppress(OSError):
            self.set_irqs(())
        if self._config is not None:
            with contextlib.suppress(OSError):
                self.set_bus_master(False)
        for iova, nbytes in self._mapped.items():
            with contextlib.suppress(OSError, UsageError):
                self._interface.unmap(iova, nbytes)

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if getattr(self, "_interface", None) is None or self.closed:
            return
        if os.getpid() == self._pid:
            _warn(f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2)
        self.close()
